"""A proposal whose files do not fit a response: what stays, and how the rest is read."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.domain.errors import InvalidArgument
from server.domain.proposals.files import File
from server.wire import messages as m
from server.wire.files import fill_content
from server.wire.large_proposals import MAX_RESPONSE_BYTES, fit_proposal, left_out


def proposal(*sizes: int, rejected: int = 0, prompt: int = 0) -> m.Proposal:
    made = m.Proposal(id="p", user_prompt="€" * prompt, file_count=len(sizes))
    for number, size in enumerate(sizes):
        made.generated_files.add(
            path=f"/{number:06}", text="x" * size, sha256=f"{number:064x}", size_bytes=size
        )
    for number in range(rejected):
        made.rejected_files.add(path=f"../{number}", reason="dot_segment")
    return made


def read(whole: m.Proposal) -> list[m.GetProposalResponse]:
    """All responses, read as a client does."""
    responses: list[m.GetProposalResponse] = []
    offset = 0
    while True:
        copy = m.Proposal.FromString(whole.SerializeToString())
        responses.append(fit_proposal(copy, offset))
        assert responses[-1].ByteSize() <= MAX_RESPONSE_BYTES + 16
        assert responses[-1].proposal.file_count == whole.file_count
        following = responses[-1].next_file_offset
        if not following:
            return responses
        assert following > offset
        offset = following


def test_a_proposal_that_fits_is_whole() -> None:
    whole = proposal(1_000_000, 2_000_000, rejected=3, prompt=10_000)
    [response] = read(whole)
    assert response.proposal == whole


def test_the_largest_contents_are_left_out_and_the_files_stay() -> None:
    [response] = read(proposal(10, 2_500_000, 1_000_000, 900_000))
    files = response.proposal.generated_files
    assert [(file.content_omitted, len(file.text), file.size_bytes) for file in files] == [
        (False, 10, 10),
        (True, 0, 2_500_000),
        (False, 1_000_000, 1_000_000),
        (False, 900_000, 900_000),
    ]
    assert [file.sha256 for file in files] == [f"{number:064x}" for number in range(4)]


@pytest.mark.parametrize("offset", [0, 4])
def test_contents_that_are_left_out_need_not_be_in_the_message_first(offset: int) -> None:
    contents = [b"x" * 2_900_000, "ñ".encode() * 1_400_000, b"", b"y" * 2_900_000, b"\xff" * 2_000_000]
    contents += [b"z" * 60, "a\ud800".encode("utf-8", "surrogatepass") * 900_000]
    files = {f"/{at}": File(each, is_text=each[:1] != b"\xff") for at, each in enumerate(contents)}
    found = []
    for omitted in (left_out(files, offset), ()):
        message = m.Proposal(id="p")
        for path, file in files.items():
            fill_content(message.generated_files.add(path=path), file, omitted=path in omitted)
        found.append(fit_proposal(message, offset))
    assert found[0] == found[1]
    assert len(left_out(files, offset)) >= min(offset + 1, 7)


@pytest.mark.parametrize(("count", "rejected"), [(40_000, 0), (10, 200_000), (30_000, 100_000)])
def test_too_many_files_are_read_in_parts(count: int, rejected: int) -> None:
    whole = proposal(*[10] * count, rejected=rejected)
    responses = read(whole)
    assert len(responses) > 1
    paths = [file.path for each in responses for file in each.proposal.generated_files]
    assert paths == [file.path for file in whole.generated_files]
    reasons = [file.path for each in responses for file in each.proposal.rejected_files]
    assert reasons == [file.path for file in whole.rejected_files]


def test_a_file_with_a_member_that_is_too_large_loses_it() -> None:
    whole = proposal(10, 10)
    whole.generated_files[0].created_at = "x" * 5_000_000
    [response] = read(whole)
    first, second = response.proposal.generated_files
    assert (first.path, first.content_omitted, first.created_at) == ("/000000", True, "")
    assert second == whole.generated_files[1]


def test_an_offset_after_the_last_entry_is_refused() -> None:
    assert not fit_proposal(proposal(1, rejected=1), 2).proposal.generated_files
    with pytest.raises(InvalidArgument) as refused:
        fit_proposal(proposal(1, rejected=1), 3)
    assert set(refused.value.fields) == {"file_offset"}


@settings(max_examples=15)
@given(
    st.lists(st.sampled_from([0, 63, 5_000, 400_000, 2_000_000, 5_000_000]), max_size=12),
    st.sampled_from([0, 3, 60_000]),
    st.sampled_from([0, 65_536]),
)
def test_every_entry_is_read_once_and_every_response_fits(
    sizes: list[int], rejected: int, prompt: int
) -> None:
    whole = proposal(*sizes, rejected=rejected, prompt=prompt)
    responses = read(whole)
    assert sum(len(each.proposal.generated_files) for each in responses) == len(sizes)
    assert sum(len(each.proposal.rejected_files) for each in responses) == rejected
