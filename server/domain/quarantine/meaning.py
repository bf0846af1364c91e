"""What a frame of the quarantine means to the present interpreter."""

from __future__ import annotations

from server.domain.journal.events import EventKind, StateUpdate, Token, UpstreamFrame
from server.domain.quarantine.shapes import REASONS
from server.domain.runs.runtime import Interpretation


def is_understood(meaning: Interpretation) -> bool:
    """Whether the frame would not be kept uninterpreted today."""
    return not any(isinstance(kind, UpstreamFrame) and kind.reason in REASONS for kind in meaning.kinds)


def event_of(meaning: Interpretation) -> StateUpdate | Token | None:
    """The event that the frame adds to the journal; None for one that adds nothing.

    A question is not among them: it is asked when its frame comes, understood or not. Nor is the report of an
    error, which would end the run.
    """
    found = [kind for kind in meaning.kinds if isinstance(kind, StateUpdate | Token)]
    return found[0] if found and not _is_empty(found[0]) else None


def _is_empty(kind: EventKind) -> bool:
    return isinstance(kind, StateUpdate) and kind == StateUpdate(message_count=kind.message_count)
