"""The command line `ide-orchestrator` (`ideo` for short): its commands and their options.

A command's module is imported when the command runs, so that help and shell completion answer at once.
The groups of commands about one noun are in modules of their own. The exit codes are in exit_codes.py.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any
from uuid import UUID

import click

from server.cli.draft_commands import draft
from server.cli.failures import Commands
from server.cli.options import THREAD, client_options, examples, when_busy_option
from server.cli.proposal_commands import proposal
from server.cli.quarantine_commands import quarantine
from server.cli.recording_commands import record, replay, replay_runtime
from server.cli.review_commands import accept, decide, reject, revise
from server.cli.user_commands import user
from server.settings.names import DEBUG

#: The end of `ideo --help`. The mark keeps the lines of its paragraph as they are.
_EPILOG = """
\b
Settings are environment variables, or lines of the file that IDEO_ENV_FILE names:
docs/reference/settings.md. Shell completion, in ~/.bashrc (zsh_source, fish_source for others):
  eval "$(_IDEO_COMPLETE=bash_source ideo)"

\b
Exit codes: 0 success, 1 something failed, 2 wrong arguments or settings, 4 no valid token,
5 the hub or the database cannot be reached, 130 stopped by Ctrl-C (a server then ends with 0).
"""


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=_EPILOG,
)
@click.version_option(package_name="ide-orchestrator")
@click.option("--debug", is_flag=True, help="Show where an unexpected error came from, as IDEO_DEBUG=1 does.")
def main(debug: bool) -> None:
    """The hub between browser IDEs, internal services and deepagents-runtime."""
    if debug:
        os.environ[DEBUG] = "1"


# --- Servers -------------------------------------------------------------------------------------


@main.command()
@click.option("--once", is_flag=True, help="Stop after the demo refinement; exit 0 only if it completed.")
@click.option(
    "--demo/--no-demo",
    default=None,
    help="Show a demo refinement.  [default: with recorded runs, not with DEEPAGENTS_RUNTIME_URL]",
)
@click.option("--verbose", is_flag=True, help="Show the hub's log too.")
def dev(once: bool, demo: bool | None, verbose: bool) -> None:
    """Start everything on this machine and show a refinement.

    Without DEEPAGENTS_RUNTIME_URL, the runtime replays recorded runs; without DATABASE_URL, an embedded
    PostgreSQL keeps its data in IDEO_DATA_DIR.
    """
    print("Loading the hub …", flush=True)
    from server.cli import dev as command

    command.run(once=once, demo=demo, verbose=verbose)


@main.command()
@click.option("--embedded-database", is_flag=True, help="Use an embedded PostgreSQL in IDEO_DATA_DIR.")
@click.option(
    "--processes",
    type=click.IntRange(1, 64),
    default=1,
    show_default=True,
    help="Processes that share the ports, each a replica with connections and memory of its own (Linux).",
)
@click.option("--child", is_flag=True, hidden=True)
def serve(embedded_database: bool, processes: int, child: bool) -> None:
    """Serve HTTP and gRPC in production, on a migrated database."""
    if processes > 1:
        from server.cli import processes as parent

        parent.run(processes, embedded_database=embedded_database)
    from server.cli import serve as command

    command.run(embedded_database=embedded_database, child=child)


# --- Operation -----------------------------------------------------------------------------------


@main.command()
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON, one per line.")
def doctor(as_json: bool) -> None:
    """Check everything that the hub needs, and say how to fix what is wrong."""
    from server.cli.doctor import command

    command.run(as_json=as_json)


@main.command()
@click.argument("direction", type=click.Choice(["up", "down", "status"]))
@click.option(
    "--steps", type=click.IntRange(1, 10_000), default=1, show_default=True, help="Migrations to revert."
)
def migrate(direction: str, steps: int) -> None:
    """Apply the database's migrations, revert some, or show their status."""
    from server.cli import migrate as command

    command.run(direction, steps=steps)


@main.command()
@click.option("--user", "email", required=True, help="The user's email address.")
@click.option("--ttl", default="1h", show_default=True, help="Lifetime: 30s, 15m, 1h, 7d.")
def token(email: str, ttl: str) -> None:
    """Make a token for development, signed with IDEO_JWT_SECRET."""
    from server.cli import token as command

    command.run(email, ttl=ttl)


# --- Clients of a running hub --------------------------------------------------------------------


@main.command()
@click.argument("prompt")
@click.option(
    "--workflow",
    "workflow_id",
    type=click.UUID,
    help="The workflow's UUID.  [default: your newest that can be refined]",
)
@click.option("--file", "context_file_path", help="The file that the prompt is about.")
@click.option("--lines", "context_selection", help="The lines that the prompt is about: `lines 10-25`.")
@when_busy_option
@client_options("Print the events as JSON, one per line.")
def refine(
    prompt: str,
    workflow_id: UUID | None,
    context_file_path: str | None,
    context_selection: str | None,
    when_busy: str | None,
    url: str | None,
    bearer: str | None,
    as_json: bool,
) -> None:
    """Start a refinement, show it live and list its files. Exit 0 if it completed."""
    from server.cli import refine as command

    request = {
        "user_prompt": prompt,
        "context_file_path": context_file_path,
        "context_selection": context_selection,
        "when_busy": when_busy,
    }
    given = {name: value for name, value in request.items() if value is not None}
    workflow = None if workflow_id is None else str(workflow_id)
    command.run(given, workflow_id=workflow, url=url, token=bearer, as_json=as_json)


@main.command()
@THREAD
@click.option("--after", type=click.IntRange(0, 2**63 - 1), default=0, help="The last seq that you have.")
@client_options("Print the events as JSON, one per line.")
def watch(thread_id: UUID, after: int, url: str | None, bearer: str | None, as_json: bool) -> None:
    """Show a refinement's past and future events. Exit 0 if it completed."""
    from server.cli import watch as command

    command.run(str(thread_id), after=after, url=url, token=bearer, as_json=as_json)


@main.command(
    epilog=examples(
        "ideo reply $THREAD approve",
        "ideo reply $THREAD reject -m 'Keep the old plan.'",
        'ideo reply $THREAD edit --arguments \'{"file_path": "/plan.md", "content": "Shorter."}\'',
    )
)
@THREAD
@click.argument("decisions", metavar="DECISION...", nargs=-1, required=True)
@click.option(
    "--seq",
    type=click.IntRange(1, 2**32 - 1),
    help="The event with the question.  [default: the last question]",
)
@click.option("--arguments", multiple=True, help="With edit: the arguments to use instead, as a JSON object.")
@click.option("--message", "-m", default="", help="A message to the agent, except with approve and edit.")
@client_options("Print the refinement as JSON on one line.")
def reply(
    thread_id: UUID,
    decisions: tuple[str, ...],
    seq: int | None,
    arguments: tuple[str, ...],
    message: str,
    url: str | None,
    bearer: str | None,
    as_json: bool,
) -> None:
    """Answer the question of a refinement's agent: approve, edit, reject, or another decision that it allows.

    One decision applies to all actions of the question; otherwise give one for each, in their order.
    """
    from server.cli import reply as command

    command.run(
        str(thread_id),
        decisions,
        seq=seq,
        arguments=arguments,
        message=message,
        url=url,
        token=bearer,
        as_json=as_json,
    )


@main.command()
@THREAD
@client_options("Print the refinement as JSON on one line.")
def cancel(thread_id: UUID, url: str | None, bearer: str | None, as_json: bool) -> None:
    """Cancel a refinement: its run ends, and the files until then are kept. Does nothing if it has ended."""
    from server.cli import cancel as command

    command.run(str(thread_id), url=url, token=bearer, as_json=as_json)


def _rules_beginning_with(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    from server.cli import conformance as command

    return command.names_beginning_with(incomplete)


@main.command(
    epilog=examples(
        "ideo conformance --target https://ide.example.com",
        "ideo conformance --only resume --only '*.sse'",
        "ideo conformance --grpc ide.example.com:50051 --junit conformance.xml",
        "ideo conformance --list",
    )
)
@click.option("--target", help="The hub's address.  [default: IDEO_URL or http://127.0.0.1:8080]")
@click.option("--token", "bearer", help="The token of a user; IDEO_TOKEN is safer.")
@click.option(
    "--grpc",
    "grpc_address",
    metavar="HOST:PORT",
    help="The address of gRPC; with TLS https://HOST:PORT.  [default: the one that the hub says, or port "
    "50051 of the same host, if a hub answers there]",
)
@click.option(
    "--other-token",
    help="The token of another user, who must find nothing. Without it such rules are skipped.",
)
@click.option(
    "--ca-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Certificates of the authority that signed the hub's.",
)
@click.option("--prompt", help="What the refinement asks the agent.  [default: to add web search]")
@click.option(
    "--run-seconds",
    type=click.IntRange(1, 86_400),
    default=600,
    show_default=True,
    help="The longest time that a refinement may take.",
)
@click.option(
    "--only",
    multiple=True,
    metavar="RULE",
    shell_complete=_rules_beginning_with,
    help="Only this rule, group of rules or pattern. May be repeated.",
)
@click.option("--list", "lists", is_flag=True, help="Print the rules, and check nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print the results as JSON, one per line.")
@click.option(
    "--junit",
    metavar="FILE",
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    help="Also write the results to this file, in JUnit's format.",
)
def conformance(
    target: str | None, bearer: str | None, grpc_address: str | None, lists: bool, **options: Any
) -> None:
    """Check that a hub keeps the promises of its interfaces. Exit 0 if no rule fails.

    Starts a refinement, follows it over every transport, reads its files over each, makes calls that must be
    refused, accepts it, and rejects a second one. The workflow that it creates is archived at the end.
    """
    from server.cli import conformance as command

    if lists:
        command.list_rules(options["only"], as_json=options["as_json"])
    else:
        command.run(url=target, token=bearer, grpc_address=grpc_address, **options)


for deciding in (decide, accept, reject, revise):
    proposal.add_command(deciding)
for added in (replay_runtime, replay, record, draft, proposal, quarantine, user):
    main.add_command(added)
