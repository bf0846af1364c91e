"""The Go module of clients/go: taken into an empty module, and used with a real hub."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import time
from pathlib import Path

import pytest

from server.replay.recording import SHIPPED
from tests.contract.schema.golden_events import FOLDER, GOLDEN
from tests.support.caller_programs import caller_program
from tests.support.corpus import corpus_hub, play_all
from tests.support.cut_runs import read_cut_run
from tests.support.hand_clock import until
from tests.support.hub import finished, running_hub, start
from tests.support.limit_cases import write_cases
from tests.support.pages import code_blocks
from tests.support.programs import ROOT, installed, output_of
from tests.support.recordings import write_recording
from tests.support.tls import tls_in_front_of

CLIENT = ROOT / "clients" / "go"
PROGRAMS = Path(__file__).parent
NAMES = ("follow", "cases", "limits", "golden", "calls")
MODULE = "github.com/bizmatters/ide-orchestrator"
CASES = re.findall(r'^\t"(.*)": func', (PROGRAMS / "cases.go").read_text(), re.M)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty module that requires the client, with the programs of the tests."""
    go = installed("go")
    folder = tmp_path_factory.mktemp("project")
    [example] = code_blocks("clients/go/README.md", "go")
    for name in (*NAMES, "example"):
        (folder / name).mkdir()
    (folder / "example" / "main.go").write_text(example)
    for name in NAMES:
        shutil.copy(PROGRAMS / f"{name}.go", folder / name / "main.go")

    async def get_and_build() -> None:
        began = time.monotonic()
        await output_of(go, "mod", "init", "example.com/project", folder=folder)
        for part in ("clients/go", "gen/go"):
            # The versions of this tree, as if they were released.
            edits = (f"-require={MODULE}/{part}@v0.1.0", f"-replace={MODULE}/{part}={ROOT / part}")
            await output_of(go, "mod", "edit", *edits, folder=folder)
        await output_of(go, "mod", "tidy", folder=folder)
        print(f"installed in an empty module in {time.monotonic() - began:.1f} s")
        await output_of(go, "build", "-o", "bin/", "./...", folder=folder)

    asyncio.run(get_and_build())
    return folder / "bin"


async def test_the_rules_of_following_hold() -> None:
    await output_of(installed("go"), "test", "./...", folder=CLIENT)


async def test_the_example_of_the_readme_runs(database: str, project: Path) -> None:
    async with running_hub(database) as hub:
        output = await output_of(str(project / "example"), **hub.ideo_settings)
    lines = output.splitlines()
    assert [int(line.split()[0]) for line in lines[:52]] == list(range(1, 53))
    assert "Terminal" in lines[51]
    changes = ["DIFF_KIND_ADDED /THE_SPEC/constitution.md", "DIFF_KIND_ADDED /definition.json"]
    assert lines[52:] == [*changes, "accepted as version 2"]


@pytest.mark.timeout(400)
async def test_each_transport_gives_every_event_once_though_it_is_cut_100_times_and_the_hub_restarts(
    database: str, project: Path
) -> None:
    command = (str(project / "follow"),)
    readers = await read_cut_run(database, [(command, {"WAY": way}) for way in ("grpc", "websocket")])
    assert len(readers[0].seqs) > 2200
    for reader in readers:
        assert reader.seqs == list(range(1, len(readers[0].seqs) + 1))
    assert len({reader.rest for reader in readers}) == 1


async def test_the_limits_of_requests_are_those_of_the_python_client(project: Path, tmp_path: Path) -> None:
    expected = write_cases(tmp_path / "requests")
    output = await output_of(str(project / "limits"), str(tmp_path / "requests"))
    assert [json.loads(line) for line in output.splitlines()] == expected


async def test_every_golden_event_is_read_and_written_back_unchanged(project: Path) -> None:
    output = await output_of(str(project / "golden"), str(FOLDER))
    assert output.strip() == f"{len(GOLDEN)} events, 0 bad"


@pytest.mark.timeout(400)
async def test_every_case_of_the_corpus_has_its_outcome_in_go(
    database: str, project: Path, tmp_path: Path
) -> None:
    async with (
        corpus_hub(database, tmp_path) as hub,
        caller_program(str(project / "calls"), hub.http, hub.grpc, folder=project) as program,
    ):
        await play_all(hub, ("rest", "grpc"), program.caller)


@pytest.mark.parametrize("case", CASES)
async def test_the_client_in_go(database: str, project: Path, tmp_path: Path, case: str) -> None:
    write_recording(tmp_path, "large", {"/large.md": {"content": "x" * 6_000_000, "encoding": "utf-8"}})
    for recording in ("short_run", "approval", "approval.2", "approval.3"):
        shutil.copy(SHIPPED / f"{recording}.jsonl", tmp_path)
    settings = {"max_active_runs": 0, "runtime_can_resume": True}
    async with running_hub(database, recordings=tmp_path, **settings) as hub:
        async with hub.client() as client:
            large = await start(client, "[[replay:large]]")
        environment = {"IDEO_GRPC": hub.grpc, "THREAD": large["thread_id"], **hub.ideo_settings}
        await output_of(str(project / "cases"), case, **environment)
        await until(lambda: not hub.core.broadcaster.readers)


async def test_a_refinement_is_followed_over_a_websocket_with_tls(
    database: str, project: Path, tmp_path: Path
) -> None:
    async with running_hub(database) as hub, tls_in_front_of(hub.http, tmp_path) as front:
        async with hub.client() as client:
            begun = await start(client, "[[replay:short_run]]")
            await finished(client, begun)
        settings = {"IDEO_URL": front.http, "IDEO_TOKEN": hub.token(), "IDEO_GRPC": hub.grpc}
        trusting = {"SSL_CERT_FILE": str(front.ca_file), "THREAD": begun["thread_id"], "WAY": "websocket"}
        output = await output_of(str(project / "follow"), **settings, **trusting)
    assert len(output.splitlines()) == 53
