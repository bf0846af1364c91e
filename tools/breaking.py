"""Fails when the contract breaks clients of the main branch: runs `buf breaking` against it.

The base is the commit where this tree branched off main. Without one (no git, no main, or a main without
protos) a line says that nothing was compared.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
#: Refs of main, the most trusted first: a CI checkout may have no local branch.
MAIN_REFS = ("refs/remotes/origin/main", "refs/heads/main")


def git(*arguments: str) -> str:
    """The standard output of git; empty when it fails or is not installed."""
    try:
        done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def base() -> str | None:
    """The commit to compare with."""
    for ref in MAIN_REFS:
        commit = git("merge-base", "HEAD", ref) or git("rev-parse", "--verify", "--quiet", ref)
        if commit and git("ls-tree", "-r", "--name-only", commit, "proto"):
            return commit
    return None


def main() -> int:
    """Compare. Returns the exit code of buf, or 0 when there is nothing to compare with."""
    commit = base()
    if commit is None:
        print("not compared: this checkout has no main branch with protos")
        return 0
    return subprocess.run(
        ["buf", "breaking", "--against", f".git#ref={commit}"], cwd=ROOT, check=False
    ).returncode


if __name__ == "__main__":
    sys.exit(main())
