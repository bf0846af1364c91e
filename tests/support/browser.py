"""Pages that are opened in a headless browser."""

from __future__ import annotations

import asyncio
import json
from asyncio.subprocess import DEVNULL
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.support.hand_clock import PATIENCE_S
from tests.support.programs import installed, started
from tests.support.servers import answer, http_server

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
OPTIONS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage")


async def result_of_page(page: str, profile: Path, folders: Mapping[str, Path] | None = None) -> Any:
    """What a page posts to `/result` as JSON.

    profile: an empty folder. folders: the start of a path, such as `/package/`, to the folder behind it.
    """
    browser = installed(*BROWSERS)
    result: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    async def serve(head: bytes, body: bytes, _: asyncio.StreamWriter) -> bytes:
        path = head.decode().split(" ")[1]
        if path == "/":
            return answer(200, page.encode(), content_type="text/html; charset=utf-8")
        if path == "/result" and not result.done():
            result.set_result(json.loads(body))
        for start, folder in (folders or {}).items():
            file = folder / path.removeprefix(start)
            if path.startswith(start) and file.is_file():
                return answer(200, file.read_bytes(), content_type="text/javascript")
        return answer(404, b"")

    options = [*OPTIONS, f"--user-data-dir={profile}"]
    async with (
        http_server(serve) as address,
        started(browser, *options, f"{address}/", environment={}, output=DEVNULL),
        asyncio.timeout(4 * PATIENCE_S),
    ):
        return await result
