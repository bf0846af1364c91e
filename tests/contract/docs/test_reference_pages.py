"""What pages list by hand is what exists."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import fields
from pathlib import Path

import pytest

from server.cli import exit_codes
from server.domain.model import FailureReason, ProposalStatus
from server.domain.proposals.paths import Portability, Rejection
from server.replay.directives import Directive
from server.replay.recording import SHIPPED, Recording
from server.wire import messages as m

DOCS = Path(__file__).parents[3] / "docs"
EVENT_KINDS = [field.name for field in m.Event.DESCRIPTOR.oneofs_by_name["kind"].fields]
RECORDINGS = [path.stem for path in SHIPPED.glob("*.jsonl")]
OPTIONS = [field.name for field in fields(Directive) if field.name != "name"]
CODES = [0, *(value for name, value in vars(exit_codes).items() if name.isupper())]


def section_of(page: str, title: str) -> str:
    """The text below a heading, up to the next section."""
    return f"\n{(DOCS / page).read_text()}".partition(f"\n{title}\n")[2].partition("\n## ")[0]


def rows_of(text: str) -> list[str]:
    """The rows of the tables, without their heads."""
    lines = text.splitlines()
    heads = {at - 1 for at, line in enumerate(lines) if line.startswith("|---")}
    return [line for at, line in enumerate(lines) if re.match(r"\|[^-]", line) and at not in heads]


def names_in(row: str) -> list[str]:
    """The names, or the number, in the first column."""
    cell = row.split("|")[1].strip()
    return [cell] if cell.isdecimal() else re.findall(r"`([\w.]+)(?:=\w+)?`", cell)


def row_of(page: str, title: str, name: str) -> str:
    [row] = [row for row in rows_of(section_of(page, title)) if name in names_in(row)]
    return row


@pytest.mark.parametrize(
    ("page", "title", "expected"),
    [
        ("reference/http.md", "## Status", [status.value for status in ProposalStatus]),
        ("reference/http.md", "## Failure reasons", FailureReason),
        ("reference/files.md", "## Portability", Portability),
        ("reference/files.md", "## Rejected files", Rejection),
        ("reference/recordings.md", "# Recorded runs", [*RECORDINGS, *OPTIONS]),
        ("reference/commands.md", "## Exit codes", map(str, CODES)),
        ("howto/show-a-run.md", "# Show a run", EVENT_KINDS),
    ],
)
def test_a_page_lists_everything_once(page: str, title: str, expected: Iterable[str]) -> None:
    listed = [name for row in rows_of(section_of(page, title)) for name in names_in(row)]
    assert sorted(listed) == sorted(expected)


def test_the_pages_list_the_names_of_server_sent_events() -> None:
    row = row_of("reference/streams.md", "## Server-sent events", "token")
    assert sorted(names_in(row)) == sorted([*EVENT_KINDS, "unknown"])
    code = section_of("howto/connect-from-a-browser.md", "## EventSource")
    names = re.search(r"const names = \[(.*?)\]", code, re.DOTALL)
    assert names is not None
    assert re.findall(r'"(\w+)"', names[1]) == EVENT_KINDS


@pytest.mark.parametrize("name", RECORDINGS)
def test_a_recording_has_as_many_events_and_files_as_its_page_says(name: str) -> None:
    recording = Recording.read(SHIPPED / f"{name}.jsonl")
    row = row_of("reference/recordings.md", "# Recorded runs", name)
    # The first event is the hub's own; `end` is the terminal event.
    counts = [len(recording.frames) + 1, len(recording.files[-1] or {})]
    assert re.findall(r"[\d,]+(?= (?:events|files?)\b)", row) == [f"{count:,}" for count in counts]
