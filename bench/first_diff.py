"""`first_diff`: how soon the workbench shows the first of 500 differing files, beside the bare component.

The bare component is CodeMirror's merge view with line numbers, on a page of its own that has both texts.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from playwright.async_api import BrowserContext, Page, Route

from bench.environment import Environment
from bench.figures import NoFigure, Stats, Table
from tests.support.postgres import running_postgres
from tests.workbench.driver import Workbench, workbench
from tests.workbench.reviewed import MANY, a_proposal, many_files, write_recordings
from tools.workbench import SOURCE, install

_PATIENCE_S = 300
_BARE = "http://bare.test"
_PACKAGES = {
    "@codemirror/merge": "@codemirror/merge/dist/index.js",
    "@codemirror/state": "@codemirror/state/dist/index.js",
    "@codemirror/view": "@codemirror/view/dist/index.js",
    "@codemirror/language": "@codemirror/language/dist/index.js",
    "@codemirror/streamparser": "@codemirror/streamparser/dist/index.js",
    "@lezer/common": "@lezer/common/dist/index.js",
    "@lezer/highlight": "@lezer/highlight/dist/index.js",
    "@marijn/find-cluster-break": "@marijn/find-cluster-break/src/index.js",
    "style-mod": "style-mod/src/style-mod.js",
    "crelt": "crelt/index.js",
    "w3c-keyname": "w3c-keyname/index.js",
}
#: When a changed line was painted: the frame after the one that first has it.
_PAINTED = """
    globalThis.painted = () => new Promise(resolve => {
        const look = () => {
            const host = document.querySelector(".diff");
            const found = (host?.shadowRoot ?? document).querySelector(".cm-changedLine");
            if (found) requestAnimationFrame(() => resolve(performance.now()));
            else requestAnimationFrame(look);
        };
        look();
    });
"""
_NOTE_PAINT = f"{_PAINTED} globalThis.firstPaint = painted();"
_SHOW = """
    import { EditorView, lineNumbers } from "@codemirror/view";
    import { unifiedMergeView } from "@codemirror/merge";
    const collapseUnchanged = { margin: 3, minSize: 4 };
    globalThis.show = ({ base, text }) => {
        globalThis.shown?.destroy();
        const merge = unifiedMergeView({ original: base, mergeControls: false, collapseUnchanged });
        const extensions = [lineNumbers(), merge];
        globalThis.shown = new EditorView({ doc: text, parent: document.body, extensions });
    };
    show(texts);
"""


async def measure_first_diff(_: Environment, *, quick: bool) -> list[Table]:
    """A row for a page that is open, and one for a page that is loaded. Raises NoFigure."""
    rounds = 1 if quick else 7
    path, text = min(many_files("SEVEN").items())
    texts = {"base": many_files()[path], "text": text}
    # A page that paints nothing would be waited for without end.
    async with asyncio.timeout(_PATIENCE_S), _hub() as bench, bench.hub.client() as client:
        proposal = await a_proposal(client, "many", many_files())
        if proposal["file_count"] != MANY:
            raise NoFigure("the proposal lacks files")
        address = f"/proposals/{proposal['id']}"
        async with bench.window() as window, bench.window(token="") as bare:
            await _bare_page(bare, texts)
            samples: dict[str, list[float]] = {"open": [], "open bare": [], "load": [], "load bare": []}
            for _round in range(rounds):
                samples["open"].append(await _open(window, address))
                samples["open bare"].append(await _open_bare(bare, texts))
                samples["load"].append(await _load(window.context, f"{bench.hub.http}/#{address}", window))
                await bare.reload()
                samples["load bare"].append(await bare.evaluate("firstPaint"))
    heads = ["milliseconds to the first painted diff", "workbench", "bare component", "workbench ÷ bare"]
    rows: list[list[str | Stats]] = [
        [title, Stats.of(samples[name]), Stats.of(samples[f"{name} bare"]), _ratio(samples, name)]
        for name, title in (("open", "in an open page"), ("load", "from the start of the page's load"))
    ]
    return [Table(f"The first diff of a proposal of {MANY} files", heads, rows)]


def _ratio(samples: dict[str, list[float]], name: str) -> Stats:
    pairs = zip(samples[name], samples[f"{name} bare"], strict=True)
    return Stats.of([ours / theirs for ours, theirs in pairs])


@asynccontextmanager
async def _hub() -> AsyncIterator[Workbench]:
    """A hub with the workbench, and with a runtime that replays the reviewed runs."""
    with tempfile.TemporaryDirectory() as folder:
        recordings = Path(folder) / "recordings"
        recordings.mkdir()
        async with (
            running_postgres(Path(folder) / "postgres") as server,
            server.fresh(migrated=True) as dsn,
            workbench(dsn, recordings=write_recordings(recordings)) as bench,
        ):
            yield bench


async def _open(page: Page, address: str) -> float:
    """From the start, where nothing of the proposal is read, to the painted diff."""
    await page.evaluate("() => { location.hash = '/' }")
    await page.get_by_role("heading", level=1).first.wait_for()
    await page.evaluate(f"() => {{ {_PAINTED} }}")
    taken: float = await page.evaluate(
        """async address => {
            const began = performance.now();
            location.hash = address;
            return await painted() - began;
        }""",
        address,
    )
    return taken


async def _load(context: BrowserContext, url: str, signed_in: Page) -> float:
    """From the start of the load, as the browser counts it."""
    page = await context.new_page()
    try:
        token = await signed_in.evaluate("sessionStorage.getItem('ideo.token')")
        await page.add_init_script(
            f"sessionStorage.setItem('ideo.token', {json.dumps(token)}); {_NOTE_PAINT}"
        )
        await page.goto(url)
        taken: float = await page.evaluate("firstPaint")
        return taken
    finally:
        await page.close()


async def _bare_page(page: Page, texts: dict[str, str]) -> None:
    """A page with the component alone, from the same packages."""
    install()
    imports = {name: f"/{path}" for name, path in _PACKAGES.items()}
    html = (
        f'<!doctype html>\n<script type="importmap">{json.dumps({"imports": imports})}</script>\n'
        f"<body><script>const texts = {json.dumps(texts)}; {_NOTE_PAINT}</script>\n"
        f'<script type="module">{_SHOW}</script>\n'
    )

    async def serve(route: Route) -> None:
        path = route.request.url.removeprefix(_BARE)
        if path == "/":
            await route.fulfill(body=html, content_type="text/html; charset=utf-8")
        else:
            await route.fulfill(path=SOURCE / "node_modules" / path[1:], content_type="text/javascript")

    await page.route(f"{_BARE}/**", serve)
    await page.goto(f"{_BARE}/")
    await page.evaluate("firstPaint")


async def _open_bare(page: Page, texts: dict[str, str]) -> float:
    taken: float = await page.evaluate(
        """async texts => {
            globalThis.shown.destroy();
            await new Promise(resolve => requestAnimationFrame(resolve));
            const began = performance.now();
            show(texts);
            return await painted() - began;
        }""",
        texts,
    )
    return taken
