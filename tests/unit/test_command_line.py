"""The command line answers at once where it can, and says what is wrong in a line."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from server.auth.tokens import SharedSecret
from server.cli.failures import Commands
from server.cli.main import main

HEAVY = (
    "asyncpg",
    "grpc",
    "httpx",
    "litestar",
    "opentelemetry",
    "piccolo",
    "pydantic",
    "rich",
    "server.compose",
)
COMMANDS = tuple(main.commands)
THREAD = "0b9f6d6e-6f0e-4c52-9d5c-3f8c2f6f1a11"


def imported(*arguments: str, **environment: str) -> set[str]:
    """The heavy modules that a command line imports, which must succeed."""
    code = (
        "import atexit, sys; sys.argv[0] = 'ideo'; from server.cli.main import main; "
        f"found = lambda: [name for name in {HEAVY!r} if name in sys.modules]; "
        "atexit.register(lambda: print(*found(), file=sys.stderr)); main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout
    return set(done.stderr.split())


@pytest.mark.parametrize("arguments", [(), *((name,) for name in COMMANDS)])
def test_help_imports_nothing_of_the_hub(arguments: tuple[str, ...]) -> None:
    assert imported(*arguments, "--help") == set()


def every_command(*names: str) -> list[tuple[str, ...]]:
    """The words of each command and group below the given group."""
    command: click.Command = main
    for name in names:
        assert isinstance(command, click.Group)
        command = command.commands[name]
    below = command.commands if isinstance(command, click.Group) else ()
    return [names, *(words for name in below for words in every_command(*names, name))]


@pytest.mark.parametrize("names", every_command(), ids=lambda names: " ".join(names) or "ideo")
def test_help_is_text_that_a_terminal_only_prints(names: tuple[str, ...]) -> None:
    done = CliRunner().invoke(main, [*names, "--help"])
    assert done.exit_code == 0
    assert all(character == "\n" or character.isprintable() for character in done.stdout)


@pytest.mark.parametrize(
    "arguments",
    [
        ("doctor",),
        ("proposal", "show", THREAD, "/a"),
        ("draft", "ls"),
        ("watch",),
        ("proposal",),
        (),
    ],
    ids=" ".join,
)
@pytest.mark.parametrize("option", ["", "--"])
def test_an_argument_that_is_wrong_is_named_without_what_a_terminal_would_obey(
    arguments: tuple[str, ...], option: str
) -> None:
    done = CliRunner().invoke(main, [*arguments, f"{option}\x1b]0;title\x07\x9b2J\u202e\r"])
    assert done.exit_code == 2
    assert "title" in done.stderr
    assert all(character == "\n" or character.isprintable() for character in done.stderr)


def commands_below(group: click.Group) -> Iterator[click.Command]:
    """Every command of a group and of its groups."""
    for command in group.commands.values():
        if isinstance(command, click.Group):
            yield from commands_below(command)
        else:
            yield command


def test_an_option_whose_values_have_another_name_in_its_help_says_each_of_them() -> None:
    hidden = [
        (command.name, choice)
        for command in commands_below(main)
        for option in command.params
        if isinstance(option, click.Option) and option.metavar is not None
        for kind in (option.type.types if isinstance(option.type, click.Tuple) else (option.type,))
        if isinstance(kind, click.Choice)
        for choice in kind.choices
        if not re.search(rf"\b{choice}\b", option.help or "")
    ]
    assert hidden == []


def test_shell_completion_imports_nothing_of_the_hub() -> None:
    assert imported(_IDEO_COMPLETE="bash_source") == set()
    assert imported(_IDEO_COMPLETE="bash_complete", COMP_WORDS="ideo serve --", COMP_CWORD="2") == set()


def test_a_command_points_out_settings_with_their_old_names() -> None:
    environment = {"IDEO_STREAMS": "3", "IDEO_ENV": "dev", "IDEO_JWT_SECRET": "x" * 32, "IDEO_JWKS_URL": None}
    done = CliRunner().invoke(main, ["token", "--user", "ann@example.com"], env=environment)
    assert done.exit_code == 0
    assert done.stderr.splitlines() == ["ideo: IDEO_STREAMS has been renamed: set IDEO_MAX_STREAMS instead"]


def token(user: str, ttl: str = "1h", **environment: str | None) -> Result:
    given = {"IDEO_ENV": "dev", "IDEO_JWT_SECRET": "x" * 32, "IDEO_JWKS_URL": None, **environment}
    return CliRunner().invoke(main, ["token", "--user", user, f"--ttl={ttl}"], env=given)


@pytest.mark.parametrize(
    "ttl",
    [
        "soon",
        "0x1h",
        "1w",
        "999999999999d",
        "0s",
        "0d",
        "000h",
        "-1h",
        "-0s",
        "3651d",
        "",
        " 1h",
        "1h\n",
        "١h",
    ],
)
def test_a_lifetime_that_cannot_be_a_tokens_is_named_with_the_range(ttl: str) -> None:
    done = token("ann@example.com", ttl)
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.startswith("ideo: --ttl ")
    assert "from 1s to 3650d" in done.stderr


@pytest.mark.parametrize(
    "user",
    [
        *("ann", "", "@" * 256, "a@b\n", "a\n@b", "a@b\x00", "a@b\x1b[2J", "a@b\x7f", "a@b\x85", "a@b\u2028"),
        *("a@b\u202e", "a@b\ud800", "\udcff@b", "a@b\ufeff"),
    ],
    ids=ascii,
)
def test_a_token_is_issued_to_no_user_whom_a_hub_refuses(user: str) -> None:
    done = token(user)
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.startswith("ideo: --user ")
    assert done.stderr[:-1].isprintable()


async def test_a_hub_takes_every_token_that_is_issued() -> None:
    for user in ("ann@example.com", "ann o'hara@exämple.com", "@" * 255):
        for ttl in ("1s", "3650d"):
            done = token(user, ttl)
            assert done.exit_code == 0, done.stderr
            assert (await SharedSecret("x" * 32).verify(done.stdout.strip())).subject == user


@pytest.mark.parametrize("secret", ["x" * 32, None])
def test_no_token_is_issued_for_hubs_that_take_none_of_development(
    secret: str | None, tmp_path: Path
) -> None:
    (tmp_path / "jwt_secret").touch(0o600)
    (tmp_path / "jwt_secret").write_text("x" * 32)
    done = token("ann@example.com", IDEO_ENV="prod", IDEO_JWT_SECRET=secret, IDEO_DATA_DIR=str(tmp_path))
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.startswith("ideo: IDEO_ENV: ")
    assert "IDEO_JWKS_URL" in done.stderr
    assert token("ann@example.com", IDEO_ENV=None, IDEO_JWT_SECRET=secret, IDEO_DATA_DIR=str(tmp_path)).stdout


def test_a_default_that_is_no_recording_is_named_with_those_that_there_are(tmp_path: Path) -> None:
    def serve(*options: str) -> Result:
        return CliRunner().invoke(main, ["replay-runtime", "--port", "0", *options])

    for name in ("nosuch", "", "short_run.jsonl", "\x1b[2J"):
        done = serve("--default", name)
        assert (done.exit_code, done.stdout) == (2, "")
        assert done.stderr.startswith("ideo: there is no recording ")
        assert "short_run" in done.stderr.partition("there are: ")[2]
        assert done.stderr[:-1].isprintable()
    done = serve("--frames", str(tmp_path))
    assert (done.exit_code, done.stderr) == (
        2,
        f"ideo: there is no recording (*.jsonl, *.ndjson) in {tmp_path}\n",
    )
    (tmp_path / "mine.jsonl").write_bytes(b"\xff\n")
    done = serve("--frames", str(tmp_path))
    assert (done.exit_code, "mine.jsonl cannot be read (not UTF-8)" in done.stderr) == (2, True)
    (tmp_path / "mine.jsonl").write_text("{}")
    done = serve("--frames", str(tmp_path), "--default", "short_run")
    assert (done.exit_code, done.stderr.partition("there are: ")[2]) == (2, "mine\n")


def test_a_client_without_a_token_ends_with_four() -> None:
    done = CliRunner().invoke(main, ["watch", THREAD], env={"IDEO_TOKEN": None})
    assert (done.exit_code, done.stderr) == (
        4,
        "ideo: no token: set IDEO_TOKEN, as the line that `ideo dev` prints does, or give --token\n",
    )


@pytest.mark.parametrize(
    "url",
    [
        "foo",
        "http://",
        "ftp://h",
        "http://h:many",
        "http://ann:kingfisher@h",
        "http://h/?token=kingfisher",
        "ws://h",
    ],
)
def test_an_address_that_cannot_be_the_hubs_is_a_wrong_argument(url: str) -> None:
    for command in (["watch", THREAD], ["refine", "x"]):
        done = CliRunner().invoke(main, [*command, "--url", url, "--token", "t"])
        assert done.exit_code == 2
        assert done.stderr.startswith("ideo: --url: must ")
        assert len(done.stderr.splitlines()) == 1
        assert "kingfisher" not in done.output
        done = CliRunner().invoke(main, command, env={"IDEO_URL": url, "IDEO_TOKEN": "t"})
        assert (done.exit_code, done.stderr.partition(" must ")[0]) == (2, "ideo: IDEO_URL:")


def test_a_token_that_no_header_can_hold_is_named_and_not_shown() -> None:
    for token in ("king fisher", "king\nfisher", "kingfisherü"):
        done = CliRunner().invoke(main, ["watch", THREAD, "--token", token])
        assert done.exit_code == 4
        assert done.stderr.startswith("ideo: the token contains characters")
        assert "king" not in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("watch", THREAD, "--after", "-1"),
        ("watch", THREAD, "--after", "99999999999999999999"),
        ("replay-runtime", "--port", "99999"),
        ("replay-runtime", "--port", "-1"),
        ("migrate", "down", "--steps", "99999999999999999999"),
        ("migrate", "sideways"),
    ],
)
def test_a_number_that_is_too_large_or_too_small_is_a_wrong_argument(arguments: tuple[str, ...]) -> None:
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 2
    assert "Traceback" not in done.output


@pytest.mark.parametrize(
    "wrong", ["nope", "", THREAD[:-1], THREAD + "/", f"{THREAD}\n{THREAD}", "\ud800", "\x1b[2J"]
)
@pytest.mark.parametrize("arguments", [("watch",), ("refine", "x", "--workflow")])
def test_an_id_that_is_no_uuid_is_a_wrong_argument_before_any_hub_is_asked(
    arguments: tuple[str, ...], wrong: str
) -> None:
    # No hub could be asked: neither an address nor a token is given.
    done = CliRunner().invoke(main, [*arguments, wrong], env={"IDEO_URL": None, "IDEO_TOKEN": None})
    assert done.exit_code == 2
    assert "is not a valid UUID" in done.stderr
    assert "\x1b" not in done.output


def test_an_unexpected_error_is_a_sentence_without_its_text_and_debug_shows_its_place() -> None:
    @click.command()
    def broken() -> None:
        try:
            raise KeyError("kingfisher")
        except KeyError as cause:
            raise ExceptionGroup("kingfisher", [ValueError("curlew")]) from cause

    commands = Commands("ideo", commands=[broken])
    for debug in ("", "1"):
        done = CliRunner().invoke(commands, ["broken"], env={"IDEO_DEBUG": debug})
        assert done.exit_code == 1
        assert "(ValueError in ExceptionGroup)" in done.stderr
        assert "kingfisher" not in done.stderr.replace('"kingfisher"', "")
        assert "Traceback" not in done.stderr
        assert ("in broken" in done.stderr) == (debug == "1")
