"""Changing a cluster's owner by copying it, so that nobody else has its files open or hard-linked."""

from __future__ import annotations

import os
import shutil
import stat

from server.embedded_postgres.accounts import Account
from server.embedded_postgres.errors import EmbeddedServerError
from server.embedded_postgres.folders import exists, subfolder

#: Names in the data folder: the cluster, its copy while it is made, and the earlier one until it is removed.
CLUSTER, COPY, EARLIER = "postgres", "postgres.own", "postgres.old"


def copy_cluster(data: int, name: str, owner: int, account: Account) -> None:
    """Copy the cluster `name` of a data folder to COPY; the account owns the copy.

    data: the folder's file descriptor. Its user `owner` may be hostile: only that user's regular files are
    read. Raises EmbeddedServerError, OSError.
    """
    shutil.rmtree(COPY, ignore_errors=True, dir_fd=data)
    with subfolder(data, name) as source:
        _copy_folder(source, data, COPY, owner, account)


def replace_cluster(data: int) -> None:
    """Put COPY in the place of the cluster. `finish_replacement` completes it after a crash."""
    os.rename(CLUSTER, EARLIER, src_dir_fd=data, dst_dir_fd=data)
    os.rename(COPY, CLUSTER, src_dir_fd=data, dst_dir_fd=data)
    finish_replacement(data)


def finish_replacement(data: int) -> None:
    """Remove the earlier cluster, or take it back when the process ended before the copy had its name."""
    if not exists(data, EARLIER):
        return
    if exists(data, CLUSTER):
        shutil.rmtree(EARLIER, dir_fd=data)
    else:
        os.rename(EARLIER, CLUSTER, src_dir_fd=data, dst_dir_fd=data)


def _copy_folder(source: int, parent: int, name: str, owner: int, account: Account) -> None:
    os.mkdir(name, 0o700, dir_fd=parent)
    with subfolder(parent, name) as target:
        with os.scandir(source) as entries:
            for entry in entries:
                if not stat.S_ISSOCK(entry.stat(follow_symlinks=False).st_mode):
                    _copy_entry(source, entry.name, target, owner, account)
        os.fchown(target, account.uid, account.gid)


def _copy_entry(source: int, name: str, target: int, owner: int, account: Account) -> None:
    # O_NONBLOCK: the open of a pipe would wait for a writer.
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        file = os.open(name, flags, dir_fd=source)
    except OSError as error:
        raise EmbeddedServerError(
            f"the cluster has {name!r}, which cannot be read: {error.strerror}"
        ) from error
    try:
        info = os.fstat(file)
        if info.st_uid != owner or not (stat.S_ISREG(info.st_mode) or stat.S_ISDIR(info.st_mode)):
            raise EmbeddedServerError(
                f"the cluster has {name!r}, which PostgreSQL did not make: look at it, and remove it"
            )
        if stat.S_ISDIR(info.st_mode):
            _copy_folder(file, target, name, owner, account)
            return
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        copy = os.open(name, flags, 0o600, dir_fd=target)
        with open(file, "rb", closefd=False) as reader, open(copy, "wb") as writer:
            shutil.copyfileobj(reader, writer, 1 << 20)
            writer.flush()
            os.fchown(copy, account.uid, account.gid)
    finally:
        os.close(file)
