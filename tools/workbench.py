"""Writes the page of the workbench, `server/workbench/`, from `workbench/` (the task `workbench`).

    python tools/workbench.py            install the pinned packages, check the types, and write the page
    python tools/workbench.py --check    write nothing; fail when the types are wrong or the page is another

Node and npm are needed. Where they are missing, the page is not checked, and a line says so. With `CI` in the
environment that is a failure.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tools.gen import differences

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "workbench"
PAGE = ROOT / "server" / "workbench"


def run(*command: str) -> None:
    """Run a command quietly. Raises SystemExit with its output when it fails."""
    done = subprocess.run(command, cwd=SOURCE, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"workbench: {' '.join(command)} failed:\n{done.stdout}{done.stderr}")


def build(output: Path) -> None:
    """Write the page into a folder."""
    run("npm", "run", "--silent", "build", "--", str(output))


def install() -> None:
    """Install what workbench/package-lock.json pins, unless it is installed."""
    lock, marker = SOURCE / "package-lock.json", SOURCE / "node_modules" / ".package-lock.json"
    if not marker.exists() or marker.stat().st_mtime < lock.stat().st_mtime:
        run("npm", "ci", "--prefer-offline", "--silent")
        marker.touch()


def not_in_git() -> list[str]:
    """Files of the page that git does not know: each build may bring new ones, which have a digest in their
    names."""
    command = ["git", "ls-files", "--others", "--", str(PAGE)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.splitlines()


def check() -> bool:
    """Whether the checked-in page is the one that the sources give, and is all in git. Prints the result."""
    with tempfile.TemporaryDirectory() as folder:
        build(Path(folder))
        found = differences(PAGE, Path(folder))
    for path in found:
        print(f"server/workbench/{path}: differs from what workbench/ gives; run the task workbench")
    forgotten = not_in_git()
    for path in forgotten:
        print(f"{path}: is not in git, so a clone would lack it; run git add server/workbench")
    if found or forgotten:
        return False
    print("server/workbench: up to date")
    return True


def main() -> int:
    """The command line. Returns 0, or 1 when the page is another, or in CI could not be looked at."""
    parser = argparse.ArgumentParser(description="Writes the page of the workbench.")
    parser.add_argument("--check", action="store_true", help="only compare, change nothing")
    only_check = parser.parse_args().check
    missing = [name for name in ("node", "npm") if shutil.which(name) is None]
    if missing:
        print(f"server/workbench: not looked at: {' and '.join(missing)} is not installed")
        return 1 if os.environ.get("CI") or not only_check else 0
    install()
    run("npm", "run", "--silent", "check")
    if only_check:
        return 0 if check() else 1
    build(PAGE)
    print("server/workbench: written")
    return 0


if __name__ == "__main__":
    sys.exit(main())
