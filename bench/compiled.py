"""`compiled`: what the hub's Python and a module in Rust take to make the journal's entries of token frames.

Without socket and database. First both have to give the same (`same_entries.py`). Each sample is taken in a
process of its own: `python -m bench.compiled JOB` prints as JSON what a form costs, or how many frames were
compared.
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
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from bench.environment import Environment, in_turn
from bench.figures import NoFigure, Stats, Table, ratios
from bench.jobs import run_module
from bench.loads import load
from bench.peers.catalogue import Absent, run, rust_module, tool
from bench.same_entries import Compared, compare_all, token_frames
from bench.token_entries import Form, PythonForm, RustForm
from server.frames.interpreter import Interpreter
from tests.support.processes import ROOT

CRATE = ROOT / "bench" / "token_frames"
_HUB, _MODULE = "Python", "Rust"
#: Frames that are taken together.
_TOGETHER = 16


@dataclass(frozen=True, slots=True)
class Job:
    """What a process does. folder: where the module is; without one the hub's Python is measured. passes:
    over all frames; with 0 both forms are compared. runs: of changed frames to compare them on."""

    folder: str
    passes: int
    runs: int = 0


@dataclass(frozen=True, slots=True)
class Costs:
    """Nanoseconds of CPU that a form takes for a frame: for one that is like the one before, for another, and
    the mean of all. together: up to 16 are taken at once."""

    similar_together: float
    similar: float
    others: float
    all_together: float
    all: float


async def measure_compiled(environment: Environment, *, quick: bool) -> list[Table]:
    """A row for each kind of token frames. Raises NoFigure when both forms do not give the same."""
    rounds, passes, runs = (1, 1, 20) if quick else (7, 10, 1_000)
    folders, note = {_HUB: ""}, "Without Rust."
    if environment.with_peers:
        try:
            version = await asyncio.to_thread(run, tool("rustc"), "--version", folder=ROOT)
            folders[_MODULE] = str(await asyncio.to_thread(rust_module, CRATE))
            compared = Compared(**await _run(Job(folders[_MODULE], 0, runs), "comparing both"))
            note = f"{version}. {compared}"
        except Absent as absent:
            environment.absent["token frames in Rust"] = str(absent)
            note = f"Without Rust: {absent}"

    async def take(name: str) -> Costs:
        return Costs(**await _run(Job(folders[name], passes), name))

    taken = dict(zip(folders, await in_turn(list(folders), rounds, take, warm_up=False), strict=True))
    frames, kinds = _long_run()
    similar = sum(kinds)
    rows: list[list[str | Stats]] = []
    for kind, count, field in (
        (f"like the one before, up to {_TOGETHER} together", similar, "similar_together"),
        ("like the one before, one at a time", similar, "similar"),
        ("others, one at a time", len(frames) - similar, "others"),
        (f"all, {_TOGETHER} together", len(frames), "all_together"),
        ("all, one at a time", len(frames), "all"),
    ):
        us = {name: [getattr(costs, field) / 1000 for costs in some] for name, some in taken.items()}
        module = Stats.of(us[_MODULE]) if _MODULE in us else "-"
        rows.append([kind, f"{count:,}", Stats.of(us[_HUB]), module, ratios(us, _HUB, _MODULE)])
    heads = ["token frames", "how many", "Python CPU µs", "Rust CPU µs", "Python ÷ Rust"]
    title = (
        "Token frames of `long_run` into the journal's entries, by the hub's Python and by a module in Rust"
    )
    return [Table(title, heads, rows, note)]


async def _run(job: Job, name: str) -> dict[str, Any]:
    return await run_module("bench.compiled", dataclasses.asdict(job), name, measured=True)


def costs(folder: str, passes: int) -> Costs:
    """The costs of a form in this process: the module's if it has a folder, otherwise the hub's."""
    frames, kinds = _long_run()
    similar, others = sum(kinds), len(kinds) - sum(kinds)
    pieces = list(_of_one_kind(frames, kinds))

    def means(batches: Sequence[Sequence[bytes]]) -> list[float]:
        """Nanoseconds of each batch: the mean of the passes, after one to warm up."""
        _, *taken = [
            _nanoseconds(RustForm(folder) if folder else PythonForm(), batches) for _ in range(passes + 1)
        ]
        return [sum(some) / passes for some in zip(*taken, strict=True)]

    gc.disable()
    alone = means([[frame] for frame in frames])
    alone_similar = sum(itertools.compress(alone, kinds))
    similar_together = sum(
        itertools.compress(means([batch for batch, _ in pieces]), (like for _, like in pieces))
    )
    together = sum(means([frames[at : at + _TOGETHER] for at in range(0, len(frames), _TOGETHER)]))
    return Costs(
        similar_together / similar,
        alone_similar / similar,
        (sum(alone) - alone_similar) / others,
        together / len(frames),
        sum(alone) / len(frames),
    )


def _long_run() -> tuple[list[bytes], list[bool]]:
    """The token frames of `long_run`, and whether each differs from the one before in its text alone."""
    frames = token_frames([frame.encode() for frame in load("long_run").frames])
    interpreter, kinds = Interpreter(), []
    for frame in frames:
        kinds.append(interpreter.similar_tokens((frame,), 0) is not None)
        if not kinds[-1]:
            interpreter.interpret(frame)
    return frames, kinds


def _of_one_kind(frames: Sequence[bytes], kinds: Sequence[bool]) -> Iterator[tuple[Sequence[bytes], bool]]:
    """The frames in order, those that are like the one before up to 16 together, and whether they are."""
    for like, group in itertools.groupby(zip(frames, kinds, strict=True), lambda pair: pair[1]):
        same = [frame for frame, _ in group]
        size = _TOGETHER if like else 1
        for at in range(0, len(same), size):
            yield same[at : at + size], like


def _nanoseconds(form: Form, batches: Sequence[Sequence[bytes]]) -> list[int]:
    """The CPU that a form takes for each batch, without that of the clock."""
    clock = _clock_nanoseconds()
    taken = []
    for batch in batches:
        at = spent = 0
        while at < len(batch):
            began = time.thread_time_ns()
            found = form.take(batch, at)
            spent += time.thread_time_ns() - began - clock
            assert found is not None
            at += found.count
        taken.append(spent)
    return taken


def _clock_nanoseconds() -> int:
    """What a difference of two readings shows when nothing is between them."""
    return int(statistics.median(-time.thread_time_ns() + time.thread_time_ns() for _ in range(1_001)))


def main() -> None:
    """Do the job that the arguments have."""
    job = Job(**json.loads(sys.argv[1]))
    try:
        found = costs(job.folder, job.passes) if job.passes else compare_all(job.folder, job.runs)
    except NoFigure as why:
        sys.exit(str(why))
    print(json.dumps(dataclasses.asdict(found)))


if __name__ == "__main__":
    main()
