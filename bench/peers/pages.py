"""The pages that people would use instead of the workbench: how each is built, and where it is served."""

from __future__ import annotations

import gzip
import json
import mimetypes
import shutil
import subprocess
from pathlib import Path

from litestar.enums import ScopeType
from litestar.types import ASGIApp, Receive, Scope, Send

from bench.peers.catalogue import Absent, node_folder, run, tool
from tests.support.processes import ROOT
from tools.examples import install_packages

_COPILOTKIT = ROOT / "examples" / "copilotkit_page"


def copilotkit() -> Path:
    """The page of examples/copilotkit_page, built. Raises Absent."""
    npm = tool("npm")
    try:
        install_packages(_COPILOTKIT / "package-lock.json")
    except subprocess.CalledProcessError as failed:
        raise Absent(f"npm ci failed with {failed.returncode}") from None
    run(npm, "run", "--silent", "build", folder=_COPILOTKIT)
    return _COPILOTKIT / "build"


def agent_chat_ui() -> Path:
    """LangChain's Agent Chat UI, built from the template of create-agent-chat-app. Raises Absent."""
    folder = node_folder("agent_chat_ui")
    if not (folder / "built" / "index.html").exists():
        template = folder / "node_modules" / "create-agent-chat-app" / "templates" / "vite"
        shutil.copytree(template, folder / "page", dirs_exist_ok=True)
        run(tool("npm"), "run", "--silent", "build", folder=folder)
    return folder / "built"


def version(built: Path) -> str:
    """The package of a built page, with its version."""
    name = "create-agent-chat-app" if built.name == "built" else "@copilotkit/react-core"
    package = json.loads((built.parent / "node_modules" / name / "package.json").read_text())
    return f"{name} {package['version']}"


def served(folder: Path) -> ASGIApp:
    """A built page, compressed as the hub compresses its own; other addresses are the page's start."""
    files = {f"/{path.relative_to(folder)}": path for path in folder.rglob("*") if path.is_file()}
    packed = {name: gzip.compress(path.read_bytes(), mtime=0) for name, path in files.items()}

    async def handle(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP:
            return
        name = scope["path"] if scope["path"] in files else "/index.html"
        kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
        headers = {"content-type": kind, "content-encoding": "gzip", "content-length": str(len(packed[name]))}
        encoded = [(key.encode(), value.encode()) for key, value in headers.items()]
        await send({"type": "http.response.start", "status": 200, "headers": encoded})
        await send({"type": "http.response.body", "body": packed[name], "more_body": False})

    return handle
