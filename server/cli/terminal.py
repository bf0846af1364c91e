"""A refinement in the terminal: the agent's text as it arrives, todos, files and the outcome.

Texts come from users and models: `printable` shows what a terminal would obey as escapes. A line that shows
an event begins with the event's seq.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape

from server.cli.printable import counted, printable, words

_FILE_MARKS = {
    "FILE_CHANGE_KIND_ADDED": "[green]+[/]",
    "FILE_CHANGE_KIND_MODIFIED": "[yellow]~[/]",
    "FILE_CHANGE_KIND_DELETED": "[red]-[/]",
}
_PLAIN_WORD = re.compile("[a-z][a-z_]{0,30}")
_TODO_MARKS = {"completed": "[green]x[/]", "in_progress": "[yellow]>[/]"}


def open_console() -> Console:
    """A console that shows texts as they are: no colours of its own, no pictures for `:names:`, no breaks."""
    return _Console(highlight=False, emoji=False, soft_wrap=True)


class _Console(Console):
    """Raises BrokenPipeError when the output's reader has gone, as print does; rich would exit in a task."""

    def on_broken_pipe(self) -> None:
        """Raise it."""
        raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))


def markup(text: object) -> str:
    """A text from outside on one line, safe inside rich's markup."""
    return escape(printable(str(text)))


def markup_lines(text: object, indent: str) -> str:
    """A text from outside on as many lines as it has, safe inside rich's markup.

    indent: before each line but the first, so that none passes for a line of ours.
    """
    return escape(printable(str(text), lines=True).strip().replace("\n", f"\n{indent}"))


class RefinementView:
    """Shows the messages of one stream, in order."""

    def __init__(self, console: Console, thread_id: str = "") -> None:
        self._console, self._thread_id = console, thread_id
        self._in_text = False
        self._progress = ""
        self._seq = ""
        #: Events shown, and the seq of the last one.
        self.events = self.last_seq = 0
        #: The terminal event, once it has arrived.
        self.terminal: dict[str, Any] | None = None

    def show(self, message: dict[str, Any]) -> None:
        """Show one message of the stream. Kinds of events that this version does not know are skipped."""
        for event in message.get("batch", {}).get("events", ()):
            self.count(event)
            self._seq = f"{self.last_seq:>5} "
            for kind in event.keys() & RENDERERS.keys():
                RENDERERS[kind](self, event[kind])
        self._seq = " " * 6
        progress = message.get("heartbeat", {}).get("progress", "")
        if progress and progress != self._progress:
            self._progress = progress
            self._line(f"[dim]{markup(progress)}[/]")

    def count(self, event: dict[str, Any]) -> None:
        """Note an event that has been shown."""
        self.events += 1
        self.last_seq = event["seq"]
        self.terminal = event.get("terminal", self.terminal)

    def end_line(self) -> None:
        """End a line of the agent's text."""
        if self._in_text:
            self._console.print()
            self._in_text = False

    def _line(self, text: str) -> None:
        self.end_line()
        self._console.print(f"[dim]{self._seq}[/]{text}")

    def _run_started(self, started: dict[str, Any]) -> None:
        self._line(f"[dim]run {markup(started.get('run_id', ''))} started[/]")

    def _token(self, token: dict[str, Any]) -> None:
        if token.get("role") == "MESSAGE_ROLE_TOOL":
            return
        for part in token.get("parts", ()):
            self._part(part)
        self._text(token.get("text", ""), "cyan")
        for call in token.get("tool_calls", ()):
            if call.get("name"):
                self._line(f"[magenta]calls {markup(call['name'])}[/]")

    def _text(self, text: str, style: str) -> None:
        if text:
            self._console.print(printable(text, lines=True), end="", style=style, markup=False)
            self._in_text = True

    def _part(self, part: dict[str, Any]) -> None:
        """Show content that is not text, as far as it is for people."""
        self._text(part.get("thinking", {}).get("text", ""), "dim")
        self._text(part.get("refusal", {}).get("text", ""), "yellow")
        if part.get("server_tool_call", {}).get("name"):
            self._line(f"[magenta]calls {markup(part['server_tool_call']['name'])}[/]")
        if "media" in part:
            self._line(f"[dim]({markup(part['media'].get('kind', ''))})[/]")

    def _message(self, message: dict[str, Any]) -> None:
        """Show what went wrong in a message; its text was shown by its tokens."""
        for call in message.get("invalid_tool_calls", ()):
            name, error = markup(call.get("name", "")), markup(call.get("error", ""))
            self._line(f"[red]a call of {name} could not be read[/]: {error}")
        if message.get("status") == "error":
            self._line(f"[red]{markup(message.get('name', ''))} failed[/]: {markup(message.get('text', ''))}")

    def _state_update(self, update: dict[str, Any]) -> None:
        for change in update.get("messages", ()):
            self._message(change.get("message", {}))
        for todo in update.get("todos", {}).get("items", ()):
            mark = _TODO_MARKS.get(todo.get("status", ""), " ")
            self._line(f"  \\[{mark}] {markup(todo.get('content', ''))}")
        for change in update.get("files", ()):
            mark = _FILE_MARKS.get(change.get("kind", ""), "?")
            size = f" ({markup(change['size_bytes'])} bytes)" if "size_bytes" in change else ""
            self._line(f"  {mark} {markup(change.get('path', ''))}{size}")

    def _upstream_frame(self, _frame: dict[str, Any]) -> None:
        """Show nothing: the frame is for programs."""

    def _input_requested(self, request: dict[str, Any]) -> None:
        self._line("[yellow]the agent asks for input[/]")
        actions = request.get("actions", ())
        for action in actions:
            allowed = ", ".join(map(markup, action.get("allowed_decisions", ())))
            name = markup(action.get("name", ""))
            description = markup_lines(action.get("description", ""), " " * 12)
            self._line(f"  {name} ({allowed}): {description}")
        if actions:
            advice = f"reply from another terminal: ideo reply {self._thread_id} {_decision(actions)}"
        else:
            advice = f"this question cannot be answered; end the run: ideo cancel {self._thread_id}"
        self._line(f"  [dim]{advice}[/]")

    def _input_answered(self, answer: dict[str, Any]) -> None:
        decisions = ", ".join(map(markup, answer.get("decisions", ())))
        self._line(f"[yellow]a person has answered[/]: {decisions}")

    def _discontinuity(self, _mark: dict[str, Any]) -> None:
        self._line("[yellow]the connection to the runtime was lost; text may be missing here[/]")

    def _terminal(self, terminal: dict[str, Any]) -> None:
        outcome = markup(terminal.get("outcome", "").removeprefix("OUTCOME_").lower())
        colour = "green" if outcome == "completed" else "red"
        files = counted(markup(terminal.get("file_count", 0)), "file")
        events = counted(self.events, "event")
        reason = f": {markup(terminal['message'])}" if terminal.get("message") else ""
        self._line(f"[bold {colour}]{outcome}[/]{reason}, {files}, {events}")


def _decision(actions: Sequence[Mapping[str, Any]]) -> str:
    """A decision that all actions of a question allow and that needs nothing else: to approve, where that is
    allowed."""
    first, *others = ([str(word) for word in each.get("allowed_decisions", ())] for each in actions)
    # The line is to be pasted: a word of the runtime's may be neither an option nor the shell's.
    words = [word for word in first if _PLAIN_WORD.fullmatch(word) and word != "edit"]
    common = [word for word in words if all(word in other for other in others)]
    return "approve" if "approve" in common else next(iter(common), "DECISION")


#: How each kind of event is shown, by its name in the contract. A test compares it with the contract.
RENDERERS: Mapping[str, Callable[[RefinementView, dict[str, Any]], None]] = {
    "run_started": RefinementView._run_started,
    "token": RefinementView._token,
    "state_update": RefinementView._state_update,
    "upstream_frame": RefinementView._upstream_frame,
    "input_requested": RefinementView._input_requested,
    "input_answered": RefinementView._input_answered,
    "discontinuity": RefinementView._discontinuity,
    "terminal": RefinementView._terminal,
}


def show_files(proposal: dict[str, Any], console: Console) -> None:
    """List the files of a proposal, what is not portable about them, and the files that it rejects."""
    for path, file in (proposal.get("generated_files") or {}).items():
        marks = "".join(f", {markup(words(mark))}" for mark in file.get("portability", ()))
        lines = file.get("content")
        size = f"{file.get('size_bytes', 0)} bytes" if lines is None else counted(len(lines), "line")
        console.print(f"  {markup(path)} [dim]({markup(size)}{marks})[/]")
    for rejected in proposal.get("rejected_files") or ():
        path, reason = markup(rejected["path"]), markup(words(rejected["reason"]))
        console.print(f"  {path} [dim](not among the files: {reason})[/]")
