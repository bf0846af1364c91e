"""The real git, to compare patches and merges with. Tests that need it are skipped if it is not installed."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from server.domain.proposals.files import File

needs_git = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed on this machine")


def git(folder: Path, *arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """Run git in the folder, with no user's settings."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "LC_ALL": "C"}
    environment |= {"GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": os.devnull}
    environment["GIT_CEILING_DIRECTORIES"] = str(folder.parent)
    return subprocess.run(
        ["git", *arguments], cwd=folder, input=stdin, capture_output=True, env=environment, timeout=60
    )


def write(folder: Path, files: Mapping[str, File]) -> None:
    """Make the folder, with these files."""
    folder.mkdir()
    for path, file in files.items():
        target = folder / path.removeprefix("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(file.content)


def read(folder: Path) -> dict[str, bytes]:
    """The contents of all files in the folder, by path."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


def contents(files: Mapping[str, File]) -> dict[str, bytes]:
    """What `read` returns after these files were written."""
    return {path.removeprefix("/"): file.content for path, file in files.items()}


def applied(folder: Path, files: Mapping[str, File], patch: bytes) -> dict[str, bytes]:
    """Write the files, apply the patch with git, and return what `read` finds."""
    write(folder, files)
    if patch:
        done = git(folder, "apply", "--whitespace=nowarn", stdin=patch)
        assert (done.returncode, done.stderr) == (0, b"")
    return read(folder)
