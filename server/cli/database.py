"""The database of a command: the one in the settings, or an embedded PostgreSQL."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from server.cli.exit_codes import CommandError
from server.embedded_postgres.errors import EmbeddedServerError
from server.embedded_postgres.server import check_unused, embedded
from server.ports import check_ports
from server.settings.settings import Settings
from server.start_error import StartError


def embedded_dir(settings: Settings) -> Path:
    """The folder of the embedded server."""
    return settings.data_dir / "postgres"


def check_places(settings: Settings) -> None:
    """Raises StartError when the hub could not start for its ports: it names everything that has to change,
    also a folder of the embedded server that is in use."""
    try:
        check_ports(settings)
    except StartError as refused:
        if settings.database_url is None:
            try:
                check_unused(embedded_dir(settings))
            except EmbeddedServerError as error:
                raise StartError(f"{refused}; {error}") from None
        raise


@asynccontextmanager
async def open_database(settings: Settings, *, sync: bool = True) -> AsyncIterator[str]:
    """The DSN of the database. An embedded server runs until the block ends.

    sync: whether a new embedded cluster is flushed to the disk before it is used.
    Raises CommandError when the embedded server cannot run.
    """
    if settings.database_url is not None:
        yield settings.database_url.get_secret_value()
        return
    async with AsyncExitStack() as stack:
        try:
            dsn = await stack.enter_async_context(embedded(embedded_dir(settings), sync=sync))
        except EmbeddedServerError as error:
            raise CommandError(str(error)) from error
        yield dsn
