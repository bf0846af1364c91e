"""A repository of git, which does beside the hub what is measured."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

from bench.figures import NoFigure


class Repository:
    """A new repository in a folder, with none of the machine's own settings."""

    def __init__(self, folder: Path, *, branch: str = "main") -> None:
        self._folder = folder
        self._environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "GIT_CONFIG_NOSYSTEM": "1"}
        for who in ("AUTHOR", "COMMITTER"):
            self._environment |= {f"GIT_{who}_NAME": "bench", f"GIT_{who}_EMAIL": "bench@localhost"}
        self.git("init", "--quiet", f"--initial-branch={branch}")

    def git(self, *arguments: str, given: bytes = b"") -> bytes:
        """What a command prints. given: its standard input. Raises NoFigure."""
        done = subprocess.run(
            ["git", *arguments], cwd=self._folder, env=self._environment, input=given, capture_output=True
        )
        if done.returncode:
            raise NoFigure(f"git {arguments[0]}: {done.stderr.decode()}")
        return done.stdout

    def timed(self, *arguments: str) -> tuple[float, bytes]:
        """Milliseconds of a command, with the start of its process, and what it prints. Raises NoFigure."""
        began = time.perf_counter()
        out = self.git(*arguments)
        return 1000 * (time.perf_counter() - began), out

    def commit(self, message: str) -> None:
        """Commit the folder as it is, even if nothing has changed."""
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message", message)
