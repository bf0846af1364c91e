"""The hub's module in Rust: builds it where cargo is, checks it, and pins its crates.

    python tools/compiled.py install            build its wheel, and install it beside the hub
    python tools/compiled.py wheel FOLDER       write its wheel to FOLDER
    python tools/compiled.py check              its format, and what clippy says
    python tools/compiled.py lock [--upgrade]   write crates.lock; with --upgrade the newest versions

crates.lock is Cargo's lock file without the addresses of the index: names, versions and checksums of all
crates. A build uses exactly these, or fails. Without cargo, or where a build fails, a line says why, the exit
code is 1, and the hub does the same work in Python. `check` passes where it cannot be done, except with `CI`
in the environment.
"""

from __future__ import annotations

import argparse
import fcntl
import itertools
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
CRATE = ROOT / "server" / "compiled" / "rust"
LOCK = CRATE / "crates.lock"
DISTRIBUTION = "ide-orchestrator-compiled"
BUILD = ROOT / "build" / "compiled"
#: Cargo writes beside the sources, so it gets a copy of them.
COPY, TARGET, LOG = BUILD / "crate", BUILD / "target", BUILD / "log"
_HEAD = "# Written by `poe lock-crates`: Cargo's lock file without the addresses of the index.\n"


class NotBuilt(Exception):
    """The module cannot be built here; `str(error)` says why, in a line."""


def _release(version: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", version)[:2]))


def package() -> dict[str, Any]:
    """What Cargo.toml says of the crate."""
    said: dict[str, Any] = tomllib.loads((CRATE / "Cargo.toml").read_text())["package"]
    return said


def find_cargo() -> str:
    """The program. Raises NotBuilt without one that is new enough."""
    needed = package()["rust-version"]
    found = shutil.which("cargo")
    if found is None:
        raise NotBuilt("cargo is not installed")
    said = subprocess.run([found, "--version"], capture_output=True, text=True, check=False).stdout
    if not said.startswith("cargo "):
        raise NotBuilt("cargo does not say its version")
    if _release(said) < _release(needed):
        raise NotBuilt(f"cargo {said.split()[1]} is installed, and {needed} or newer is needed")
    return found


def _run(*command: str | Path) -> str:
    """The output of a command in the copy. Raises NotBuilt; the log then has all that it said."""
    environment = {**os.environ, "CARGO_TARGET_DIR": str(TARGET)}
    try:
        done = subprocess.run(command, cwd=COPY, env=environment, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise NotBuilt(f"{Path(command[0]).name} is not installed") from None
    if done.returncode:
        LOG.write_text(done.stdout + done.stderr)
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()] or ["it failed"]
        # The first of several causes is the last that Cargo names.
        causes = [after for line, after in itertools.pairwise(lines) if line == "Caused by:"]
        said = causes or [line for line in lines if line.startswith("error")][:1] or lines
        name = f"{Path(command[0]).name} {command[1]}"
        raise NotBuilt(f"{name}: {said[-1]} (all of it: {LOG.relative_to(ROOT)})")
    return done.stdout


@contextmanager
def _copied(cargo: str) -> Iterator[None]:
    """The crate is copied, with Cargo's lock file from crates.lock. One process has the copy at a time."""
    BUILD.mkdir(parents=True, exist_ok=True)
    with (BUILD / "lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        LOG.unlink(missing_ok=True)
        shutil.rmtree(COPY, ignore_errors=True)
        # With their times, by which Cargo knows what it has compiled.
        shutil.copytree(CRATE, COPY, ignore=shutil.ignore_patterns("target", "Cargo.lock"))
        if LOCK.exists():
            said = json.loads(_run(cargo, "metadata", "--no-deps", "--offline", "--format-version=1"))
            [source] = {one["source"] for package in said["packages"] for one in package["dependencies"]}
            text = re.sub("^(?=checksum = )", f'source = "{source}"\n', LOCK.read_text(), flags=re.MULTILINE)
            (COPY / "Cargo.lock").write_text(text)
        yield


def build(folder: Path) -> Path:
    """Write the wheel to a folder: one for all versions of Python. Returns the file. Raises NotBuilt."""
    maturin = Path(sysconfig.get_path("scripts")) / "maturin"
    pattern = f"{DISTRIBUTION.replace('-', '_')}-{package()['version']}-*.whl"
    with _copied(find_cargo()):
        for old in folder.glob(pattern):
            old.unlink()
        options = ["--release", "--locked", "--interpreter", sys.executable, "--out", str(folder)]
        _run(maturin, "build", *options)
    [wheel] = folder.glob(pattern)
    return wheel


def _pip(*arguments: str) -> None:
    subprocess.run([sys.executable, str(ROOT / "tools" / "uv.py"), "pip", *arguments, "--quiet"], check=True)


def install() -> None:
    """Build the wheel, and install it into this environment. Raises NotBuilt; then none is installed, because
    one that was built from other sources may do something else."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            wheel = build(Path(folder))
        except NotBuilt:
            if any(metadata.distributions(name=DISTRIBUTION)):
                _pip("uninstall", DISTRIBUTION)
            raise
        _pip("install", "--no-deps", "--no-index", "--reinstall", "--compile-bytecode", str(wheel))


def check() -> bool:
    """Whether format and lints are right, or cannot be checked here, which fails in CI. Prints which."""
    try:
        cargo = find_cargo()
        with _copied(cargo):
            for part in ("fmt", "clippy"):
                _run(cargo, part, "--version")
    except NotBuilt as reason:
        print(f"{CRATE.relative_to(ROOT)}: not checked: {reason}")
        return not os.environ.get("CI")
    try:
        with _copied(cargo):
            _run(cargo, "fmt", "--check")
            _run(cargo, "clippy", "--locked", "--quiet", "--", "--deny=warnings")
    except NotBuilt:
        print(LOG.read_text())
        return False
    print(f"{CRATE.relative_to(ROOT)}: passed")
    return True


def lock(*, upgrade: bool) -> None:
    """Write crates.lock, with the versions that it has as far as they fit, or the newest. Raises NotBuilt."""
    cargo = find_cargo()
    with _copied(cargo):
        _run(cargo, "update", *(() if upgrade else ("--workspace",)))
        text = (COPY / "Cargo.lock").read_text()
    LOCK.write_text(_HEAD + re.sub("^(#|source = ).*\n", "", text, flags=re.MULTILINE))


def main() -> int:
    """The command line. Returns 0, or 1 when it could not be done."""
    parser = argparse.ArgumentParser(description="The hub's module in Rust.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("install", help="build its wheel, and install it beside the hub")
    commands.add_parser("wheel", help="write its wheel").add_argument("folder", type=Path)
    commands.add_parser("check", help="its format, and what clippy says")
    commands.add_parser("lock", help="write crates.lock").add_argument("--upgrade", action="store_true")
    arguments = parser.parse_args()
    try:
        match arguments.command:
            case "install":
                install()
            case "wheel":
                print(build(arguments.folder.resolve()))
            case "check":
                return 0 if check() else 1
            case "lock":
                lock(upgrade=arguments.upgrade)
    except NotBuilt as reason:
        said = {
            "install": "not built, so the hub does it in Python",
            "wheel": "no wheel of the module in Rust",
        }
        print(f"{said.get(arguments.command, 'crates.lock is as before')}: {reason}")
        if os.environ.get("CI") and LOG.exists():
            print(LOG.read_text(), file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
