"""The conflicts that callers see."""

from __future__ import annotations

import pickle

from server.domain.proposals.files import File
from server.domain.review.conflicts import MAX_SHOWN_BYTES, place_bytes, shown_conflicts
from server.domain.review.file_merge import MergeStrategy, merge_files

#: Lines of each text: as many places, of which an answer shows 15,887.
COUNT = 17_000


def test_of_many_places_as_many_are_shown_as_fit_an_answer() -> None:
    base, draft, proposal = ({"/a": File(text * COUNT)} for text in (b"\n\n", b"\nx\n", b"\ny\n"))
    merge = merge_files(base, draft, proposal, MergeStrategy.THREE_WAY)
    [conflict] = merge.conflicts
    [shown] = shown_conflicts(merge.conflicts)
    assert len(conflict.places) == shown.place_count > len(shown.places)
    assert shown.places == conflict.places[: len(shown.places)]
    size = sum(map(place_bytes, conflict.places[: len(shown.places) + 1]))
    assert size - place_bytes(conflict.places[0]) <= MAX_SHOWN_BYTES < size
    hashes = shown.base_sha256, shown.draft_sha256, shown.proposal_sha256
    assert hashes == (base["/a"].sha256, draft["/a"].sha256, proposal["/a"].sha256)
    assert pickle.loads(pickle.dumps(shown)) == shown
