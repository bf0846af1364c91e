"""Script payloads in everything that a run may carry, opened in a real browser.

Chromium is driven over its DevTools protocol. That a payload would be noticed is shown first: as a web page
of the campaign's own, it runs.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import re
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import quote

import httpx
from websockets.asyncio.client import ClientConnection, connect

from tests.hostile.target import open_target

BROWSERS = ("chromium", "chromium-browser", "google-chrome")

#: Ways to run JS as soon as it is shown as a page; JS stands for a statement without quotes.
PAYLOADS = [
    "<script>JS</script>",
    "</pre><script>JS</script>",
    '"><script>JS</script>',
    "'><script>JS</script>",
    "--><script>JS</script>",
    "</title><script>JS</script>",
    "</textarea><script>JS</script>",
    "</style><script>JS</script>",
    "</script><script>JS</script>",
    "</noscript><script>JS</script>",
    "]]><script>JS</script>",
    "<ScRiPt>JS</sCrIpT>",
    "<script\n>JS</script\n>",
    "<script/x>JS</script/x>",
    "<script type=text/javascript>JS</script>",
    "<script defer>JS</script>",
    "<script>/*\u2028*/JS</script>",
    "<!--><script>JS</script>-->",
    "<svg><script>JS</script></svg>",
    "<svg onload=JS>",
    "<svg/onload=JS>",
    "<svg\tonload=JS>",
    "<svg><animate onbegin=JS attributeName=x dur=1s>",
    "<svg><set onbegin=JS attributeName=x>",
    "<img src=x onerror=JS>",
    "<img src onerror=JS>",
    "<image src=x onerror=JS>",
    "<IMG SRC=x OnErRoR=JS>",
    "<img src=data:, onerror=JS>",
    "<img srcset=x onerror=JS>",
    "<picture><source srcset=x><img onerror=JS></picture>",
    "<video><source onerror=JS></video>",
    "<video src=x onerror=JS></video>",
    "<audio src=x onerror=JS></audio>",
    "<body onload=JS>",
    "<body onpageshow=JS>",
    "<iframe srcdoc='<script>JS</script>'></iframe>",
    "<iframe onload=JS></iframe>",
    "<iframe src='javascript:JS'></iframe>",
    "<object data='javascript:0' onerror=JS></object>",
    "<details open ontoggle=JS>",
    "<input autofocus onfocus=JS>",
    "<textarea autofocus onfocus=JS></textarea>",
    "<select autofocus onfocus=JS></select>",
    "<link rel=stylesheet href=x onerror=JS>",
    "<style onload=JS></style>",
    "<math><mtext><script>JS</script></mtext></math>",
    "<xss style='animation:spin 1ms' onanimationstart=JS></xss><style>@keyframes spin{}</style>",
    "\ufeff<script>JS</script>",
    "GIF89a<script>JS</script>",
    "%PDF-1.4\n<script>JS</script>",
    "<?xml version='1.0'?><x:script xmlns:x='http://www.w3.org/1999/xhtml'>JS</x:script><script>JS</script>",
]


@dataclass
class Findings:
    """What the browser did. `control`: payloads that ran as pages of the campaign's own; `ran`: that ran out
    of the hub's answers; `pages`: how many of those were opened."""

    payloads: int = 0
    control: set[int] = field(default_factory=set)
    ran: set[str] = field(default_factory=set)
    pages: int = 0
    #: Addresses beyond the hub that its pages asked for, and pages that did not load or carried no payload.
    elsewhere: set[str] = field(default_factory=set)
    unseen: list[str] = field(default_factory=list)


class Browser:
    """One page of a browser. `dialogs`: what its dialogs said."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self._numbers = itertools.count(1)
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._session: str | None = None
        self._loaded = asyncio.Event()
        self.dialogs: list[str] = []
        #: What the page asked for since it was visited, and the status of what was visited.
        self.asked: list[str] = []
        self.status = 0

    async def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """A command's result."""
        number = next(self._numbers)
        self._answers[number] = asyncio.get_running_loop().create_future()
        message: dict[str, Any] = {"id": number, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        await self._connection.send(json.dumps(message))
        async with asyncio.timeout(30):
            return await self._answers[number]

    async def read(self) -> None:
        """Take in what the browser says."""
        async for message in self._connection:
            event = json.loads(message)
            waiting = self._answers.pop(event.get("id", 0), None)
            if waiting is not None and not waiting.done():
                waiting.set_result(event.get("result", {}))
            elif event.get("method") == "Page.javascriptDialogOpening":
                self.dialogs.append(event["params"]["message"])
                session = {"sessionId": self._session} if self._session else {}
                accept = {"id": next(self._numbers), "method": "Page.handleJavaScriptDialog"}
                await self._connection.send(json.dumps(accept | {"params": {"accept": True}} | session))
            elif event.get("method") == "Network.requestWillBeSent":
                self.asked.append(event["params"]["request"]["url"])
            elif event.get("method") == "Network.responseReceived":
                if event["params"]["type"] == "Document":
                    self.status = event["params"]["response"]["status"]
            elif event.get("method") == "Page.loadEventFired":
                self._loaded.set()

    async def open(self) -> None:
        """Open the page."""
        target = await self.call("Target.createTarget", url="about:blank")
        attached = await self.call("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Network", "Runtime"):
            await self.call(f"{domain}.enable")
        await self.call("Page.bringToFront")

    async def visit(self, url: str, **headers: str) -> str:
        """Open an address with these headers, and let what is there run; what the page shows then."""
        await self.call("Network.setExtraHTTPHeaders", headers=headers)
        self._loaded.clear()
        self.asked, self.status = [], 0
        await self.call("Page.navigate", url=url)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(5):
                await self._loaded.wait()
        # What a load sets off, animations too, has begun by then: the page's own clock says so.
        pause = "new Promise(done => setTimeout(done, 60))"
        await self.call("Runtime.evaluate", expression=pause, awaitPromise=True)
        shown = await self.call("Runtime.evaluate", expression="document.documentElement.textContent")
        return str(shown.get("result", {}).get("value", ""))


@contextlib.asynccontextmanager
async def open_browser(executable: str) -> AsyncIterator[Browser]:
    """A headless browser."""
    with TemporaryDirectory(prefix="browser-", ignore_cleanup_errors=True) as profile:
        options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--remote-debugging-port=0"]
        options += ["--no-first-run", "--disable-background-networking", f"--user-data-dir={profile}"]
        process = await asyncio.create_subprocess_exec(
            executable, *options, "about:blank", stderr=asyncio.subprocess.PIPE
        )
        assert process.stderr is not None
        try:
            async with asyncio.timeout(60):
                while True:
                    line = (await process.stderr.readline()).decode(errors="replace")
                    listening = re.search(r"DevTools listening on (ws://\S+)", line)
                    if listening or not line:
                        break
            if not listening:
                raise RuntimeError(f"{Path(executable).name} did not start")
            async with connect(listening[1], max_size=None, proxy=None) as connection:
                browser = Browser(connection)
                reading = asyncio.create_task(browser.read())
                await browser.open()
                yield browser
                reading.cancel()
        finally:
            process.kill()
            await process.wait()


def _payload(number: int) -> str:
    # Once: a dialog takes the focus away, and giving it back would run the payload again.
    return PAYLOADS[number].replace("JS", f"window.done||(done=1,alert({number}))")


async def _page(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """The campaign's own pages: each payload as HTML."""
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
    except (asyncio.IncompleteReadError, OSError):  # a connection that the browser opened ahead
        writer.close()
        return
    found = re.match(r"GET /(\d+) ", head)
    body = _payload(int(found[1])).encode() if found else b""
    status = "200 OK" if found else "404 Not Found"
    writer.write(
        f"HTTP/1.1 {status}\r\nContent-Type: text/html; charset=utf-8\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode()
        + body
    )
    await writer.drain()
    writer.close()


async def run_payloads() -> Findings | str:
    """What the browser did with them, or why there was none."""
    executable = next(filter(None, map(shutil.which, BROWSERS)), None)
    if executable is None:
        return f"skipped: there is none of {', '.join(BROWSERS)}"
    found = Findings(len(PAYLOADS))
    own = await asyncio.start_server(_page, "127.0.0.1", 0)
    port = own.sockets[0].getsockname()[1]
    with TemporaryDirectory(prefix="recordings-") as made:
        recording = Path(made) / "payloads.jsonl"
        texts = {f"/{number}.html": _payload(number) for number in range(len(PAYLOADS))}
        named = {f"/{_payload(number)}": "x" for number in range(len(PAYLOADS))}
        frames: list[dict[str, Any]] = [
            {"event_type": "on_llm_stream", "data": {"content": text}} for text in texts.values()
        ]
        state = {"files": texts | named, "messages": list(texts.values())}
        frames += [
            {"event_type": "on_state_update", "data": state},
            {"event_type": _payload(0), "data": texts},
            {"event_type": "end", "data": {}},
        ]
        recording.write_text("\n".join(map(json.dumps, frames)) + "\n")
        async with own, open_target(recordings=Path(made)) as target, open_browser(executable) as browser:
            for number in range(len(PAYLOADS)):
                browser.dialogs.clear()
                await browser.visit(f"http://127.0.0.1:{port}/{number}")
                if str(number) in browser.dialogs:
                    found.control.add(number)
            browser.dialogs.clear()
            pages = await _pages(target.http, target.token)
            for page, accept in pages:
                shown = await browser.visit(
                    f"{target.http}{page}", Authorization=f"Bearer {target.token}", Accept=accept
                )
                # What is shown says that it is an answer of the hub's, and that the payloads came along.
                if not browser.status or ("alert(" not in shown and "problems/" not in shown):
                    found.unseen.append(f"{page[:60]} ({browser.status})")
                found.elsewhere.update(url for url in browser.asked if not url.startswith(target.http))
            found.pages = len(pages)
            found.ran = set(browser.dialogs)
    return found


async def _pages(address: str, token: str) -> list[tuple[str, str]]:
    """The addresses of what carries payloads, answers of every kind and refusals that name a payload, each
    with what the browser says it accepts."""
    every = "".join(map(_payload, range(len(PAYLOADS))))
    headers = {"Authorization": f"Bearer {token}"}
    async with httpx.AsyncClient(base_url=address, headers=headers, trust_env=False, timeout=30) as http:
        made = await http.post("/api/workflows", json={"name": _payload(0), "files": {"/a.html": every}})
        workflow = made.json()["id"]
        started = await http.post(
            f"/api/workflows/{workflow}/refinements",
            json={"user_prompt": f"[[replay:payloads]] {every}", "context_file_path": _payload(1)},
        )
        ids = started.json()
        events = f"/api/refinements/{ids['thread_id']}/events"
        answer = await http.get(events, headers={"Accept": "text/event-stream"})
        assert '"terminal"' in answer.text, "the run did not end"
    pages = [f"/api/proposals/{ids['proposal_id']}", "/api/proposals", "/api/workflows"]
    pages += [f"/api/workflows/{workflow}", f"{events}?limit=1000"]
    for number in range(len(PAYLOADS)):
        text = quote(_payload(number), safe="")
        pages += [
            f"/api/{text}",
            f"/api/proposals/{text}",
            f"/api/proposals?status={text}",
            f"{events}?after={text}",
        ]
    return [*((page, "text/html") for page in pages), (events, "text/event-stream")]
