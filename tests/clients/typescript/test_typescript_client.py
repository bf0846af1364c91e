"""The npm package of clients/typescript: installed in an empty project, and used with a real hub."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import time
from pathlib import Path

import pytest

from server.replay.recording import SHIPPED
from tests.support.browser import result_of_page
from tests.support.caller_programs import caller_program
from tests.support.corpus import corpus_hub, play_all
from tests.support.cut_runs import read_cut_run
from tests.support.endless import endless, endless_messages
from tests.support.hand_clock import until
from tests.support.hub import finished, running_hub, start
from tests.support.limit_cases import write_cases
from tests.support.lying import lying
from tests.support.node import install_packages
from tests.support.pages import code_blocks
from tests.support.programs import ROOT, installed, output_of
from tests.support.recordings import write_recording
from tests.support.servers import http_server, redirecting_server, stream_server
from tests.support.tls import tls_in_front_of
from tools.npm_package import CHOSEN, VARIABLE

CLIENT = ROOT / "clients" / "typescript"
PROGRAMS = Path(__file__).parent
WEBSOCKETS = CLIENT / "node_modules" / "ws" / "wrapper.mjs"
CASES = re.findall(r'^  async "(.*)"\(\)', (PROGRAMS / "cases.mjs").read_text(), re.M)
WAYS = ("binary", "json", "sse")
#: How the corpus is played: by fetch, by the client, and by the package's stubs with Connect's transports.
CALLERS = (("rest", "client"), ("connect-json", "connect-proto"), ("grpc-web", "grpc"))
CONNECT = ROOT / "tools" / "typescript"


async def npm(*arguments: str, folder: Path) -> str:
    return await output_of(installed("npm"), *arguments, folder=folder)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty project in which the package was installed."""
    installed("node")
    folder = tmp_path_factory.mktemp("project")
    (folder / "package.json").write_text('{"type": "module", "private": true}')

    async def build_and_install() -> None:
        await install_packages(CLIENT)
        # A release gives the file that it is about to publish.
        file = os.environ.get(VARIABLE)
        if file is None:
            await npm("run", "build", folder=CLIENT)
            packed = json.loads(await npm("pack", "--json", "--pack-destination", str(folder), folder=CLIENT))
            file = packed[0]["filename"]
        began = time.monotonic()
        await npm("install", "--prefer-offline", "--no-progress", file, folder=folder)
        print(f"installed in an empty project in {time.monotonic() - began:.1f} s")

    asyncio.run(build_and_install())
    return folder


async def test_the_package_installs_alone_with_one_dependency(project: Path) -> None:
    tree = json.loads(await npm("ls", "--all", "--json", folder=project))
    package = tree["dependencies"]["@bizmatters/ide-orchestrator"]
    assert list(package["dependencies"]) == ["@bufbuild/protobuf"]


async def test_the_example_of_the_readme_runs_and_its_types_are_right(
    database: str, project: Path, tmp_path: Path
) -> None:
    [example] = code_blocks("clients/typescript/README.md", "js")
    (project / "example.ts").write_text(example)
    types = CLIENT / "node_modules" / "@types"
    options = ["--strict", "--module", "nodenext", "--target", "es2022", "--typeRoots", str(types)]
    compiler = CLIENT / "node_modules" / "typescript" / "bin" / "tsc"
    await output_of(
        installed("node"), str(compiler), *options, "--types", "node", "example.ts", folder=project
    )
    async with running_hub(database) as hub:
        output = await output_of(installed("node"), "example.js", folder=project, **hub.ideo_settings)
    lines = output.splitlines()
    assert [int(line.split()[0]) for line in lines[:52]] == list(range(1, 53))
    assert lines[51] == "52 terminal"
    assert lines[52:] == [
        "added /THE_SPEC/constitution.md",
        "added /definition.json",
        "accepted as version 2",
    ]


@pytest.mark.timeout(400)
async def test_each_transport_gives_every_event_once_though_it_is_cut_100_times_and_the_hub_restarts(
    database: str, project: Path
) -> None:
    shutil.copy(PROGRAMS / "follow.mjs", project)
    command = (installed("node"), str(project / "follow.mjs"))
    programs = [(command, {"WAY": way, "WS": str(WEBSOCKETS)}) for way in WAYS]
    readers = await read_cut_run(database, programs)
    assert len(readers[0].seqs) > 2200
    for reader in readers:
        assert reader.seqs == list(range(1, len(readers[0].seqs) + 1))
    # The same events, whatever the form of their messages.
    assert len({reader.rest for reader in readers}) == 1


async def test_the_limits_of_requests_are_those_of_the_python_client(project: Path, tmp_path: Path) -> None:
    shutil.copy(PROGRAMS / "limits.mjs", project)
    expected = write_cases(tmp_path / "requests")
    output = await output_of(installed("node"), "limits.mjs", str(tmp_path / "requests"), folder=project)
    assert [json.loads(line) for line in output.splitlines()] == expected


@pytest.fixture(scope="module")
def with_connect(project: Path) -> Path:
    """The project, with Connect's transports for the package's stubs."""
    asyncio.run(install_packages(CONNECT))
    shutil.copytree(CONNECT / "node_modules" / "@connectrpc", project / "node_modules" / "@connectrpc")
    shutil.copy(PROGRAMS / "calls.mjs", project)
    return project


@pytest.mark.timeout(400)
@pytest.mark.parametrize("callers", CALLERS, ids=" and ".join)
async def test_every_case_of_the_corpus_has_its_outcome_in_typescript(
    database: str, with_connect: Path, tmp_path: Path, callers: tuple[str, ...]
) -> None:
    async with corpus_hub(database, tmp_path) as hub:
        command = (installed("node"), "calls.mjs", hub.http, hub.grpc)
        async with caller_program(*command, folder=with_connect) as program:
            await play_all(hub, callers, program.caller)


async def test_an_answer_without_an_end_is_a_fault(project: Path) -> None:
    shutil.copy(PROGRAMS / "endless.mjs", project)
    async with (
        http_server(endless(200)) as good,
        http_server(endless(403)) as bad,
        stream_server(endless_messages, subprotocol="ideo.v1.proto") as sockets,
    ):
        command = (installed("node"), "--expose-gc", "endless.mjs", good, bad, sockets)
        output = await output_of(*command, folder=project, WS=str(WEBSOCKETS))
    *ends, memory = output.splitlines()
    assert len(ends) >= 13
    assert all(": FaultError: " in end for end in ends), output
    assert memory == "small"


async def test_what_no_hub_answers_is_a_fault_and_leads_nowhere(project: Path) -> None:
    shutil.copy(PROGRAMS / "lying.mjs", project)
    async with http_server(lying()) as url:
        output = await output_of(installed("node"), "lying.mjs", url, folder=project, within_s=60)
    *ends, connected, trusted, later, lines = output.splitlines()
    assert len(ends) == 12
    assert all(": FaultError: " in end for end in ends), output
    assert connected == "connected: 0"
    assert trusted == "trusted: https://grpc.example.com:443"
    assert later == "later: 300000"
    assert lines == f"lines: {(2 << 20) + 1}"


async def test_a_redirect_is_refused_and_nothing_is_sent_to_where_it_leads(project: Path) -> None:
    shutil.copy(PROGRAMS / "redirects.mjs", project)
    async with redirecting_server(307) as (url, reached):
        output = await output_of(installed("node"), "redirects.mjs", url, folder=project)
    assert reached == []
    assert [line.partition(": ")[2] for line in output.splitlines()] == ["ProblemError 307"] * 4


@pytest.mark.parametrize("case", CASES)
async def test_the_client_in_node(database: str, project: Path, tmp_path: Path, case: str) -> None:
    shutil.copy(PROGRAMS / "cases.mjs", project)
    write_recording(tmp_path, "large", {"/large.md": {"content": "x" * 6_000_000, "encoding": "utf-8"}})
    write_recording(
        tmp_path,
        "two_hands",
        {"/lines.md": {"content": "a\n" * 18_000, "encoding": "utf-8"}},
        {
            "/lines.md": {"content": "a\nb\n" * 9_000, "encoding": "utf-8"},
            "/other.md": {"content": "", "encoding": "utf-8"},
        },
    )
    for recording in ("short_run", "approval", "approval.2", "approval.3"):
        shutil.copy(SHIPPED / f"{recording}.jsonl", tmp_path)
    settings = {"max_active_runs": 0, "runtime_can_resume": True}
    async with running_hub(database, recordings=tmp_path, **settings) as hub:
        async with hub.client() as client:
            large = await start(client, "[[replay:large]]")
        await output_of(
            installed("node"),
            "cases.mjs",
            case,
            folder=project,
            WS=str(WEBSOCKETS),
            THREAD=large["thread_id"],
            EXPIRED_TOKEN=hub.token(minutes=-1),
            # The client renews a token a minute before it ends.
            SHORT_TOKEN=hub.token(minutes=63 / 60),
            **hub.ideo_settings,
        )
        await until(lambda: not hub.core.broadcaster.readers)


async def test_a_page_without_a_bundler_follows_a_run_on_every_transport(
    database: str, project: Path, tmp_path: Path
) -> None:
    modules = project / "node_modules"
    folders = {
        "/client/": modules / "@bizmatters" / "ide-orchestrator" / "dist",
        "/protobuf/": modules / "@bufbuild" / "protobuf" / "dist" / "esm",
    }
    imports = {
        "@bizmatters/ide-orchestrator": "/client/index.js",
        "@bufbuild/protobuf": "/protobuf/index.js",
        "@bufbuild/protobuf/codegenv2": "/protobuf/codegenv2/index.js",
        "@bufbuild/protobuf/reflect": "/protobuf/reflect/index.js",
        "@bufbuild/protobuf/wkt": "/protobuf/wkt/index.js",
    }
    async with running_hub(database) as hub:
        async with hub.client() as client:
            run = await start(client, "[[replay:short_run]]")
        given = json.dumps([hub.http, hub.token(), run["thread_id"]])
        script = f"""
            import {{ Hub }} from "@bizmatters/ide-orchestrator";
            const [url, token, thread] = {given};
            const hub = new Hub({{ url, token }});
            const ways = {{
              binary: {{ format: "binary" }}, json: {{ format: "json" }}, sse: {{ transport: "sse" }},
            }};
            const found = {{}};
            try {{
              for (const [name, way] of Object.entries(ways)) {{
                found[name] = [];
                for await (const {{ seq }} of hub.refinements.follow(thread, way)) found[name].push(seq);
              }}
              // A browser hides the answer to a WebSocket that is refused.
              for await (const _ of hub.refinements.follow(thread, {{ after: 99 }}));
            }} catch (error) {{
              found.refusal = error.code ?? String(error);
            }}
            await fetch("/result", {{ method: "POST", body: JSON.stringify(found) }});
        """
        page = (
            f'<!doctype html>\n<script type="importmap">{json.dumps({"imports": imports})}</script>\n'
            f'<script type="module">{script}</script>\n'
        )
        found = await result_of_page(page, tmp_path / "profile", folders)
    assert found == {way: list(range(1, 53)) for way in WAYS} | {"refusal": "cursor_out_of_range"}


def test_a_release_tries_the_package_with_the_tests_of_its_installation_and_example() -> None:
    words = CHOSEN.split(" or ")
    chosen = [name for name in globals() if name.startswith("test_") and any(word in name for word in words)]
    assert chosen == [
        "test_the_package_installs_alone_with_one_dependency",
        "test_the_example_of_the_readme_runs_and_its_types_are_right",
    ]


@pytest.mark.parametrize("way", WAYS)
async def test_a_refinement_is_followed_over_tls(
    database: str, project: Path, tmp_path: Path, way: str
) -> None:
    shutil.copy(PROGRAMS / "follow.mjs", project)
    async with running_hub(database) as hub, tls_in_front_of(hub.http, tmp_path) as front:
        async with hub.client() as client:
            begun = await start(client, "[[replay:short_run]]")
            await finished(client, begun)
        settings = {"IDEO_URL": front.http, "IDEO_TOKEN": hub.token(), "WS": str(WEBSOCKETS)}
        trusting = {"NODE_EXTRA_CA_CERTS": str(front.ca_file), "THREAD": begun["thread_id"], "WAY": way}
        command = (installed("node"), str(project / "follow.mjs"))
        output = await output_of(*command, folder=project, **settings, **trusting)
    assert len(output.splitlines()) == 53
