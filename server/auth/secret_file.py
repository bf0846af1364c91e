"""The key of `ideo dev`, kept in a file, so that tokens outlast a restart and `ideo token` can issue them."""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path
from secrets import token_hex, token_urlsafe

from server.auth.tokens import MIN_SECRET_BYTES

NAME = "jwt_secret"
_MAX_BYTES = 4096


class SecretFileError(Exception):
    """The file cannot be used. The message is for people, without the key."""


def create_secret(directory: Path) -> str:
    """The key in the directory; it is made, with its file and the directory, if there is none yet.

    Raises SecretFileError, OSError.
    """
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / NAME
    # Complete before it has its name: a process beside this one reads a whole key, and all read the same.
    draft = directory / f".{NAME}.{token_hex(8)}"
    with contextlib.suppress(FileExistsError):
        if not os.path.lexists(path):
            descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            try:
                with os.fdopen(descriptor, "w") as file:
                    file.write(token_urlsafe(32) + "\n")
                    file.flush()
                    os.fsync(file.fileno())
                os.link(draft, path)
            finally:
                draft.unlink()
    return read_secret(directory)


def read_secret(directory: Path) -> str:
    """The key in the directory. Raises SecretFileError, FileNotFoundError, OSError."""
    path = directory / NAME
    # Not through a link, and without waiting for a pipe's other end.
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as file:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode):
            raise SecretFileError(f"{path} is not a file: remove it")
        if found.st_uid != os.geteuid():
            raise SecretFileError(f"{path} belongs to another user: remove it")
        if found.st_mode & 0o077:
            raise SecretFileError(f"{path} can be read by others: remove it, then all tokens are new")
        secret = file.read(_MAX_BYTES).decode("ascii", "replace").strip()
    if len(secret.encode()) < MIN_SECRET_BYTES:
        raise SecretFileError(f"{path} has no key of at least {MIN_SECRET_BYTES} bytes: remove it")
    return secret
