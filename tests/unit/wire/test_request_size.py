"""Serialised requests are counted before they are parsed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.domain.errors import InvalidArgument
from server.encoding.event_batch import read_varint, varint
from server.grpc.interceptors import parse_request
from server.wire import messages as m
from server.wire.request_size import MAX_FIELDS, check_request_size
from server.wire.review_messages import set_decisions


@given(st.integers(0, (1 << 64) - 1))
def test_any_number_of_a_message_is_read(number: int) -> None:
    text = varint(number)
    assert read_varint(text + b"\x00", 0) == (number, len(text))


def test_a_number_of_millions_of_bytes_is_not_read() -> None:
    with pytest.raises(IndexError):
        read_varint(b"\xff" * (4 << 20), 0)
    with pytest.raises(InvalidArgument):
        parse_request(m.GetProposalRequest.FromString, b"\xff" * (4 << 20))


#: A field of each kind, and a group, which has no end of its own.
FIELDS = [b"\x08\x01", b"\x09" + bytes(8), b"\x1a\x00", b"\x1a\x01x", b"\x0b\x0c", b"\x0d" + bytes(4)]


@pytest.mark.parametrize("unit", FIELDS)
def test_a_request_has_so_many_fields(unit: bytes) -> None:
    check_request_size(b"\x1a\x88\x27" + bytes(5_000) + unit * (MAX_FIELDS // 4))
    with pytest.raises(InvalidArgument, match="fields"):
        check_request_size(b"\x08\x01" + unit * 2 * MAX_FIELDS)


def test_a_request_with_a_large_text_has_few_fields() -> None:
    request = m.GetProposalRequest(proposal_id="x" * (3 << 20))
    assert parse_request(m.GetProposalRequest.FromString, request.SerializeToString()) == request


def test_more_decisions_than_there_may_be_are_refused() -> None:
    request = m.SetDecisionsRequest(decisions=[m.FileDecision()] * 1_001)
    with pytest.raises(InvalidArgument, match="1 to 1000"):
        set_decisions(request)
    request = m.SetDecisionsRequest(decisions=[m.FileDecision(path="/a", hunk_ids=["1"] * 1_001)])
    with pytest.raises(InvalidArgument, match="1000"):
        set_decisions(request)
