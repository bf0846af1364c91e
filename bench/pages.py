"""`pages`: what the workbench costs a browser, beside pages that people would use instead.

All pages show the same recorded runs, in turn, in one Chromium.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from playwright.async_api import BrowserContext, Page

from bench.environment import Environment, in_turn
from bench.figures import NoFigure, Stats, Table
from bench.peers.catalogue import Absent
from bench.peers.langgraph_stand_in import langgraph_stream, stand_in
from bench.peers.pages import agent_chat_ui, copilotkit, served, version
from tests.support.hub import a_workflow, finished, start
from tests.support.postgres import running_postgres
from tests.support.servers import asgi_server
from tests.workbench.driver import Workbench, workbench
from tests.workbench.page_cost import traced

_PATIENCE_S = 120
#: The runs: a short one, and one of 2,200 tokens.
_SHORT, _LONG = "short_run", "long_run"
#: What the agent of the short run says first.
_FIRST = "I will"

#: `painted(found)`: the time of the frame after the one in which it first holds. `sentAt`: of the last Enter.
_WATCH = """
    const noteEnter = ({ key }) => { if (key === "Enter") globalThis.sentAt = performance.now(); };
    addEventListener("keydown", noteEnter, true);
    globalThis.painted = found => new Promise(resolve => {
        const look = () =>
            requestAnimationFrame(() =>
                found() ? requestAnimationFrame(() => resolve(performance.now())) : look());
        look();
    });
    globalThis.says = text => painted(() => document.body?.textContent.includes(text));
"""


@dataclass(frozen=True)
class Subject:
    """A page that is measured.

    start: where a run is started. box: the field of the prompt. keys: what sends it. past: where the
    short run is shown after its end; empty if the page cannot. session: what its tab keeps.
    """

    name: str
    start: str
    box: str
    keys: str
    past: str = ""
    session: Mapping[str, str] = field(default_factory=dict)


@dataclass
class Loaded:
    """What a page has loaded until it can be used. bytes: of bodies, before compression."""

    sent: float = 0
    bytes: float = 0
    requests: int = 0


@dataclass(frozen=True)
class Sample:
    """The figures of a page in one round. past_ms: 0 for a page that shows no past run."""

    loaded: Loaded
    usable_ms: float
    past_ms: float
    first_token_ms: float
    run_s: float
    longest_ms: float
    computing_ms: float
    heap_mib: float


async def measure_pages(_: Environment, *, quick: bool) -> list[Table]:
    """A column for each page. Raises NoFigure."""
    async with _subjects() as (bench, subjects, end, notes):
        taken = await in_turn(
            subjects, 1 if quick else 7, lambda each: _sample(bench, each, end), warm_up=not quick
        )
    samples = {subject.name: some for subject, some in zip(subjects, taken, strict=True)}
    figures: Mapping[str, Callable[[Sample], float]] = {
        "KiB transferred until it can be used": lambda each: each.loaded.sent / 1024,
        "KiB of them uncompressed": lambda each: each.loaded.bytes / 1024,
        "requests": lambda each: each.loaded.requests,
        "ms from navigation until it can be used": lambda each: each.usable_ms,
        "ms from navigation to the text of a past run": lambda each: each.past_ms,
        "ms from Enter to the first token": lambda each: each.first_token_ms,
        f"s from Enter to the end of {_LONG}": lambda each: each.run_s,
        "ms of its longest task meanwhile": lambda each: each.longest_ms,
        "ms of computing meanwhile": lambda each: each.computing_ms,
        "MiB of JavaScript afterwards": lambda each: each.heap_mib,
    }
    rows: list[list[str | Stats]] = []
    for title, figure in figures.items():
        cells = [[figure(each) for each in some] for some in samples.values()]
        rows.append([title, *(Stats.of(values) if any(values) else "-" for values in cells)])
    return [Table("The workbench beside other pages", ["", *samples], rows, " ".join(notes))]


@asynccontextmanager
async def _subjects() -> AsyncIterator[tuple[Workbench, list[Subject], str, list[str]]]:
    """A hub, a browser, the pages, the end of the long run, and what the pages are or why there is none."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server = await stack.enter_async_context(running_postgres(folder / "postgres"))
        dsn = await stack.enter_async_context(server.fresh(migrated=True))
        notes = list[str]()
        built: dict[str, Path] = {}
        for name, build in {"CopilotKit": copilotkit, "Agent Chat UI": agent_chat_ui}.items():
            try:
                built[name] = await asyncio.to_thread(build)
                notes.append(f"{name}: {version(built[name])}.")
            except Absent as why:
                notes.append(f"{name} is absent: {why}.")
        origins: tuple[str, ...] = ()
        if "CopilotKit" in built:
            origins = (await stack.enter_async_context(asgi_server(served(built["CopilotKit"]))),)
        settings: dict[str, Any] = {"allowed_origins": origins} if origins else {}
        bench = await stack.enter_async_context(workbench(dsn, **settings))
        token = bench.hub.token(minutes=600)
        async with bench.hub.client() as client:
            workflow = await a_workflow(client)
            runs = {name: await start(client, f"[[replay:{name}]]", workflow) for name in (_SHORT, _LONG)}
            events = {}
            for name, run in runs.items():
                await finished(client, run)
                events[name] = [event async for event in client.follow(run["thread_id"])]
        hub = bench.hub.http
        past = f"{hub}/#/runs/{runs[_SHORT]['thread_id']}"
        session = {"ideo.token": token}
        subjects = [
            Subject("workbench", f"{hub}/#/?workflow={workflow}", "textarea", "Control+Enter", past, session)
        ]
        if origins:
            given = urlencode({"url": hub, "token": token, "workflow": workflow})
            box = "[data-testid=copilot-chat-textarea]"
            subjects.append(Subject("CopilotKit", f"{origins[0]}/#{given}", box, "Enter"))
        if "Agent Chat UI" in built:
            thread = str(uuid.uuid4())
            streams = {name: langgraph_stream(some) for name, some in events.items()}
            app = stand_in(streams, {thread: _SHORT}, served(built["Agent Chat UI"]))
            address = await stack.enter_async_context(asgi_server(app))
            query = f"?apiUrl={quote(address)}&assistantId=agent"
            subjects.append(
                Subject(
                    "Agent Chat UI",
                    f"{address}/{query}",
                    "textarea",
                    "Enter",
                    f"{address}/{query}&threadId={thread}",
                )
            )
        said = [
            changed.message.text
            for event in events[_LONG]
            for changed in event.state_update.messages
            if changed.message.text
        ]
        yield bench, subjects, said[-1][-60:], [*notes, f"Chromium {bench.browser.version}."]


async def _sample(bench: Workbench, subject: Subject, end: str) -> Sample:
    async with asyncio.timeout(_PATIENCE_S):
        async with _tab(bench, subject) as (context, page):
            loaded = await _counted(context, page)
            usable = f"painted(() => document.querySelector({json.dumps(subject.box)})?.disabled === false)"
            await page.add_init_script(f"globalThis.usable = {usable};")
            await page.goto(subject.start)
            usable_ms = float(await page.evaluate("usable"))
            await page.wait_for_load_state("networkidle")
            # What is loaded later, with the run, does not count.
            loaded = Loaded(loaded.sent, loaded.bytes, loaded.requests)
            first_ms = await _send(page, subject, _SHORT, _FIRST)
        async with _tab(bench, subject) as (_, page):
            await page.goto(subject.start)
            await page.wait_for_load_state("networkidle")
            async with traced(bench.browser, page) as cost:
                run_ms = await _send(page, subject, _LONG, end)
        past_ms = 0.0
        if subject.past:
            async with _tab(bench, subject) as (_, page):
                await page.add_init_script(f"globalThis.past = says({json.dumps(_FIRST)});")
                await page.goto(subject.past)
                past_ms = float(await page.evaluate("past"))
    if bench.complaints:
        raise NoFigure(f"{subject.name}: {bench.complaints[0]}")
    return Sample(
        loaded, usable_ms, past_ms, first_ms, run_ms / 1000, cost.longest_ms, cost.all_ms, cost.heap_mib
    )


@asynccontextmanager
async def _tab(bench: Workbench, subject: Subject) -> AsyncIterator[tuple[BrowserContext, Page]]:
    """An empty tab of a person who was never here: nothing is cached."""
    context = await bench.browser.new_context(viewport={"width": 1280, "height": 800})
    try:
        page = await bench.tab(context)
        kept = "".join(
            f"sessionStorage.setItem({json.dumps(key)}, {json.dumps(value)});"
            for key, value in subject.session.items()
        )
        await page.add_init_script(f"{kept}{_WATCH}")
        yield context, page
    finally:
        await context.close()


async def _counted(context: BrowserContext, page: Page) -> Loaded:
    """Counts what a page loads."""
    loaded = Loaded()
    devtools = await context.new_cdp_session(page)

    def add_sent(event: dict[str, float]) -> None:
        loaded.sent += event["encodedDataLength"]
        loaded.requests += 1

    def add_bytes(event: dict[str, float]) -> None:
        loaded.bytes += event["dataLength"]

    devtools.on("Network.loadingFinished", add_sent)
    devtools.on("Network.dataReceived", add_bytes)
    await devtools.send("Network.enable")
    return loaded


async def _send(page: Page, subject: Subject, recording: str, text: str) -> float:
    """Milliseconds from sending a prompt to the frame that shows a text."""
    box = page.locator(subject.box)
    await box.fill(f"[[replay:{recording}]]")
    shown = asyncio.ensure_future(page.evaluate("text => says(text)", text))
    await box.press(subject.keys)
    return float(await shown) - float(await page.evaluate("sentAt"))
