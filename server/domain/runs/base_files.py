"""The draft's files that a run starts from: it is given them, and its journal shows whether it worked on
them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial

from server.domain.drafts.draft import DraftFile, DraftVersion
from server.domain.drafts.given import MAX_GIVEN_BYTES, agent_files, are_given
from server.domain.journal.events import StateUpdate
from server.domain.journal.segments import Segment
from server.domain.off_loop import RUNS
from server.domain.runs.context import RunContext
from server.domain.runs.lease import Lease
from server.domain.runs.runtime import Invocation

#: Bytes of one read of the journal, and of all that are read for the first files of a run, which come with
#: its first state where the runtime takes files.
_READ_BYTES, _MAX_READ_BYTES = 1 << 20, 4 << 20


async def with_files(context: RunContext, invocation: Invocation) -> Invocation:
    """The job with the files of its draft, in deepagents' own form; without, if they are too large.

    Waits while the database is away.
    """
    files = await _given(context, invocation.draft, contents=True)
    if not files:
        return invocation
    forms = await RUNS.run(agent_files, files)
    return replace(invocation, input_payload={**invocation.input_payload, "files": forms})


async def works_on_base(context: RunContext, lease: Lease) -> bool:
    """Whether the run, whose events are committed, worked on the files that it was given."""
    files = await _given(context, lease.invocation.draft, contents=False)
    if not files:
        return False
    given = {path: file.sha256 for path, file in files.items()}
    seq = size_bytes = 0
    while size_bytes < _MAX_READ_BYTES:
        read = partial(context.journal.read_after, lease.thread_id, seq, max_bytes=_READ_BYTES)
        segments = await context.retry_while_unavailable(read)
        if not segments:
            return False
        for segment in segments:
            shown = await RUNS.run(_first_files, context, segment)
            if shown is not None:
                return are_given(given, shown)
            seq, size_bytes = segment.last_seq, size_bytes + segment.size_bytes
    return False


async def _given(
    context: RunContext, version: DraftVersion | None, *, contents: bool
) -> Mapping[str, DraftFile]:
    if version is None:
        return {}
    return await context.retry_while_unavailable(
        lambda: context.drafts.files_of(version, max_bytes=MAX_GIVEN_BYTES, contents=contents)
    )


def _first_files(context: RunContext, segment: Segment) -> dict[str, str] | None:
    """The hashes of the files of the first event that has any, by path; None when none has."""
    for event in segment.events():
        kind = context.codec.decode(event).kind
        if isinstance(kind, StateUpdate) and kind.files:
            return {change.path: change.file.sha256 for change in kind.files if change.file is not None}
    return None
