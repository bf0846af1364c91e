"""Installs what the examples need: each of their `requirements*.txt` into an environment of its own, and what
their `package-lock.json` pins."""

from __future__ import annotations

import shutil
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


def install_packages(lock: Path) -> None:
    """Install what a lock of npm pins, beside it, unless it is there."""
    installed = lock.parent / "node_modules" / ".package-lock.json"
    if installed.exists() and installed.stat().st_mtime >= lock.stat().st_mtime:
        return
    npm = shutil.which("npm")
    if npm is None:
        print(f"{lock.parent.relative_to(ROOT)}: not installed: npm is not there", file=sys.stderr)
        return
    subprocess.run([npm, "ci", "--prefer-offline", "--no-progress"], cwd=lock.parent, check=True)
    installed.touch()


def main() -> int:
    """Install all of them. Returns an exit code."""
    try:
        for requirements in sorted(ROOT.glob("examples/*/requirements*.txt")):
            install(requirements)
        for lock in sorted(ROOT.glob("examples/*/package-lock.json")):
            install_packages(lock)
    except subprocess.CalledProcessError as error:
        return error.returncode
    return 0


if __name__ == "__main__":
    sys.exit(main())
