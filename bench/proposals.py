"""`proposals`: a proposal of many files, and a list of many proposals, over HTTP, beside git.

The proposals are written into the database as the end of a run leaves them.
"""

from __future__ import annotations

import shutil
import tempfile
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from bench.costs import HEADS, Cost, cells, measured
from bench.environment import Environment
from bench.figures import NoFigure, Stats, Table
from bench.git import Repository
from bench.review import CASES, Branches, Sides, tree_hash
from bench.stored_proposals import add_proposal, copy_proposal
from ide_orchestrator.client.http_calls import PAGE
from server.cli.hub_client import HubClient, open_client
from server.db.pool import open_pool
from server.domain.proposals.files import File
from tests.support.tokens import token

_ANY = {"If-Match": "*"}
_MERGE = {"strategy": "three_way"}

Row = list[str | Stats]


@dataclass(frozen=True, slots=True)
class Measured:
    """A client of a hub, the hub's process and its database. rounds: how often each figure is taken."""

    client: HubClient
    hub_pid: int
    pool: Any
    rounds: int


async def measure_proposals(environment: Environment, *, quick: bool) -> list[Table]:
    """A table of one proposal, and one of many. Raises NoFigure when git and the hub do not agree."""
    case, count = ("10 files of 200 lines", 500) if quick else ("500 files of 200 lines", 10_000)
    url, heads = environment.hub.addresses["HTTP"], ["operation", *HEADS, "git ms"]
    async with (
        open_pool(environment.dsn) as pool,
        open_client(url, token("reviewer@example.com", minutes=600)) as reviewer,
        open_client(url, token("reader@example.com", minutes=600)) as reader,
    ):
        at = Measured(reviewer, environment.hub.pid, pool, 1 if quick else 5)
        review = await _review(at, CASES[case]())
        lists = await _list(replace(at, client=reader), count)
    return [
        Table(f"A proposal of {case} over HTTP, beside git", heads, review),
        Table(f"Lists of {count:,} proposals over HTTP, beside git", heads, lists),
    ]


async def _review(at: Measured, sides: Sides) -> list[Row]:
    """Each round has a workflow of its own, whose draft has changed since the run began."""
    base, draft, proposal = sides
    changed = {path: file for path, file in draft.items() if base.get(path) != file}
    ours: dict[str, list[Cost]] = defaultdict(list)
    theirs: dict[str, list[float]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as folder:
        branches = Branches(Path(folder), sides) if shutil.which("git") else None
        for _ in range(at.rounds):
            workflow = await at.client.call(
                "POST", "/api/workflows", {"name": "bench", "files": _texts(base)}
            )
            path = f"/api/proposals/{await add_proposal(at.pool, workflow, proposal)}"
            draft_path = f"/api/drafts/{workflow['current_draft_id']}"
            await at.client.call("PUT", draft_path, {"files": _texts(changed)}, headers=_ANY)
            results = {}
            for operation, work in (
                ("diff", _diff(at.client, path)),
                ("patch", _patch(at.client, path)),
                ("merge, as a dry run", _accept(at.client, f"{path}/accept?validate_only=true")),
                ("merge and accept", _accept(at.client, f"{path}/accept")),
            ):
                cost, results[operation] = await measured(at.hub_pid, work)
                ours[operation].append(cost)
            if branches is None:
                continue
            results["merge, as a dry run"] = results["merge and accept"] = await _hash(at.client, draft_path)
            for operation, same in (
                ("diff", branches.take("diff")),
                ("patch", branches.take("patch")),
                ("merge, as a dry run", branches.take("merge")),
                ("merge and accept", branches.accept()),
            ):
                theirs[operation].append(1000 * same.seconds)
                if same.result != results[operation]:
                    raise NoFigure(f"{operation}: {results[operation]}, and {same.result} by git")
    return [[name, *cells(ours[name]), Stats.of(theirs[name]) if branches else "-"] for name in ours]


def _texts(files: Mapping[str, File]) -> dict[str, str]:
    return {path: file.content.decode() for path, file in files.items()}


async def _diff(client: HubClient, path: str) -> str:
    """Read all pages. Returns the numbers of added and removed lines, as `Branches.take` does."""
    files = [file async for file in client.items(f"{path}/diff", limit=PAGE)]
    added, removed = (sum(file[count] for file in files) for count in ("added_lines", "removed_lines"))
    return f"{added} {removed}"


async def _patch(client: HubClient, path: str) -> str:
    headers = {"Accept": "text/x-patch"}
    size = sum([len(piece) async for piece in client.pieces(f"{path}/diff", headers)])
    return str(size > 0)


async def _accept(client: HubClient, path: str) -> int:
    """The number of files that it changes in the draft."""
    accepted = await client.call("POST", path, _MERGE, headers=_ANY)
    return int(accepted["change_count"])


async def _hash(client: HubClient, draft_path: str) -> str:
    draft = await client.call("GET", draft_path)
    return tree_hash({path: File(file["text"].encode()) for path, file in draft["files"].items()})


async def _list(at: Measured, count: int) -> list[Row]:
    """The lists of a user who has so many proposals. git has as many branches, each with a commit."""
    workflow = await at.client.call("POST", "/api/workflows", {"name": "bench"})
    await copy_proposal(at.pool, await add_proposal(at.pool, workflow, {}), count - 1)
    cursor = await _last_cursor(at.client)
    text = f"request {count // 100}"
    refs = ("for-each-ref", "--sort=-committerdate", "--format=%(objectname) %(committerdate) %(subject)")
    grep = ("log", "--branches", "--no-walk", "--fixed-strings", f"--grep={text}", "--format=%H")
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        repository = _branches(Path(folder), count) if shutil.which("git") else None
        for operation, query, command in (
            (f"the newest {PAGE}", {}, (*refs, f"--count={PAGE}")),
            ("the oldest page", {"cursor": cursor}, ()),
            ("those with a text", {"text": text}, grep),
            (f"all, {PAGE} a page", None, refs),
        ):
            costs, times = [], []
            for _ in range(at.rounds):
                work = _all(at.client) if query is None else _page(at.client, **query)
                cost, items = await measured(at.hub_pid, work)
                costs.append(cost)
                if repository and command:
                    ms, out = repository.timed(*command)
                    times.append(ms)
                    if len(out.splitlines()) != len(items):
                        raise NoFigure(f"{operation}: {len(items)}, and {len(out.splitlines())} by git")
            rows.append([operation, *cells(costs), Stats.of(times) if times else "-"])
    return rows


async def _page(client: HubClient, **query: str) -> list[dict[str, Any]]:
    page = await client.call("GET", f"/api/proposals?{urlencode({'limit': PAGE, **query})}")
    return list(page["items"])


async def _all(client: HubClient) -> list[dict[str, Any]]:
    return [item async for item in client.items("/api/proposals", limit=PAGE)]


async def _last_cursor(client: HubClient) -> str:
    """The cursor of the last page."""
    cursor = ""
    page = await client.call("GET", f"/api/proposals?limit={PAGE}")
    while page["next_cursor"] is not None:
        cursor = page["next_cursor"]
        page = await client.call("GET", f"/api/proposals?limit={PAGE}&cursor={cursor}")
    return cursor


def _branches(folder: Path, count: int) -> Repository:
    """A repository with so many branches, a second apart, with the texts of `copy_proposal`."""
    repository = Repository(folder)
    commits = []
    for number in range(count):
        text = f"request {number}"
        commits.append(
            f"commit refs/heads/proposal-{number}\n"
            f"committer bench <bench@localhost> {1_700_000_000 + number} +0000\n"
            f"data {len(text)}\n{text}\n\n"
        )
    repository.git("fast-import", "--quiet", given="".join(commits).encode())
    repository.git("pack-refs", "--all")
    return repository
