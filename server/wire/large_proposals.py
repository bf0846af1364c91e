"""Proposals whose files are larger, or more, than fit a response (contract: GetProposal)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from server.domain import model
from server.domain.errors import InvalidArgument
from server.domain.proposals.files import File
from server.encoding.json_text import decode_surrogates, replace_surrogates
from server.wire import messages as m
from server.wire.large_events import MIN_OMITTED, omit_contents
from server.wire.proposals import proposal_message

#: Largest response in bytes, so that it fits a client's default limit of 4 MiB.
MAX_RESPONSE_BYTES = 3 << 20
#: A file that is larger without its content loses all members but these.
_MAX_MEMBERS_BYTES = 64 << 10
_KEPT = frozenset({"path", "sha256", "size_bytes", "sanitized", "portability"})


def proposal_response(proposal: model.Proposal, offset: int) -> m.GetProposalResponse:
    """The response with a proposal from an entry on. Raises InvalidArgument as `fit_proposal`."""
    return fit_proposal(proposal_message(proposal, left_out(proposal.files, offset)), offset)


def left_out(files: Mapping[str, File], offset: int) -> set[str]:
    """The paths of files whose contents `fit_proposal` leaves out in any case, with its entries before
    `offset`: they need not be copied into the message first."""
    paths = sorted(files)
    omitted, size = set(paths[:offset]), 0
    characters = {path: _characters(files[path]) for path in paths[offset:]}
    largest_first = sorted(characters, key=characters.__getitem__, reverse=True)
    for path in reversed(largest_first):
        size += len(files[path].content)
        if size > MAX_RESPONSE_BYTES and characters[path] >= MIN_OMITTED:
            omitted.add(path)
    return omitted


def _characters(file: File) -> int:
    if not file.is_text:
        return len(file.content)
    # Not kept with the file, as its own text is.
    return len(replace_surrogates(decode_surrogates(file.content)))


def fit_proposal(proposal: m.Proposal, offset: int) -> m.GetProposalResponse:
    """The response with a whole proposal, from an entry on: contents are left out, the largest first, and
    then last entries, so that it fits. At least one entry is in it if there is any. Changes `proposal`.

    Raises InvalidArgument for an offset after the last entry.
    """
    files, rejected = proposal.generated_files, proposal.rejected_files
    count = len(files) + len(rejected)
    if offset > count:
        raise InvalidArgument({"file_offset": f"must be at most {count}, the number of files"})
    del rejected[: max(offset - len(files), 0)]
    del files[:offset]
    excess = proposal.ByteSize() - MAX_RESPONSE_BYTES
    if excess > 0:
        omit_contents(files, excess)
        _omit_large_members(proposal)
        _drop_last_entries(proposal)
    kept = offset + len(files) + len(rejected)
    return m.GetProposalResponse(proposal=proposal, next_file_offset=kept if kept < count else 0)


def _omit_large_members(proposal: m.Proposal) -> None:
    if proposal.ByteSize() > MAX_RESPONSE_BYTES:
        file: Any
        for file in proposal.generated_files:
            if file.ByteSize() > _MAX_MEMBERS_BYTES:
                for field, _ in file.ListFields():
                    if field.name not in _KEPT:
                        file.ClearField(field.name)
                file.content_omitted = True


def _drop_last_entries(proposal: m.Proposal) -> None:
    for entries, least in ((proposal.rejected_files, 0), (proposal.generated_files, 1)):
        drop_last(entries, proposal.ByteSize() - MAX_RESPONSE_BYTES, least=least)


def drop_last(entries: Any, excess: int, *, least: int) -> None:
    """Remove last entries of a message's repeated field until `excess` bytes are saved; `least` stay."""
    kept = len(entries)
    least = min(least, kept)
    while kept > least and excess > 0:
        kept -= 1
        # At least two more for its key and its length.
        excess -= entries[kept].ByteSize() + 2
    del entries[kept:]
