"""The metrics of a working hub, and the alerts and dashboard that use them."""

from __future__ import annotations

import json
import re
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import yaml
from prometheus_client.parser import text_string_to_metric_families

from server.observability.metrics import COUNTERS, GAUGES, HISTOGRAMS, PREFIX, PROCESS_UP, SOCKETS
from tests.support.hand_clock import retried, until
from tests.support.http_interface import socket
from tests.support.hub import a_workflow, finished, running_hub, start

ROOT = Path(__file__).parents[2]
Series = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def series(text: str) -> Series:
    """Every series of an exposition, by name and labels."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if not sample.name.endswith("_created")
    }


async def scrape(http: httpx.AsyncClient) -> Series:
    """The metrics now."""
    answer = await http.get("/metrics")
    assert "text/plain" in answer.headers["content-type"]
    return series(answer.text)


async def scrape_without_sockets(http: httpx.AsyncClient) -> Series:
    """The metrics, if no socket is open."""
    read = await scrape(http)
    assert not any(value for (name, _), value in read.items() if name.endswith("websocket_connections"))
    return read


def value(read: Series, name: str, **labels: str) -> float:
    """The value of one series."""
    return read[PREFIX + name, tuple(sorted(labels.items()))]


async def test_every_memory_limit_has_a_gauge_of_its_own_and_one_of_its_use(database: str) -> None:
    async with (
        running_hub(database, max_total_queue_mib=32, max_total_window_mib=8) as hub,
        hub.client() as client,
        httpx.AsyncClient(base_url=hub.http, timeout=60) as http,
    ):
        await finished(client, await start(client, "[[replay:short_run]]"))
        started = await start(client, "[[replay:short_run silent=20]]", await a_workflow(client))
        subscription = await hub.core.broadcaster.subscribe(UUID(started["thread_id"]), 0)
        while hub.core.broadcaster.shared_bytes == 0:
            await subscription.step()
        read = await scrape(http)
        text = (await http.get("/metrics")).text
        subscription.close()
    gauges = {name: value(read, name) for name in GAUGES}
    assert (gauges["runs_live"], gauges["followers"], gauges["followed_threads"]) == (1, 1, 1)
    assert (gauges["window_limit_bytes"], gauges["journal_queue_limit_bytes"]) == (8 << 20, 32 << 20)
    assert 0 < gauges["window_bytes"] <= 8 << 20
    assert (gauges["accepting"], gauges["breaker_open"]) == (1, 0)
    assert gauges["database_connections_idle"] <= gauges["database_connections"]
    assert started["thread_id"] not in text


async def test_events_of_runs_and_streams_are_counted(database: str) -> None:
    async with (
        running_hub(database) as hub,
        hub.client() as client,
        httpx.AsyncClient(base_url=hub.http, timeout=60) as http,
    ):
        for name in ("short_run", "error_mid_stream", "short_run"):
            await finished(client, await start(client, f"[[replay:{name}]]"))
        started = await start(client, "[[replay:short_run silent=20]]")
        async with socket(hub.http, started["thread_id"], hub.token(), "ideo.v1") as opened:
            # The runtime's stream is open once something has come of it.
            while '"seq":2' not in str(await opened.recv()).replace(" ", ""):
                pass
            during = await scrape(http)
        read = await retried(partial(scrape_without_sockets, http), AssertionError)
    assert value(read, "refinement_duration_seconds_count", status="completed") == 2
    assert value(read, "refinement_duration_seconds_count", status="failed") == 1
    assert 0 < value(read, "refinement_duration_seconds_sum", status="completed") < 60
    requests = "deepagents_runtime_requests_total"
    assert value(read, requests, endpoint="invoke", status="200") == 4
    assert value(read, requests, endpoint="stream", status="101") == 4
    assert value(read, requests, endpoint="stream", status="none") == 0
    assert value(read, "frames_uninterpreted_total", reason="error_report") == 1
    assert value(read, "journal_commit_seconds_count") >= 4
    lag, commit = value(read, "ingest_lag_seconds_sum"), value(read, "journal_commit_seconds_sum")
    assert lag >= commit > 0
    assert [value(during, "websocket_connections", form=form) for form in ("legacy", "json", "proto")] == [
        0,
        1,
        0,
    ]
    assert value(read, "websocket_connections", form="json") == 0


async def test_sockets_have_a_label_of_their_thread_only_when_it_is_set(database: str) -> None:
    async with (
        running_hub(database, metrics_threads=True) as hub,
        hub.client() as client,
        httpx.AsyncClient(base_url=hub.http, timeout=60) as http,
    ):
        thread = (await start(client, "[[replay:short_run silent=20]]"))["thread_id"]
        async with socket(hub.http, thread, hub.token()):
            await until(lambda: hub.core.broadcaster.readers == 1)
            read = await scrape(http)
        assert value(read, "websocket_connections", form="legacy", thread_id=thread) == 1

        async def no_series_is_left() -> None:
            assert not [name for name, _ in await scrape(http) if name.endswith("websocket_connections")]

        await retried(no_series_is_left, AssertionError)


async def test_the_number_of_series_is_constant_and_every_metric_exists(database: str) -> None:
    async with (
        running_hub(database, max_creates_per_minute=0, max_active_runs=0) as hub,
        hub.client() as client,
        httpx.AsyncClient(
            base_url=hub.http, headers={"Authorization": f"Bearer {hub.token()}"}, timeout=60
        ) as http,
    ):
        before = await scrape(http)
        workflow = await a_workflow(client)
        for number in range(200):
            await http.get(f"/nothing/{number}")
            await http.get(f"/api/refinements/{uuid4()}/events?after={number}")
        for _ in range(20):
            await finished(client, await start(client, "[[replay:short_run]]", workflow))
        after = await scrape(http)
    assert before.keys() == after.keys()
    assert len(after) <= 400
    names = {name for name, _ in after}
    histograms = {f"{name}_{part}" for name in HISTOGRAMS for part in ("bucket", "count", "sum")}
    assert names == {PREFIX + name for name in (*GAUGES, *COUNTERS, *histograms, SOCKETS[0])}


def test_every_metric_is_in_the_reference() -> None:
    reference = (ROOT / "docs" / "reference" / "metrics.md").read_text()
    for name, text in GAUGES.items():
        assert f"| `{PREFIX}{name}` | {text} |" in reference
    for name, (text, *_) in {**COUNTERS, **HISTOGRAMS}.items():
        assert f"| `{PREFIX}{name}` | {text} |" in reference
    named = set(re.findall(r"`ide_orchestrator_(\w+)`", reference))
    assert named == {*GAUGES, *COUNTERS, *HISTOGRAMS, SOCKETS[0], PROCESS_UP[0]}


# --- Alerts and dashboard ------------------------------------------------------------------------------

#: Series that the scrape makes.
OTHERS = {"up"}


def used(expression: str) -> set[str]:
    """The hub's metrics in an expression."""
    return set(re.findall(r"\b(ide_orchestrator_\w+)", expression))


def known() -> set[str]:
    """The names of all series."""
    histograms = {f"{name}_{part}" for name in HISTOGRAMS for part in ("bucket", "count", "sum")}
    return {PREFIX + name for name in (*GAUGES, *COUNTERS, *histograms, SOCKETS[0], PROCESS_UP[0])}


def test_every_alert_uses_metrics_that_exist_and_says_what_to_do() -> None:
    groups = yaml.safe_load((ROOT / "deploy" / "monitoring" / "alerts.yaml").read_text())["spec"]["groups"]
    rules: list[dict[str, Any]] = [rule for group in groups for rule in group["rules"]]
    runbook = (ROOT / "docs" / "howto" / "alerts.md").read_text()
    assert len(rules) >= 8
    for rule in rules:
        assert used(rule["expr"]) <= known(), rule["alert"]
        assert used(rule["expr"]) or "up" in rule["expr"]
        assert rule["labels"]["severity"] in ("page", "ticket")
        assert rule["annotations"]["summary"]
        assert rule["annotations"]["runbook"].endswith(f"#{rule['alert'].lower()}")
        assert f"## {rule['alert']}\n" in runbook


def test_every_panel_of_the_dashboard_uses_metrics_that_exist() -> None:
    board = json.loads((ROOT / "deploy" / "monitoring" / "dashboard.json").read_text())
    expressions = [target["expr"] for panel in board["panels"] for target in panel.get("targets", ())]
    assert len(expressions) >= 10
    for expression in expressions:
        assert used(expression)
        assert used(expression) <= known(), expression
