"""How the workbench is served: where the setting is on, with a strict policy, and kept by its hash."""

from __future__ import annotations

import re

import httpx
import pytest

from server.http.workbench import FOLDER, takes_gzip
from tests.support.hub import running_hub


async def test_without_the_setting_the_hubs_address_is_what_it_was(database: str) -> None:
    name = next(FOLDER.glob("main-*.js")).name
    async with (
        running_hub(database) as hub,
        httpx.AsyncClient(base_url=hub.http, trust_env=False, timeout=60) as nobody,
    ):
        page = await nobody.get("/")
        assert "The hub is running." in page.text
        assert page.headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"
        assert (await nobody.get(f"/workbench/{name}")).status_code == 404


async def test_the_page_is_served_with_a_strict_policy_and_its_files_are_kept(database: str) -> None:
    async with (
        running_hub(database, workbench=True) as hub,
        httpx.AsyncClient(base_url=hub.http, trust_env=False, timeout=60) as nobody,
    ):
        page = await nobody.get("/")
        assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
        policy = dict(part.split(" ", 1) for part in page.headers["content-security-policy"].split("; "))
        assert policy == {
            "default-src": "'none'",
            "script-src": "'self'",
            "style-src": "'self'",
            "connect-src": "'self'",
            "img-src": "'self' data:",
            "font-src": "'self'",
            "base-uri": "'none'",
            "form-action": "'none'",
            "frame-ancestors": "'none'",
        }
        assert page.headers["x-content-type-options"] == "nosniff"
        assert page.headers["referrer-policy"] == "no-referrer"
        assert page.headers["cache-control"] == "no-store"
        assert not re.search(r"<style|style=|<script(?! type=\"module\" src=)|\son\w+=|https?://", page.text)
        named = re.findall(r'"(/workbench/[^"]+)"', page.text)
        assert len(named) > 2
        for path in named:
            file = await nobody.get(path)
            assert file.status_code == 200
            assert file.headers["cache-control"] == "public, max-age=31536000, immutable"
            assert file.headers["x-content-type-options"] == "nosniff"
            assert file.headers["content-type"].startswith(("text/javascript", "text/css"))
            assert file.headers["content-encoding"] == "gzip"
            assert file.content == (FOLDER / path.rpartition("/")[2]).read_bytes()


@pytest.mark.parametrize(
    "path", ["/workbench/", "/workbench/none.js", "/workbench/..%2findex.html", "/workbench"]
)
async def test_only_the_pages_own_files_are_served(database: str, path: str) -> None:
    async with (
        running_hub(database, workbench=True) as hub,
        httpx.AsyncClient(base_url=hub.http, trust_env=False, timeout=60) as nobody,
    ):
        assert (await nobody.get(path)).status_code == 404


async def test_head_and_other_methods_are_answered_as_everywhere(database: str) -> None:
    async with (
        running_hub(database, workbench=True) as hub,
        httpx.AsyncClient(base_url=hub.http, trust_env=False, timeout=60) as nobody,
    ):
        head = await nobody.head("/", headers={"Accept-Encoding": "identity"})
        assert int(head.headers["content-length"]) == (FOLDER / "index.html").stat().st_size
        assert head.content == b""
        assert (await nobody.post("/")).status_code == 405
        packed = await nobody.get("/", headers={"Accept-Encoding": "gzip"})
        assert packed.headers["content-encoding"] == "gzip"
        plain = await nobody.get("/", headers={"Accept-Encoding": "identity"})
        assert "content-encoding" not in plain.headers
        assert plain.content == packed.content


@pytest.mark.parametrize(
    ("accepted", "taken"),
    [
        ("gzip", True),
        ("br, GZIP;q=0.001", True),
        ("*", True),
        ("x-gzip", True),
        ("gzip;q=1.000, *;q=0", True),
        ("gzip;q=0", False),
        ("gzip; q=0.000", False),
        ("*, gzip;Q=0", False),
        ("gzip;q=much", False),
        ("gzipped, br", False),
        ("", False),
    ],
)
def test_gzip_is_sent_only_where_the_header_allows_it(accepted: str, taken: bool) -> None:
    assert takes_gzip(accepted) is taken


async def test_headers_in_several_lines_are_one_list(database: str) -> None:
    async with (
        running_hub(database, workbench=True) as hub,
        httpx.AsyncClient(base_url=hub.http, trust_env=False, timeout=60) as nobody,
    ):
        refused = [("Accept-Encoding", "br"), ("Accept-Encoding", "gzip;q=0")]
        assert "content-encoding" not in (await nobody.get("/", headers=refused)).headers
