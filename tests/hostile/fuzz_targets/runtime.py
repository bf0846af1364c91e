"""Fuzz targets for the frames that the runtime sends."""

from __future__ import annotations

import json
import zlib
from dataclasses import replace
from datetime import UTC, datetime

from server.compiled import choice
from server.domain.journal.events import Event
from server.domain.journal.frame_reconstruction import FrameReconstructor
from server.domain.streams.legacy_tokens import Framing
from server.encoding.event_batch import delta_batch_of
from server.encoding.frame_delta import DeltaContext, Encoding
from server.frames.interpreter import Interpreter
from server.frames.similar_states import MIN_BYTES
from server.http.websocket_frames import text_header, text_part
from server.replay.recording import SHIPPED
from server.wire.codec import ProtobufCodec
from tests.hostile.fuzz_targets.target import MAX_INPUT, Target
from tests.support.legacy_frames import frames_for
from tests.unit.compiled.forms import delta_in_one_call, installed_forms, parsed, together

#: Where a line of `similar_frames` puts the texts of the lines after it.
_PLACE = b"TEXT"
#: A state frame that is large enough to be compared with the next one.
_STATE = b'{"event_type":"on_state_update","data":{"filling":"' + b"x" * MIN_BYTES + b'",%b}}'
_CODEC = ProtobufCodec()
_NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
_FORMS = installed_forms()
_COMPILED = not choice.why_not_compiled()
_LEGACY, _FRAMING = choice.legacy_tokens(compiled=_COMPILED), Framing(text_part, text_header)
_TOKEN = bytes((Encoding.TOKEN,)) + b"8 bytes."


def frames(data: bytes) -> None:
    """The runtime's frames, one a line: read, encoded, given back, and none raises."""
    interpreter, reconstructor, seq = Interpreter(), FrameReconstructor(), 0
    for frame in data.split(b"\n"):
        meaning = interpreter.interpret(frame)
        for index, kind in enumerate(meaning.kinds or ((None,) if meaning.delta else ())):
            seq += 1
            if kind is not None:
                event = Event(seq, 1, _NOON, kind)
                assert _CODEC.decode(_CODEC.encode(event)).seq == seq
            for sent in frames_for(reconstructor, seq, b"" if index else meaning.delta, kind):
                assert json.loads(sent)["seq"] == seq


def similar_frames(data: bytes) -> None:
    """Frames that differ in one text: a frame, then a line for each text. Read together, they mean the same
    as each read alone."""
    form, *texts = data.split(b"\n")
    sent = [form.replace(_PLACE, text) for text in (b" first", b" second", *texts)]
    _together(sent)


def token_frames(data: bytes) -> None:
    """Frames, one a line, most of them tokens: taken together, they mean the same as each read alone."""
    _together(data.split(b"\n"))


def legacy_tokens(data: bytes) -> None:
    """Deltas of token frames, one a line: the legacy frames that compiled code makes of them are those of the
    reconstructor, or none."""
    if _LEGACY is None:
        return
    token = b""
    for seq, line in enumerate(data.split(b"\n"), 1):
        delta = _TOKEN + line
        found = _LEGACY.take(delta_batch_of([delta]), 0, seq, seq, token, _FRAMING, 1)
        if found is None:
            continue
        reconstructor = FrameReconstructor()
        reconstructor.continue_after(seq - 1, token)
        [parts] = reconstructor.parts_for(seq, delta, None)
        assert found.data == _FRAMING.part(
            b"".join(each for each in parts if isinstance(each, bytes)), True, True
        )
        assert found.token == reconstructor.token
        token = found.token


def _together(sent: list[bytes]) -> None:
    alone, alone_digests = parsed(sent)
    for form in _FORMS:
        read = together(form, sent, [len(sent)])
        assert read.events == alone
        # Frames that are kept in another form have none.
        assert all(each in (b"", other) for each, other in zip(read.digests, alone_digests, strict=True))


def similar_states(data: bytes) -> None:
    """State frames, each line the members of one: read after each other by each form, they mean the same as
    to an interpreter that parses each of them, and their deltas give the same texts."""
    parsing, parsed_deltas = Interpreter(), DeltaContext()
    read = [(form(), DeltaContext()) for form in _FORMS]
    for line in data.split(b"\n"):
        frame = _STATE % line
        parsing.forget_frames()
        parsed_meaning = parsing.interpret(frame)
        text = parsed_deltas.decode(parsed_meaning.delta) if parsed_meaning.delta else None
        for interpreter, deltas in read:
            delta = delta_in_one_call(interpreter, frame, parsed_meaning)
            if delta is None:
                meaning = interpreter.interpret(frame)
                assert replace(meaning, delta=b"") == replace(parsed_meaning, delta=b"")
                delta = meaning.delta
            assert delta[:9] == parsed_meaning.delta[:9]
            assert (deltas.decode(delta) if delta else None) == text


def _recorded() -> list[bytes]:
    lines = [
        line
        for file in sorted(SHIPPED.glob("*.jsonl"))
        for line in file.read_bytes().split(b"\n")[:400:20]
        if len(line) < MAX_INPUT
    ]
    return [*lines, b"\n".join(lines[:3])]


def _recorded_tokens() -> list[bytes]:
    tokens = [line for line in _recorded() if b'"on_llm_stream"' in line and b"\n" not in line]
    return [*tokens, b"\n".join(tokens[:3])]


_TEXTS = b'\n and\n\\n\n\\"x\\"\n\\\\\n\\u00e9\n\\ud800\n\'\n'
_SIMILAR = [
    b'{"event_type":"on_llm_stream","data":{"raw_event":"(AIMessageChunk(content=\'TEXT\', '
    b"additional_kwargs={}, response_metadata={}, id='run--1'), {'langgraph_node': 'agent'})\"}}",
    b'{"type":"messages","ns":[],"data":[{"type":"AIMessageChunk","content":"TEXT","id":"m"},{}]}',
    b'{"event_type":"on_llm_stream","data":{"raw_event":[{"type":"AIMessageChunk","content":"","id":"m",'
    b'"tool_call_chunks":[{"name":null,"args":"TEXT","id":null,"index":0,"type":"tool_call_chunk"}],'
    b'"invalid_tool_calls":[{"name":null,"args":"TEXT","id":null,"error":null}]},{}]}}',
    b'{"event_type":"on_llm_stream","data":{"raw_event":[{"type":"AIMessageChunk","id":"m","content":'
    b'[{"type":"input_json_delta","partial_json":"TEXT","index":1}],"tool_call_chunks":'
    b'[{"name":null,"args":"TEXT","id":null,"index":1}]},{"langgraph_node":"model"}]}}',
]

TARGETS = {
    "frames": Target(frames, _recorded()),
    "similar_frames": Target(similar_frames, [form + _TEXTS for form in _SIMILAR]),
    "token_frames": Target(token_frames, _recorded_tokens()),
    "legacy_tokens": Target(
        legacy_tokens,
        [
            b'\0\0\x12{"a":"b"}\n\6\2\x02c\n\6\2\x08"seq\n\1\1\0',
            b"\0\0\x0b" + zlib.compress(b'{"a":1}', wbits=-15),
        ],
    ),
    "similar_states": Target(
        similar_states,
        [
            b'"files":{"/a":"x","/b":{"content":["y","z"]}},"messages":"[]"\n'
            b'"files":{"/a":"xx","/b":{"content":["y"]}},"messages":"[HumanMessage(content=\'x\')]"\n'
            b'"files":{"/a":null,"/b":1},"messages":"[]"\n"files":{"/a":"x","/b":"","/c":"z"},"messages":[]\n',
            b'"files":{"/a":"x"},"todos":[],"ns":[],"__interrupt__":"a"\n'
            b'"files":{"/a":"y"},"todos":[{"content":"a","status":"b"}],"ns":["a:b"],"__interrupt__":"b"\n'
            b'"files":{"/a":"y"},"todos":1,"ns":NaN,"__interrupt__":"\\ud800","files":{}\n',
            b'"files":{"/a":"y"},"messages":"[HumanMessage(content=\'a\')]"\n'
            b'"files":{"/a":"y"},"messages":"[HumanMessage(content=\'a\'), AIMessage(content=\'\', id=\'b\', '
            b"tool_calls=[{'name': 'c', 'args': {'d': [1.5, None]}, 'id': 'e', 'type': 'tool_call'}], "
            b"invalid_tool_calls=[], "
            b"usage_metadata={'input_tokens': 1, 'input_token_details': {'cache_read': 2}}), "
            b"ToolMessage(content=\\\"it's\\\", name='c', tool_call_id='e', status='error')]\"",
        ],
    ),
}
