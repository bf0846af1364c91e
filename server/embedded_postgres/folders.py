"""Folders and files that are reached without a step that another user could change.

A path is walked from the root, and everything in the folder is reached from its file descriptor. A link is
followed only where its owner is root or the user of this process, so nobody can lead root elsewhere.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from server.embedded_postgres.errors import EmbeddedServerError

#: O_PATH (Linux only) is enough to pass through a folder, even one that may not be listed.
_WALK = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_MAX_LINKS = 40
#: Bytes that are read of a file that the server writes, such as its pid file.
_MAX_SMALL = 4096


@contextmanager
def opened_folder(path: Path, *, create: bool = False) -> Iterator[int]:
    """The file descriptor of a folder that belongs to this user; its mode becomes 0700.

    create: whether missing folders are made. Raises EmbeddedServerError, OSError.
    """
    folder = _walked(path, create=create)
    try:
        info = os.fstat(folder)
        if info.st_uid != os.geteuid():
            raise EmbeddedServerError(
                f"{path} belongs to another user (uid {info.st_uid}): run as that user, or set IDEO_DATA_DIR "
                "to a folder of your own"
            )
        if stat.S_IMODE(info.st_mode) != 0o700:
            os.fchmod(folder, 0o700)
        yield folder
    finally:
        os.close(folder)


@contextmanager
def subfolder(parent: int, name: str) -> Iterator[int]:
    """The file descriptor of a folder in a folder. Raises OSError, also when it is a link."""
    folder = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
    try:
        yield folder
    finally:
        os.close(folder)


@contextmanager
def own_file(folder: int, name: str, flags: int) -> Iterator[int]:
    """The file descriptor of a regular file that this user owns and that has no other hard link; created when
    missing. Its mode becomes 0600.

    Raises EmbeddedServerError for anything else.
    """
    flags |= os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    file = os.open(name, flags, 0o600, dir_fd=folder)
    try:
        info = os.fstat(file)
        if not stat.S_ISREG(info.st_mode) or info.st_uid != os.geteuid() or info.st_nlink != 1:
            raise EmbeddedServerError(f"{name} in the data folder is not a file of the hub: remove it")
        os.fchmod(file, 0o600)
        yield file
    finally:
        os.close(file)


def read_small(folder: int, name: str) -> str:
    """The start of a regular file in a folder. Raises OSError, ValueError."""
    file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    try:
        if not stat.S_ISREG(os.fstat(file).st_mode):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)
        return os.read(file, _MAX_SMALL).decode()
    finally:
        os.close(file)


def exists(folder: int, name: str) -> bool:
    """Whether a folder has an entry of this name."""
    try:
        os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def is_safe_path(path: Path) -> bool:
    """Whether only root and this user can change what the path leads to."""
    real = path.resolve()
    for step in {path, *path.parents, real, *real.parents}:
        info = step.lstat()
        # In a folder with the sticky bit nobody can rename what is ours.
        is_closed = stat.S_ISLNK(info.st_mode) or not info.st_mode & 0o022 or info.st_mode & stat.S_ISVTX
        if info.st_uid not in (0, os.geteuid()) or not is_closed:
            return False
    return True


def _walked(path: Path, *, create: bool) -> int:
    """The folder's file descriptor. Raises EmbeddedServerError for a link of another user; OSError."""
    names = list(reversed(path.parts[1:]))
    links = 0
    folder = os.open("/", _WALK)
    try:
        while names:
            name = names.pop()
            try:
                inside = os.open(name, _WALK, dir_fd=folder)
            except OSError as error:
                if error.errno == errno.ENOENT and create:
                    os.mkdir(name, 0o700, dir_fd=folder)
                    names.append(name)
                    continue
                if error.errno not in (errno.ELOOP, errno.ENOTDIR):
                    raise
                target, links = _target(folder, name, path), links + 1
                if links > _MAX_LINKS:
                    raise
                names += reversed([part for part in target.parts if part != "/"])
                if not target.is_absolute():
                    continue
                inside = os.open("/", _WALK)
            folder, before = inside, folder
            os.close(before)
        return os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=folder)
    finally:
        os.close(folder)


def _target(folder: int, name: str, path: Path) -> Path:
    """Where a link leads. Raises EmbeddedServerError when another user may have placed it; OSError."""
    if hasattr(os, "O_PATH"):
        link = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
        try:
            info = os.fstat(link)
            target = os.readlink("", dir_fd=link) if stat.S_ISLNK(info.st_mode) else None
        finally:
            os.close(link)
    else:
        info = os.stat(name, dir_fd=folder, follow_symlinks=False)
        target = os.readlink(name, dir_fd=folder) if stat.S_ISLNK(info.st_mode) else None
    if target is None:
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), name)
    # A second name of a link of root's could have been made by anybody.
    if info.st_uid not in (0, os.geteuid()) or info.st_nlink != 1:
        raise EmbeddedServerError(
            f"{name} on the path {path} is a link that another user made: set IDEO_DATA_DIR to another folder"
        )
    return Path(target)
