"""A hub dies between the commit of a start and its answer: the start is sent again to another one."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from ide_orchestrator.client import HubError, Unavailable
from server.cli.hub_client import open_client
from server.domain.crash_points import EXIT_CODE
from tests.support import tokens
from tests.support.hub import a_workflow, finished
from tests.support.processes import forked, hub_environment, replay_process
from tests.support.recordings import expected, facts_of


@pytest.mark.parametrize("chooses_ids", [False, True], ids=["job's id", "chosen id"])
@pytest.mark.parametrize("point", ["started", "after_invoking", "after_post", "after_running"])
async def test_a_start_whose_hub_died_is_carried_out_once(
    database: str, pool: Any, point: str, chooses_ids: bool
) -> None:
    token = tokens.token()
    body = {"user_prompt": "[[replay:short_run]]"}
    async with replay_process(chooses_ids=chooses_ids) as runtime:
        environment = hub_environment(database, runtime, IDEO_RUNTIME_PROFILE="full")
        async with forked("serve", environment={**environment, "IDEO_CRASH_POINT": point}) as hub:
            await hub.serving("HTTP", "gRPC")
            async with open_client(hub.addresses["HTTP"], token) as client:
                path = f"/api/workflows/{await a_workflow(client)}/refinements"
                with pytest.raises(HubError) as lost:
                    await client.call("POST", path, body, key="k")
            assert await hub.ended() == EXIT_CODE
        assert isinstance(lost.value, Unavailable)
        stored = await pool.fetchrow("SELECT thread_id, proposal_id FROM runs")
        async with forked("serve", environment=environment) as hub:
            await hub.serving("HTTP", "gRPC")
            async with open_client(hub.addresses["HTTP"], token) as client:
                started = await _until_answered(client, path, body)
                again = await client.call("POST", path, body, key="k")
                proposal = await finished(client, started)
    assert (started["thread_id"], started["proposal_id"]) == tuple(map(str, stored))
    assert again == started
    assert proposal["status"] == "completed"
    assert facts_of(proposal["generated_files"]) == expected("short_run")["files"]
    assert await pool.fetchval("SELECT count(*) FROM runs") == 1


async def _until_answered(client: Any, path: str, body: dict[str, Any]) -> dict[str, Any]:
    """The answer, which comes when the run is taken over; 409 until then."""
    async with asyncio.timeout(60):
        while True:
            try:
                answer: dict[str, Any] = await client.call("POST", path, body, key="k")
            except HubError as busy:
                if (busy.code, busy.retry_after_s) != ("conflict", 1):
                    raise
                await asyncio.sleep(0.1)
            else:
                return answer
