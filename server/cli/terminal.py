"""What a person sees of a refinement in the terminal: the text as it comes, todos, files, the end."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from typing import Any

from rich.console import Console
from rich.markup import escape

from server.cli.client import HubClient

_MARKS = {
    "FILE_CHANGE_KIND_ADDED": "[green]+[/]",
    "FILE_CHANGE_KIND_MODIFIED": "[yellow]~[/]",
    "FILE_CHANGE_KIND_DELETED": "[red]-[/]",
}
_TODO_MARKS = {"completed": "[green]x[/]", "in_progress": "[yellow]>[/]"}


class RefinementView:
    """Shows the messages of one stream, in order."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._in_text = False
        self._progress = ""
        #: Events shown.
        self.events = 0
        #: The terminal event, once it came.
        self.terminal: dict[str, Any] | None = None

    def show(self, message: dict[str, Any]) -> None:
        """Show one message of the stream."""
        for event in message.get("batch", {}).get("events", ()):
            self.events += 1
            for kind, show in self._kinds.items():
                if kind in event:
                    show(self, event[kind])
        progress = message.get("heartbeat", {}).get("progress", "")
        if progress and progress != self._progress:
            self._progress = progress
            self._line(f"[dim]{escape(progress)}[/]")

    def _line(self, markup: str) -> None:
        if self._in_text:
            self._console.print()
            self._in_text = False
        self._console.print(markup, highlight=False)

    def _started(self, started: dict[str, Any]) -> None:
        self._line(f"[dim]run {started.get('run_id', '')} started[/]")

    def _token(self, token: dict[str, Any]) -> None:
        if token.get("role") == "MESSAGE_ROLE_TOOL":
            return
        text = token.get("text", "")
        if text:
            self._console.print(text, end="", style="cyan", markup=False, highlight=False)
            self._in_text = True
        for call in token.get("tool_calls", ()):
            if call.get("name"):
                self._line(f"[magenta]calls {escape(call['name'])}[/]")

    def _state(self, update: dict[str, Any]) -> None:
        for todo in update.get("todos", {}).get("items", ()):
            mark = _TODO_MARKS.get(todo.get("status", ""), " ")
            self._line(f"  \\[{mark}] {escape(todo.get('content', ''))}")
        for change in update.get("files", ()):
            mark = _MARKS.get(change.get("kind", ""), "?")
            size = f" ({change['size_bytes']} bytes)" if "size_bytes" in change else ""
            self._line(f"  {mark} {escape(change.get('path', ''))}{size}")

    def _input(self, _request: dict[str, Any]) -> None:
        self._line("[yellow]the agent asks for input[/]")

    def _discontinuity(self, _mark: dict[str, Any]) -> None:
        self._line("[yellow]the connection to the runtime was lost; the text may have a hole here[/]")

    def _terminal(self, terminal: dict[str, Any]) -> None:
        self.terminal = terminal
        outcome = terminal.get("outcome", "").removeprefix("OUTCOME_").lower()
        colour = "green" if outcome == "completed" else "red"
        files = terminal.get("file_count", 0)
        reason = f": {escape(terminal['message'])}" if terminal.get("message") else ""
        self._line(f"[bold {colour}]{outcome}[/]{reason}, {files} files, {self.events} events")

    _kinds: dict[str, Callable[[RefinementView, dict[str, Any]], None]] = {  # noqa: RUF012
        "run_started": _started,
        "token": _token,
        "state_update": _state,
        "input_requested": _input,
        "discontinuity": _discontinuity,
        "terminal": _terminal,
    }


async def watch(client: HubClient, thread_id: str, *, after: int, console: Console, as_json: bool) -> bool:
    """Show a refinement until it is over; whether it completed."""
    view = RefinementView(console)
    stream: AsyncIterator[dict[str, Any]] = client.follow(thread_id, after)
    async for message in stream:
        if as_json:
            for event in message.get("batch", {}).get("events", ()):
                console.file.write(json.dumps(event) + "\n")
                view.terminal = event.get("terminal", view.terminal)
            console.file.flush()
        else:
            view.show(message)
    return view.terminal is not None and view.terminal.get("outcome") == "OUTCOME_COMPLETED"


async def refine(
    client: HubClient, workflow_id: str, body: dict[str, Any], *, console: Console, as_json: bool = False
) -> dict[str, Any]:
    """Start a refinement, show it live, and return its proposal. Raises ClientError."""
    started = await client.start(workflow_id, body)
    await watch(client, started["thread_id"], after=0, console=console, as_json=as_json)
    return await client.call("GET", f"/api/proposals/{started['proposal_id']}")


def show_files(proposal: dict[str, Any], console: Console) -> None:
    """List the files of a proposal."""
    for path, file in (proposal.get("generated_files") or {}).items():
        console.print(f"  {escape(path)} [dim]({len(file.get('content', ()))} lines)[/]", highlight=False)
