"""Builds the wheels of a release (the task `wheels`): of the hub, its module in Rust, and the Python client.

    python tools/wheels.py [--output FOLDER]      into build/wheels by default

With the pinned hatchling and maturin of the development requirements: only crates are downloaded. The wheel
of the module is for this machine's platform. Without cargo a line says that it is missing; in CI that is a
failure.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
#: The projects, by their folders.
PROJECTS = (ROOT, ROOT / "clients" / "python")


def main() -> int:
    """The command line. Returns 0, or 1 when a wheel is missing."""
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
    module = [sys.executable, str(ROOT / "tools" / "compiled.py"), "wheel", str(output)]
    built = subprocess.run(module, check=False).returncode == 0
    return 0 if built or not os.environ.get("CI") else 1


if __name__ == "__main__":
    sys.exit(main())
