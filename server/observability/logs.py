"""Logs: structured, one line an entry, JSON for operators and readable for developers.

Nothing that a user wrote is logged: no prompt, no file, no frame, no token, no query string. Entries
name things by id and faults by class. What a library, or a mistake of ours, hands over all the same is taken
out here, before an entry is written (ADR 0020):

1. values under names such as `token` or `prompt`, and what looks like a secret in any text;
2. the text of exceptions, in production: a driver's may quote the value that it could not store;
3. line ends and control characters, so that an entry is one line and no terminal obeys it.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import MutableMapping, Sequence
from types import TracebackType
from typing import Any, TextIO

import structlog
from opentelemetry import trace

from server.domain.journal.events import Outcome
from server.domain.runs.lease import Lease
from server.domain.runs.observer import RunObserver

#: Libraries that say too much at their usual level.
_QUIET = ("httpx", "httpcore", "websockets", "uvicorn", "asyncio", "piccolo", "litestar")


#: Names whose values are never written.
_SECRET_NAMES = re.compile(
    "token|secret|password|passwd|authorization|cookie|api_?key|credential|ticket|jwt|dsn"
    "|prompt|selection|content|body|payload|files?$|frame$|query",
    re.IGNORECASE,
)
#: What is no longer there says so.
REDACTED = "[redacted]"
#: Texts that are secrets wherever they stand: tokens, share links, credentials in addresses and headers, and
#: what follows a secret's name in a query.
_SECRETS = (
    (re.compile(r"eyJ[A-Za-z0-9_-]{8,}(\.[A-Za-z0-9_-]*){0,2}"), REDACTED),
    (re.compile(r"ideo_share_[A-Za-z0-9_-]+"), REDACTED),
    (re.compile(r"(?i)\b(bearer|basic)[ .]+[^\s,;\"']+"), rf"\1 {REDACTED}"),
    (re.compile(r"(?<=://)[^/\s:@]*:[^/\s@]*(?=@)"), REDACTED),
    (re.compile(r"(?i)([?&](?:token|ticket|access_token|password|key)=)[^&\s\"']*"), rf"\1{REDACTED}"),
)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def _clean(text: str) -> str:
    for pattern, instead in _SECRETS:
        text = pattern.sub(instead, text)
    return _CONTROL.sub(lambda found: ascii(found[0])[1:-1], text)


def redact(_logger: Any, _method: str, entry: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """The entry without secrets and in one line (a processor of structlog's)."""
    for name, value in entry.items():
        entry[name] = _without_secrets(name, value)
    return entry


def _without_secrets(name: str, value: Any) -> Any:
    if name not in ("event", "exc_info", "exception", "where") and _SECRET_NAMES.search(name):
        return REDACTED
    if isinstance(value, str) and name != "exception":
        return _clean(value)
    if isinstance(value, dict):
        return {key: _without_secrets(str(key), each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_without_secrets("", each) for each in value]
    return value


def _add_trace(_logger: Any, _method: str, entry: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """The trace that the entry belongs to, while there are traces."""
    context = trace.get_current_span().get_span_context()
    if context.is_valid:
        entry.setdefault("trace_id", f"{context.trace_id:032x}")
        entry.setdefault("span_id", f"{context.span_id:016x}")
    return entry


def _name_fault(_logger: Any, _method: str, entry: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """An exception as its class and its path through the code: its text may quote anything."""
    given = entry.pop("exc_info", None)
    if given is True:
        given = sys.exc_info()
    fault = given[1] if isinstance(given, tuple) else given
    if isinstance(fault, BaseException):
        entry["fault"], entry["where"] = type(fault).__name__, places_of(fault.__traceback__)
    entry.pop("stack_info", None)
    return entry


def configure_logging(*, dev: bool, stream: TextIO | None = None, level: int = logging.INFO) -> None:
    """Send every log, ours and the libraries', to `stream` (standard error) in one form."""
    shared: Sequence[Any] = (
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _add_trace,
        structlog.processors.format_exc_info if dev else _name_fault,
        redact,
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
            trace_id=lease.invocation.trace_id.hex,
        )

    def lost_upstream(self, lease: Lease, why: str) -> None:
        """The connection to the runtime broke; it will be tried again."""
        self._log.warning(
            "runtime_stream_lost",
            thread_id=str(lease.thread_id),
            why=why,
            trace_id=lease.invocation.trace_id.hex,
        )

    def taken(self, lease: Lease) -> None:
        """A run was taken over from a replica that let go of it or died."""
        self._log.warning(
            "run_taken_over",
            thread_id=str(lease.thread_id),
            fence=lease.fence,
            takeovers=lease.takeovers,
            trace_id=lease.invocation.trace_id.hex,
        )

    def faulted(self, lease: Lease, fault: BaseException) -> None:
        """A fault of the hub ended the run."""
        self._log.error(
            "run_faulted",
            thread_id=str(lease.thread_id),
            fault=type(fault).__name__,
            where=places_of(fault.__traceback__),
            trace_id=lease.invocation.trace_id.hex,
        )


def places_of(step: TracebackType | None) -> list[str]:
    """A fault's path through the code, innermost last: places, never values."""
    places: list[str] = []
    while step is not None:
        code = step.tb_frame.f_code
        places.append(f"{code.co_qualname}:{step.tb_lineno}")
        step = step.tb_next
    return places[-6:]
