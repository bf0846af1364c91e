"""What the terminal shows of a stream."""

from __future__ import annotations

import io
import json
import re
import unicodedata
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from ide_orchestrator.v1 import event_pb2
from server.cli.printable import json_line, printable
from server.cli.terminal import RENDERERS, RefinementView, open_console, show_files

EVIL = "ok \x1b]0;title\x07 \x1b[2J \x9b31m \u202eabc\u202c \ud800 [red]"


def shown(*events: dict[str, Any]) -> str:
    """What a terminal gets for the events, without rich's own colours."""
    console = Console(file=io.StringIO(), force_terminal=True, width=200)
    numbered = [{"seq": seq, **event} for seq, event in enumerate(events, 1)]
    RefinementView(console).show({"batch": {"events": numbered}, "heartbeat": {"progress": EVIL}})
    proposal = {
        "generated_files": {EVIL: {"content": [], "portability": [EVIL]}},
        "rejected_files": [{"path": EVIL, "reason": EVIL}],
    }
    show_files(proposal, console)
    assert isinstance(console.file, io.StringIO)
    return re.sub(r"\x1b\[[0-9;]*m", "", console.file.getvalue())


def question(*actions: dict[str, Any]) -> list[str]:
    """The lines that show it."""
    console = Console(file=io.StringIO(), width=200)
    asked = {"seq": 1, "input_requested": {"actions": actions}}
    RefinementView(console, "t-1").show({"batch": {"events": [asked]}})
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


def allowing(*decisions: str) -> dict[str, Any]:
    return {"name": "write_file", "allowed_decisions": decisions}


@pytest.mark.parametrize(
    ("actions", "command"),
    [
        ([allowing("edit", "approve", "reject")], "ideo reply t-1 approve"),
        ([allowing("edit", "respond")], "ideo reply t-1 respond"),
        ([allowing("approve", "reject"), allowing("reject")], "ideo reply t-1 reject"),
        ([allowing("--url=http://evil", "$(reboot)", "ok;reboot", "\x1b[2J")], "ideo reply t-1 DECISION"),
        ([{"name": "write_file"}], "ideo reply t-1 DECISION"),
        ([], "ideo cancel t-1"),
    ],
)
def test_a_question_comes_with_the_command_that_ends_the_wait(
    actions: list[dict[str, Any]], command: str
) -> None:
    assert question(*actions)[-1].endswith(command)


def test_the_lines_of_a_question_are_lines_and_none_passes_for_one_of_ours() -> None:
    lines = question({**allowing("approve"), "description": "Tool:\n\n  1 completed\x1b[2J\r\rx\n"})
    assert lines[1:-1] == [
        "    1   write_file (approve): Tool:",
        "            ",
        "              1 completed\\x1b[2J\\r\\rx",
    ]


def test_every_kind_of_event_of_the_contract_has_a_rendering() -> None:
    kinds = event_pb2.Event.DESCRIPTOR.oneofs_by_name["kind"].fields
    assert RENDERERS.keys() == {field.name for field in kinds}


@pytest.mark.parametrize(
    "event",
    [
        {"run_started": {"run_id": EVIL}},
        {"token": {"text": EVIL, "tool_calls": [{"name": EVIL}]}},
        {"token": {"parts": [{"thinking": {"text": EVIL}}, {"refusal": {"text": EVIL}}]}},
        {"token": {"parts": [{"server_tool_call": {"name": EVIL}}, {"media": {"kind": EVIL}}]}},
        {"state_update": {"messages": [{"message": {"invalid_tool_calls": [{"error": EVIL}]}}]}},
        {"state_update": {"messages": [{"message": {"status": "error", "text": EVIL}}]}},
        {"state_update": {"todos": {"items": [{"content": EVIL}]}, "files": [{"path": EVIL}]}},
        {"upstream_frame": {"text": EVIL}},
        {"input_requested": {"request": EVIL}},
        {
            "input_requested": {
                "actions": [{"name": EVIL, "description": EVIL, "allowed_decisions": [EVIL]}],
            }
        },
        {"discontinuity": {}},
        {"terminal": {"outcome": "OUTCOME_FAILED", "message": EVIL}},
    ],
)
def test_no_text_of_a_run_is_obeyed_by_the_terminal(event: dict[str, Any]) -> None:
    text = shown(event)
    assert re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\ud800-\udfff]", text) is None
    assert "[red]" in text


def obeyed(text: str) -> set[str]:
    """The characters of a text that a terminal may obey, or that nobody sees."""
    return {c for c in text if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")}


@pytest.mark.parametrize(
    "character",
    [
        *map(chr, (*range(32), *range(0x7F, 0xA0))),
        *"\u00ad\u061c\u200b\u200c\u200d\u200e\u200f\u2028\u2029\u202a\u202b\u202c\u202d\u202e\u2060",
        *"\u2066\u2067\u2068\u2069\ufeff\ufff9\ufffe\uffff\U000e0041\U000f0000\ud800\u034f\u3164\u115f",
    ],
)
def test_a_character_that_steers_or_hides_is_shown_as_an_escape(character: str) -> None:
    shown = printable(f"a{character}b")
    assert character not in shown
    assert shown.isascii()


@pytest.mark.parametrize(
    "text", ["Grüße, 世界", "\u3000全角", "עברית", "👩 ❤\ufe0f", "a b", "naïve\u00a0text"]
)
def test_a_text_that_people_read_stays(text: str) -> None:
    assert printable(text) == text


@given(st.text())
def test_no_text_steers_the_terminal(text: str) -> None:
    assert not obeyed(printable(text))
    assert not obeyed(printable(text, lines=True)) - {"\n", "\t"}
    assert printable(printable(text)) == printable(text)


@given(st.recursive(st.text() | st.integers() | st.none(), lambda inner: st.dictionaries(st.text(), inner)))
def test_a_line_of_json_has_no_character_that_a_terminal_obeys_and_keeps_its_value(value: object) -> None:
    line = json_line(value)
    assert line.isascii()
    assert line.isprintable()
    assert json.loads(line) == value


@given(st.text(), st.text())
def test_no_text_of_a_stream_steers_the_terminal(first: str, second: str) -> None:
    text = shown({"token": {"text": first}}, {"token": {"text": second}}, {"terminal": {"message": first}})
    assert not obeyed(text) - {"\n", "\t"}


def test_names_between_colons_stay_text() -> None:
    console = open_console()
    with console.capture() as capture:
        console.print("a :warning: b " + "word " * 100, markup=False)
    assert capture.get() == "a :warning: b " + "word " * 100 + "\n"


def test_lines_begin_with_the_seq_of_their_event() -> None:
    text = shown({"run_started": {"run_id": "x"}}, {"token": {"text": "hi"}}, {"discontinuity": {}})
    assert re.search(r"^    1 run x started$", text, re.MULTILINE)
    assert re.search(r"^    3 the connection", text, re.MULTILINE)


def test_lines_of_the_agents_text_stay_lines() -> None:
    assert "one\ntwo     three" in shown({"token": {"text": "one\r\ntwo\tthree"}})
    assert printable("a\nb") == "a\\nb"


def test_thoughts_failed_calls_and_a_tools_error_are_shown() -> None:
    message = {"invalid_tool_calls": [{"name": "write_file", "error": "Unterminated string"}]}
    failed = {"name": "ls", "status": "error", "text": "no such path"}
    text = shown(
        {"token": {"parts": [{"thinking": {"text": "Let me see"}}]}},
        {"state_update": {"messages": [{"message": message}, {"message": failed}]}},
    )
    assert "Let me see" in text
    assert "a call of write_file could not be read: Unterminated string" in text
    assert "ls failed: no such path" in text


def test_a_kind_of_event_that_is_not_known_is_skipped() -> None:
    assert "future" not in shown({"seq": 1, "future_kind": {"text": "future"}})


def test_the_list_of_files_has_their_marks_and_the_rejected_ones_with_their_reasons() -> None:
    console = Console(file=io.StringIO(), width=200)
    proposal = {
        "generated_files": {
            "/a?.md": {"content": ["x", ""], "portability": ["collision", "reserved_character"]},
            "/b.md": {"content": ["x"]},
        },
        "rejected_files": [{"path": "/../c", "reason": "dot_segment", "sha256": None, "size_bytes": None}],
    }
    show_files(proposal, console)
    show_files({"generated_files": None, "rejected_files": None}, console)
    assert isinstance(console.file, io.StringIO)
    assert console.file.getvalue().splitlines() == [
        "  /a?.md (2 lines, collision, reserved character)",
        "  /b.md (1 line)",
        "  /../c (not among the files: dot segment)",
    ]
