"""How a new connection continues what is journalled, for each profile of the runtime."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.domain.journal.events import DiscontinuityReason
from server.domain.runs.alignment import Alignment
from server.domain.runs.limits import Profile
from server.encoding.frame_delta import WHOLE_BYTES, frame_digest, whole_digest

DIFFERED, RECONNECTED = DiscontinuityReason.REPLAY_DIFFERED, DiscontinuityReason.RECONNECTED


@dataclass
class Journal:
    """What a connection leaves: its new frames, with the discontinuities among them."""

    taken: list[str | DiscontinuityReason] = field(default_factory=list)
    #: After each frame, whether all that was journalled has come again.
    caught_up: list[bool] = field(default_factory=list)


def read(
    profile: Profile,
    journalled: str,
    came: str,
    *,
    epoch: int = 1,
    from_first_frame: bool = False,
) -> Journal:
    """The journal of a connection that gives the frames `came`, one a letter."""
    digests = [frame_digest(frame.encode()) for frame in journalled]
    alignment = Alignment(profile, digests, epoch=epoch, from_first_frame=from_first_frame)
    journal = Journal(caught_up=[alignment.caught_up])
    for frame in came:
        was_over = alignment.over
        repeated = alignment.repeats(frame.encode())
        if repeated is None:
            gap = alignment.gap_before_new_frame()
            journal.taken += [frame] if gap is None else [gap, frame]
            assert not was_over or gap is None
            assert alignment.over or (profile == "ids" and journalled)
        else:
            assert repeated == frame_digest(frame.encode())
            assert not was_over
        journal.caught_up.append(alignment.caught_up)
    return journal


@pytest.mark.parametrize(
    ("profile", "journalled", "came", "taken"),
    [
        # The first connection of a run that nothing is journalled of; others may have missed frames.
        ("none", "", "ab", [RECONNECTED, "a", "b"]),
        ("none", "ab", "abc", [RECONNECTED, "a", "b", "c"]),
        ("none", "ab", "", []),
        # Every frame again, in order.
        ("full", "", "ab", ["a", "b"]),
        ("full", "ab", "abc", ["c"]),
        ("full", "ab", "ab", []),
        ("full", "ab", "a", []),
        ("full", "aab", "aabb", ["b"]),
        ("full", "ab", "aXc", [DIFFERED, "X", "c"]),
        ("full", "ab", "b", [DIFFERED, "b"]),
        # After a difference, nothing is taken for a repeat.
        ("full", "abc", "aXbc", [DIFFERED, "X", "b", "c"]),
        # Some frames again, wherever the connection begins.
        ("ids", "", "ab", [RECONNECTED, "a", "b"]),
        ("ids", "abc", "abcd", ["d"]),
        ("ids", "abc", "bcd", ["d"]),
        ("ids", "abc", "cd", ["d"]),
        ("ids", "abc", "cbd", ["d"]),
        ("ids", "abc", "abd", [RECONNECTED, "d"]),
        ("ids", "abc", "d", [RECONNECTED, "d"]),
        ("ids", "abc", "dcbe", [RECONNECTED, "d", "e"]),
    ],
)
def test_repeats_are_dropped_and_a_gap_is_marked_once(
    profile: Profile, journalled: str, came: str, taken: list[str | DiscontinuityReason]
) -> None:
    assert read(profile, journalled, came).taken == taken


@pytest.mark.parametrize("profile", ["none", "full", "ids"])
def test_a_connection_from_the_first_frame_on_has_no_gap(profile: Profile) -> None:
    assert read(profile, "", "ab", from_first_frame=True).taken == ["a", "b"]


def test_a_full_replay_does_not_align_with_a_later_epoch() -> None:
    assert read("full", "bc", "abc", epoch=2).taken == [RECONNECTED, "a", "b", "c"]


def test_frames_with_ids_align_with_a_later_epoch() -> None:
    assert read("ids", "bc", "abcd", epoch=2).taken == [RECONNECTED, "a", "d"]


@pytest.mark.parametrize(
    ("profile", "journalled", "came", "caught_up"),
    [
        ("none", "ab", "ab", [True, True, True]),
        ("full", "", "a", [True, True]),
        ("full", "ab", "abc", [False, False, True, True]),
        ("full", "ab", "aXc", [False, False, True, True]),
        ("ids", "", "a", [True, True]),
        ("ids", "ab", "abc", [False, False, True, True]),
        ("ids", "ab", "bac", [False, True, True, True]),
        ("ids", "ab", "ac", [False, False, False]),
    ],
)
def test_a_connection_is_caught_up_once_all_that_is_journalled_came_again(
    profile: Profile, journalled: str, came: str, caught_up: list[bool]
) -> None:
    assert read(profile, journalled, came).caught_up == caught_up


FRAMES = st.text(alphabet="abc", max_size=12)
DISTINCT = st.lists(st.characters(min_codepoint=0x61, max_codepoint=0x7A), unique=True, max_size=20).map(
    "".join
)


def frames_of(journal: Journal) -> str:
    return "".join(each for each in journal.taken if isinstance(each, str))


def gaps_of(journal: Journal) -> list[DiscontinuityReason]:
    return [each for each in journal.taken if isinstance(each, DiscontinuityReason)]


@given(FRAMES, FRAMES)
def test_a_full_replay_adds_exactly_what_is_new(journalled: str, new: str) -> None:
    journal = read("full", journalled, journalled + new)
    assert journal.taken == list(new)
    assert journal.caught_up[-1]


@given(FRAMES, FRAMES)
def test_a_replay_that_differs_loses_nothing_after_the_difference(journalled: str, came: str) -> None:
    journal = read("full", journalled, came)
    equal = next(
        (at for at, (one, other) in enumerate(zip(journalled, came, strict=False)) if one != other),
        min(len(journalled), len(came)),
    )
    assert frames_of(journal) == came[equal:]
    assert gaps_of(journal) == ([DIFFERED] if equal < len(journalled) and came[equal:] else [])


@given(DISTINCT, st.data())
def test_frames_with_ids_are_journalled_once_wherever_the_connection_begins(
    run: str, data: st.DataObject
) -> None:
    cut = data.draw(st.integers(0, len(run)))
    begin = data.draw(st.integers(0, len(run)))
    journal = read("ids", run[:cut], run[begin:], from_first_frame=cut == begin == 0)
    assert frames_of(journal) == run[max(cut, begin) :]
    overlaps = begin < cut or cut == begin == 0
    assert gaps_of(journal) == ([] if overlaps or not run[max(cut, begin) :] else [RECONNECTED])


@given(FRAMES, FRAMES)
def test_without_replays_every_frame_is_journalled_after_one_gap(journalled: str, came: str) -> None:
    assert read("none", journalled, came).taken == ([RECONNECTED, *came] if came else [])


@given(st.sampled_from(["none", "full", "ids"]), FRAMES, FRAMES, st.integers(1, 3), st.booleans())
def test_a_connection_has_at_most_one_gap_and_invents_no_frame(
    profile: Profile, journalled: str, came: str, epoch: int, from_first_frame: bool
) -> None:
    journal = read(profile, journalled, came, epoch=epoch, from_first_frame=from_first_frame)
    assert len(gaps_of(journal)) <= 1
    taken = iter(came)
    assert all(frame in taken for frame in frames_of(journal))


@pytest.mark.parametrize("profile", ["full", "ids"])
def test_a_long_frame_that_an_earlier_release_journalled_is_found_again(profile: Profile) -> None:
    long, other = b"{" * (WHOLE_BYTES + 1), b"[" * (WHOLE_BYTES + 1)
    journalled = [whole_digest(long), frame_digest(other)]
    assert journalled[0] != frame_digest(long)
    alignment = Alignment(profile, journalled, epoch=1, from_first_frame=False)
    assert [alignment.repeats(frame) for frame in (long, other, b"new")] == [*journalled, None]
    assert alignment.caught_up
    assert alignment.gap_before_new_frame() is None
