"""Files of a run that are not kept in memory: they are read from its journal when it ends."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from dataclasses import replace
from functools import partial

from server.domain.journal.events import StateUpdate
from server.domain.journal.log import JournalLog
from server.domain.journal.recent_commits import RESTORE_S
from server.domain.journal.segments import Segment
from server.domain.off_loop import RUNS
from server.domain.proposals.files import File, FileSet
from server.domain.runs.context import RunContext
from server.domain.runs.runtime import FrameInterpreter


async def all_files(context: RunContext, log: JournalLog, interpreter: FrameInterpreter) -> FileSet:
    """The files of a run, with those that were released.

    Waits while the database is away. Raises LeaseLost.
    """
    kept = interpreter.files
    files = dict(kept.by_path)
    paths_by_seq = defaultdict[int, set[str]](set)
    for path, seq in interpreter.released_files.items():
        paths_by_seq[seq].add(path)
    for seq, paths in sorted(paths_by_seq.items()):
        segment = await _segment_with(context, log, seq)
        files |= await RUNS.run(_files_of, context, segment, seq, paths)
    return replace(kept, by_path=files)


async def _segment_with(context: RunContext, log: JournalLog, seq: int) -> Segment:
    while True:
        await log.flush()
        read = partial(context.journal.read_after, log.thread_id, seq - 1, max_bytes=0)
        segments = await context.retry_while_unavailable(read)
        if segments and segments[0].first_seq <= seq:
            return segments[0]
        # The database has lost its newest commits. They are written again, or the lease is lost.
        await context.clock.sleep(RESTORE_S)


def _files_of(context: RunContext, segment: Segment, seq: int, paths: Collection[str]) -> dict[str, File]:
    """The files at these paths that event `seq` has."""
    for _, event, _ in segment.up_to(seq).entries_after(seq - 1):
        kind = context.codec.decode(event).kind
        changes = kind.files if isinstance(kind, StateUpdate) else ()
        return {change.path: change.file for change in changes if change.file and change.path in paths}
    return {}
