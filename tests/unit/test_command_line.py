"""The command line answers at once where it can, and says what is wrong in a line."""

from __future__ import annotations

import os
import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

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


def test_shell_completion_imports_nothing_of_the_hub() -> None:
    assert imported(_IDEO_COMPLETE="bash_source") == set()
    assert imported(_IDEO_COMPLETE="bash_complete", COMP_WORDS="ideo serve --", COMP_CWORD="2") == set()


def test_a_command_points_out_settings_with_their_old_names() -> None:
    environment = {"IDEO_STREAMS": "3", "IDEO_ENV": "dev", "IDEO_JWT_SECRET": "x" * 32, "IDEO_JWKS_URL": None}
    done = CliRunner().invoke(main, ["token", "--user", "ann@example.com"], env=environment)
    assert done.exit_code == 0
    assert done.stderr.splitlines() == ["ideo: IDEO_STREAMS has been renamed: set IDEO_MAX_STREAMS instead"]


@pytest.mark.parametrize("ttl", ["soon", "0x1h", "1w", "999999999999d"])
def test_a_lifetime_that_cannot_be_read_is_named(ttl: str) -> None:
    environment = {"IDEO_ENV": "dev", "IDEO_JWT_SECRET": "x" * 32}
    done = CliRunner().invoke(main, ["token", "--user", "ann@example.com", "--ttl", ttl], env=environment)
    assert done.exit_code == 2
    assert "--ttl" in done.stderr


def test_a_client_without_a_token_ends_with_four() -> None:
    done = CliRunner().invoke(main, ["watch", THREAD], env={"IDEO_TOKEN": None})
    assert (done.exit_code, done.stderr) == (4, "ideo: no token: set IDEO_TOKEN or give --token\n")


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
        assert done.stderr.startswith("ideo: the token has characters")
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
