"""Structured logs, one line per entry: JSON for operators, readable text for developers.

Nothing that a user wrote is logged: no prompt, file, frame, token or query string. Entries have ids and the
classes of exceptions. If a library or a mistake passes such data to a logger, it is removed here, before the
entry is written (ADR 0020):

1. values under names such as `token` or `prompt`, and parts of texts that look like secrets;
2. in production, the text of exceptions: a driver may quote the value that it could not store;
3. line ends and control characters, so that an entry is one line and cannot control a terminal.
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

#: Libraries whose INFO level is too verbose.
_VERBOSE_LIBRARIES = ("httpx", "httpcore", "websockets", "uvicorn", "asyncio", "piccolo", "litestar")
#: Names whose values are never logged.
_SECRET_NAMES = re.compile(
    "token|secret|password|passwd|authorization|cookie|api_?key|credential|ticket|jwt|dsn"
    "|prompt|selection|content|body|payload|files?$|frame$|query",
    re.IGNORECASE,
)
#: Stands for a removed value.
REDACTED = "[redacted]"
#: Secrets inside texts, each with its replacement: JWTs, those of share links and webhooks, credentials in
#: headers and addresses, and secret parameters of queries.
_SECRETS = (
    (re.compile(r"eyJ[A-Za-z0-9_-]{8,}(\.[A-Za-z0-9_-]*){0,2}"), REDACTED),
    (re.compile(r"ideo_share_[A-Za-z0-9_-]+"), REDACTED),
    (re.compile(r"whsec_[A-Za-z0-9+/=-]+"), REDACTED),
    (re.compile(r"(?i)\b(bearer|basic)[ .]+[^\s,;\"']+"), rf"\1 {REDACTED}"),
    # Up to the last @: a password that is not encoded may have a slash, or another @.
    (re.compile(r"(?<=://)[^\s\"']*(?=@)"), REDACTED),
    (re.compile(r"(?i)(\b\w*(?:token|ticket|password|secret|key)=)[^&\s\"']*"), rf"\1{REDACTED}"),
)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def _without_secrets_in(text: str) -> str:
    for pattern, replacement in _SECRETS:
        text = pattern.sub(replacement, text)
    return text


def _clean(text: str) -> str:
    text = _without_secrets_in(text)
    return _CONTROL.sub(lambda match: ascii(match[0])[1:-1], text)


def redact(_logger: Any, _method: str, entry: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """A structlog processor: the entry without secrets, on one line."""
    for name, value in entry.items():
        entry[name] = _without_secrets(name, value)
    return entry


def _without_secrets(name: str, value: Any) -> Any:
    if name not in ("event", "exc_info", "exception", "where") and _SECRET_NAMES.search(name):
        return REDACTED
    if isinstance(value, str):
        # The text of an exception, which only development writes, keeps its lines.
        return _without_secrets_in(value) if name == "exception" else _clean(value)
    if isinstance(value, dict):
        return {key: _without_secrets(str(key), item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_secrets("", item) for item in value]
    return value


def _add_trace(_logger: Any, _method: str, entry: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """A structlog processor: the entry with the ids of its trace, when there is one."""
    context = trace.get_current_span().get_span_context()
    if context.is_valid:
        entry.setdefault("trace_id", f"{context.trace_id:032x}")
        entry.setdefault("span_id", f"{context.span_id:016x}")
    return entry


def _summarize_exception(
    _logger: Any, _method: str, entry: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """A structlog processor: an exception as its class and its path through the code, without its text."""
    exc_info = entry.pop("exc_info", None)
    if exc_info is True:
        exc_info = sys.exc_info()
    exception = exc_info[1] if isinstance(exc_info, tuple) else exc_info
    if isinstance(exception, BaseException):
        entry["fault"], entry["where"] = type(exception).__name__, code_path(exception.__traceback__)
    entry.pop("stack_info", None)
    return entry


def configure_logging(*, dev: bool, stream: TextIO | None = None, level: int = logging.INFO) -> None:
    """Write all log entries, including those of libraries, to `stream` (standard error) in one format.

    dev: readable text with the text of exceptions; otherwise JSON without it.
    """
    shared: Sequence[Any] = (
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _add_trace,
        structlog.processors.format_exc_info if dev else _summarize_exception,
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
    for name in _VERBOSE_LIBRARIES:
        logging.getLogger(name).setLevel(logging.WARNING)


class RunLog(RunObserver):
    """Logs the events of runs."""

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

    def taken_over(self, lease: Lease) -> None:
        """This replica took a run over from one that released it or died."""
        self._log.warning(
            "run_taken_over",
            thread_id=str(lease.thread_id),
            fence=lease.fence,
            takeovers=lease.takeovers,
            trace_id=lease.invocation.trace_id.hex,
        )

    def dequeued(self, lease: Lease) -> None:
        """A queued run begins."""
        self._log.info(
            "queued_run_begins",
            thread_id=str(lease.thread_id),
            trace_id=lease.invocation.trace_id.hex,
        )

    def faulted(self, lease: Lease, fault: BaseException) -> None:
        """An error in the hub, with its place: the text may hold a prompt."""
        self._log.error(
            "run_faulted",
            thread_id=str(lease.thread_id),
            fault=type(fault).__name__,
            where=code_path(fault.__traceback__),
            trace_id=lease.invocation.trace_id.hex,
        )


def code_path(traceback: TracebackType | None) -> list[str]:
    """The last six functions of a traceback as `NAME:LINE`, innermost last. It has no values."""
    path: list[str] = []
    while traceback is not None:
        path.append(f"{traceback.tb_frame.f_code.co_qualname}:{traceback.tb_lineno}")
        traceback = traceback.tb_next
    return path[-6:]
