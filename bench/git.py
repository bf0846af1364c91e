"""A repository of git, which does beside the hub what is measured."""

from __future__ import annotations

import os
import subprocess
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

    def git(self, *arguments: str) -> bytes:
        """What a command prints. Raises NoFigure."""
        done = subprocess.run(
            ["git", *arguments], cwd=self._folder, env=self._environment, capture_output=True
        )
        if done.returncode:
            raise NoFigure(f"git {arguments[0]}: {done.stderr.decode()}")
        return done.stdout

    def commit(self, message: str) -> None:
        """Commit the folder as it is, even if nothing has changed."""
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message", message)
