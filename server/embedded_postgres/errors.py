"""The one error of the embedded server, and the operating system's errors as it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
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
