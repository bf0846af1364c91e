"""What `/metrics` says of a hub that works."""

from __future__ import annotations

import re
from pathlib import Path
from uuid import UUID

import httpx

from server.metrics import GAUGES
from tests.support.hub import a_workflow, finished, running_hub, start


def values(text: str) -> dict[str, float]:
    return {m[1]: float(m[2]) for m in re.finditer(r"^ide_orchestrator_(\w+) (\S+)$", text, re.MULTILINE)}


async def test_every_bound_on_memory_has_a_limit_and_a_reading(database: str) -> None:
    async with (
        running_hub(database, queue_mib=3, window_mib=2) as hub,
        hub.client() as client,
        httpx.AsyncClient(base_url=hub.http) as http,
    ):
        await finished(client, await start(client, "[[replay:short_run]]"))
        started = await start(client, "[[replay:short_run speed=1]]", await a_workflow(client))
        follower = await hub.core.tails.follow(UUID(started["thread_id"]), 0)
        while hub.core.tails.window_bytes == 0:
            await follower.step()
        answer = await http.get("/metrics")
        follower.close()
    read = values(answer.text)
    assert read.keys() == GAUGES.keys()
    assert (read["runs_live"], read["followers"], read["followed_threads"]) == (1, 1, 1)
    assert (read["window_limit_bytes"], read["journal_queue_limit_bytes"]) == (2 << 20, 3 << 20)
    assert 0 < read["window_bytes"] <= 2 << 20
    assert (read["accepting"], read["breaker_open"]) == (1, 0)
    assert "text/plain" in answer.headers["content-type"]
    assert started["thread_id"] not in answer.text


async def test_the_number_of_series_does_not_grow_with_use(database: str) -> None:
    async with running_hub(database) as hub, httpx.AsyncClient(base_url=hub.http) as http:
        before = values((await http.get("/metrics")).text)
        for number in range(50):
            await http.get(f"/nothing/{number}")
        after = values((await http.get("/metrics")).text)
    assert before.keys() == after.keys()


def test_every_metric_is_in_the_reference() -> None:
    reference = (Path(__file__).parents[2] / "docs" / "reference" / "metrics.md").read_text()
    for name, text in GAUGES.items():
        assert f"| `ide_orchestrator_{name}` | {text} |" in reference
