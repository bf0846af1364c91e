"""`compiled`: what each form of `server/compiled` takes to make the journal's entries of token frames.

Without socket and database. Each sample is taken in a process of its own: `python -m bench.compiled JOB`
prints as JSON what a form costs.
"""

from __future__ import annotations

import asyncio
import dataclasses
import gc
import itertools
import json
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from bench.environment import Environment, in_turn
from bench.figures import Stats, Table, ratios
from bench.jobs import run_module
from bench.loads import load
from server.compiled.choice import interpreter_of_runs, why_not_compiled
from server.domain.journal.events import Event, Token
from server.domain.runs.journal_entries import entry_of
from server.domain.runs.runtime import FrameInterpreter
from server.frames.interpreter import Interpreter
from server.wire.codec import ProtobufCodec

_PYTHON, _COMPILED = "Python", "compiled"
#: Frames that are taken together.
_TOGETHER = 16
_EPOCH, _TIME = 1, datetime(2026, 1, 31, 12, tzinfo=UTC)
_CODEC = ProtobufCodec()


@dataclass(frozen=True, slots=True)
class Job:
    """What a process does. passes: over all frames, after one to warm up."""

    compiled: bool
    passes: int


@dataclass(frozen=True, slots=True)
class Costs:
    """Nanoseconds of CPU that a form takes for a frame: for one that is like the one before, for another, and
    the mean of all. together: up to 16 are taken at once."""

    similar: float
    others: float
    all_together: float
    all: float


async def measure_compiled(environment: Environment, *, quick: bool) -> list[Table]:
    """A row for each kind of token frames."""
    rounds, passes = (1, 1) if quick else (7, 10)
    why = why_not_compiled()
    forms = [_PYTHON] if why else [_PYTHON, _COMPILED]
    note = f"Without the compiled module: {why}." if why else ""

    async def take(name: str) -> Costs:
        job = dataclasses.asdict(Job(name == _COMPILED, passes))
        return Costs(**await run_module("bench.compiled", job, name, measured=True))

    taken = dict(zip(forms, await in_turn(forms, rounds, take, warm_up=False), strict=True))
    frames, kinds = await asyncio.to_thread(_long_run)
    similar = sum(kinds)
    rows: list[list[str | Stats]] = []
    for kind, count, field in (
        ("like the one before", similar, "similar"),
        ("others", len(frames) - similar, "others"),
        (f"all, {_TOGETHER} together", len(frames), "all_together"),
        ("all", len(frames), "all"),
    ):
        us = {name: [getattr(costs, field) / 1000 for costs in some] for name, some in taken.items()}
        compiled = Stats.of(us[_COMPILED]) if _COMPILED in us else "-"
        rows.append([kind, f"{count:,}", Stats.of(us[_PYTHON]), compiled, ratios(us, _PYTHON, _COMPILED)])
    heads = ["token frames", "how many", "Python CPU µs", "compiled CPU µs", "Python ÷ compiled"]
    title = "Token frames of `long_run` into the journal's entries, in Python and by the compiled module"
    return [Table(title, heads, rows, note)]


class _Run:
    """Reads the token frames of one run, in order, as `RunRecorder` does."""

    def __init__(self, interpreter: FrameInterpreter) -> None:
        self._interpreter = interpreter
        self._seq = 1

    def take(self, frames: Sequence[bytes], start: int) -> int:
        """Make the entries of the frames from `start` on, at least of that one; how many."""
        found = self._interpreter.token_entries(frames, start, first_seq=self._seq, epoch=_EPOCH, time=_TIME)
        if found is not None:
            self._seq += found[0]
            return found[0]
        for kind in self._interpreter.interpret(frames[start]).kinds:
            entry_of(Event(self._seq, _EPOCH, _TIME, kind), _CODEC)
            self._seq += 1
        return 1


def costs(job: Job) -> Costs:
    """The costs of a form in this process."""
    frames, kinds = _long_run()
    similar, others = sum(kinds), len(kinds) - sum(kinds)
    make = interpreter_of_runs(compiled=job.compiled)

    def means(batches: Sequence[Sequence[bytes]]) -> list[float]:
        """Nanoseconds of each batch: the mean of the passes."""
        _, *taken = [_nanoseconds(_Run(make()), batches) for _ in range(job.passes + 1)]
        return [sum(some) / job.passes for some in zip(*taken, strict=True)]

    gc.disable()
    alone = means([[frame] for frame in frames])
    alone_similar = sum(itertools.compress(alone, kinds))
    together = sum(means([frames[at : at + _TOGETHER] for at in range(0, len(frames), _TOGETHER)]))
    return Costs(
        alone_similar / similar,
        (sum(alone) - alone_similar) / others,
        together / len(frames),
        sum(alone) / len(frames),
    )


def _long_run() -> tuple[list[bytes], list[bool]]:
    """The token frames of `long_run`, and whether each differs from the one before in its text alone."""
    interpreter, frames, kinds = Interpreter(), list[bytes](), list[bool]()
    for text in load("long_run").frames:
        frame = text.encode()
        similar = interpreter.similar_tokens((frame,), 0) is not None
        if similar or any(isinstance(kind, Token) for kind in interpreter.interpret(frame).kinds):
            frames.append(frame)
            kinds.append(similar)
    return frames, kinds


def _nanoseconds(run: _Run, batches: Sequence[Sequence[bytes]]) -> list[int]:
    """The CPU that a form takes for each batch, without that of the clock."""
    clock = _clock_nanoseconds()
    taken = []
    for batch in batches:
        at = spent = 0
        while at < len(batch):
            began = time.thread_time_ns()
            count = run.take(batch, at)
            spent += time.thread_time_ns() - began - clock
            at += count
        taken.append(spent)
    return taken


def _clock_nanoseconds() -> int:
    """What a difference of two readings shows when nothing is between them."""
    return int(statistics.median(-time.thread_time_ns() + time.thread_time_ns() for _ in range(1_001)))


if __name__ == "__main__":
    print(json.dumps(dataclasses.asdict(costs(Job(**json.loads(sys.argv[1]))))))
