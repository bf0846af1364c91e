"""What a page of an ended run costs the hub and PostgreSQL: whole, and when its reader has it already."""

from __future__ import annotations

from collections.abc import Mapping

import httpx

from bench.environment import Environment, open_environment
from bench.figures import NoFigure, Stats, Table
from bench.machine import cpu_seconds, tree_cpu_seconds
from bench.prepared import prepare
from tests.support.tokens import bearer


async def measure_ended(*, quick: bool) -> Table:
    """A row for each way to ask. Raises NoFigure."""
    times = 20 if quick else 500
    async with (
        open_environment(with_peers=False) as environment,
        httpx.AsyncClient(trust_env=False, timeout=60) as http,
    ):
        run = await prepare(environment, "tokens-200" if quick else "tokens-1000")
        url = f"{environment.addresses.hub}/api/refinements/{run.thread}/stream"
        headers = bearer(environment.addresses.token)
        first = (await http.get(url, headers=headers)).raise_for_status()
        known = {**headers, "If-None-Match": first.headers["etag"]}
        rows = [
            ["whole", *await _asked(environment, http, url, headers, times, 200)],
            ["304", *await _asked(environment, http, url, known, times, 304)],
        ]
    title = f"The first page of an ended run of {run.events:,} events"
    return Table(title, ["answer", "hub CPU µs", "PostgreSQL CPU µs", "bytes"], rows)


async def _asked(
    environment: Environment,
    http: httpx.AsyncClient,
    url: str,
    headers: Mapping[str, str],
    times: int,
    status: int,
) -> list[str | Stats]:
    hub_pid, postgres_pid = environment.hub.pid, environment.addresses.postgres_pid
    hub, postgres, size = [], [], 0
    for _ in range(4):
        before = cpu_seconds(hub_pid), tree_cpu_seconds(postgres_pid)
        for _ in range(times):
            answer = await http.get(url, headers=headers)
            if answer.status_code != status:
                raise NoFigure(f"status {answer.status_code} instead of {status}")
        size = len(answer.content)
        hub.append((cpu_seconds(hub_pid) - before[0]) / times * 1e6)
        postgres.append((tree_cpu_seconds(postgres_pid) - before[1]) / times * 1e6)
    return [Stats.of(hub), Stats.of(postgres), f"{size:,}"]
