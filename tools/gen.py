"""Writes gen/ from proto/ (the task `gen`), with generators that run on this machine.

    python tools/gen.py            install the generators that are missing, then rewrite gen/
    python tools/gen.py --check    change nothing; fail when gen/ differs from what would be written

Python needs only the development requirements. TypeScript needs node and npm, Go needs go; where they
are missing, or their pinned generators cannot be installed, that language's stubs are not changed, and
a line says so. With `CI` in the environment that is a failure. `--check` installs nothing and uses no
network.
"""

from __future__ import annotations

import argparse
import filecmp
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tools import go_tools
from tools.json_schemas import event_schemas, problem_meanings

ROOT = Path(__file__).resolve().parent.parent
PROTO = ROOT / "proto"
TYPESCRIPT = ROOT / "tools" / "typescript"
#: The description of the HTTP interface, as the task `docs` writes it.
OPENAPI = ROOT / "docs" / "reference" / "openapi.json"
#: The generators of the Go stubs.
GO_GENERATORS = ("protoc-gen-go", "protoc-gen-go-grpc")
#: In CI every gate compares: one that cannot has failed.
IN_CI = bool(os.environ.get("CI"))


class NotReady(Exception):
    """A language's generators are not installed; `str(error)` says what is missing."""


def run(command: list[str], *, cwd: Path = ROOT, **environment: str) -> None:
    """Run a command quietly. Raises SystemExit with its output when it fails."""
    # buf and protoc look for plugins in PATH, and betterproto2's plugin for ruff.
    folders = [Path(sys.executable).parent, TYPESCRIPT / "node_modules" / ".bin"]
    folders += map(go_tools.folder_of, GO_GENERATORS)
    path = os.pathsep.join([*map(str, folders), os.environ["PATH"]])
    done = subprocess.run(
        command,
        cwd=cwd,
        env={**os.environ, "PATH": path, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stdout}")


def nothing() -> None:
    """Nothing to look for or to install: the Python generators are development requirements."""


def typescript_ready() -> None:
    """Raises NotReady when the pinned TypeScript generator is not installed."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        raise NotReady("node and npm are not installed")
    pins = json.loads((TYPESCRIPT / "package.json").read_text())["devDependencies"]
    for package, version in pins.items():
        installed = TYPESCRIPT / "node_modules" / package / "package.json"
        if not installed.exists() or json.loads(installed.read_text())["version"] != version:
            raise NotReady(f"{package} {version} is not installed")


def go_ready() -> None:
    """Raises NotReady when a pinned Go generator is not installed."""
    try:
        for name in GO_GENERATORS:
            go_tools.go_tool(name)
    except go_tools.GoToolMissing as missing:
        raise NotReady(str(missing)) from None


def install_typescript() -> None:
    """Install what tools/typescript/package-lock.json pins."""
    run(["npm", "ci", "--no-progress"], cwd=TYPESCRIPT)


def install_go() -> None:
    """Build the pinned Go generators."""
    try:
        for name in GO_GENERATORS:
            go_tools.build(name)
    except go_tools.GoToolMissing as missing:
        raise NotReady(str(missing)) from None


def generate_python(out: Path) -> None:
    """Messages and services with their types, what the server reads as JSON, and dataclasses in a package of
    their own.

    The dataclasses are for users in Python, and a second decoder for the contract tests.
    """
    out.mkdir(parents=True)
    outputs = [f"--python_out={out}", f"--grpc_python_out={out}"]
    outputs += [f"--mypy_out=quiet:{out}", f"--mypy_grpc_out=quiet:{out}"]
    protos = sorted(path.relative_to(PROTO).as_posix() for path in PROTO.rglob("*.proto"))
    run([sys.executable, "-m", "grpc_tools.protoc", f"--proto_path={PROTO}", *outputs, *protos])
    buf_generate("buf.gen.python.yaml", out)
    (out / "ide_orchestrator" / "v1" / "py.typed").touch()
    for services in out.rglob("*_pb2_grpc.py"):
        if "Stub" not in services.read_text():
            services.unlink()
            services.with_suffix(".pyi").unlink()
    for name, value in (("event_schemas", event_schemas()), ("problem_meanings", problem_meanings())):
        text = json.dumps(value, indent=1, ensure_ascii=False) + "\n"
        (out / "ide_orchestrator" / "v1" / f"{name}.json").write_text(text)


def generate_typescript(out: Path) -> None:
    """Messages and services in ECMAScript modules, and the types of the HTTP interface."""
    buf_generate("buf.gen.typescript.yaml", out)
    options = ["--root-types", "--root-types-no-schema-prefix", "--default-non-nullable=false"]
    run(["openapi-typescript", str(OPENAPI), f"--output={out / 'openapi.ts'}", *options])


def generate_go(out: Path) -> None:
    """Messages and services, as a Go module with pinned requirements."""
    buf_generate("buf.gen.go.yaml", out)
    for name in ("go.mod", "go.sum"):
        shutil.copyfile(ROOT / "tools" / "go" / name, out / name)


def buf_generate(template: str, out: Path) -> None:
    """Run the generators of a template, which writes to gen/LANGUAGE, the last two folders of `out`."""
    run(["buf", "generate", "--template", template, "--output", str(out.parent.parent)])


@dataclass(frozen=True)
class Language:
    """A language of stubs: its folder in gen/, how to get its generators, and how to run them."""

    name: str
    ready: Callable[[], None]
    install: Callable[[], None]
    generate: Callable[[Path], None]


LANGUAGES = (
    Language("python", nothing, nothing, generate_python),
    Language("typescript", typescript_ready, install_typescript, generate_typescript),
    Language("go", go_ready, install_go, generate_go),
)


def files(folder: Path) -> set[str]:
    """Paths of the files below `folder`, without Python's caches."""
    return {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def differences(committed: Path, fresh: Path) -> list[str]:
    """Paths that are in only one of the folders, or differ."""
    old, new = files(committed), files(fresh)
    changed = {path for path in old & new if not filecmp.cmp(committed / path, fresh / path, shallow=False)}
    return sorted((old ^ new) | changed)


@contextmanager
def generated(language: Language) -> Iterator[Path]:
    """A temporary folder with newly generated stubs of the language."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "gen", language.name)
        language.generate(out)
        yield out


def write(language: Language) -> None:
    """Replace the language's stubs."""
    with generated(language) as fresh:
        target = ROOT / "gen" / language.name
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(fresh, target)
    print(f"gen/{language.name}: written")


def check(language: Language, stubs: Path = ROOT / "gen") -> bool:
    """Whether the language's stubs are up to date. Prints the result."""
    with generated(language) as fresh:
        found = differences(stubs / language.name, fresh)
    for path in found:
        print(f"gen/{language.name}/{path}: differs from what proto/ gives; run the task gen")
    if not found:
        print(f"gen/{language.name}: up to date")
    return not found


def prepare(language: Language, *, install: bool) -> str | None:
    """Make the language's generators ready. Returns None, or why that is not possible."""
    try:
        language.ready()
    except NotReady as missing:
        if not install:
            return str(missing)
        try:
            language.install()
            language.ready()
        except (NotReady, OSError, SystemExit) as problem:
            return f"{missing}: {problem}"
    return None


def main() -> int:
    """The command line. Returns 0, or 1 when stubs are not up to date, or in CI could not be looked at."""
    parser = argparse.ArgumentParser(description="Writes gen/ from proto/.")
    parser.add_argument("--check", action="store_true", help="only compare, change nothing")
    only_check = parser.parse_args().check
    good = True
    for language in LANGUAGES:
        missing = prepare(language, install=not only_check)
        if missing is not None:
            print(f"gen/{language.name}: {'not compared' if only_check else 'not changed'}: {missing}")
            good = good and not IN_CI
        elif only_check:
            good = check(language) and good
        else:
            write(language)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
