"""tools/compiled.py: the module in Rust is built from pinned crates or not at all; a line says why."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.support.programs import installed
from tools.audit import crate_components

ROOT = Path(__file__).parents[2]
CRATE = Path("server", "compiled", "rust")
LOCK = CRATE / "crates.lock"


def crates() -> list[dict[str, Any]]:
    packages: list[dict[str, Any]] = tomllib.loads((ROOT / LOCK).read_text())["package"]
    return packages


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with the crate and the tool alone."""
    shutil.copytree(ROOT / CRATE, tmp_path / CRATE)
    (tmp_path / "tools").mkdir()
    shutil.copy(ROOT / "tools" / "compiled.py", tmp_path / "tools")
    return tmp_path


def tool(
    project: Path, *arguments: str, environment: Mapping[str, str] = os.environ
) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(project / "tools" / "compiled.py"), *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def wheel_of(project: Path) -> subprocess.CompletedProcess[str]:
    installed("cargo")
    without_ci = {name: value for name, value in os.environ.items() if name != "CI"}
    return tool(project, "wheel", str(project / "wheels"), environment=without_ci)


def test_every_crate_is_pinned_with_a_checksum_and_no_address() -> None:
    module, *others = sorted(crates(), key=lambda package: "checksum" in package)
    assert module["name"] == "ide_orchestrator_compiled"
    assert all(re.fullmatch(r"[0-9a-f]{64}", package["checksum"]) for package in others)
    assert "://" not in (ROOT / LOCK).read_text()
    assert not (ROOT / CRATE / "Cargo.lock").exists()


def test_what_the_module_depends_on_is_named_with_an_exact_version() -> None:
    wanted = tomllib.loads((ROOT / CRATE / "Cargo.toml").read_text())["dependencies"]
    versions = {name: one if isinstance(one, str) else one["version"] for name, one in wanted.items()}
    pinned = {package["name"]: package["version"] for package in crates()}
    assert versions == {name: f"={pinned[name]}" for name in wanted}


def test_the_module_is_installed_for_every_python_of_the_hub() -> None:
    hub, module = (
        tomllib.loads((ROOT / folder / "pyproject.toml").read_text())["project"] for folder in ("", CRATE)
    )
    oldest = hub["requires-python"].partition(",")[0]
    assert module["requires-python"] == oldest
    features = tomllib.loads((ROOT / CRATE / "Cargo.toml").read_text())["dependencies"]["pyo3"]["features"]
    assert f"abi3-py{oldest.removeprefix('>=').replace('.', '')}" in features


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        # A registry that answers with something else.
        (r'(name = "pyo3"\n.*\nchecksum = ")....', r"\g<1>0000", "checksum for `pyo3 v"),
        # A crate that is not pinned.
        (r'\[\[package\]\]\nname = "heck"\n.*\n.*\n\n', "", "--locked was passed to prevent this"),
    ],
)
def test_a_module_of_other_crates_is_not_built(project: Path, old: str, new: str, said: str) -> None:
    lock = project / LOCK
    changed = re.sub(old, new, lock.read_text())
    assert changed != lock.read_text()
    lock.write_text(changed)
    done = wheel_of(project)
    assert done.returncode == 1
    assert done.stdout.startswith("no wheel of the module in Rust: maturin build: ")
    assert said in done.stdout
    assert done.stdout.count("\n") == 1
    assert not list((project / "wheels").glob("*"))


@pytest.mark.parametrize(
    ("cargo", "reason"),
    [
        ("", "cargo is not installed"),
        ("echo cargo 1.63.0 '(0123 2022-08-11)'", "cargo 1.63.0 is installed, and 1.85 or newer is needed"),
        ("exit 1", "cargo does not say its version"),
    ],
)
def test_without_a_cargo_that_is_new_enough_a_line_says_so(project: Path, cargo: str, reason: str) -> None:
    programs = project / "programs"
    programs.mkdir()
    if cargo:
        (programs / "cargo").write_text(f"#!/bin/sh\n{cargo}\n")
        (programs / "cargo").chmod(0o755)
    bare = {"PATH": str(programs)}
    done = tool(project, "wheel", str(project / "wheels"), environment=bare)
    assert (done.returncode, done.stdout) == (1, f"no wheel of the module in Rust: {reason}\n")
    checked = f"{CRATE}: not checked: {reason}\n"
    done = tool(project, "check", environment=bare)
    assert (done.returncode, done.stdout) == (0, checked)
    # CI must have it.
    done = tool(project, "check", environment=bare | {"CI": "true"})
    assert (done.returncode, done.stdout) == (1, checked)


def test_a_bill_of_materials_has_every_crate_with_its_checksum() -> None:
    found = {(one["name"], one["version"]): one["hashes"][0]["content"] for one in crate_components()}
    assert found == {(one["name"], one["version"]): one["checksum"] for one in crates() if "checksum" in one}
    assert "pkg:cargo/pyo3@" in json.dumps(crate_components())


def test_one_wheel_has_the_module_with_its_types_for_all_versions_of_python(tmp_path: Path) -> None:
    installed("cargo")
    done = tool(ROOT, "wheel", str(tmp_path))
    assert done.returncode == 0, done.stdout
    [wheel] = tmp_path.iterdir()
    assert "-cp311-abi3-" in wheel.name
    names = zipfile.ZipFile(wheel).namelist()
    assert {"__init__.pyi", "py.typed", "ide_orchestrator_compiled.abi3.so"} <= {
        name.removeprefix("ide_orchestrator_compiled/") for name in names
    }
    assert not [name for name in names if name.endswith(".rs")]
