"""Installs what the examples need: each of their `requirements*.txt` into an environment of its own."""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ENVIRONMENTS = ROOT / "build/examples"


def install(requirements: Path) -> None:
    """Install the packages of a file into `build/examples/EXAMPLE/FILE`."""
    environment = ENVIRONMENTS / requirements.parent.name / requirements.stem
    if not (environment / "bin/python").exists():
        venv.create(environment)
    command = [sys.executable, "tools/uv.py", "pip", "sync", "--quiet", "--require-hashes"]
    command += ["--python", str(environment / "bin/python"), str(requirements)]
    subprocess.run(command, cwd=ROOT, check=True)


def main() -> int:
    """Install all of them. Returns an exit code."""
    try:
        for requirements in sorted(ROOT.glob("examples/*/requirements*.txt")):
            install(requirements)
    except subprocess.CalledProcessError as error:
        return error.returncode
    return 0


if __name__ == "__main__":
    sys.exit(main())
