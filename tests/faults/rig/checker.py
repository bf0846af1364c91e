"""The checker of histories: what every observer saw, held against the final journal and the truth.

Pure. It knows nothing of how the hub works; the rules are the promises (docs/reference/faults.md).
"""

from __future__ import annotations

from dataclasses import dataclass

from tests.faults.rig.history import (
    TERMINAL,
    Client,
    Connection,
    Found,
    History,
    Journal,
    Unit,
    reportable,
)
from tests.faults.rig.upstream_check import check_upstream

#: Reasons of runs that the hub could not start, as far as it knows.
_NOT_INVOKED = frozenset({"runtime_unavailable", "invoke_uncertain", "runtime_refused"})


@dataclass(frozen=True, slots=True)
class Violation:
    """A broken promise.

    rule: `lost`, `duplicated`, `order`, `rewritten`, `unfinished`, `refused`, `hello`, `get`,
    `zombie`, `fence`, `epoch`, `terminal`, `verdict`, `files`, `hole`, `invoke`, `unreported`, `report`.
    """

    rule: str
    detail: str
    run: str = ""


def check(history: History) -> list[Violation]:
    """Everything that is wrong with a history."""
    found: list[Violation] = []
    for part in (
        _journal(history.journal),
        _verdict(history),
        check_upstream(history),
        _writes(history),
        *(_client(client, history.journal) for client in history.clients),
        _hellos(history),
        _gets(history),
        _reports(history),
    ):
        found.extend(Violation(rule, detail, history.name) for rule, detail in part)
    return found


def units_checked(history: History) -> int:
    """How many units the clients got, for the report."""
    return sum(len(conn.received) for client in history.clients for conn in client.connections)


def _journal(journal: Journal) -> Found:
    """Numbers without a gap, epochs that grow at discontinuities alone, one terminal event, last."""
    for place, event in enumerate(journal.events, 1):
        if event.seq != place:
            rule = "lost" if event.seq > place else "duplicated"
            yield rule, f"the journal has seq {event.seq} where {place} belongs"
            break
    if journal.last_seq != len(journal.events):
        yield "lost", f"last_seq is {journal.last_seq}, the journal has {len(journal.events)} events"
    epoch = 1
    for event in journal.events:
        epoch += event.kind == "discontinuity"
        if event.epoch != epoch:
            yield "epoch", f"seq {event.seq} has epoch {event.epoch}, not {epoch}"
            break
    terminals = [event.seq for event in journal.events if event.kind == "terminal"]
    last = journal.events[-1].seq if journal.events else 0
    if terminals != [last]:
        yield "terminal", f"terminal events at {terminals}, the journal ends at {last}"
    if not journal.outcome == journal.run_status == journal.proposal_status:
        outcomes = (
            f"event {journal.outcome!r}, run {journal.run_status!r}, proposal {journal.proposal_status!r}"
        )
        yield "terminal", f"the outcomes differ: {outcomes}"


def _verdict(history: History) -> Found:
    journal, truth = history.journal, history.truth
    verdict = (journal.outcome, journal.reason)
    if verdict not in history.verdicts:
        yield "verdict", f"{verdict}, not {sorted(history.verdicts)}"
    if truth.invokes > journal.attempt:
        yield "invoke", f"{truth.invokes} invokes for {journal.attempt} recorded attempts"
    # A run that failed keeps what was seen of it: all, once its last frames were seen.
    seen = {event.digest for event in journal.events}
    # Unless it failed because its last frames were lost: then those may hold the last files.
    seen_last = journal.reason != "upstream_lost" and bool(seen & set(truth.frames[-2:]))
    owed = journal.outcome == "completed" or seen_last
    if truth.invokes and owed and journal.reason not in _NOT_INVOKED and journal.files != truth.files:
        wrong = sorted(
            path
            for path in journal.files.keys() | truth.files.keys()
            if journal.files.get(path) != truth.files.get(path)
        )
        yield "files", f"{len(wrong)} of {len(truth.files)} files differ: {wrong[:3]}"


def _writes(history: History) -> Found:
    """One writer at a time: only the holder of the lease moves the journal, and fences only grow."""
    fence = 0
    over = False
    for write in history.writes:
        before, after = write.fence
        if before < fence or after < before:
            yield "fence", f"fence {before} to {after} after {fence}"
        fence = max(fence, after)
        # A queued run has no owner: it begins with a takeover, and any process may cancel it.
        begins = write.status == ("queued", "pending")
        moved = write.last_seq[0] != write.last_seq[1] or (write.status[0] != write.status[1] and not begins)
        if over and (moved or before != after):
            yield "terminal", f"{write.writer} changed a run that was over"
        over = over or write.status[1] in TERMINAL
        if after > before:
            # Releasing a lease raises the fence as well, so that late writes of the former owner fail.
            given_up = write.owner == (write.writer, "")
            if after != before + 1 or moved or not (given_up or write.owner[1] == write.writer):
                yield "fence", f"a takeover by {write.writer} for {write.owner[1]} from {before} to {after}"
        elif moved and write.writer != write.owner[0]:
            holder = write.owner[0] or "no process"
            yield "zombie", f"{write.writer} wrote seq {write.last_seq[1]} while {holder} held it"
        if write.last_seq[1] < write.last_seq[0]:
            yield "lost", f"last_seq went from {write.last_seq[0]} to {write.last_seq[1]}"


def _client(client: Client, journal: Journal) -> Found:
    """Each connection a slice of the journal, each after the one before, up to the end."""
    cursor = client.connections[0].after if client.connections else 0
    for connection in client.connections:
        if connection.refused:
            yield "refused", f"{client.way}: {connection.ended}"
        if connection.after != cursor:
            yield "order", f"{client.way}: came back with {connection.after}, not {cursor}"
        view = journal.frames if connection.legacy else journal.units
        yield from _slice(client.way, connection, view)
        if connection.received:
            cursor = connection.received[-1][0]
    if not client.complete:
        yield "unfinished", f"{client.way}: the last seq is {cursor} of {journal.last_seq}"
    elif cursor != journal.last_seq:
        yield "terminal", f"{client.way}: took seq {cursor} for the end, which is {journal.last_seq}"


def _slice(way: str, connection: Connection, view: list[Unit]) -> Found:
    expected = [unit for unit in view if unit[0] > connection.after]
    known = {seq for seq, _ in expected}
    at = 0
    last = connection.after
    for seq, sha256, _ in connection.received:
        if at < len(expected) and expected[at] == (seq, sha256):
            at += 1
        elif seq not in known:
            yield ("duplicated" if seq <= last else "lost"), f"{way}: seq {seq} is not in what follows {last}"
        elif at < len(expected) and seq == expected[at][0]:
            yield "rewritten", f"{way}: seq {seq} is not what the journal has"
            at += 1
        elif at < len(expected) and seq > expected[at][0]:
            yield "lost", f"{way}: seq {expected[at][0]} to {seq - 1} are missing"
            at = next(index for index, unit in enumerate(expected) if unit[0] == seq) + 1
        else:
            yield "duplicated", f"{way}: seq {seq} again, after {last}"
        last = max(last, seq)


def _hellos(history: History) -> Found:
    """A greeting knows everything that any client had before it was asked for."""
    seen = sorted(
        (at, seq)
        for client in history.clients
        for connection in client.connections
        for seq, _, at in connection.received
    )
    best, highest = 0, []
    for at, seq in seen:
        best = max(best, seq)
        highest.append((at, best))
    for client in history.clients:
        for connection in client.connections:
            if connection.hello is None:
                continue
            before = [seq for at, seq in highest if at < connection.opened_at]
            if before and connection.hello < before[-1]:
                yield (
                    "hello",
                    f"{client.way}: last_seq {connection.hello}, but a client had {before[-1]} before",
                )


def _gets(history: History) -> Found:
    """Once a client has the last event, every read agrees with it."""
    journal = history.journal
    ended = [
        at
        for client in history.clients
        if client.complete
        for seq, _, at in client.connections[-1].received
        if seq == journal.last_seq
    ]
    if not ended:
        return
    for get in history.gets:
        if get.began_at <= min(ended):
            continue
        if get.status != journal.outcome:
            yield "get", f"{get.replica} said {get.status} after {journal.outcome}"
        elif get.files != journal.files:
            yield "get", f"{get.replica} gave other files than are stored"


def _reports(history: History) -> Found:
    """Each fact of the journal is reported under one id, and nothing else is."""
    facts = reportable(history.journal)
    for fact in facts:
        ids = {report.id for report in history.reports if (report.type, report.seq) == fact}
        if not ids:
            yield "unreported", f"{fact[0]} of seq {fact[1]}"
        elif len(ids) > 1:
            yield "duplicated", f"{fact[0]} of seq {fact[1]} was reported under {len(ids)} ids"
    for report in history.reports:
        if (report.type, report.seq) not in facts:
            yield "report", f"{report.type} of seq {report.seq}, which the journal does not have"
