"""What commands that call a running hub share: their options, and the examples in their help."""

from __future__ import annotations

from collections.abc import Callable

import click
from click.shell_completion import CompletionItem

#: Completes nothing: the argument is a file of this machine, which the shell completes.
A_FILE = click.Path(exists=True, dir_okay=False, allow_dash=True)


def client_options(json_help: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """The options of commands that talk to a running hub."""

    def _with_options(command: Callable[..., None]) -> Callable[..., None]:
        for option in (
            click.option("--json", "as_json", is_flag=True, help=json_help),
            click.option("--url", help="The hub's address.  [default: IDEO_URL or http://127.0.0.1:8080]"),
            click.option("--token", "bearer", help="The token; IDEO_TOKEN is safer."),
        ):
            command = option(command)
        return command

    return _with_options


def diff_options(command: Callable[..., None]) -> Callable[..., None]:
    """The options of commands that show a comparison."""
    command = click.option("--stat", is_flag=True, help="Only the files and how much of them differs.")(
        command
    )
    return click.option(
        "--context", type=click.IntRange(0, 20), default=3, show_default=True, help="Lines around each hunk."
    )(command)


def download_options(name: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """The options of commands that download an archive or a patch. name: of the file, without its ending."""

    def _with_options(command: Callable[..., None]) -> Callable[..., None]:
        command = click.option("--force", "-f", is_flag=True, help="Replace an existing file.")(command)
        return click.option(
            "--output",
            "-o",
            type=click.Path(dir_okay=False, allow_dash=True),
            help=f"The file to write; - is standard output.  [default: {name}.zip or .patch]",
        )(command)

    return _with_options


when_busy_option = click.option(
    "--when-busy",
    type=click.Choice(("parallel", "refuse", "enqueue", "supersede")),
    help="If another refinement of the draft has not ended: start alongside it, refuse, wait until it has, "
    "or cancel it.  [default: the hub's]",
)


def examples(*lines: str) -> str:
    """The end of a command's help: lines to paste. The mark keeps them as they are."""
    return "\n".join(("\b", "Examples:", *(f"  {line}" for line in lines)))


def complete_thread(context: click.Context, parameter: click.Parameter, text: str) -> list[CompletionItem]:
    """The threads of the newest proposals that the caller may see."""
    from server.cli import proposal as command

    return [CompletionItem(thread_id, help=prompt) for thread_id, prompt in command.complete_threads(text)]


#: The argument of commands about one refinement.
THREAD = click.argument("thread_id", metavar="THREAD", type=click.UUID, shell_complete=complete_thread)


def complete_fault(context: click.Context, parameter: click.Parameter, text: str) -> list[CompletionItem]:
    """What may go wrong with a recorded run; the number of the frame follows."""
    from server.replay.directives import FAULTS

    return [CompletionItem(f"{kind}@") for kind in FAULTS if kind.startswith(text)]
