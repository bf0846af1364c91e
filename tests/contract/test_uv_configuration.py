"""tools/uv.py: uv installs from where pip is configured to install from."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tools.uv import environment

ROOT = Path(__file__).parents[2]


class Index(ThreadingHTTPServer):
    """A package index without packages that keeps the paths it is asked for."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        super().__init__(("127.0.0.1", 0), Empty)

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/simple"


class Empty(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        assert isinstance(self.server, Index)
        self.server.asked.append(self.path)
        self.send_error(404)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def index() -> Iterator[Index]:
    with Index() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def resolve(given: dict[str, str]) -> None:
    """Ask for a package that no index has, with these variables and none of pip's or uv's besides."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "UV_"))}
    command = [sys.executable, "tools/uv.py", "--no-cache", "pip", "compile", "--quiet", "-"]
    subprocess.run(
        command,
        cwd=ROOT,
        env={**inherited, "NO_PROXY": "127.0.0.1", **given},
        input="a-package-that-is-nowhere",
        text=True,
        capture_output=True,
        check=False,
        timeout=200,
    )


def test_the_index_of_pips_configuration_file_is_asked(index: Index, tmp_path: Path) -> None:
    file = tmp_path / "pip.conf"
    file.write_text(f"[global]\nindex-url = {index.address}\n")
    resolve({"PIP_CONFIG_FILE": str(file)})
    assert index.asked == ["/simple/a-package-that-is-nowhere/"]


def test_the_index_of_pips_variable_wins_over_the_file(index: Index, tmp_path: Path) -> None:
    file = tmp_path / "pip.conf"
    file.write_text("[global]\nindex-url = http://127.0.0.1:1/simple\n")
    resolve({"PIP_CONFIG_FILE": str(file), "PIP_INDEX_URL": index.address})
    assert index.asked == ["/simple/a-package-that-is-nowhere/"]


def test_no_index_is_asked_when_pip_may_ask_none(index: Index) -> None:
    resolve({"PIP_INDEX_URL": index.address, "PIP_NO_INDEX": "1"})
    assert index.asked == []


def test_every_option_of_pip_has_its_variable(tmp_path: Path) -> None:
    options = {
        "cert": "/ca.pem",
        "extra-index-url": "https://one.example/simple\nhttps://two.example/simple",
        "find-links": f"{tmp_path} /nowhere https://files.example/",
        "index-url": "https://index.example/simple",
        "proxy": "http://proxy.example:3128",
        "default-timeout": "180",
        "trusted-host": "index.example",
        "quiet": "1",
    }
    assert environment(options, {}) == {
        "HTTP_PROXY": "http://proxy.example:3128",
        "HTTPS_PROXY": "http://proxy.example:3128",
        "SSL_CERT_FILE": "/ca.pem",
        "UV_DEFAULT_INDEX": "https://index.example/simple",
        "UV_FIND_LINKS": f"{tmp_path},https://files.example/",
        "UV_HTTP_TIMEOUT": "180",
        "UV_INDEX": "https://one.example/simple https://two.example/simple",
        "UV_INDEX_STRATEGY": "unsafe-best-match",
        "UV_INSECURE_HOST": "index.example",
        "UV_PYTHON": sys.executable,
        "UV_SYSTEM_CERTS": "1",
    }


def test_a_variable_of_uvs_own_wins() -> None:
    given = {"UV_DEFAULT_INDEX": "https://mine.example/simple"}
    assert environment({"index-url": "https://index.example/simple"}, given).items() >= given.items()


def test_uv_installs_for_the_interpreter_that_runs_it() -> None:
    assert environment({}, {"UV_PYTHON": "3.13"})["UV_PYTHON"] == sys.executable
