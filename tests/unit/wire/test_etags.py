from __future__ import annotations

import pytest

from server.domain.etags import IfMatch
from server.wire.etags import if_match, none_match, quoted

ETAG = "7-0123456789abcdef"


@pytest.mark.parametrize("text", [None, "", " "])
def test_a_write_without_an_etag_is_one_without(text: str | None) -> None:
    assert if_match(text) is None


@pytest.mark.parametrize(
    "text", [f'"{ETAG}"', ETAG, f' "{ETAG}" ', f'"other", "{ETAG}"', f'W/"x" , "{ETAG}",', "*", " * "]
)
def test_a_write_with_the_etag_in_its_list_matches(text: str) -> None:
    found = if_match(text)
    assert found is not None
    assert found.matches(ETAG)


@pytest.mark.parametrize(
    "text", [f'W/"{ETAG}"', '"other"', '""', f'"{ETAG}', f"{ETAG}x", '"*"', f'"a" "{ETAG}"', ",,", "\x00"]
)
def test_weak_other_and_malformed_etags_do_not_match(text: str) -> None:
    assert if_match(text) is not None
    assert not (if_match(text) or IfMatch()).matches(ETAG)


@pytest.mark.parametrize("text", [f'"{ETAG}"', f'W/"{ETAG}"', "*", f'"other", "{ETAG}"', ETAG])
def test_a_reader_that_has_the_etag_needs_nothing_new(text: str) -> None:
    assert none_match(text, ETAG)
    assert none_match(quoted(ETAG), ETAG)


@pytest.mark.parametrize("text", [None, "", '"other"', f'"{ETAG}'])
def test_other_readers_need_the_answer(text: str | None) -> None:
    assert not none_match(text, ETAG)
