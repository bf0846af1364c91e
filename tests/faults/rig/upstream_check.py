"""The journal of a run, held against the frames that the runtime really sent. Pure."""

from __future__ import annotations

from tests.faults.rig.history import Found, History, Journal, Truth

#: Outcomes after which everything that the runtime published must be in the journal, or marked.
_TOLD_ALL = frozenset({("completed", ""), ("failed", "upstream_error")})


def check_upstream(history: History) -> Found:
    """Nothing is missing, repeated or out of order without a mark."""
    journal, truth = history.journal, history.truth
    epochs = _by_epoch(journal)
    exact = history.exact and len(epochs) == 1
    if history.exact:
        got = epochs[0]
        if len(epochs) > 1 and truth.ends and _end_was_sent(truth):
            yield "hole", f"{len(epochs) - 1} discontinuities where none is allowed"
            return
        if got != truth.frames[: len(got)]:
            at = next((i for i, (a, b) in enumerate(zip(got, truth.frames, strict=False)) if a != b), 0)
            yield (
                _how_differs(got, truth.frames),
                f"the journal leaves the runtime's frames at frame {at + 1}",
            )
        # The state decided, because no connection gave the end: what is missing is marked.
        yield from _epochs(epochs[1:], truth.connections, first=2)
    else:
        yield from _epochs(epochs, truth.connections)
    last = epochs[-1]
    if (journal.outcome, journal.reason) in _TOLD_ALL and not _reaches_end(last, exact, truth):
        sent = "sent" if _end_was_sent(truth) else "never sent"
        yield (
            "lost",
            f"the journal ends at frame {len(last)} of {len(truth.frames)} in epoch {len(epochs)}; "
            f"the runtime's end was {sent}",
        )


def _end_was_sent(truth: Truth) -> bool:
    return any(truth.frames[-1] in sent for sent in truth.connections)


def _reaches_end(got: list[str], exact: bool, truth: Truth) -> bool:
    """Whether nothing is missing after the last epoch's frames: it reaches the last frame, or the one
    before an `end` that the runtime never sent to anyone. Without any frame, it is all marked."""
    if not got:
        return not exact or not any(truth.connections)
    if exact:
        return len(got) >= len(truth.frames) - (not _end_was_sent(truth))
    return got[-1] == truth.frames[-1] or (got[-1] in truth.frames[-2:] and not _end_was_sent(truth))


def _epochs(epochs: list[list[str]], connections: list[list[str]], *, first: int = 1) -> Found:
    """Each epoch with frames is the beginning of a connection of its own, later than the one before; the
    very first one, of the first connection on which anything was sent. `first`: the number of epochs[0]."""
    passed = 0
    for number, got in enumerate(epochs, first):
        if not got:
            continue
        left = connections[passed:]
        place = next((n for n, sent in enumerate(left) if got == sent[: len(got)]), None)
        if place is None:
            best = max(left, key=lambda sent: _common(got, sent), default=[])
            at = _common(got, best) + 1
            yield _how_differs(got, best), f"epoch {number} differs from every connection: at frame {at}"
            return
        if number == 1 and any(sent != got[: len(sent)] for sent in left[:place]):
            yield "lost", "frames of an earlier connection are missing, and nothing says so"
        passed += place + 1


def _by_epoch(journal: Journal) -> list[list[str]]:
    found: list[list[str]] = [[]]
    for event in journal.events:
        if event.kind == "discontinuity":
            found.append([])
        elif event.digest is not None:
            found[-1].append(event.digest)
    return found


def _common(one: list[str], other: list[str]) -> int:
    count = 0
    for a, b in zip(one, other, strict=False):
        if a != b:
            break
        count += 1
    return count


def _how_differs(got: list[str], sent: list[str]) -> str:
    at = _common(got, sent)
    if at < len(got) and at and got[at] in got[:at] and got[at] not in sent[at:]:
        return "duplicated"
    return "lost" if at < len(got) and got[at] in sent[at:] else "hole"
