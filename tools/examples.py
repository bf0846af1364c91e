"""Installs what the examples need: each of their `requirements*.txt` into an environment of its own, and what
their `package-lock.json` pins.

    python tools/examples.py [FILE …]      all of them, or only these files
"""

from __future__ import annotations

import argparse
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
    """The command line. Returns an exit code."""
    parser = argparse.ArgumentParser(description="Installs what the examples need.")
    parser.add_argument("files", nargs="*", type=Path, help="files to install; without any, all")
    files = parser.parse_args().files or [
        *sorted(ROOT.glob("examples/*/requirements*.txt")),
        *sorted(ROOT.glob("examples/*/package-lock.json")),
    ]
    try:
        for file in files:
            (install_packages if file.suffix == ".json" else install)(file.resolve())
    except subprocess.CalledProcessError as error:
        return error.returncode
    return 0


if __name__ == "__main__":
    sys.exit(main())
