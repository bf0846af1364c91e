"""Legacy frames: any bytes become a JSON object with a seq."""

from __future__ import annotations

import json

import pytest

from server.encoding.legacy_frame import with_seq


@pytest.mark.parametrize(
    ("frame", "expected"),
    [
        (b'{"a":1}', {"a": 1, "seq": 7}),
        (b' { "a" : 1 }\n', {"a": 1, "seq": 7}),
        (b"{}", {"seq": 7}),
        (b'{"a":1,"seq":3}', {"a": 1, "seq": 7}),
        (b'{"a":"\\"seq\\""}', {"a": '"seq"', "seq": 7}),
        (b'{"a":{"seq":1}}', {"a": {"seq": 1}, "seq": 7}),
        (b'{"a":[NaN,1e999,-Infinity]}', {"a": ["NaN", "1e999", "-Infinity"], "seq": 7}),
        (b"[1]", {"event_type": "unknown", "data": {"raw": "[1]"}, "seq": 7}),
        (b"", {"event_type": "unknown", "data": {"raw": ""}, "seq": 7}),
        (b'{"a":"\xff"}', {"event_type": "unknown", "data": {"raw": '{"a":"\ufffd"}'}, "seq": 7}),
        (b'{\0"\0}\0', {"event_type": "unknown", "data": {"raw": '{\0"\0}\0'}, "seq": 7}),
    ],
)
def test_any_frame_is_a_json_object_with_its_seq(frame: bytes, expected: object) -> None:
    assert json.loads(with_seq(frame, 7, trusted=False)) == expected
