"""What is sent to the server, and what its answers mean. Pure."""

from __future__ import annotations

from collections.abc import MutableMapping
from dataclasses import dataclass
from typing import Any

from server.domain.proposals.files import File
from server.domain.runs.replies import Reply
from server.domain.runs.runtime import Invocation
from server.encoding.json_object import JsonObject
from server.frames import raw_json
from server.frames.file_maps import state_files

#: The statuses of a run that is not over.
ACTIVE = frozenset({"pending", "running"})
SUCCESS = "success"
#: Why a run failed whose state does not say it, by its status.
_REASONS = {
    "interrupted": "the run was cancelled at the LangGraph server",
    "timeout": "the run took longer than the LangGraph server allows",
}


@dataclass(frozen=True, slots=True)
class ServerRun:
    """A run as the server lists it. resume_id: that of the reply with which it continues, or empty."""

    id: str
    status: str
    resume_id: str


@dataclass(frozen=True, slots=True)
class ThreadState:
    """The state of a thread. files: None when it has no file map. error: of the task that failed, or
    empty."""

    files: MutableMapping[str, File] | None
    error: str


def run_form(invocation: Invocation, assistant: str) -> bytes:
    """The form that starts a run."""
    given = invocation.input_payload
    form = {
        **_form(invocation, assistant),
        "input": {name: given[name] for name in ("messages", "files") if name in given},
        # The thread is created with the job's id.
        "if_not_exists": "create",
    }
    return JsonObject.of(form).text.encode()


def reply_form(invocation: Invocation, assistant: str, reply: Reply) -> bytes:
    """The form that continues a run with a reply."""
    form = _form(invocation, assistant)
    form["metadata"]["resume_id"] = str(reply.id)
    value = {reply.input_id: reply.value} if reply.input_id else reply.value
    return JsonObject.of({**form, "command": {"resume": value}}).text.encode()


def _form(invocation: Invocation, assistant: str) -> dict[str, Any]:
    return {
        "assistant_id": assistant,
        "config": JsonObject.of(
            {"configurable": JsonObject.of({"agent_definition": invocation.agent_definition})}
        ),
        "metadata": {"job_id": str(invocation.job_id), "trace_id": str(invocation.trace_id)},
        "stream_mode": ["values", "messages-tuple"],
        # What was sent is kept for connections that come later.
        "stream_resumable": True,
        # A thread has one run at a time, so a form that is sent twice does not start two.
        "multitask_strategy": "reject",
    }


def run_id_in(answer: bytes) -> str | None:
    """The id of the run in the answer to a form; None when there is none."""
    return raw_json.string((raw_json.members(answer) or {}).get("run_id"))


def newest_run_in(answer: bytes) -> ServerRun | None:
    """The run in an answer that lists the newest one; None for an empty list. Raises ValueError for another
    answer."""
    listed = raw_json.items(answer)
    if listed is None:
        raise ValueError("not a list")
    if not listed:
        return None
    run = raw_json.members(listed[0]) or {}
    run_id, status = raw_json.string(run.get("run_id")), raw_json.string(run.get("status"))
    if run_id is None or status is None:
        raise ValueError("not a run")
    metadata = raw_json.members(run.get("metadata", b"null")) or {}
    return ServerRun(run_id, status, raw_json.string(metadata.get("resume_id")) or "")


def state_in(answer: bytes) -> ThreadState | None:
    """The state in an answer; None when it is not one."""
    state = raw_json.members(answer)
    values = raw_json.members(state.get("values", b"{}")) if state is not None else None
    if state is None or values is None:
        return None
    files = state_files(values["files"]) if "files" in values else None
    errors = (
        (raw_json.members(task) or {}).get("error", b"null")
        for task in raw_json.items(state.get("tasks", b"[]")) or []
    )
    error = next((raw_json.error_message(error) for error in errors if error != b"null"), "")
    return ThreadState(files, error)


def thread_status_in(answer: bytes) -> str:
    """The status of the thread in an answer to a search; empty when there is none."""
    threads = raw_json.items(answer) or [b"{}"]
    return raw_json.string((raw_json.members(threads[0]) or {}).get("status")) or ""


def error_in(answer: bytes) -> str:
    """The error in an answer about a thread; empty when there is none."""
    error = raw_json.members((raw_json.members(answer) or {}).get("error", b"null")) or {}
    return ": ".join(filter(None, (raw_json.string(error.get(name)) for name in ("error", "message"))))


def reason_of(run: ServerRun, error: str) -> str:
    """Why a run failed: what its status says, otherwise the error if it is known."""
    reason = _REASONS.get(run.status) or error or f"the run ended as {run.status}"
    return raw_json.printable(reason, raw_json.LONGEST_MESSAGE)
