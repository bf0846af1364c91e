"""The runtime's own reason for a refusal reaches the person who asked, and no log."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ide_orchestrator.client import HubError
from server.cli.hub_client import open_client
from tests.support.hub import start
from tests.support.processes import forked, hub_environment
from tests.support.runtime import Answer, Runtime, serve_runtime
from tests.support.tokens import token

REASON = "the plan of account 7 has no credits left"


class Refusing(Runtime):
    async def invoke(self, job: dict[str, Any]) -> Answer:
        return 422, {"detail": REASON, "input": job}


async def test_a_refused_start_says_why_in_the_answer_and_in_the_proposal(
    database: str, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    async with serve_runtime(Refusing()) as url:
        environment = hub_environment(database, url)
        async with forked("serve", environment=environment, log=log) as hub:
            await hub.serving("HTTP", "gRPC")
            async with open_client(hub.addresses["HTTP"], token()) as client:
                with pytest.raises(HubError) as refused:
                    await start(client, "my prompt")
                [proposal] = (await client.call("GET", "/api/proposals"))["items"]
            await hub.stop()
    assert refused.value.code == "runtime_refused"
    assert f"the runtime refused the job with HTTP 422: {REASON}" in str(refused.value)
    assert "my prompt" not in str(refused.value)
    assert proposal["failure"]["message"] == f"the runtime refused the job with HTTP 422: {REASON}"
    text = log.read_text()
    assert "runtime_refused" in text
    assert "credits" not in text
    assert "my prompt" not in text
