"""Digests of frames that begin as the one before: they are those of the whole frames."""

from __future__ import annotations

import copy

from hypothesis import given
from hypothesis import strategies as st

from server.encoding.frame_delta import frame_digest
from server.encoding.prefix_digests import STEP_BYTES, PrefixDigest

PLACES = st.sampled_from([0, 1, STEP_BYTES - 1, STEP_BYTES, STEP_BYTES + 1, 2 * STEP_BYTES, 3 * STEP_BYTES])


@given(st.lists(st.tuples(PLACES, st.binary(max_size=4), PLACES), min_size=1, max_size=6))
def test_a_frame_with_the_beginning_of_the_one_before_has_the_digest_of_its_bytes(
    changes: list[tuple[int, bytes, int]],
) -> None:
    frame, digest = b"", PrefixDigest()
    for same_bytes, inserted, more_bytes in changes:
        same_bytes = min(same_bytes, len(frame))
        frame = frame[:same_bytes] + inserted + b"." * more_bytes
        digest = digest.of_next(same_bytes)
        assert digest.of(frame) == frame_digest(frame)


def test_a_copy_and_the_next_digest_leave_a_digest_as_it_is() -> None:
    first = PrefixDigest()
    frame = b"a" * 3 * STEP_BYTES
    first.of(frame)
    for other in (copy.deepcopy(first), first.of_next(len(frame))):
        other.of(frame + b"b" * STEP_BYTES)
    assert first.of_next(len(frame)).of(frame + b"c") == frame_digest(frame + b"c")


def test_only_what_is_kept_counts_as_memory() -> None:
    digest = PrefixDigest()
    digest.of(b"a" * (3 * STEP_BYTES + 1))
    assert digest.size_bytes == 3 * digest.of_next(STEP_BYTES).size_bytes > 0
    assert digest.of_next(STEP_BYTES - 1).size_bytes == 0
