"""Logs: structured, one line an entry, JSON for operators and readable for developers.

Nothing that a user wrote is logged: no prompt, no file, no frame, no token, no query string. Entries
name things by id and faults by class.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from typing import Any, TextIO

import structlog

from server.domain.events import Outcome
from server.domain.host import RunObserver
from server.domain.ports import Lease

#: Libraries that say too much at their usual level.
_QUIET = ("httpx", "httpcore", "websockets", "uvicorn", "asyncio", "piccolo", "litestar")


def configure_logging(*, dev: bool, stream: TextIO | None = None, level: int = logging.INFO) -> None:
    """Send every log, ours and the libraries', to `stream` (standard error) in one form."""
    shared: Sequence[Any] = (
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    )
    renderer: Any = (
        structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
        if dev
        else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=list(shared),
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)


class RunLog(RunObserver):
    """Logs what happens to runs."""

    def __init__(self) -> None:
        self._log = structlog.stdlib.get_logger("server.runs")

    def finished(self, lease: Lease, outcome: Outcome, reason: str, seconds: float) -> None:
        """A run reached its terminal status, `seconds` after it was started."""
        self._log.info(
            "run_finished",
            thread_id=str(lease.thread_id),
            outcome=outcome.value,
            reason=reason,
            seconds=round(seconds, 3),
        )

    def lost_upstream(self, lease: Lease, why: str) -> None:
        """The connection to the runtime broke; it will be tried again."""
        self._log.warning("runtime_stream_lost", thread_id=str(lease.thread_id), why=why)

    def taken(self, lease: Lease) -> None:
        """A run was taken over from a replica that let go of it or died."""
        self._log.warning(
            "run_taken_over", thread_id=str(lease.thread_id), fence=lease.fence, takeovers=lease.takeovers
        )

    def faulted(self, lease: Lease, fault: BaseException) -> None:
        """A fault of the hub ended the run."""
        self._log.error(
            "run_faulted",
            thread_id=str(lease.thread_id),
            fault=type(fault).__name__,
            where=_where(fault),
        )


def _where(fault: BaseException) -> list[str]:
    """The fault's path through our code, innermost last: places, never values."""
    places: list[str] = []
    step = fault.__traceback__
    while step is not None:
        code = step.tb_frame.f_code
        places.append(f"{code.co_qualname}:{step.tb_lineno}")
        step = step.tb_next
    return places[-6:]
