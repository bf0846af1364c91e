"""Builds the wheels of a release (the task `wheels`): the hub's and the Python client's.

    python tools/wheels.py [--output FOLDER]      into build/wheels by default

With the pinned hatchling of the development requirements: nothing is downloaded.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
#: The projects, by their folders.
PROJECTS = (ROOT, ROOT / "clients" / "python")


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Builds the wheels of a release.")
    parser.add_argument("--output", type=Path, default=ROOT / "build" / "wheels", help="where to write them")
    output = parser.parse_args().output.resolve()
    for project in PROJECTS:
        command = [
            sys.executable,
            "-m",
            "hatchling",
            "build",
            "--target",
            "wheel",
            "--directory",
            str(output),
        ]
        subprocess.run(command, cwd=project, check=True)


if __name__ == "__main__":
    main()
