"""The published clients of open protocols, in the programs of docs/howto/use-open-protocols.md, over
connections that break, and a hub that restarts."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio

from tests.support.cut_runs import Reader, read_cut_run
from tests.support.hub import a_workflow, running_hub
from tests.support.node import node_command
from tests.support.pages import code_blocks
from tests.support.postgres import Postgres
from tests.support.programs import output_of

DURABLE_STREAMS, AG_UI = code_blocks("docs/howto/use-open-protocols.md", "js")
LAST = 2259


#: For a program that is given a refinement alone.
FIND_WORKFLOW = """
const url = `${process.env.IDEO_URL}/api/refinements/${process.env.THREAD}`;
const headers = { Authorization: `Bearer ${process.env.IDEO_TOKEN}` };
process.env.WORKFLOW = (await (await fetch(url, { headers })).json()).workflow_id;
await import("./agent.mjs");
"""


@dataclass(frozen=True)
class CutRun:
    """What the clients read of one run, each over connections that were cut a hundred times. `ag_ui`: the
    command of the AG-UI client."""

    dsn: str
    durable_streams: list[Reader]
    ag_ui: tuple[str, str]
    ag_ui_reader: Reader


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def cut_run(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[CutRun]:
    durable_streams, ag_ui = (tmp_path_factory.mktemp(name) for name in ("streams", "ag_ui"))
    (ag_ui / "agent.mjs").write_text(AG_UI)
    streams_command = await node_command(durable_streams, DURABLE_STREAMS)
    ag_ui_command = await node_command(ag_ui, FIND_WORKFLOW)
    programs = [(streams_command, {"LIVE": live}) for live in ("sse", "long-poll")]
    async with postgres.fresh(migrated=True) as dsn:
        *streams, reader = await read_cut_run(dsn, [*programs, (ag_ui_command, {})])
        yield CutRun(dsn, streams, ag_ui_command, reader)


@pytest.mark.timeout(400)
def test_durable_streams_clients_get_every_event_once_through_a_hundred_cuts_and_a_restart(
    cut_run: CutRun,
) -> None:
    assert len(cut_run.durable_streams) == 2
    for reader in cut_run.durable_streams:
        assert reader.seqs == list(range(1, LAST + 1))
        assert f"closed at {LAST:010d}" in reader.rest


@pytest.mark.timeout(400)
async def test_an_ag_ui_client_gets_every_event_once_through_a_hundred_cuts_and_a_restart(
    cut_run: CutRun,
) -> None:
    async with running_hub(cut_run.dsn) as hub, hub.client() as client:
        (proposal,) = (await client.call("GET", "/api/proposals"))["items"]
        environment = {"IDEO_URL": hub.http, "IDEO_TOKEN": hub.token(), "THREAD": proposal["thread_id"]}
        *numbers, uncut = (await output_of(*cut_run.ag_ui, **environment)).splitlines()
    assert len(numbers) > LAST
    assert cut_run.ag_ui_reader.seqs == list(range(1, len(numbers) + 1))
    assert "RUN_FINISHED" in numbers[-1]
    found, expected = json.loads(cut_run.ag_ui_reader.rest), json.loads(uncut)
    # Each client names the prompt as it likes.
    assert found["messages"].pop(0)["role"] == expected["messages"].pop(0)["role"] == "user"
    assert found == expected
    assert len(found["state"]["files"]) == 25


async def test_an_ag_ui_client_starts_a_run_and_has_its_messages_and_files(
    database: str, tmp_path: Path
) -> None:
    command = await node_command(tmp_path, AG_UI)
    async with running_hub(database) as hub, hub.client() as client:
        environment = {
            "IDEO_URL": hub.http,
            "IDEO_TOKEN": hub.token(),
            "WORKFLOW": await a_workflow(client),
            "PROMPT": "[[replay:short_run]]",
        }
        output = await output_of(*command, **environment)
    found = json.loads(output.splitlines()[-1])
    assert len(found["state"]["files"]) == 2
    roles = [message["role"] for message in found["messages"]]
    assert roles[0] == "user"
    assert {"assistant", "tool"} <= set(roles)


@pytest.mark.parametrize(("decision", "completed"), [("approve", True), ("cancel", True), ("", False)])
async def test_an_ag_ui_client_answers_interrupts_until_the_run_is_over(
    database: str, tmp_path: Path, decision: str, completed: bool
) -> None:
    command = await node_command(tmp_path, AG_UI)
    async with running_hub(database, runtime_can_resume=True) as hub, hub.client() as client:
        environment = {
            "IDEO_URL": hub.http,
            "IDEO_TOKEN": hub.token(),
            "WORKFLOW": await a_workflow(client),
            "PROMPT": "[[replay:approval]]",
            "DECISION": decision,
        }
        *lines, last = (await output_of(*command, **environment)).splitlines()
        (proposal,) = (await client.call("GET", "/api/proposals"))["items"]
        proposal = await client.call("GET", f"/api/proposals/{proposal['id']}")
    asked = [line for line in lines if line.startswith("the agent asks until 2")]
    runs = [line for line in lines if line.endswith("RUN_STARTED")]
    assert (len(asked), len(runs)) == ((2, 3) if decision else (1, 1))
    assert (proposal["status"] == "completed") == completed
    if decision == "approve":
        assert sorted(json.loads(last)["state"]["files"]) == sorted(proposal["generated_files"])
