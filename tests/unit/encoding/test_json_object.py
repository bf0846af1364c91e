from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from server.encoding.json_object import JsonObject, values_of

_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda each: st.lists(each) | st.dictionaries(st.text(), each),
)


@given(st.dictionaries(st.text(), _JSON))
def test_an_object_that_is_kept_as_text_reads_as_its_values(values: dict[str, Any]) -> None:
    kept = JsonObject.of(values)
    assert kept == values
    assert values_of(kept) == values == values_of(values)
    assert (list(kept), len(kept), bool(kept)) == (list(values), len(values), bool(values))
    assert JsonObject.of(kept) is kept
