"""The peers: what each does not do, what it is built with, and how it is started.

What a peer needs is built once into `build/bench/`. One whose toolchain is not here, or whose packages
cannot be had, is named with the reason and left out.
"""

from __future__ import annotations

import asyncio
import importlib.metadata
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.machine import on_target_core
from tests.support.processes import ROOT, Process, StartFailed, clean_environment
from tests.support.servers import free_port

SOURCES = ROOT / "bench" / "peers"
BUILT = ROOT / "build" / "bench"
_BUILD_S = 300


class Absent(Exception):
    """A peer cannot be had here. The text says why."""


@dataclass(frozen=True)
class Peer:
    """A server to measure the hub beside.

    command: takes the runtime's address and a folder, builds the peer if need be, and returns its command
    line and its port, or 0 if it prints its address. Raises Absent. version: works once it is built.
    """

    name: str
    does_not: str
    command: Callable[[str, Path], tuple[Sequence[str], int]]
    version: Callable[[], str]


def tool(name: str) -> str:
    """A program of this machine. Raises Absent."""
    found = shutil.which(name) or shutil.which(f"/usr/sbin/{name}")
    if found is None:
        raise Absent(f"{name} is not on this machine")
    return found


def run(*command: str, folder: Path) -> str:
    """What a command prints. Raises Absent when it fails."""
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=_BUILD_S, check=True
        )
    except subprocess.CalledProcessError as error:
        raise Absent(
            f"{Path(command[0]).name} failed: {(error.stderr or error.stdout).strip()[-300:]}"
        ) from None
    except subprocess.TimeoutExpired:
        raise Absent(f"{Path(command[0]).name} did not end within {_BUILD_S} s") from None
    return (done.stdout + done.stderr).strip()


def _sources(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.is_file())


def _is_older(built: Path, folder: Path) -> bool:
    return not built.exists() or built.stat().st_mtime < max(
        path.stat().st_mtime for path in _sources(folder)
    )


def go_program(name: str) -> str:
    """A program of `peers/go`, built. Raises Absent."""
    go, built = tool("go"), BUILT / "go" / name
    if _is_older(built, SOURCES / "go"):
        run(go, "build", "-o", str(built), f"./{name}", folder=SOURCES / "go")
    return str(built)


def node_folder(name: str) -> Path:
    """A copy of a folder of `peers` with its packages installed. Raises Absent."""
    npm, built = tool("npm"), BUILT / name
    if _is_older(built / "installed", SOURCES / name):
        shutil.copytree(SOURCES / name, built, dirs_exist_ok=True)
        run(npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", folder=built)
        (built / "installed").touch()
    return built


def _go(runtime: str, _folder: Path) -> tuple[Sequence[str], int]:
    return [go_program("relay"), runtime], 0


def _node(runtime: str, _folder: Path) -> tuple[Sequence[str], int]:
    return [tool("node"), str(node_folder("node") / "relay.js"), runtime], 0


def _bun_program() -> str:
    # npm installs the package with the machine's build alone; the scripts of packages do not run.
    builds = sorted((node_folder("bun") / "node_modules" / "@oven").glob("bun-*/bin/bun"))
    if not builds:
        raise Absent("Bun has no build for this machine")
    return str(builds[0])


def _bun(runtime: str, _folder: Path) -> tuple[Sequence[str], int]:
    return [_bun_program(), str(BUILT / "bun" / "relay.js"), runtime], 0


def _fastapi(runtime: str, _folder: Path) -> tuple[Sequence[str], int]:
    try:
        importlib.metadata.version("fastapi")
    except importlib.metadata.PackageNotFoundError:
        raise Absent("fastapi is not installed: make bench installs it") from None
    return [sys.executable, "-m", "bench.peers.fastapi.app", runtime], 0


def _nginx(runtime: str, folder: Path) -> tuple[Sequence[str], int]:
    program, port = tool("nginx"), free_port()
    text = (SOURCES / "nginx" / "nginx.conf").read_text()
    for name, value in {"FOLDER": str(folder), "PORT": str(port), "RUNTIME": runtime}.items():
        text = text.replace(name, value)
    (folder / "nginx.conf").write_text(text)
    return [program, "-e", str(folder / "error.log"), "-c", str(folder / "nginx.conf")], port


def _pinned(*names: str) -> str:
    return ", ".join(f"{name} {importlib.metadata.version(name)}" for name in names)


def _package(folder: str, name: str) -> str:
    text = (BUILT / folder / "node_modules" / name / "package.json").read_text()
    return next(line.split('"')[3] for line in text.splitlines() if line.strip().startswith('"version"'))


PEERS: Mapping[str, Peer] = {
    peer.name: peer
    for peer in (
        Peer(
            "nginx",
            "passes bytes on and reads no frame: no user, no journal, no cursor; each follower costs the "
            "runtime a stream",
            _nginx,
            lambda: run(tool("nginx"), "-v", folder=ROOT).rpartition("/")[2],
        ),
        Peer(
            "Go",
            "the first design's own relay, which reads and writes each event as JSON and keeps the last "
            "files: no journal, no cursor; a slow reader holds up all others",
            _go,
            lambda: f"{run(tool('go'), 'version', folder=ROOT).split()[2]}, gorilla/websocket 1.5.3",
        ),
        Peer(
            "FastAPI",
            "reads and writes each event as JSON and keeps the last files: no user, no journal, no cursor; "
            "a slow reader holds up all others",
            _fastapi,
            lambda: _pinned("fastapi", "websockets", "uvicorn"),
        ),
        Peer(
            "Node ws",
            "passes texts on unread: no user, no journal, no cursor, no bound on what "
            "waits for a slow reader",
            _node,
            lambda: f"Node {run(tool('node'), '--version', folder=ROOT)}, ws {_package('node', 'ws')}",
        ),
        Peer(
            "Bun",
            "passes texts on unread: no user, no journal, no cursor; a slow reader "
            "loses what exceeds a bound",
            _bun,
            lambda: f"Bun {run(_bun_program(), '--version', folder=ROOT)}",
        ),
    )
}


DURABLE = Peer(
    "Durable Streams",
    "the protocol's reference server, on files, read over HTTP from an offset: no frames, no users",
    lambda _, folder: ([tool("node"), str(node_folder("durable") / "server.js"), str(folder)], 0),
    lambda: f"@durable-streams/server {_package('durable', '@durable-streams/server')}",
)


GRPC_AIO = Peer(
    "grpc.aio",
    "sends a run's events from memory, one in each message: no users, no journal, no cursor, no database",
    lambda file, _: ([sys.executable, "-m", "bench.peers.grpc_aio.server", file], 0),
    lambda: _pinned("grpcio", "protobuf"),
)
GRPC_GO = Peer(
    "grpc-go",
    "the same",
    lambda file, _: ([go_program("grpcserve"), file], 0),
    lambda: f"{run(tool('go'), 'version', folder=ROOT).split()[2]}, google.golang.org/grpc 1.85.0",
)
#: All of them.
EVERY_PEER = (*PEERS.values(), GRPC_AIO, GRPC_GO, DURABLE)


@asynccontextmanager
async def started(peer: Peer, runtime: str, folder: Path) -> AsyncIterator[tuple[str, int]]:
    """A peer that serves: its address and its process. Raises Absent."""
    os.mkdir(folder)
    command, port = await asyncio.to_thread(peer.command, runtime, folder)
    process = await _start(command, folder / "log")
    try:
        if port:
            await _accepts(port, process)
            process.addresses["peer"] = f"http://127.0.0.1:{port}"
        else:
            await _serving(process)
        yield process.addresses["peer"], process.pid
    finally:
        await process.kill()


async def _start(command: Sequence[str], log: Path) -> Process:
    errors = await asyncio.to_thread(log.open, "ab")
    with errors, on_target_core():
        child = await asyncio.create_subprocess_exec(
            *command, stdout=asyncio.subprocess.PIPE, stderr=errors, cwd=ROOT, env=clean_environment({})
        )
    return Process(child, log)


async def _serving(process: Process) -> None:
    try:
        await process.serving("peer")
    except StartFailed as failed:
        raise Absent(str(failed)) from None


async def _accepts(port: int, process: Process) -> None:
    while process.up:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await asyncio.sleep(0.02)
            continue
        writer.close()
        return
    raise Absent("it ended as it began")
