"""The checker against seeded defects: each is caught, and honest histories pass."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.faults.rig.checker import check
from tests.faults.rig.history import (
    Client,
    Connection,
    Get,
    History,
    Journal,
    JournalEvent,
    Report,
    Truth,
    Write,
    reportable,
)


def honest(random_: random.Random, *, exact: bool) -> History:
    """A history as a right hub leaves it: some cuts upstream, takeovers, clients that come and go."""
    count = random_.randint(8, 40)
    frames = [f"frame{n}" for n in range(count)]
    events = [JournalEvent(1, "", 1, "run_started")]
    connections: list[list[str]] = []
    epoch = 1
    cuts = sorted(random_.sample(range(1, count - 1), random_.randint(0, 3)))
    start = 0
    for cut in [*cuts, count]:
        if exact:
            connections.append(frames[:cut])
            new = frames[start:cut]
        else:
            begin = start if not connections else min(start + random_.randint(0, 1), cut - 1)
            connections.append(frames[begin:cut])
            # What was sent after a cut may have been lost on the way.
            new = (
                frames[begin:cut] if cut == count else frames[begin : max(cut - random_.randint(0, 1), begin)]
            )
            if len(connections) > 1 and new:
                epoch += 1
                events.append(JournalEvent(0, "", epoch, "discontinuity"))
        events.extend(JournalEvent(0, "", epoch, "token", digest) for digest in new)
        start = cut
    events[-1].kind = "terminal"
    for seq, event in enumerate(events, 1):
        event.seq, event.sha256 = seq, f"hash{seq}.{random_.random()}"
    frames_view = [
        (event.seq, event.sha256 + "s")
        for event in events
        if event.kind not in ("run_started", "discontinuity")
    ]
    files = {f"/{n}": f"file{n}.{random_.random()}" for n in range(3)}
    journal = Journal(
        events, frames_view, "completed", "completed", "completed", "", 1, len(events), dict(files)
    )
    history = History("run", exact, {("completed", "")}, journal, Truth(1, frames, connections, dict(files)))
    history.clients = [_client(random_, journal, legacy=n == 2) for n in range(3)]
    end = max(
        conn.received[-1][2] for client in history.clients for conn in client.connections if conn.received
    )
    history.gets = [Get(end + n, "B", "completed", dict(files)) for n in range(3)]
    history.writes = _writes(random_, journal)
    history.reports = _reports(random_, journal)
    return history


def _reports(random_: random.Random, journal: Journal) -> list[Report]:
    """Each fact once or more, under its id."""
    facts = [Report(f"id{seq}", kind, seq) for kind, seq in reportable(journal)]
    return [report for report in facts for _ in range(random_.randint(1, 3))]


def _client(random_: random.Random, journal: Journal, *, legacy: bool) -> Client:
    view = journal.frames if legacy else journal.units
    client = Client("legacy" if legacy else "events", complete=True)
    at, cursor = 0, 0
    while at < len(view) or not client.connections:
        size = random_.randint(1, len(view) - at)
        units = [(seq, sha256, float(seq)) for seq, sha256 in view[at : at + size]]
        client.connections.append(
            Connection(cursor, float(cursor), legacy, None if legacy else len(view), units)
        )
        at, cursor = at + size, units[-1][0]
    return client


def _writes(random_: random.Random, journal: Journal) -> list[Write]:
    writes: list[Write] = []
    owner, fence, seq, status = "A", 1, 1, "running"
    while seq < journal.last_seq:
        if random_.random() < 0.3 and writes:
            new = "B" if owner == "A" else "A"
            writes.append(Write(new, (owner, new), (fence, fence + 1), (seq, seq), (status, status)))
            owner, fence = new, fence + 1
        to = min(seq + random_.randint(1, 5), journal.last_seq)
        last = to == journal.last_seq
        then = "completed" if last else status
        writes.append(Write(owner, (owner, "" if last else owner), (fence, fence), (seq, to), (status, then)))
        seq = to
    return writes


def _units(history: History) -> list[tuple[int, str, float]]:
    """The longest connection's units: at least three of them, in every honest history."""
    return max((conn.received for client in history.clients for conn in client.connections), key=len)


# Each puts one defect into an honest history. Those of the hub's own making show up where a client, the
# row's writes or the runtime's truth disagree with it.


def drop_for_a_client(history: History) -> None:
    del _units(history)[1]


def duplicate_for_a_client(history: History) -> None:
    units = _units(history)
    units.insert(2, units[1])


def swap_for_a_client(history: History) -> None:
    units = _units(history)
    units[0], units[1] = units[1], units[0]


def rewrite_for_a_client(history: History) -> None:
    units = _units(history)
    units[1] = (units[1][0], "another", units[1][2])


def truncate_for_a_client(history: History) -> None:
    history.clients[0].connections[-1].received.pop()
    history.clients[0].complete = False


def false_end_for_a_client(history: History) -> None:
    history.clients[0].connections[-1].received.pop()


def skip_between_connections(history: History) -> None:
    connection = history.clients[0].connections[-1]
    history.clients[0].connections.append(Connection(connection.received[-1][0] - 2, 99.0, False, None, []))


def refuse_for_good(history: History) -> None:
    history.clients[0].connections[-1].refused = True


def forget_what_was_received(history: History) -> None:
    units = history.clients[0].connections[-1].received[-1]
    history.clients[1].connections[0].hello = units[0] - 1
    history.clients[1].connections[0].opened_at = units[2] + 1


def renumber(history: History, start: int = 0) -> None:
    """Number the journal anew, with the clients as witnesses of the new numbers."""
    journal = history.journal
    for seq, event in enumerate(journal.events, 1):
        event.seq = seq
        event.sha256 = f"new{seq}"
    journal.last_seq = len(journal.events)
    history.clients.clear()
    history.gets.clear()
    history.writes.clear()
    history.reports = _reports(random.Random(0), journal)


def _frames_of_last_epoch(history: History) -> list[int]:
    """The places of events with a frame in the last epoch, without the first and the last."""
    last = history.journal.events[-1].epoch
    places = [n for n, event in enumerate(history.journal.events) if event.digest and event.epoch == last]
    return places[1:-1]


def lose_a_frame_unmarked(history: History) -> None:
    del history.journal.events[_frames_of_last_epoch(history)[0]]
    renumber(history)


def journal_a_frame_twice(history: History) -> None:
    place = _frames_of_last_epoch(history)[0]
    history.journal.events.insert(place + 1, copy.copy(history.journal.events[place]))
    renumber(history)


def swap_frames(history: History) -> None:
    place = _frames_of_last_epoch(history)[0]
    events = history.journal.events
    events[place].digest, events[place + 1].digest = events[place + 1].digest, events[place].digest
    renumber(history)


def lose_the_last_frames_unmarked(history: History) -> None:
    places = _frames_of_last_epoch(history)
    history.journal.events[-1].digest = None
    for place in reversed(places):
        del history.journal.events[place]
    renumber(history)


def a_gap_in_the_journal(history: History) -> None:
    del history.journal.events[len(history.journal.events) // 2]
    history.journal.last_seq -= 1


def unmark_a_discontinuity(history: History) -> None:
    events = history.journal.events
    place = next((n for n, event in enumerate(events) if event.kind == "discontinuity"), None)
    if place is None:  # make one: the runtime's frames break off and begin anew, and nothing marks it
        history.truth.connections.insert(0, history.truth.frames[:3])
        events[1:1] = [JournalEvent(0, "", 1, "token", digest) for digest in history.truth.frames[:3]]
    else:
        del events[place]
        for event in events[place:]:
            event.epoch -= 1
    renumber(history)


def epoch_goes_back(history: History) -> None:
    history.journal.events[-2].epoch += 1


def no_terminal(history: History) -> None:
    history.journal.events[-1].kind = "token"


def second_terminal(history: History) -> None:
    history.journal.events[-2].kind = "terminal"


def outcomes_differ(history: History) -> None:
    history.journal.proposal_status = "processing"


def wrong_verdict(history: History) -> None:
    journal = history.journal
    journal.outcome = journal.run_status = journal.proposal_status = "failed"
    journal.reason = "internal"


def wrong_file(history: History) -> None:
    history.journal.files["/1"] = "another"


def missing_file(history: History) -> None:
    del history.journal.files["/1"]


def unrecorded_invoke(history: History) -> None:
    history.truth.invokes += 1


def a_read_that_lags(history: History) -> None:
    history.gets[-1].status = "processing"


def a_read_with_other_files(history: History) -> None:
    history.gets[-1].files = {}


def _before_the_end(history: History, *writes: Write) -> None:
    history.writes[-1:-1] = list(writes)


def zombie_write_after_takeover(history: History) -> None:
    last = history.writes[-1]
    holder, fence, seq = last.owner[0], last.fence[0], last.last_seq[0]
    _before_the_end(
        history, Write("Z", (holder, holder), (fence, fence), (seq, seq + 1), ("running", "running"))
    )


def old_fence_comes_back(history: History) -> None:
    last = history.writes[-1]
    _before_the_end(
        history,
        Write("Z", (last.owner[0], "Z"), (last.fence[0], last.fence[0] + 1), (5, 5), ("running",) * 2),
    )


def write_after_the_end(history: History) -> None:
    last = history.writes[-1]
    seq, holder = last.last_seq[1], last.writer
    history.writes.append(
        Write(holder, (holder, holder), (last.fence[1],) * 2, (seq, seq + 1), ("completed", "completed"))
    )


def takeover_that_moves_the_journal(history: History) -> None:
    last = history.writes[-1]
    fence, seq = last.fence[0], last.last_seq[0]
    _before_the_end(
        history, Write("Z", (last.owner[0], "Z"), (fence, fence + 1), (seq, seq + 1), ("running", "running"))
    )


def report_nothing(history: History) -> None:
    history.reports.clear()


def report_under_another_id(history: History) -> None:
    history.reports.append(replace(history.reports[0], id="another"))


def report_what_is_not_there(history: History) -> None:
    history.reports.append(Report("id", "input.requested", 1))


DEFECTS: dict[Callable[[History], None], set[str]] = {
    drop_for_a_client: {"lost"},
    duplicate_for_a_client: {"duplicated"},
    swap_for_a_client: {"lost", "duplicated", "order"},
    rewrite_for_a_client: {"rewritten"},
    truncate_for_a_client: {"unfinished"},
    false_end_for_a_client: {"terminal"},
    skip_between_connections: {"order"},
    refuse_for_good: {"refused"},
    forget_what_was_received: {"hello"},
    lose_a_frame_unmarked: {"lost"},
    journal_a_frame_twice: {"duplicated", "hole"},
    swap_frames: {"lost", "hole"},
    lose_the_last_frames_unmarked: {"lost"},
    a_gap_in_the_journal: {"lost"},
    unmark_a_discontinuity: {"hole", "duplicated", "lost"},
    epoch_goes_back: {"epoch"},
    no_terminal: {"terminal"},
    second_terminal: {"terminal"},
    outcomes_differ: {"terminal"},
    wrong_verdict: {"verdict"},
    wrong_file: {"files"},
    missing_file: {"files"},
    unrecorded_invoke: {"invoke"},
    a_read_that_lags: {"get"},
    a_read_with_other_files: {"get"},
    zombie_write_after_takeover: {"zombie"},
    old_fence_comes_back: {"fence"},
    write_after_the_end: {"terminal"},
    takeover_that_moves_the_journal: {"fence"},
    report_nothing: {"unreported"},
    report_under_another_id: {"duplicated"},
    report_what_is_not_there: {"report"},
}


@settings(max_examples=100)
@given(st.integers(0, 2**32), st.booleans())
def test_an_honest_history_passes(seed: int, exact: bool) -> None:
    assert check(honest(random.Random(seed), exact=exact)) == []


@pytest.mark.parametrize("defect", DEFECTS, ids=lambda defect: defect.__name__)
@settings(max_examples=40)
@given(st.integers(0, 2**32), st.booleans())
def test_a_seeded_defect_is_caught(defect: Callable[[History], None], seed: int, exact: bool) -> None:
    history = honest(random.Random(seed), exact=exact)
    while len(_frames_of_last_epoch(history)) < 3:  # room for every defect
        seed += 1
        history = honest(random.Random(seed), exact=exact)
    defect(history)
    rules = {violation.rule for violation in check(history)}
    assert rules & DEFECTS[defect], f"caught as {rules}"


def _decided_by_the_state(random_: random.Random) -> History:
    """A replay whose end nobody was sent: three connections in a row broke, the state decided, and what is
    missing is marked."""
    history = honest(random_, exact=True)
    truth, journal = history.truth, history.journal
    kept = random_.randint(1, len(truth.frames) - 2)
    truth.connections = [truth.frames[:kept], [], []]
    journal.events = [
        JournalEvent(1, "", 1, "run_started"),
        *(JournalEvent(0, "", 1, "token", digest) for digest in truth.frames[:kept]),
        JournalEvent(0, "", 2, "discontinuity"),
        JournalEvent(0, "", 2, "terminal"),
    ]
    renumber(history)
    return history


@given(st.integers(0, 2**32))
def test_a_replay_that_never_came_to_its_end_may_be_decided_by_the_state_with_a_mark(seed: int) -> None:
    assert check(_decided_by_the_state(random.Random(seed))) == []


@given(st.integers(0, 2**32))
def test_without_the_mark_or_when_the_end_was_sent_it_is_a_violation(seed: int) -> None:
    unmarked = _decided_by_the_state(random.Random(seed))
    del unmarked.journal.events[-2]
    unmarked.journal.events[-1].epoch = 1
    renumber(unmarked)
    assert {violation.rule for violation in check(unmarked)} == {"lost"}
    sent = _decided_by_the_state(random.Random(seed))
    sent.truth.connections.append(sent.truth.frames)
    assert {violation.rule for violation in check(sent)} == {"hole"}


@given(st.integers(0, 2**32))
def test_what_follows_the_mark_of_a_replay_is_the_beginning_of_a_connection(seed: int) -> None:
    history = _decided_by_the_state(random.Random(seed))
    history.truth.connections.append(history.truth.frames[:2])
    place = next(n for n, event in enumerate(history.journal.events) if event.kind == "discontinuity")
    later = [JournalEvent(0, "", 2, "token", digest) for digest in history.truth.frames[:2]]
    mark = [JournalEvent(0, "", 3, "discontinuity")]
    history.journal.events[-1].epoch = 3
    history.journal.events[place + 1 : place + 1] = [*later, *mark]
    renumber(history)
    assert check(history) == []
    history.journal.events[place + 1].digest = "of no connection"
    assert {violation.rule for violation in check(history)} == {"hole"}


@given(st.integers(0, 2**32))
def test_a_run_that_publishes_no_end_may_have_a_mark_after_its_last_frame(seed: int) -> None:
    history = _decided_by_the_state(random.Random(seed))
    history.truth.connections.append(history.truth.frames)
    history.truth.ends = False
    assert check(history) == []
