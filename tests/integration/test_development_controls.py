"""What `ideo dev` lets its callers do: restart the hub, and get tokens that end soon."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import httpx
import pytest
from websockets.exceptions import InvalidStatus

from ide_orchestrator.client import HubError
from server.cli.hub_client import HubClient, open_client
from server.cli.restartable_hub import RestartableHub
from tests.support.development import development_hub
from tests.support.http_interface import socket
from tests.support.hub import finished, running_hub, start
from tests.support.recordings import expected, facts_of
from tests.support.tokens import bearer, token


async def restart(client: HubClient, hub: RestartableHub) -> None:
    """Restart the hub, and wait until another one serves."""
    before = hub._hub
    answer = await client.call("POST", "/api/development/restart")
    assert answer == {"status": "restarting"}
    async with asyncio.timeout(60):
        while hub._hub is before:
            await asyncio.sleep(0.01)


async def seqs_of(client: HubClient, thread_id: str) -> list[int]:
    return [event.seq async for event in client.follow(thread_id)]


async def test_a_follower_gets_every_event_once_across_restarts_of_the_hub(database: str) -> None:
    async with development_hub(database) as hub, open_client(hub.http_address, token()) as client:
        addresses = hub.http_address, hub.grpc_address
        started = await start(client, "[[replay:short_run speed=2]]")
        following = asyncio.create_task(seqs_of(client, started["thread_id"]))
        async with open_client(hub.http_address, token()) as other:
            for _ in range(3):
                await restart(other, hub)
        assert (hub.http_address, hub.grpc_address) == addresses
        async with asyncio.timeout(60):
            seqs = await following
            proposal = await finished(client, started)
    assert seqs == list(range(1, 53))
    assert proposal["status"] == "completed"
    assert facts_of(proposal["generated_files"]) == expected("short_run")["files"]


async def test_a_token_that_is_issued_to_end_soon_ends_its_stream_and_another_one_goes_on(
    database: str,
) -> None:
    async with development_hub(database) as hub, open_client(hub.http_address, token()) as client:
        started = await start(client, "[[replay:short_run silent=10]]")
        for valid_for_s in (1, 2, 4, 8, 16):
            issued = await client.call("POST", "/api/development/tokens", {"valid_for_s": valid_for_s})
            # On a busy machine it may end before the stream is open.
            with suppress(InvalidStatus):
                async with socket(
                    hub.http_address, started["thread_id"], issued["token"], "ideo.v1"
                ) as opened:
                    await opened.wait_closed()
                assert opened.close_code == 4401
                break
        else:
            pytest.fail("no stream opened while its token was valid")
        async with httpx.AsyncClient(base_url=hub.http_address, timeout=60) as http:
            refused = await http.get("/api/me", headers=bearer(issued["token"]))
        assert refused.status_code == 401
        await client.call("POST", f"/api/refinements/{started['thread_id']}/cancel")


async def test_an_issued_token_is_the_callers_own(database: str) -> None:
    async with development_hub(database) as hub, open_client(hub.http_address, token("bob@b")) as bob:
        issued = await bob.call("POST", "/api/development/tokens", {"valid_for_s": 60})
        async with open_client(hub.http_address, issued["token"]) as same:
            assert await same.call("GET", "/api/me") == await bob.call("GET", "/api/me")
        with pytest.raises(HubError) as refused:
            await bob.call("POST", "/api/development/tokens", {"valid_for_s": 0, "email": "ann@example.com"})
        assert set(refused.value.problem["fields"]) == {"valid_for_s", "email"}


async def test_nobody_without_a_token_of_a_user_restarts_the_hub(database: str) -> None:
    async with development_hub(database) as hub, open_client(hub.http_address, token()) as client:
        started = await start(client, "[[replay:short_run]]")
        shares = f"/api/proposals/{started['proposal_id']}/shares"
        link = await client.call("POST", shares, {})
        before = hub._hub
        async with httpx.AsyncClient(base_url=hub.http_address, timeout=60) as http:
            statuses = [
                (await http.post(path, headers=bearer(secret), json={"valid_for_s": 60})).status_code
                for path in ("/api/development/restart", "/api/development/tokens")
                for secret in ("", "forged", link["secret"])
            ]
        assert statuses == [401, 401, 403] * 2
        assert hub._hub is before


async def test_only_a_hub_with_the_controls_has_their_addresses_and_says_so(database: str) -> None:
    async def answers(address: str) -> dict[str, Any]:
        async with httpx.AsyncClient(base_url=address, headers=bearer(token())) as http:
            return {
                "named": "development_controls" in (await http.get("/api/info")).json()["features"],
                "tokens": (await http.post("/api/development/tokens", json={"valid_for_s": 60})).status_code,
                "restart": (await http.post("/api/development/restart")).status_code,
            }

    # As `ideo serve` opens it, with IDEO_ENV=dev, too.
    async with running_hub(database) as hub:
        assert await answers(hub.http) == {"named": False, "restart": 404, "tokens": 404}
    async with development_hub(database) as development:
        assert await answers(development.http_address) == {"named": True, "restart": 202, "tokens": 201}
