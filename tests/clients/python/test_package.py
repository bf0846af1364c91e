"""The client's package: what people install, without the hub."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PROJECT = ROOT / "clients" / "python"
STUBS = ROOT / "gen" / "python" / "ide_orchestrator" / "v1"
MODULES = ("ide_orchestrator.client", "ide_orchestrator.client.grpc", "ide_orchestrator.conformance")
#: Imports what is named, in an environment without the hub.
IMPORTS = """
import importlib, importlib.util, sys
for name in sys.argv[1:]:
    importlib.import_module(name)
assert importlib.util.find_spec("server") is None
"""
#: A caller's program in which mypy knows every type.
TYPED = """
from ide_orchestrator.client import Event, Hub, Unavailable

async def show(hub: Hub, thread_id: str) -> str:
    event: Event
    async for event in hub.follow(thread_id):
        reveal_type(event.seq)
    reveal_type((await hub.proposal("id"))["generated_files"])
    return Unavailable("x").code
"""


def run(*command: str | Path, **environment: str) -> str:
    """The output of a command that succeeds, without this project's own import path."""
    clean = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    done = subprocess.run(
        [str(part) for part in command],
        env=clean | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, as the release task builds it."""
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, ROOT / "tools" / "wheels.py", "--output", folder)
    return next(folder.glob("ide_orchestrator_client-*.whl"))


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory, wheel: Path) -> Path:
    """The interpreter of an environment into which the wheel is installed with its extras."""
    return installed(tmp_path_factory.mktemp("environment"), wheel, "grpc,betterproto2", "types-protobuf")


def installed(folder: Path, wheel: Path, extras: str, *more: str) -> Path:
    """The interpreter of a new environment with the wheel, and what `more` of uv's arguments asks for."""
    uv = ROOT / "tools" / "uv.py"
    run(sys.executable, uv, "venv", "--quiet", "--python", sys.executable, folder / "venv")
    python = folder / "venv" / "bin" / "python"
    wanted = f"ide-orchestrator-client[{extras}] @ {wheel.as_uri()}"
    run(sys.executable, uv, "pip", "install", "--quiet", "--python", python, *more, wanted)
    return python


def test_the_wheel_has_the_client_and_the_stubs_and_says_that_they_are_typed(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as opened:
        names = {name for name in opened.namelist() if ".dist-info/" not in name}
    assert {name.partition("/")[0] for name in names} == {"ide_orchestrator", "ide_orchestrator_dataclasses"}
    client = PROJECT / "ide_orchestrator" / "client"
    wanted = {f"ide_orchestrator/client/{path.name}" for path in client.iterdir() if path.is_file()}
    wanted |= {f"ide_orchestrator/v1/{path.name}" for path in STUBS.iterdir() if path.is_file()}
    assert {name for name in names if name.startswith("ide_orchestrator/")} == wanted
    assert {"ide_orchestrator/client/py.typed", "ide_orchestrator/v1/py.typed"} <= wanted


@pytest.mark.timeout(300)
def test_the_client_is_imported_without_the_hub(environment: Path) -> None:
    dataclasses = "ide_orchestrator_dataclasses.ide_orchestrator.v1"
    run(environment, "-I", "-c", IMPORTS, *MODULES, dataclasses)


@pytest.mark.timeout(300)
def test_the_client_works_with_the_oldest_versions_that_it_allows(tmp_path: Path, wheel: Path) -> None:
    python = installed(tmp_path, wheel, "grpc", "--resolution=lowest-direct")
    run(python, "-I", "-c", IMPORTS, *MODULES)


@pytest.mark.timeout(300)
def test_a_callers_types_are_checked_strictly(tmp_path: Path, environment: Path) -> None:
    (tmp_path / "program.py").write_text(TYPED)
    output = run(
        *(sys.executable, "-m", "mypy", "--strict", "--config-file=", f"--python-executable={environment}"),
        *("--cache-dir", tmp_path / "cache", tmp_path / "program.py"),
    )
    assert 'Revealed type is "int"' in output
    assert "TypedDict" in output
