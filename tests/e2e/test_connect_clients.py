"""The calls of docs/howto/use-connect.md as they are written: with curl, and with the clients of pages, over
broken connections."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from tests.support.cut_runs import cut_held_run
from tests.support.hub import a_workflow, running_hub, start
from tests.support.node import compile_typescript
from tests.support.paced_runtime import PacedRuntime
from tests.support.pages import code_blocks
from tests.support.programs import output_of
from tests.support.proxy import proxy
from tests.support.runtime import serve_runtime

PAGE = "docs/howto/use-connect.md"
#: What each variant of the page's program has instead of a text of it.
VARIANTS = {
    "json": ("", ""),
    "binary": ("{ baseUrl,", "{ baseUrl, useBinaryFormat: true,"),
    "get": ("{ baseUrl,", "{ baseUrl, useHttpGet: true,"),
    "grpc_web": ("createConnectTransport", "createGrpcWebTransport"),
}
#: A call that is refused, then the events.
USE = """
const { IDEO_DIRECT, IDEO_URL, IDEO_TOKEN, THREAD } = process.env as Record<string, string>;
const token = async () => IDEO_TOKEN;
try {
  const refinements = createClient(RefinementService, connectTo(IDEO_DIRECT, token));
  const { refinement } = await refinements.getRefinement({ threadId: THREAD });
  console.log(refinement!.threadId);
  await refinements.getRefinement({ threadId: "none" });
} catch (error) {
  const { code, rawMessage, details } = ConnectError.from(error);
  console.log(JSON.stringify([Code[code], rawMessage, details.map((each) => "type" in each && each.type)]));
}
for await (const event of follow(connectTo(IDEO_URL, token), THREAD)) console.log(event.seq);
"""


@pytest.mark.timeout(300)
async def test_the_program_gets_every_event_once_over_connections_that_break(
    database: str, tmp_path: Path
) -> None:
    program = code_blocks(PAGE, "ts")[0]
    programs = {
        name: program.replace(*replaced) if replaced[0] else program for name, replaced in VARIANTS.items()
    }
    assert len(set(programs.values())) == len(VARIANTS)
    node = await compile_typescript(tmp_path, {name: text + USE for name, text in programs.items()})
    runtime = PacedRuntime("short_run", 0.25)
    async with (
        serve_runtime(runtime) as url,
        running_hub(database, runtime_url=url) as hub,
        proxy(int(hub.http.rpartition(":")[2])) as way,
    ):
        async with hub.client() as client:
            thread = (await start(client, "go on"))["thread_id"]
        environment = {
            "IDEO_DIRECT": hub.http,
            "IDEO_URL": f"http://127.0.0.1:{way.place}",
            "IDEO_TOKEN": hub.token(),
            "THREAD": thread,
        }
        running = asyncio.gather(
            *(output_of(node, f"out/{name}.js", folder=tmp_path, **environment) for name in VARIANTS)
        )
        await cut_held_run(hub, way, runtime, readers=len(VARIANTS), hows=("reset", "close", "reset"))
        outputs = dict(zip(VARIANTS, await running, strict=True))
    assert way.broken >= 3 * len(VARIANTS)
    details = ["google.rpc.ErrorInfo", "google.rpc.RequestInfo"]
    for name, output in outputs.items():
        found, refused, *seqs = output.splitlines()
        assert found == thread, name
        assert json.loads(refused) == ["NotFound", "no such refinement", details], name
        assert [int(seq) for seq in seqs] == list(range(1, 53)), name


async def test_the_call_with_curl(database: str, tmp_path: Path) -> None:
    by_hand = code_blocks(PAGE, "sh")[0]
    async with running_hub(database) as hub:
        async with hub.client() as client:
            workflow = await a_workflow(client, name="by hand")
        output = await output_of("sh", "-c", by_hand, folder=tmp_path, **hub.ideo_settings)
    assert [each["id"] for each in json.loads(output)["workflows"]] == [workflow]
