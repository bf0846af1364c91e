"""The pages that are made from sources, and the site.

`python tools/docs.py` writes the pages and builds the site into build/site; with --check it only compares,
and fails on a stale page or a broken link.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
)
from pydantic.fields import FieldInfo

from server.settings import RENAMED, Settings

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
PROTO = ROOT / "proto"
CONTRACT = PROTO / "ide_orchestrator" / "v1" / "event.proto"

_EVENTS = """# Events

What a thread's journal holds and every transport delivers: binary over gRPC and `ideo.v1.proto`, as
proto-JSON over `ideo.v1`, SSE and pages. Written from `event.proto` by `tools/docs.py`.
"""
_SETTINGS = """# Settings

Settings are environment variables. The hub checks all of them at start, reports every mistake at once, and
exits with 2. Written from `server/settings.py` by `tools/docs.py`.

| name | default | meaning |
|---|---|---|
"""
_EARLIER = """
`ideo refine` and `ideo watch` read `IDEO_URL` (default `http://127.0.0.1:8080`) and `IDEO_TOKEN`.

## Earlier names

The names of the first release still work where the present name is not set:

| earlier | present |
|---|---|
"""
_DECISIONS = """# Decisions

Why it is as it is, a page each.

"""


def described(proto: Path) -> FileDescriptorProto:
    """The descriptor of a file of the contract, with its comments."""
    with TemporaryDirectory(prefix="descriptors-") as made:
        out = Path(made, "descriptors")
        command = [sys.executable, "-m", "grpc_tools.protoc", f"--proto_path={PROTO}", str(proto)]
        options = ["--include_source_info", f"--descriptor_set_out={out}"]
        subprocess.run([*command, *options], check=True)
        return FileDescriptorSet.FromString(out.read_bytes()).file[0]


def type_of(field: FieldDescriptorProto, message: DescriptorProto, package: str) -> str:
    """A field's type as the contract writes it."""
    kinds = FieldDescriptorProto.Type
    name = field.type_name.removeprefix(f".{package}.").removeprefix(".")
    name = name or kinds.Name(field.type).removeprefix("TYPE_").lower()
    for nested in message.nested_type:
        if nested.options.map_entry and field.type_name.endswith(f".{message.name}.{nested.name}"):
            key, value = (type_of(part, nested, package) for part in nested.field)
            return f"map<{key}, {value}>"
    if field.proto3_optional:
        return f"optional {name}"
    return f"repeated {name}" if field.label == FieldDescriptorProto.LABEL_REPEATED else name


def events_page() -> str:
    """The page of the contract's messages and enums of events, in the order of the file."""
    file = described(CONTRACT)
    places = {tuple(place.path): place for place in file.source_code_info.location}

    def comment(*path: int) -> str:
        return " ".join(places[path].leading_comments.split())

    sections: list[tuple[int, list[str]]] = []
    messages, enums = file.MESSAGE_TYPE_FIELD_NUMBER, file.ENUM_TYPE_FIELD_NUMBER
    for at, message in enumerate(file.message_type):
        lines = [f"\n## {message.name}\n", comment(messages, at), ""]
        if message.field:
            lines.append("| field | type | meaning |\n|---|---|---|")
        for index, field in enumerate(message.field):
            meaning = comment(messages, at, message.FIELD_FIELD_NUMBER, index)
            lines.append(f"| `{field.name}` | {type_of(field, message, file.package)} | {meaning} |")
        sections.append((places[messages, at].span[0], lines))
    for at, enum in enumerate(file.enum_type):
        lines = [f"\n## {enum.name} (one of)\n", comment(enums, at), "", "| value | meaning |\n|---|---|"]
        for index, value in enumerate(enum.value):
            lines.append(f"| `{value.name}` | {comment(enums, at, enum.VALUE_FIELD_NUMBER, index)} |")
        sections.append((places[enums, at].span[0], lines))
    return "\n".join([_EVENTS, *(line for _, lines in sorted(sections) for line in lines)]) + "\n"


def default_of(field: FieldInfo) -> str:
    """A setting's default as an operator writes it."""
    value = field.default
    if value in (None, ()):
        return "none"
    if isinstance(value, tuple):
        value = ",".join(value)
    if isinstance(value, bool):
        value = str(value).lower()
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`"


def decision_link(found: re.Match[str]) -> str:
    """A link from a page of the reference to a decision that it names."""
    [path] = (DOCS / "adr").glob(f"{found[1]}-*.md")
    return f"[{found[0]}](../adr/{path.name})"


def settings_page() -> str:
    """The page of the settings, in the order of their fields."""
    lines = []
    for field in Settings.model_fields.values():
        meaning = " ".join((field.description or "").split())
        meaning = re.sub(r"ADR (\d{4})", decision_link, meaning)
        lines.append(f"| `{field.alias}` | {default_of(field)} | {meaning} |\n")
    earlier = (f"| `{old}` | `{new}` |\n" for old, new in RENAMED.items())
    return "".join([_SETTINGS, *lines, _EARLIER, *earlier])


def decisions_page() -> str:
    """The list of decisions."""
    lines = []
    for path in sorted((DOCS / "adr").glob("[0-9]*.md")):
        title = path.read_text().partition("\n")[0].removeprefix("# ")
        lines.append(f"- [{title}]({path.name})")
    return _DECISIONS + "\n".join(lines) + "\n"


def pages() -> dict[Path, str]:
    """The text of each generated page."""
    return {
        DOCS / "reference" / "events.md": events_page(),
        DOCS / "reference" / "settings.md": settings_page(),
        DOCS / "adr" / "index.md": decisions_page(),
    }


def main() -> int:
    """Write or compare, then build."""
    check = "--check" in sys.argv
    stale = []
    for path, text in pages().items():
        if not check:
            path.write_text(text)
        elif not path.exists() or path.read_text() != text:
            stale.append(path.relative_to(ROOT))
    for path in stale:
        print(f"{path} is stale: run `poe docs`")
    build = [sys.executable, "-m", "mkdocs", "build", "--strict"]
    with TemporaryDirectory(prefix="site-") as made:
        if check:
            build += ["--site-dir", made]
        # Not mkdocs' own --quiet: with it, --strict finds no warnings.
        built = subprocess.run(build, cwd=ROOT, capture_output=check, text=True, check=False)
    if check and built.returncode:
        print(built.stderr)
    return 1 if stale or built.returncode else 0


if __name__ == "__main__":
    sys.exit(main())
