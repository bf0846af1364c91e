"""JSON text: what strict writers refuse is kept or replaced."""

from __future__ import annotations

import json

from hypothesis import given

from server.encoding.json_text import dump, load, replace_surrogates
from tests.unit.wire import event_strategies as some


def test_numbers_that_json_cannot_carry_become_strings() -> None:
    assert load("[1.5,-0.0,1e400,NaN]") == [1.5, -0.0, "1e400", "NaN"]


@given(some.ANY)
def test_any_text_survives_a_dump_in_ascii(text: str) -> None:
    assert dump(text).isascii()
    assert json.loads(dump(text)) == text


@given(some.ANY)
def test_replacing_surrogates_keeps_everything_that_utf_8_can_carry(text: str) -> None:
    sent = replace_surrogates(text)
    sent.encode()
    if text == text.encode("utf-8", "ignore").decode():
        assert sent is text
