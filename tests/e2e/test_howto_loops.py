"""The reconnect loops of docs/howto, run as they are written there, while their connections keep breaking."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Awaitable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import pytest

from tests.support.browser import BROWSERS, result_of_page
from tests.support.cut_runs import cut_held_run
from tests.support.hub import RunningHub, running_hub, start
from tests.support.paced_runtime import PacedRuntime
from tests.support.pages import code_blocks
from tests.support.programs import installed, output_of
from tests.support.proxy import Proxy, proxy
from tests.support.runtime import serve_runtime

T = TypeVar("T")

#: Those that pages use.
LOOPS = code_blocks("docs/howto/connect-from-a-browser.md", "js")
ALL = list(range(1, 53))


# Tests ask for these before `breaking`: one that is skipped starts no hub.


@pytest.fixture
def node() -> str:
    return installed("node")


@pytest.fixture
def browser() -> str:
    return installed(*BROWSERS)


@dataclass
class Breaking:
    """A hub behind a proxy whose connections break again and again, and a run under way, which ends when they
    no longer do."""

    hub: RunningHub
    proxy: Proxy
    runtime: PacedRuntime
    thread: str

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.proxy.place}"

    @property
    def environment(self) -> dict[str, str]:
        """What a program needs to follow the run."""
        return {"HUB": self.address, "THREAD": self.thread, "TOKEN": self.hub.token()}

    async def followed_by(self, program: Awaitable[T], *, readers: int = 1) -> T:
        """What a program gives that follows the run with so many loops, whose connections break meanwhile."""
        cutting = cut_held_run(self.hub, self.proxy, self.runtime, readers=readers)
        result, _ = await asyncio.gather(program, cutting)
        assert self.proxy.broken >= 3 * readers
        return result


@pytest.fixture
async def breaking(database: str) -> AsyncIterator[Breaking]:
    runtime = PacedRuntime("short_run", 0.25)
    async with (
        serve_runtime(runtime) as url,
        running_hub(database, runtime_url=url) as hub,
        proxy(int(hub.http.rpartition(":")[2])) as way,
    ):
        async with hub.client() as client:
            started = await start(client, "go on")
        yield Breaking(hub, way, runtime, started["thread_id"])


async def test_the_loop_in_python(breaking: Breaking, tmp_path: Path) -> None:
    loop, use = code_blocks("docs/howto/follow-from-a-program.md", "python")
    indented = "\n".join(f"    {line}" for line in use.splitlines())
    script = tmp_path / "loop.py"
    script.write_text(
        f"{loop}\nimport os\n\nasync def main():\n"
        "    hub, thread_id = os.environ['HUB'], os.environ['THREAD']\n"
        "    async def get_token():\n        return os.environ['TOKEN']\n"
        f"{indented}\n\nasyncio.run(main())\n"
    )
    output = await breaking.followed_by(output_of(sys.executable, str(script), **breaking.environment))
    assert [json.loads(line)["seq"] for line in output.splitlines()] == ALL


async def test_the_loop_with_fetch_in_node(node: str, breaking: Breaking, tmp_path: Path) -> None:
    script = tmp_path / "loop.mjs"
    script.write_text(
        "\n".join(LOOPS) + "\nconst { HUB, THREAD, TOKEN } = process.env;\n"
        "await followByFetch(HUB, async () => TOKEN, THREAD, ({ seq }) => console.log(seq));\n"
    )
    output = await breaking.followed_by(output_of(node, str(script), **breaking.environment))
    assert [int(line) for line in output.split()] == ALL


async def test_the_view_of_a_run_has_the_files_and_messages_that_its_drafts_became(
    node: str, breaking: Breaking, tmp_path: Path
) -> None:
    script = tmp_path / "view.mjs"
    script.write_text(
        "\n".join(LOOPS + code_blocks("docs/howto/show-a-run.md", "js"))
        + """
const { HUB, THREAD, TOKEN } = process.env;
const view = createView();
const written = new Map();
await followByFetch(HUB, async () => TOKEN, THREAD, (event) => {
  for (const [id, { text }] of view.drafts) written.set(id, text);
  apply(view, event);
});
const files = Object.fromEntries(view.files);
const textOf = (id) => view.messages.find((each) => each.id === id).text ?? "";
const differing = [...written].filter(([id, text]) => textOf(id) !== text);
console.log(JSON.stringify({ files, differing, drafts: view.drafts.size, end: view.end, todos: view.todos }));
"""
    )
    view = json.loads(await breaking.followed_by(output_of(node, str(script), **breaking.environment)))
    async with breaking.hub.client() as client:
        refinement = await client.call("GET", f"/api/refinements/{breaking.thread}")
        proposal = await client.call("GET", f"/api/proposals/{refinement['proposal_id']}")
    stored = {path: "\n".join(file["content"]) for path, file in proposal["generated_files"].items()}
    assert view["files"] == stored != {}
    assert (view["differing"], view["drafts"]) == ([], 0)
    assert view["end"]["outcome"] == "OUTCOME_COMPLETED"
    assert [todo["status"] for todo in view["todos"]] == ["completed", "completed"]


@pytest.mark.usefixtures("browser")
async def test_the_loops_in_a_browser_on_another_origin(breaking: Breaking, tmp_path: Path) -> None:
    given = json.dumps([breaking.address, breaking.hub.token(), breaking.thread])
    script = "\n".join(LOOPS) + (
        f"\nconst [hub, token, thread] = {given};\n"
        "const found = {};\n"
        "const all = Object.entries({ follow, followEvents, followByFetch }).map(async ([name, loop]) => {\n"
        "  found[name] = [];\n"
        "  await loop(hub, async () => token, thread, ({ seq }) => found[name].push(seq));\n"
        "});\n"
        # A page that has everything, and is loaded again.
        "const after = () => followEvents(hub, async () => token, thread, () => (found.again = true), 52);\n"
        "Promise.all(all).then(after).then(() => found, String).then((body) =>\n"
        '  fetch("/result", { method: "POST", body: JSON.stringify(body) }));\n'
    )
    page = f"<!doctype html>\n<script>\n{script}</script>\n"
    found = await breaking.followed_by(result_of_page(page, tmp_path / "profile"), readers=3)
    assert found == dict.fromkeys(("follow", "followEvents", "followByFetch"), ALL)
