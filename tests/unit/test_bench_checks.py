"""A stream that lacks, repeats or reorders something gives no figure."""

from __future__ import annotations

import json

import pytest

from bench.capture import messages_of
from bench.figures import Stats, Table, ratios
from bench.loads import load
from bench.readers import Incomplete, check_frames, check_json, check_legacy, check_proto
from bench.runtime import frame_of
from ide_orchestrator.v1.refinement_pb2 import WatchRefinementResponse

FRAMES = ('{"event_type":"a"}', '{"event_type":"b"}', '{"event_type":"end"}')


def as_json(*seqs: int, last: int = 3) -> list[str]:
    events = [{"seq": seq, **({"terminal": {}} if seq == last else {})} for seq in seqs]
    return ['{"hello":{}}', json.dumps({"batch": {"events": events}})]


def as_proto(*seqs: int, last: int = 3) -> list[bytes]:
    response = WatchRefinementResponse()
    for seq in seqs:
        event = response.batch.events.add(seq=seq)
        if seq == last:
            event.terminal.SetInParent()
    return [response.SerializeToString()]


def test_a_whole_stream_is_counted() -> None:
    assert check_frames(FRAMES, FRAMES) == 3
    assert check_json(as_json(1, 2, 3), FRAMES) == 3
    assert check_proto(as_proto(1, 2, 3), FRAMES) == 3
    told = [json.dumps({**json.loads(frame), "seq": seq}) for seq, frame in enumerate(FRAMES, 2)]
    assert check_legacy(told, FRAMES) == 3


@pytest.mark.parametrize("seqs", [(), (1, 3), (2, 3), (1, 2, 2, 3), (1, 3, 2), (1, 2), (1, 2, 3, 4)])
def test_a_stream_with_a_gap_a_repeat_or_no_end_is_refused(seqs: tuple[int, ...]) -> None:
    for check, stream in ((check_json, as_json(*seqs)), (check_proto, as_proto(*seqs))):
        with pytest.raises(Incomplete):
            check(stream, FRAMES)


def test_frames_that_are_not_the_recordings_are_refused() -> None:
    for wrong in (FRAMES[:2], (*FRAMES, FRAMES[2]), (FRAMES[1], FRAMES[0], FRAMES[2])):
        with pytest.raises(Incomplete):
            check_frames(wrong, FRAMES)
        with pytest.raises(Incomplete):
            check_legacy([json.dumps({**json.loads(f), "seq": n}) for n, f in enumerate(wrong)], FRAMES)
    with pytest.raises(Incomplete):
        check_legacy([json.dumps({**json.loads(f), "seq": 7}) for f in FRAMES], FRAMES)


def test_a_table_shows_median_and_spread() -> None:
    table = Table("T", ["target", "rate"], [["a", Stats.of([1.0, 1234.0, 2.5])]])
    assert str(table).splitlines()[-1] == "| a      | 2.50 (1.00–1,234) |"
    assert table.json()["rows"] == [["a", {"median": 2.5, "min": 1.0, "max": 1234.0}]]


def test_a_followers_bytes_become_its_messages_whatever_their_sizes() -> None:
    texts = [b"", b"a" * 125, b"b" * 126, b"c" * 65_535, b"d" * 65_536]
    stream = b"".join(frame_of(text) for text in texts)
    pong, close = b"\x8a\x00", b"\x88\x02\x03\xe8"
    assert [message for message, _ in messages_of(pong + stream + close)] == texts
    assert [message for message, _ in messages_of(stream[:-1])] == texts[:-1]
    assert messages_of(b"\x01\x01a\x00\x01b\x80\x01c") == [(b"abc", 9)]


@pytest.mark.parametrize(("name", "frames"), [("tokens-3", 4), ("states-text-2", 3), ("states-lines-2", 3)])
def test_a_load_has_the_frames_that_its_name_says_and_ends(name: str, frames: int) -> None:
    found = [json.loads(frame) for frame in load(name).frames]
    assert len(found) == frames
    assert found[-1]["event_type"] == "end"


def test_state_loads_have_20_files_in_125_kb_in_both_shapes() -> None:
    for name, shape in (("states-text-2", str), ("states-lines-2", list)):
        first, second, _ = load(name).frames
        assert 120_000 < len(first) < 145_000
        files = [json.loads(frame)["data"]["files"] for frame in (first, second)]
        assert len(files[0]) == 20
        assert all(isinstance(file["content"], shape) for file in files[0].values())
        assert sum(files[0][path] != files[1][path] for path in files[0]) == 1


def test_ratios_compare_samples_of_the_same_round() -> None:
    samples = {"a": [2.0, 9.0], "b": [1.0, 3.0]}
    assert ratios(samples, "a", "b") == Stats(2.5, 2.0, 3.0)
    assert ratios(samples, "a", "absent") == "-"
