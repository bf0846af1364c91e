"""Generates the pages that are made from sources, and builds the site.

`python tools/docs.py` writes the pages and builds the site into build/site; with --check it only compares,
and fails when a page is stale or a link is broken.
"""

from __future__ import annotations

import inspect
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click
from pydantic import BaseModel

from server.cli.main import main as commands
from server.http.asyncapi import asyncapi_document
from server.http.openapi import openapi_document
from server.http.routes import ROUTES
from server.observability.metrics import COUNTERS, GAUGES, HISTOGRAMS, PREFIX, PROCESS_UP, SOCKETS
from server.settings.names import RENAMED
from server.settings.settings import ClientSettings, Settings
from server.settings.sources import SECRETS
from tools.contract_pages import events_page, grpc_page, rpcs

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
_COMMANDS = """# Commands

The command is `ideo`, or `ide-orchestrator`. Every command has `--help`. Written from `server/cli/main.py`
and the modules of its groups by `tools/docs.py`. In the examples `THREAD`,
`PROPOSAL`, `DRAFT` and `SHAPE` are ids, which the lists print and completion fills in.
"""
_ABOUT_COMMANDS = r"""
## Exit codes

| code | meaning |
|---|---|
| 0 | success |
| 1 | something failed: the run did not complete, or the proposal was not, or would not be, accepted |
| 2 | wrong arguments or settings |
| 4 | no token, one that the hub does not accept, or no permission |
| 5 | the hub or the database cannot be reached |
| 130 | stopped by Ctrl-C; commands that serve until then, such as `ideo dev`, end with 0 |

Messages for people go to standard error and begin with `ideo:`. Results go to standard output, with `--json`
as one JSON text per line. Control characters in the text of models, files and users are shown as escapes.
Colours appear only on terminals, and never with `NO_COLOR`.

## Shell completion

In the shell's configuration, with `ideo` on the path (in a clone: `export PATH="$PWD/.venv/bin:$PATH"`):

```sh
eval "$(_IDEO_COMPLETE=bash_source ideo)"    # bash: ~/.bashrc
eval "$(_IDEO_COMPLETE=zsh_source ideo)"     # zsh: ~/.zshrc
_IDEO_COMPLETE=fish_source ideo | source     # fish: ~/.config/fish/completions/ideo.fish
```
"""
_SETTINGS = """# Settings

Settings are environment variables. The hub checks all of them at start, reports every mistake at once, and
exits with 2. [PostgreSQL's address](database-address.md) describes the address of the database.
Written from `server/settings/settings.py` by `tools/docs.py`.

"""
_CLIENT_SETTINGS = """
## Commands that talk to a running hub

`ideo refine`, `watch`, `reply`, `cancel`, `record`, `conformance`, `draft`, `proposal`, `user`, and
`quarantine` without `DATABASE_URL` also read:

"""
_SOURCES = """
## Files

A secret may be in a file of its own: `NAME_FILE` is the path of the file, whose text is the value, without
the white space around it. This works for SECRETS.

Any setting may be a line `NAME=value` of the file that `IDEO_ENV_FILE` names. Without it, `ideo dev` and
`ideo token`, and with `IDEO_ENV=dev` in the environment every command, read the file `.env` of the working
directory if there is one. The environment takes precedence over `NAME_FILE`, and that over the line. If a
file that is named cannot be read, the command ends with exit code 2.

At start, the hub reports a variable that begins with `IDEO_` and is not a setting, such as a misspelt one,
with the setting that it resembles; so do `ideo doctor` and every command that talks to a hub. With
`IDEO_DEBUG=1` a command shows where an unexpected error came from.
"""
_OLD_NAMES = """
## Old names

The names of the first release still work unless the new name is set. Commands print a line for each old name
in use.

| old | new |
|---|---|
"""
_METRICS = """# Metrics

`GET /metrics` has Prometheus' text format. Label values come from closed sets and every series exists
from the start, so the number of series is constant, unless `IDEO_METRICS_THREADS=true`.
`deploy/monitoring/alerts.yaml` has alerts that use these metrics, `deploy/monitoring/dashboard.json` a
dashboard. With `ideo serve --processes` each series also has the label `process`, the number of its process.
Written from `server/observability/metrics.py` by `tools/docs.py`.
"""
_DECISIONS = """# Decisions

Why the hub is built as it is: one page per decision.

"""


def commands_page() -> str:
    """The page of the commands and their options, in the order of the module."""
    lines = []
    for name, command in named_commands("ideo", commands):
        about = inspect.cleandoc(command.help or "")
        pieces = command.collect_usage_pieces(click.Context(command))
        lines += [f"\n## {name}\n", f"`{' '.join([name, *pieces])}`\n", about, *example_lines(command)]
        options = [each for each in command.params if isinstance(each, click.Option) and not each.hidden]
        lines += ["\n| option | meaning |", "|---|---|"] if options else []
        lines += [option_row(option, command) for option in options]
    return "\n".join([_COMMANDS, *lines]) + "\n" + _ABOUT_COMMANDS


def example_lines(command: click.Command) -> Iterator[str]:
    """The examples at the end of a command's help, as a block to copy."""
    lines = inspect.cleandoc(command.epilog or "").splitlines()[2:]
    if lines:
        yield "\n".join(("\n```sh", *map(str.strip, lines), "```"))


def named_commands(name: str, group: click.Group) -> Iterator[tuple[str, click.Command]]:
    """The commands of a group and of the groups in it, with their full names."""
    for command in group.commands.values():
        full = f"{name} {command.name}"
        if isinstance(command, click.Group):
            yield from named_commands(full, command)
        else:
            yield full, command


def option_row(option: click.Option, command: click.Command) -> str:
    """The row of an option, as `--help` shows it."""
    record = option.get_help_record(click.Context(command))
    name, meaning = record if record is not None else ("", "")
    return f"| `{name}` | {' '.join(meaning.split())} |"


def decisions_page() -> str:
    """The list of decisions."""
    lines = []
    for path in sorted((DOCS / "adr").glob("[0-9]*.md")):
        title = path.read_text().partition("\n")[0].removeprefix("# ")
        lines.append(f"- [{title}]({path.name})")
    return _DECISIONS + "\n".join(lines) + "\n"


def settings_page() -> str:
    """The page of the settings, in the order of their class."""
    old_names = [f"| `{old}` | `{new}` |" for old, new in RENAMED.items()]
    tables = [_SETTINGS, settings_table(Settings), _CLIENT_SETTINGS, settings_table(ClientSettings)]
    sources = _SOURCES.replace("SECRETS", ", ".join(f"`{name}`" for name in SECRETS))
    return "".join(tables) + sources + _OLD_NAMES + "\n".join(old_names) + "\n"


def settings_table(settings: type[BaseModel]) -> str:
    """A row for each setting of the class."""
    rows = ["| name | default | meaning |", "|---|---|---|"]
    for field in settings.model_fields.values():
        meaning = re.sub(r"ADR (\d{4})", decision_link, " ".join((field.description or "").split()))
        rows.append(f"| `{field.validation_alias}` | {default_of(field.default)} | {meaning} |")
    return "\n".join(rows) + "\n"


def default_of(value: Any) -> str:
    """A setting's default, as it is written in the environment."""
    if value is None or value == ():
        return "none"
    if isinstance(value, tuple):
        value = ",".join(value)
    if isinstance(value, float):
        value = f"{value:g}"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def decision_link(match: re.Match[str]) -> str:
    """A link from a reference page to the decision of that number."""
    [path] = (DOCS / "adr").glob(f"{match[1]}-*.md")
    return f"[{match[0]}](../adr/{path.name})"


def metrics_page() -> str:
    """The page of the metrics, in the order of their tables."""
    gauges = [f"| `{PREFIX}{name}` | {text} |" for name, text in (*GAUGES.items(), SOCKETS, PROCESS_UP)]
    counters = [metric_row(name, text, labels) for name, (text, labels) in COUNTERS.items()]
    histograms = [metric_row(name, text, labels) for name, (text, labels, _) in HISTOGRAMS.items()]
    lines = ["\n## Gauges, read at each scrape\n", "| name | meaning |", "|---|---|", *gauges]
    lines += [
        "\n## Counters, since the replica started\n",
        "| name | counts | labels |",
        "|---|---|---|",
        *counters,
    ]
    lines += ["\n## Histograms, in seconds\n", "| name | measures | labels |", "|---|---|---|", *histograms]
    return _METRICS + "\n".join(lines) + "\n"


def metric_row(name: str, text: str, labels: dict[str, tuple[str, ...]]) -> str:
    """The row of a metric with labels."""
    values = "; ".join(f"`{label}`: {', '.join(known)}" for label, known in labels.items())
    return f"| `{PREFIX}{name}` | {text} | {values} |"


def pages() -> dict[Path, str]:
    """The text of each generated page."""
    reference = DOCS / "reference"
    return {
        reference / "commands.md": commands_page(),
        reference / "events.md": events_page(),
        reference / "grpc.md": grpc_page(),
        reference / "metrics.md": metrics_page(),
        reference / "settings.md": settings_page(),
        reference / "openapi.json": indented(openapi_document(ROUTES)),
        reference / "asyncapi.json": indented(asyncapi_document()),
        reference / "rpcs.json": indented(json.dumps(rpcs()).encode()),
        DOCS / "adr" / "index.md": decisions_page(),
    }


def indented(document: bytes) -> str:
    """A JSON document, a member per line."""
    return json.dumps(json.loads(document), indent=1, ensure_ascii=False) + "\n"


def main() -> int:
    """Write or compare the pages, then build the site."""
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
