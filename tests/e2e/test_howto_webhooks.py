"""The receiver of docs/howto/receive-webhooks.md, run as it is written there."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path

import httpx

from tests.support.hand_clock import retried
from tests.support.hub import finished, running_hub, start
from tests.support.pages import code_blocks
from tests.support.servers import free_port


async def test_the_receiver_prints_each_genuine_event_once(database: str, tmp_path: Path) -> None:
    [code] = code_blocks("docs/howto/receive-webhooks.md", "python")
    script = tmp_path / "receiver.py"
    script.write_text(code)
    port = free_port()
    address = f"http://127.0.0.1:{port}/"
    async with running_hub(database, webhook_allowed_hosts=("127.0.0.1",)) as hub, hub.client() as client:
        body = {"target_url": address, "event_types": ["run.finished"]}
        webhook = await client.call("POST", "/api/webhooks", body)
        rotated = await client.call("POST", f"/api/webhooks/{webhook['id']}/rotate", {})
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, str(script), str(port)),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env={**os.environ, "WEBHOOK_SECRET": f"{webhook['secret']} {rotated['secret']}"},
        )
        try:
            assert process.stdout is not None
            async with httpx.AsyncClient(trust_env=False, timeout=60) as http, asyncio.timeout(60):
                forged = await retried(lambda: http.post(address, content=b"{}"), httpx.TransportError)
                assert forged.status_code == 401
                proposal = await finished(client, await start(client, "[[replay:short_run]]"))
                kind, _, data = (await process.stdout.readline()).decode().partition(" ")
                assert kind == "com.bizmatters.ide.run.finished"
                assert json.loads(data)["proposal_id"] == proposal["id"]
                # What comes again is accepted, and not printed.
                path = f"/api/webhooks/{webhook['id']}/deliveries"
                [delivery] = (await client.call("GET", path))["items"]
                await client.call("POST", f"{path}/{delivery['id']}/redeliver")
                other = await finished(client, await start(client, "[[replay:error_mid_stream]]"))
                data = (await process.stdout.readline()).decode().partition(" ")[2]
                assert json.loads(data)["proposal_id"] == other["id"]

                async def delivered() -> None:
                    items = (await client.call("GET", path))["items"]
                    assert [each["status"] for each in items] == ["delivered"] * 2
                    assert [each["attempts"] for each in items] == [1, 2]

                await retried(delivered, AssertionError)
        finally:
            process.kill()
            await process.wait()
