"""docs/architecture.md names files, functions and tests that exist, and every page's links resolve."""

from __future__ import annotations

import ast
import re
from functools import lru_cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "architecture.md"
PAGES = [
    ROOT / "README.md",
    *sorted(
        page
        for folder in ("bench", "docs", "tests")
        for page in (ROOT / folder).rglob("*.md")
        if "node_modules" not in page.parts
    ),
]

#: Files are cited with their folder; those of the server without its name.
BASES = (ROOT, ROOT / "server")
_CODE = re.compile(r"`([^`]+)`")
_NAME = re.compile(r"[A-Za-z_]\w*(\.\w+)*$")
_FILE = re.compile(r"[\w./-]+\.(py|proto|md|toml|yaml)$|[\w./-]+/$")


def resolve(cited: str) -> Path | None:
    """The file or folder that a citation names."""
    return next((base / cited for base in BASES if (base / cited).exists()), None)


@lru_cache
def names_in(path: Path) -> frozenset[str]:
    """Everything that a module defines: functions, classes, their methods and attributes, constants."""
    found: set[str] = set()

    def walk(body: list[ast.stmt], prefix: str) -> None:
        for node in body:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                found.add(prefix + node.name)
            if isinstance(node, ast.ClassDef):
                walk(node.body, f"{prefix}{node.name}.")
            targets = node.targets if isinstance(node, ast.Assign) else []
            if isinstance(node, ast.AnnAssign):
                targets = [node.target]
            found.update(prefix + target.id for target in targets if isinstance(target, ast.Name))

    walk(ast.parse(path.read_text()).body, "")
    return frozenset(found)


def citations() -> list[tuple[str, str]]:
    """Pairs of a cited file and a cited name of it, "" for the file itself.

    A name belongs to the last file that the same paragraph, item or row cites before it.
    """
    pairs = []
    for block in re.split(r"\n\s*\n|\n(?=[|-] ?)", PAGE.read_text()):
        file = ""
        for cited in _CODE.findall(block.replace("\n", " ")):
            if _FILE.match(cited):
                file = cited
                pairs.append((file, ""))
            elif file.endswith(".py") and _NAME.match(cited):
                pairs.append((file, cited))
    return pairs


def test_the_page_cites_files_and_functions() -> None:
    assert len(citations()) > 100


@pytest.mark.parametrize(("file", "name"), sorted(set(citations())))
def test_what_the_page_cites_exists(file: str, name: str) -> None:
    path = resolve(file)
    assert path is not None, f"{file} does not exist"
    if name:
        assert name in names_in(path), f"{file} does not define {name}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_relative_link_resolves(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text):
        if not re.match(r"[a-z]+:", target):
            assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_path_that_a_page_cites_exists(page: Path) -> None:
    text = page.read_text()
    # `kubectl exec deploy/NAME` is not a path.
    for path in re.findall(r"(?<!exec )\b(?:server|proto|tests|bench|deploy|docs|tools)/[\w./-]*\w", text):
        assert (ROOT / path).exists(), path
    for module in re.findall(r"`(server\.(?!lock)[a-z_.]+)`", text):
        path = ROOT / module.replace(".", "/")
        assert path.is_dir() or path.with_suffix(".py").exists(), module
