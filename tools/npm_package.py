"""Builds the npm package of a release (the task `npm-package`), and tries it in an empty project.

    python tools/npm_package.py [--output FOLDER]      into build/npm by default

The check installs the file itself, and runs the example of its README.md with a hub: the tests of
tests/clients/typescript that show this.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CLIENT = ROOT / "clients" / "typescript"
TESTS = ROOT / "tests" / "clients" / "typescript"
#: Names the file to the tests, which otherwise pack the package themselves.
VARIABLE = "IDEO_NPM_PACKAGE"
#: The tests of the installation and of the README's example.
CHOSEN = "installs or readme"


def _npm(*arguments: str) -> str:
    npm = shutil.which("npm")
    if npm is None:
        raise FileNotFoundError("npm is not installed")
    done = subprocess.run([npm, *arguments], cwd=CLIENT, check=True, stdout=subprocess.PIPE, text=True)
    return done.stdout


def pack(output: Path) -> Path:
    """Build the package, with exactly the packages that are pinned. Returns the file.

    Raises FileNotFoundError without npm, CalledProcessError.
    """
    output.mkdir(parents=True, exist_ok=True)
    _npm("ci", "--prefer-offline", "--silent")
    _npm("run", "--silent", "build")
    [packed] = json.loads(_npm("pack", "--json", "--pack-destination", str(output)))
    return output / str(packed["filename"])


def check(package: Path) -> bool:
    """Whether an empty project installs the package, and the example of its README.md runs."""
    command = [sys.executable, "-m", "pytest", "-q", "-k", CHOSEN, str(TESTS)]
    # With CI in the environment, a test that cannot run fails.
    environment = {**os.environ, "CI": "true", VARIABLE: str(package)}
    return subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode == 0


def main() -> int:
    """The command line. Returns 0, or 1 when the package is not usable."""
    parser = argparse.ArgumentParser(description="Builds the npm package of a release, and tries it.")
    parser.add_argument("--output", type=Path, default=ROOT / "build" / "npm", help="where to write it")
    package = pack(parser.parse_args().output.resolve())
    print(package)
    return 0 if check(package) else 1


if __name__ == "__main__":
    sys.exit(main())
