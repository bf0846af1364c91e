"""Which users of the operating system the server and initdb run as.

PostgreSQL refuses to run as root. For root, each cluster has a user of its own, which is only a number: no
account, no group and no process has it, so that no other user can touch the server or its files. The owner
of the cluster keeps the number.
"""

from __future__ import annotations

import grp
import os
import pwd
import secrets
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from server.embedded_postgres.errors import EmbeddedServerError

#: Numbers that are tried for a new cluster's user. systemd's table of user ids, directory services and ranges
#: of containers leave the first free. The second is for a user namespace that maps few numbers.
_SPANS = ((2_100_000_000, 2_147_000_000), (20_000, 59_999))
_TRIES = 64
#: The kernel's number for users that a namespace does not map, which most systems name `nobody`.
_OVERFLOW_UID = 65_534


@dataclass(frozen=True, slots=True)
class Account:
    """A user that programs run as, and the name of the only user that may connect."""

    uid: int
    gid: int
    client: str

    @property
    def is_other(self) -> bool:
        """Whether it is not the user of this process."""
        return self.uid != os.geteuid()


def server_account(owner: int | None) -> Account:
    """The user that the server runs as: the current one; for root the cluster's own.

    owner: the uid of the present cluster, which is kept while nobody else has it; None for a new one.
    Raises EmbeddedServerError.
    """
    try:
        client = pwd.getpwuid(os.geteuid())
    except KeyError:
        raise EmbeddedServerError(
            "PostgreSQL needs a user with a name (an entry in /etc/passwd): run as one, or set DATABASE_URL"
        ) from None
    if client.pw_uid != 0:
        return Account(client.pw_uid, client.pw_gid, client.pw_name)
    in_use = uids_in_use()
    if owner is None or not _is_free(owner, in_use):
        owner = _free_uid(in_use)
    return Account(owner, owner, client.pw_name)


def initdb_account(account: Account) -> Account:
    """The user that initdb runs as: it insists on one with a name.

    For root this is an account without running processes, and the cluster's own group: the most that another
    process of that account could do is send initdb a signal. Raises EmbeddedServerError without an account.
    """
    if not account.is_other:
        return account
    in_use = uids_in_use()
    named = [entry.pw_uid for entry in pwd.getpwall() if entry.pw_uid != 0 and _is_mapped(entry.pw_uid)]
    if not named:
        raise EmbeddedServerError("initdb needs an account beside root in /etc/passwd, or set DATABASE_URL")
    uid = min(named, key=lambda uid: (uid in in_use, uid >= 1000, uid))
    return Account(uid, account.gid, account.client)


def is_shared_account(uid: int) -> bool:
    """Whether the uid is that of `nobody`, which others use too. Earlier releases ran the server so."""
    with suppress(KeyError):
        if uid == pwd.getpwnam("nobody").pw_uid:
            return True
    return uid == _OVERFLOW_UID


def has_account(uid: int) -> bool:
    """Whether a user or a group of the system has the number."""
    for find in (pwd.getpwuid, grp.getgrgid):
        with suppress(KeyError):
            find(uid)
            return True
    return any(uid in span for span in _delegated())


def uids_in_use() -> set[int]:
    """The user ids of all processes except zombies. Empty without /proc."""
    found: set[int] = set()
    for status in Path("/proc").glob("[0-9]*/status"):
        with suppress(OSError, KeyError):
            lines = dict(line.split(":\t", 1) for line in status.read_text().splitlines() if ":\t" in line)
            if not lines["State"].startswith("Z"):
                found.update(map(int, lines["Uid"].split()))
    return found


def _is_free(uid: int, in_use: set[int]) -> bool:
    return (
        uid != 0
        and uid not in in_use
        and not is_shared_account(uid)
        and not has_account(uid)
        and _is_mapped(uid)
    )


def _free_uid(in_use: set[int]) -> int:
    """A number that no user has. Raises EmbeddedServerError when none is found."""
    for first, last in _SPANS:
        for _ in range(_TRIES):
            uid = first + secrets.randbelow(last - first)
            if _is_free(uid, in_use):
                return uid
    raise EmbeddedServerError(
        "there is no free user id for PostgreSQL, which refuses to run as root: run as another user, or set "
        "DATABASE_URL"
    )


def _is_mapped(number: int) -> bool:
    """Whether this user namespace has the number, as a user and as a group. True without namespaces."""
    for kind in ("uid_map", "gid_map"):
        with suppress(FileNotFoundError):
            entries = [line.split() for line in Path("/proc/self", kind).read_text().splitlines()]
            if not any(int(first) <= number < int(first) + int(count) for first, _, count in entries):
                return False
    return True


def _delegated() -> Iterator[range]:
    """The numbers that accounts may take in user namespaces."""
    for name in ("/etc/subuid", "/etc/subgid"):
        with suppress(OSError):
            for line in Path(name).read_text().splitlines():
                with suppress(ValueError):
                    _, first, count = line.split(":")
                    yield range(int(first), int(first) + int(count))
