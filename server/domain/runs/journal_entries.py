"""Events as they go into a run's journal."""

from __future__ import annotations

from dataclasses import dataclass

from server.domain.journal.events import Event
from server.domain.journal.file_index import index_entries
from server.domain.journal.journal import EventCodec
from server.domain.quarantine.shapes import Shape, shape_of
from server.encoding.event_batch import delimited_event


@dataclass(frozen=True, slots=True)
class JournalEntry:
    """An event's entry of an `EventBatch`, its entries of the index of changed files, and the shape of its
    frame if that goes into quarantine."""

    event: bytes
    file_changes: bytes
    shape: Shape | None


def entry_of(event: Event, codec: EventCodec) -> JournalEntry:
    """The entry of an event."""
    return JournalEntry(delimited_event(codec.encode(event)), index_entries(event), shape_of(event.kind))
