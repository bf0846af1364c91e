"""`review`: comparing, patching and merging sets of files, beside git with the same files.

Each figure is taken in a process of its own: `python -m bench.review CASE OPERATION` prints one as JSON.
git reads the files from a repository, into which they were written before.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random

from bench.environment import Environment
from bench.figures import NoFigure, Stats, Table
from bench.git import Repository
from server.domain.proposals.files import File
from server.domain.review.changes import diff_files, statistics
from server.domain.review.file_merge import MergeStrategy, merge_files
from server.domain.review.patch import make_patch

#: The base, the draft and the proposal.
Sides = tuple[dict[str, File], dict[str, File], dict[str, File]]
_NAMES = ("base", "draft", "proposal")


@dataclass(frozen=True, slots=True)
class Cost:
    """What an operation took. memory_mib: its peak of allocated memory; 0 for git, which is not measured."""

    seconds: float
    cpu_s: float
    memory_mib: float
    result: str


def _many_files(count: int) -> Sides:
    """Files of 200 lines, of which both sides change other ones."""
    random = Random(1)
    sides: Sides = ({}, {}, {})
    for number in range(count):
        lines = [f"line {line % 150} {random.randrange(10**6)}\n".encode() for line in range(200)]
        # Each side changes another half of the file.
        for side, first, changes in zip(sides, (0, 0, 100), (0, 4, 4), strict=True):
            changed = list(lines)
            for _ in range(changes):
                changed[first + random.randrange(95)] = b"changed %d\n" % random.randrange(10**6)
            side[f"/src/{number % 20}/{number}.md"] = File(b"".join(changed))
    return sides


def _one_large_file() -> Sides:
    """10 MB, of which each side changes a line."""
    lines = [b"line %07d of a file\n" % number for number in range(430_000)]
    draft, proposal = list(lines), list(lines)
    draft[100_000] = proposal[300_000] = b"changed\n"
    base, ours, theirs = ({"/large.txt": File(b"".join(side))} for side in (lines, draft, proposal))
    return base, ours, theirs


def _unrelated_files() -> Sides:
    """100,000 lines each; the draft is the base."""
    random = Random(2)
    base, proposal = (
        {"/a.txt": File(b"".join(b"%d\n" % random.randrange(10**12) for _ in range(100_000)))}
        for _ in range(2)
    )
    return base, dict(base), proposal


CASES: dict[str, Callable[[], Sides]] = {
    "500 files of 200 lines": lambda: _many_files(500),
    "10 files of 200 lines": lambda: _many_files(10),
    "a file of 10 MB, one line": _one_large_file,
    "unrelated files of 100,000 lines": _unrelated_files,
}


def _diff(sides: Sides) -> str:
    figures = statistics(diff_files(sides[0], sides[2]))
    return f"{figures.added_lines} {figures.removed_lines}"


def _patch(sides: Sides) -> str:
    return str(sum(map(len, make_patch(sides[0], sides[2]).text())) > 0)


def _merge(sides: Sides) -> str:
    merge = merge_files(*sides, MergeStrategy.THREE_WAY)
    return "conflict" if merge.conflicts else tree_hash(merge.files)


def tree_hash(files: Mapping[str, File]) -> str:
    """One hash for all files, by those that git gives their contents."""
    entries = []
    for path, file in sorted(files.items()):
        blob = hashlib.sha1(b"blob %d\0" % len(file.content) + file.content, usedforsecurity=False)
        entries.append(f"{blob.hexdigest()} {path.removeprefix('/')}")
    return hashlib.sha256("\n".join(entries).encode()).hexdigest()


OPERATIONS: dict[str, Callable[[Sides], str]] = {"diff": _diff, "patch": _patch, "merge": _merge}
#: The same by git, in a repository with a branch for each side.
_GIT = {
    "diff": ("diff", "--numstat", "base", "proposal"),
    "patch": ("diff", "--binary", "--full-index", "base", "proposal"),
    "merge": ("merge-tree", "--write-tree", "draft", "proposal"),
    "accept": ("merge", "--quiet", "--no-edit", "proposal"),
}


def take(case: str, operation: str) -> Cost:
    """The cost of an operation in this process."""
    sides = CASES[case]()
    cpu, began = time.process_time(), time.perf_counter()
    result = OPERATIONS[operation](sides)
    seconds, used = time.perf_counter() - began, time.process_time() - cpu
    # Once more, because tracing makes it slower.
    sides = CASES[case]()
    tracemalloc.start()
    OPERATIONS[operation](sides)
    return Cost(seconds, used, tracemalloc.get_traced_memory()[1] / (1 << 20), result)


def _take_apart(case: str, operation: str) -> Cost:
    done = subprocess.run(
        [sys.executable, "-m", "bench.review", case, operation], capture_output=True, text=True, check=True
    )
    return Cost(**json.loads(done.stdout))


class Branches:
    """The sides of a case in a repository, each on a branch of its own."""

    def __init__(self, folder: Path, sides: Sides) -> None:
        self._repository = Repository(folder, branch="base")
        for name, files in zip(_NAMES, sides, strict=True):
            if name != "base":
                self._repository.git("checkout", "--quiet", "-b", name, "base")
            for path, file in files.items():
                target = folder / path.removeprefix("/")
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(file.content)
            self._repository.commit(name)

    def take(self, operation: str) -> Cost:
        """The cost of an operation by git. Raises NoFigure."""
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        began = time.perf_counter()
        out = self._repository.git(*_GIT[operation])
        seconds = time.perf_counter() - began
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        return Cost(seconds, used, 0.0, self._result(operation, out.decode()))

    def accept(self) -> Cost:
        """The cost of merging the proposal into the draft, which is checked out; undone afterwards."""
        self._repository.git("checkout", "--quiet", "draft")
        cost = self.take("accept")
        self._repository.git("reset", "--quiet", "--hard", "HEAD~1")
        return cost

    def _result(self, operation: str, out: str) -> str:
        if operation == "patch":
            return str(bool(out))
        if operation == "diff":
            counts = [line.split("\t")[:2] for line in out.splitlines()]
            return f"{sum(int(added) for added, _ in counts)} {sum(int(removed) for _, removed in counts)}"
        merged = out.strip() if operation == "merge" else "HEAD"
        tree = ("ls-tree", "-r", "--format=%(objectname) %(path)", merged)
        listed = self._repository.git(*tree).decode()
        entries = sorted(listed.splitlines(), key=lambda entry: entry.partition(" ")[2])
        return hashlib.sha256("\n".join(entries).encode()).hexdigest()


async def measure_review(_environment: Environment, *, quick: bool) -> list[Table]:
    """A row for each case and operation. Raises NoFigure when git and the hub do not agree."""
    cases = [case for case in CASES if case.startswith("10 ") == quick]
    return [await asyncio.to_thread(_table, cases, 1 if quick else 3)]


def _table(cases: Sequence[str], rounds: int) -> Table:
    has_git = shutil.which("git") is not None
    rows: list[list[str | Stats]] = []
    for case in cases:
        with tempfile.TemporaryDirectory() as folder:
            branches = Branches(Path(folder), CASES[case]()) if has_git else None
            for operation in OPERATIONS:
                ours = [_take_apart(case, operation) for _ in range(rounds)]
                theirs = [branches.take(operation) for _ in range(rounds)] if branches else []
                results = {cost.result for cost in (*ours, *theirs)}
                if len(results) != 1:
                    raise NoFigure(f"{operation} of {case}: {' and '.join(sorted(results))}")
                rows.append(
                    [
                        f"{operation}, {case}",
                        Stats.of([1000 * cost.seconds for cost in ours]),
                        Stats.of([1000 * cost.cpu_s for cost in ours]),
                        Stats.of([cost.memory_mib for cost in ours]),
                        Stats.of([1000 * cost.seconds for cost in theirs]) if theirs else "-",
                        Stats.of([1000 * cost.cpu_s for cost in theirs]) if theirs else "-",
                    ]
                )
    heads = ["operation", "ms", "CPU ms", "memory MiB", "git ms", "git CPU ms"]
    return Table("Review of sets of files, beside git", heads, rows)


if __name__ == "__main__":
    print(json.dumps(asdict(take(sys.argv[1], sys.argv[2]))))
