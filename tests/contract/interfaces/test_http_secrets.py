"""What callers show, ask for and send never reaches the logs of a hub as it is shipped, nor those of its
database, nor its metrics, nor the texts of its errors."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from websockets.exceptions import ConnectionClosed

from server.auth.tokens import SharedSecret
from server.http.server import MAX_CLIENT_MESSAGE_BYTES
from tests.support.hand_clock import PATIENCE_S
from tests.support.http_interface import socket, upgrade
from tests.support.processes import forked, hub_environment, replay_process
from tests.support.tokens import SECRET

#: Stands in everything that a caller may write.
CANARY = "kingfisher-4711"


async def test_no_token_prompt_file_or_query_is_in_logs_metrics_or_errors(
    database: str, capfd: pytest.CaptureFixture[str]
) -> None:
    refusals: list[str] = []

    async def _note(answer: httpx.Response) -> None:
        if answer.is_error:
            problem = json.loads(await answer.aread())
            # The problem names the address that the caller asked for, as RFC 9457 requires. A runtime that
            # refuses a job has a reason of its own, which the caller gets and which may repeat the prompt.
            from_runtime = {"detail": ""} if problem["code"] == "runtime_refused" else {}
            refusals.append(json.dumps(problem | {"instance": ""} | from_runtime))

    hour = timedelta(hours=1)
    token = SharedSecret(SECRET).issue(email="ann@example.com", lifetime=hour, now=datetime.now(UTC))
    stranger = SharedSecret("another secret that the hub has not").issue(
        email="eve@example.com", lifetime=hour, now=datetime.now(UTC)
    )
    async with (
        replay_process() as runtime,
        forked("serve", environment=hub_environment(database, runtime)) as hub,
    ):
        await hub.serving("HTTP", "gRPC")
        address = hub.addresses["HTTP"]
        async with httpx.AsyncClient(
            base_url=address, timeout=60, trust_env=False, event_hooks={"response": [_note]}
        ) as http:
            http.headers["Authorization"] = f"Bearer {token}"
            made = await http.post(
                "/api/workflows", json={"name": CANARY, "files": {f"/{CANARY}.md": CANARY}}
            )
            refinements = f"/api/workflows/{made.json()['id']}/refinements"
            prompt = {"user_prompt": f"{CANARY} [[replay:short_run]]", "context_file_path": CANARY}
            started = (await http.post(refinements, json=prompt)).json()
            thread = started["thread_id"]
            path = f"/api/ws/refinements/{thread}"

            # All that a caller does right, the token in each of its places.
            async with socket(address, thread, None, "ideo.v1", query=f"?token={token}&x={CANARY}") as opened:
                async for _ in opened:
                    pass
            async with socket(address, thread, None, "ideo.v1.proto", f"bearer.{token}") as opened:
                async for _ in opened:
                    pass
            events = f"/api/refinements/{thread}/events"
            await http.get(events, params={"x": CANARY}, headers={"Accept": "text/event-stream"})

            # And all that a caller does wrong.
            await http.post(refinements, content=json.dumps({"other": CANARY}))
            await http.post(refinements, content=f'{{"user_prompt": "{CANARY}'.encode())
            await http.post(refinements, json={"user_prompt": f"[[replay:{CANARY}]]"})
            keyed = {"Idempotency-Key": CANARY}
            for asked in (CANARY, CANARY, "another", f"[[replay:{CANARY}]]"):
                await http.post(refinements, json={"user_prompt": asked}, headers=keyed)
            await http.post(refinements, json=prompt, headers={"Idempotency-Key": f"{CANARY} {CANARY}"})
            await http.get(f"/api/{CANARY}?token={token}")
            await http.get(events, params={"after": CANARY})
            await http.get("/api/workflows", headers={"Authorization": f"Bearer {stranger}"})
            await http.get("/api/workflows", headers={"Authorization": f"Bearer {CANARY}"})
            await http.get("/api/proposals", params={"cursor": CANARY, "status": CANARY, "limit": CANARY})
            shared = f"/api/proposals/{started['proposal_id']}/shares"
            await http.post(shared, json={"other": CANARY, "after_seq": CANARY})
            await http.put(f"/api/proposals/{CANARY}/access/{CANARY}", json={"access_type": CANARY})
            secret = (await http.post(shared, json={})).json()["secret"]
            await http.get(f"/api/proposals/{CANARY}", headers={"Authorization": f"Bearer {secret}"})
            await http.get("/api/workflows", headers={"Authorization": f"Bearer {secret}{CANARY}"})
            metrics = (await http.get("/metrics")).text
        for query, headers in (
            (f"?token={stranger}", {}),
            (f"?token={CANARY}", {}),
            ("", {"Sec-WebSocket-Protocol": f"ideo.v1, bearer.{stranger}"}),
            (f"?token={token}&after={CANARY}", {}),
            (f"?token={token}", {"Origin": f"https://{CANARY}.example"}),
            (f"?token={token}", {"Sec-WebSocket-Version": CANARY}),
            (f"?token={token}", {"Sec-WebSocket-Key": CANARY}),
            (f"?token={token}", {"X-Long": CANARY * 1000}),
        ):
            assert (await upgrade(address, path + query, headers))[0] >= 400
        async with socket(address, thread, None, query=f"?token={token}&after=51") as opened:
            with suppress(ConnectionClosed):
                await opened.send(CANARY * (MAX_CLIENT_MESSAGE_BYTES // 10))
                await asyncio.wait_for(opened.wait_closed(), PATIENCE_S)
        for head in (f"{CANARY}\r\n\r\n", f"GET /{CANARY}?token={token} HTTP/9.9\r\n\r\n"):
            reader, writer = await asyncio.open_connection(*address.removeprefix("http://").split(":"))
            writer.write(head.encode())
            await asyncio.wait_for(reader.read(), PATIENCE_S)
            writer.close()
        assert await hub.stop() == 0
    log = capfd.readouterr().err
    assert "run_finished" in log, "the log was not read"
    assert "ide_orchestrator_followers" in metrics, "the metrics were not read"
    assert len(refusals) > 12, "the errors were not read"
    folder = parse_qs(urlsplit(database).query)["host"][0]
    database_log = (Path(folder).parent / "postgres.log").read_text()
    assert "ready to accept connections" in database_log, "the database's log was not read"
    for told in (log, metrics, *refusals, database_log):
        for word in (CANARY, token, stranger, secret, *token.split("."), *stranger.split(".")):
            assert word not in told
