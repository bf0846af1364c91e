"""The pages that are made out of sources, and the site.

`python tools/docs.py` writes the pages and builds the site into build/site; with --check it only compares,
and fails on a stale page or a link that leads nowhere.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
CONTRACT = ROOT / "proto" / "ide_orchestrator" / "v1" / "event.proto"

_EVENTS = """# Events

What a thread's journal holds and every transport delivers: binary over gRPC and `ideo.v1.proto`, as
proto-JSON over `ideo.v1`, SSE and pages. Written out of `event.proto` by `tools/docs.py`.
"""
_DECISIONS = """# Decisions

Why it is as it is, a page each.

"""


def comment_of(lines: list[str]) -> str:
    """Comment lines as one paragraph."""
    return " ".join(line.strip().removeprefix("//").strip() for line in lines)


def events_page() -> str:
    """The page of the contract's messages and enums of events."""
    page = [_EVENTS]
    comments: list[str] = []
    depth = 0
    for line in CONTRACT.read_text().splitlines():
        text = line.strip()
        if text.startswith("//"):
            comments.append(text)
            continue
        block = re.match(r"(message|enum) (\w+) \{(\})?", text)
        field = re.match(r"((?:repeated |optional )?[\w.<>, ]+?) (\w+) = (\d+)", text)
        value = re.match(r"([A-Z][A-Z_0-9]+) = (\d+);", text)
        if block:
            kind = "" if block[1] == "message" else " (one of)"
            page += [f"\n## {block[2]}{kind}\n", comment_of(comments), ""]
            if not block[3]:
                head = "| field | type | meaning |\n|---|---|---|"
                page.append(head if block[1] == "message" else "| value | meaning |\n|---|---|")
                depth = 1
        elif value and depth:
            page.append(f"| `{value[1]}` | {comment_of(comments)} |")
        elif field and depth:
            page.append(f"| `{field[2]}` | {field[1]} | {comment_of(comments)} |")
        comments = []
    return "\n".join(page) + "\n"


def decisions_page() -> str:
    """The list of decisions."""
    lines = []
    for path in sorted((DOCS / "adr").glob("[0-9]*.md")):
        title = path.read_text().partition("\n")[0].removeprefix("# ")
        lines.append(f"- [{title}]({path.name})")
    return _DECISIONS + "\n".join(lines) + "\n"


def pages() -> dict[Path, str]:
    """The pages that are written here."""
    return {DOCS / "reference" / "events.md": events_page(), DOCS / "adr" / "index.md": decisions_page()}


def main() -> int:
    """Write or compare, then build."""
    stale = []
    for path, text in pages().items():
        if "--check" not in sys.argv:
            path.write_text(text)
        elif not path.exists() or path.read_text() != text:
            stale.append(path.relative_to(ROOT))
    for path in stale:
        print(f"{path} is stale: run `poe docs`")
    build = [sys.executable, "-m", "mkdocs", "build", "--strict"]
    with TemporaryDirectory(prefix="site-") as made:
        if "--check" in sys.argv:
            build += ["--site-dir", made]
        built = subprocess.run(build, cwd=ROOT, check=False).returncode
    return 1 if stale or built else 0


if __name__ == "__main__":
    sys.exit(main())
