"""What a person can do wrong with `ideo` ends with a sentence: which setting, which port, which folder."""

from __future__ import annotations

import asyncio
import json
import os
import re
import socket
from pathlib import Path

import httpx
import pytest

from ide_orchestrator.client import Refused
from tests.support.certificates import Authority, write
from tests.support.commands import ideo
from tests.support.hub import running_hub, start
from tests.support.processes import forked, hub_environment, replay_process, running
from tests.support.servers import answer, free_port, http_server
from tests.support.terminals import in_shell
from tests.support.tokens import token

NOBODY = 65534
THREAD = "0b9f6d6e-6f0e-4c52-9d5c-3f8c2f6f1a11"
NOISE = re.compile(r"Traceback|RuntimeWarning|never awaited|^[EIW]\d{4} |^[EIWF]0000", re.MULTILINE)


def assert_sentence(errors: str, *words: str) -> None:
    """The errors are lines of ours alone, and have the words."""
    assert not NOISE.search(errors), errors
    assert all(line.startswith("ideo: ") for line in errors.splitlines()), errors
    for word in words:
        assert word in errors, errors


def dev(folder: Path, **more: str) -> dict[str, str]:
    return {"IDEO_DATA_DIR": str(folder), "IDEO_HTTP_PORT": "0", "IDEO_GRPC_PORT": "0", **more}


# --- Ports and folders ---------------------------------------------------------------------------


@pytest.mark.parametrize("setting", ["IDEO_HTTP_PORT", "IDEO_GRPC_PORT"])
async def test_a_taken_port_is_named_with_its_setting_before_any_work_begins(
    tmp_path: Path, setting: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        code, output, errors = await ideo("dev", environment=dev(tmp_path / "data", **{setting: port}))
        assert code == 1
        assert_sentence(errors, f"127.0.0.1:{port}", setting, "IDEO_HOST", "stop the program")
        assert "PostgreSQL" not in output
        assert not (tmp_path / "data").exists()
        environment = hub_environment(
            "postgresql://ann@127.0.0.1:9/x", "http://127.0.0.1:9", **{setting: port}
        )
        code, output, errors = await ideo("serve", environment=environment)
        assert (code, output) == (1, "")
        assert_sentence(errors, f"127.0.0.1:{port}", setting)
        code, _, errors = await ideo(f"replay-runtime --port {port}", environment={})
        assert code == 1
        assert_sentence(errors, f"127.0.0.1:{port}", "--port")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"IDEO_HTTP_PORT": "8123", "IDEO_GRPC_PORT": "8123"}, ("IDEO_GRPC_PORT", "IDEO_HTTP_PORT", "8123")),
        ({"IDEO_HOST": "192.0.2.1"}, ("IDEO_HOST", "192.0.2.1")),
        ({"IDEO_HOST": "no.such.host.invalid"}, ("IDEO_HOST", "no.such.host.invalid")),
        ({"IDEO_HOST": "a" * 70 + ".example"}, ("IDEO_HOST",)),
    ],
)
async def test_an_address_that_cannot_be_listened_on_is_named(
    tmp_path: Path, settings: dict[str, str], words: tuple[str, ...]
) -> None:
    code, _, errors = await ideo("dev", environment=dev(tmp_path, **settings))
    assert code == 1
    assert_sentence(errors, *words)
    # That advice is for a port that is taken.
    assert "stop the program" not in errors


async def test_a_database_whose_host_has_no_address_is_named() -> None:
    environment = {"DATABASE_URL": "postgresql://ann@no.such.host.invalid/x"}
    code, output, errors = await ideo("migrate status", environment=environment)
    assert (code, output) == (5, "")
    assert_sentence(errors, "its host name has no address", "correct the host in DATABASE_URL")


async def test_a_certificate_that_grpc_cannot_use_is_named(database: str, tmp_path: Path) -> None:
    certificate, key = write(tmp_path, Authority().pair("localhost"))
    other = tmp_path / "other.pem"
    other.write_text("kingfisher")
    for files in ((other, key), (certificate, other), (certificate, certificate)):
        names = ("IDEO_GRPC_CERTIFICATE", "IDEO_GRPC_KEY")
        tls = dict(zip(names, map(str, files), strict=True))
        environment = hub_environment(database, "http://127.0.0.1:9", **tls)
        code, _, errors = await ideo("serve", environment=environment)
        assert code == 1
        assert_sentence(errors, *names)


async def test_a_second_start_in_the_same_folder_names_the_folder(tmp_path: Path) -> None:
    async with running("dev", "--no-demo", environment=dev(tmp_path)) as first:
        await first.serving("HTTP", "gRPC")
        code, _, errors = await ideo("dev", environment=dev(tmp_path))
        assert code == 1
        assert_sentence(errors, str(tmp_path), "IDEO_DATA_DIR")
        assert await first.stop() == 0


async def test_everything_that_a_second_start_has_to_change_is_in_one_line(tmp_path: Path) -> None:
    environment = dev(tmp_path, IDEO_HTTP_PORT=str(free_port()), IDEO_GRPC_PORT=str(free_port()))
    async with running("dev", "--no-demo", environment=environment) as first:
        await first.serving("HTTP", "gRPC")
        for command, more in (
            ("dev", {}),
            (
                "serve --embedded-database",
                {
                    "IDEO_ENV": "dev",
                    "DEEPAGENTS_RUNTIME_URL": "http://127.0.0.1:9",
                    "IDEO_JWT_SECRET": "x" * 32,
                },
            ),
        ):
            code, _, errors = await ideo(command, environment={**environment, **more})
            assert (code, len(errors.splitlines())) == (1, 1), errors
            assert_sentence(errors, *environment, environment["IDEO_HTTP_PORT"], str(tmp_path))
            assert environment["IDEO_GRPC_PORT"] in errors
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = str(taken.getsockname()[1])
            examined = {**environment, "IDEO_ENV": "dev", "IDEO_HTTP_PORT": port}
            _, output, _ = await ideo("doctor", environment=examined)
        assert re.search("ports .*IDEO_HTTP_PORT is not available.*IDEO_GRPC_PORT is not available", output)
        assert await first.stop() == 0


def half_made(folder: Path) -> None:
    (folder / "postgres" / "postgres" / "base").mkdir(parents=True)


def of_another_version(folder: Path) -> None:
    half_made(folder)
    (folder / "postgres" / "postgres" / "PG_VERSION").write_text("12\n")


def damaged(folder: Path) -> None:
    half_made(folder)
    (folder / "postgres" / "postgres" / "PG_VERSION").write_text("18\n")


def a_file(folder: Path) -> None:
    folder.write_text("")


@pytest.mark.parametrize("make", [half_made, of_another_version, damaged, a_file])
async def test_a_data_folder_that_cannot_be_used_is_named(tmp_path: Path, make: object) -> None:
    folder = tmp_path / "data"
    assert callable(make)
    make(folder)
    code, _, errors = await ideo("dev", environment=dev(folder))
    assert code == 1
    assert not NOISE.search(errors), errors
    assert errors.startswith("ideo: ")
    assert "PostgreSQL" in errors or "IDEO_DATA_DIR" in errors


@pytest.mark.parametrize("folder", ["/proc/ideo", "/dev/null/ideo", "~nobody.such/ideo", "x" * 300])
async def test_a_folder_that_cannot_be_made_is_named(folder: str) -> None:
    code, _, errors = await ideo("dev", environment=dev(Path(folder)))
    assert code == 1
    assert_sentence(errors, "IDEO_DATA_DIR")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
async def test_a_folder_of_somebody_else_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir(mode=0o755)
    line = f"setpriv --reuid {NOBODY} --regid {NOBODY} --clear-groups --inh-caps=-all ideo dev"
    code, _, errors = await in_shell(line, environment=dev(folder))
    if any(
        text in errors for text in ("setpriv: ", "ModuleNotFoundError", "can't open", "Permission denied: '/")
    ):
        pytest.skip("the tree is not readable for another user")
    assert code == 1
    assert_sentence(errors, "IDEO_DATA_DIR", str(folder))


async def test_a_disk_without_room_is_named(tmp_path: Path) -> None:
    code, _, errors = await in_shell(f"mount -t tmpfs -o size=8m ideo {tmp_path}", environment={})
    if code:
        pytest.skip(f"a small disk cannot be made here: {errors.strip()}")
    try:
        code, _, errors = await ideo("dev", environment=dev(tmp_path / "data"))
    finally:
        await in_shell(f"umount {tmp_path}", environment={})
    assert code == 1
    assert_sentence(errors, "No space left on device")


# --- Wrong addresses of a hub --------------------------------------------------------------------


@pytest.fixture(
    scope="module", params=[(404, b"<h1>Not Found</h1>"), (200, b"<html>"), (200, b"[]"), (302, b"")]
)
def page(request: pytest.FixtureRequest) -> tuple[int, bytes]:
    return request.param


async def test_another_web_server_is_not_taken_for_a_hub(page: tuple[int, bytes]) -> None:
    async def answerer(head: bytes, request: bytes, writer: asyncio.StreamWriter) -> bytes:
        return answer(*page)

    async with http_server(answerer) as url:
        for command in (
            f"watch {THREAD}",
            "refine x",
            f"watch {THREAD} --json",
            f"refine x --workflow {THREAD}",
        ):
            code, output, errors = await ideo(command, environment={"IDEO_URL": url, "IDEO_TOKEN": "t"})
            assert (code, output) == (1, ""), errors
            assert_sentence(errors, url.rpartition("/")[2])


async def test_no_text_of_a_hub_steers_the_terminal() -> None:
    evil = "no \x1b]0;title\x07\x1b[2J \x9b31m \u202eabc\u2028 \ufeff [red]x[/]\x7f"

    async def answerer(head: bytes, request: bytes, writer: asyncio.StreamWriter) -> bytes:
        return answer(403, json.dumps({"code": evil, "title": evil, "detail": evil}).encode())

    async with http_server(answerer) as url:
        for command in (f"watch {THREAD}", "refine x", f"watch {THREAD} --json"):
            environment = {"IDEO_URL": url, "IDEO_TOKEN": "t"}
            code, output, errors = await ideo(command, environment=environment)
            assert (code, output) == (4, "")
            assert errors.startswith("ideo: 403: no \\x1b]0;title")
            assert all(line.isascii() and line.isprintable() for line in errors.splitlines())
            assert "[red]x[/]" in errors


async def test_nothing_in_a_hubs_drafts_steers_the_terminal_or_the_shells_completion() -> None:
    evil = "no \x1b[2J\nplain\nrm \u202eabc"
    draft = {"version": evil, "latest_version": evil, "files": {evil: {"size_bytes": 1, "sha256": evil}}}
    version = {
        "version": evil,
        "created_at": evil,
        "created_by_user_id": evil,
        "restored_version": 0,
        "proposal_id": evil,
    }
    workflow = {"id": THREAD, "current_draft_id": THREAD, "name": evil, "archived": False}

    async def answerer(head: bytes, request: bytes, writer: asyncio.StreamWriter) -> bytes:
        if b"/api/workflows" in head:
            return answer(200, json.dumps({"items": [workflow], "next_cursor": None}).encode())
        if b"/versions" in head:
            return answer(200, json.dumps({"items": [version], "next_cursor": None}).encode())
        return answer(200, json.dumps(draft).encode())

    completion = {"_IDEO_COMPLETE": "zsh_complete", "COMP_WORDS": "ideo draft show ", "COMP_CWORD": "3"}
    async with http_server(answerer) as url:
        environment = {"IDEO_URL": url, "IDEO_TOKEN": "t"}
        # In the completion for zsh, an item is three lines: its kind, its value, its help.
        for command, more, lines in (
            ("draft ls", {}, 1),
            (f"draft history {THREAD}", {}, 1),
            (f"draft show {THREAD}", {}, 2),
            ("", completion, 3),
        ):
            code, output, errors = await ideo(command, environment={**environment, **more})
            assert (code, errors) == (0, ""), command
            shown = output.splitlines()
            assert len(shown) == lines, command
            assert "no \\x1b[2J\\nplain\\nrm \\u202eabc" in shown[-1], command
            assert all(line.isascii() and line.isprintable() for line in shown), command


async def test_the_grpc_port_is_not_taken_for_the_hubs_http_port(database: str) -> None:
    async with (
        replay_process() as runtime,
        forked("serve", environment=hub_environment(database, runtime)) as hub,
    ):
        await hub.serving("HTTP", "gRPC")
        url = f"http://{hub.addresses['gRPC']}"
        environment = {"IDEO_URL": url, "IDEO_TOKEN": token()}
        for command, why in (
            ("refine x", "does not speak HTTP"),
            (f"watch {THREAD}", "closed the connection without an answer"),
        ):
            code, _, errors = await ideo(command, environment=environment)
            assert (code, len(errors.splitlines())) == (5, 1), errors
            assert_sentence(errors, url, why, "set IDEO_URL")


@pytest.mark.parametrize("host", ["127.0.0.1", "no.such.host.invalid"])
async def test_a_hub_that_is_away_from_the_first_is_named_once_with_what_to_do(host: str) -> None:
    url = f"http://{host}:{free_port()}"
    environment = {"IDEO_URL": url, "IDEO_TOKEN": "t"}
    for command in (
        "refine x",
        f"watch {THREAD}",
        f"watch {THREAD} --json",
        f"record {THREAD} --no-follow",
        "user me",
    ):
        code, output, errors = await ideo(command, environment=environment)
        assert (code, output, len(errors.splitlines())) == (5, "", 1), errors
        assert_sentence(errors, url, "start it with `ideo dev`, or set IDEO_URL")


# --- What is named is what was written ---------------------------------------------------------------


async def test_a_message_names_the_argument_and_not_what_the_command_made_of_it(tmp_path: Path) -> None:
    environment = {"IDEO_URL": f"http://127.0.0.1:{free_port()}", "IDEO_TOKEN": "t"}
    (tmp_path / "e.md").write_text("x")
    for line, code, words in (
        (f"draft put {THREAD} e.md {tmp_path}/e.md", 2, "ideo: e.md: a path in a draft starts with `/`"),
        (f"draft rm {THREAD} /a.md e.md", 2, "ideo: e.md: a path in a draft starts with `/`"),
        (f"record {THREAD} -o {tmp_path}/no/x", 1, f"the folder {tmp_path}/no does not exist"),
        (f"proposal download {THREAD} -o {tmp_path}/no/x", 1, f"the folder {tmp_path}/no does not exist"),
        (f"draft download {THREAD} -o {tmp_path}/no/x", 1, f"the folder {tmp_path}/no does not exist"),
    ):
        ended, output, errors = await ideo(line, environment=environment)
        assert (ended, output) == (code, ""), line
        assert_sentence(errors, words)


async def test_a_list_of_the_wrong_things_or_of_the_wrong_length_is_answered_with_the_right_one(
    database: str,
) -> None:
    async with running_hub(database, runtime_can_resume=True) as hub, hub.client() as client:
        with pytest.raises(Refused, match="event_types: must each be one of "):
            await client.call("POST", "/api/webhooks", {"url": "https://example.com", "event_types": ["x"]})
        started = await start(client, "[[replay:approval]]")
        async for event in client.follow(started["thread_id"]):
            if event.HasField("input_requested"):
                break
        code, _, errors = await ideo(
            f"reply {started['thread_id']} approve approve", environment=hub.ideo_settings
        )
        assert code == 1
        assert_sentence(errors, "decisions: must be one for each action of the question, which has 1")


async def test_a_server_that_does_not_answer_is_named_with_its_address_and_setting(
    database: str, tmp_path: Path
) -> None:
    port = free_port()
    away = {"DATABASE_URL": f"postgresql://ann:kingfisher@127.0.0.1:{port}/x"}
    code, output, errors = await ideo("migrate status", environment=away)
    assert (code, output) == (5, "")
    assert_sentence(errors, f"the database at 127.0.0.1:{port} is not available", "check DATABASE_URL")
    runtime = f"http://127.0.0.1:{port}"
    code, output, _ = await ideo("doctor", environment={**hub_environment(database, runtime), **away})
    assert code == 1
    assert f"127.0.0.1:{port} cannot be reached" in output
    assert f"the runtime cannot be reached ({runtime})" in output
    environment = dev(tmp_path, DATABASE_URL=database, DEEPAGENTS_RUNTIME_URL=runtime)
    code, _, errors = await ideo("dev --once", environment=environment)
    assert code == 1
    assert "the runtime cannot be reached" in errors
    assert f"(DEEPAGENTS_RUNTIME_URL is {runtime})" in errors
    assert "kingfisher" not in output + errors


# --- Settings ------------------------------------------------------------------------------------


async def test_a_misspelt_setting_is_named_with_the_one_that_it_resembles(database: str) -> None:
    misspelt = {
        "IDEO_ALLOWED_ORIGN": "https://a",
        "IDEO_HTTP_PROT": "1",
        "IDEO_NONSENSE_XYZ": "1",
        "DATABASE_ULR": "x",
        "DEEPAGENTS_RUNTIME_ULR": "x",
        "DATABASE_NAME": "another program's",
        "IDEO_HUB_SERVICE_HOST": "10.0.0.1",
        "IDEO_HUB_PORT": "tcp://10.0.0.1:80",
        "IDEO_HUB_PORT_80_TCP_ADDR": "10.0.0.1",
        "IDEO_STREAMS": "7",
    }
    expected = [
        "ideo: IDEO_STREAMS has been renamed: set IDEO_MAX_STREAMS instead",
        "ideo: DATABASE_ULR is not a setting, and is ignored: did you mean DATABASE_URL?",
        "ideo: DEEPAGENTS_RUNTIME_ULR is not a setting, and is ignored: did you mean DEEPAGENTS_RUNTIME_URL?",
        "ideo: IDEO_ALLOWED_ORIGN is not a setting, and is ignored: did you mean IDEO_ALLOWED_ORIGINS?",
        "ideo: IDEO_HTTP_PROT is not a setting, and is ignored: did you mean IDEO_HTTP_PORT?",
        "ideo: IDEO_NONSENSE_XYZ is not a setting, and is ignored",
    ]
    for command in ("migrate status", "serve", "dev --once"):
        environment = {**hub_environment(database, "http://127.0.0.1:9", IDEO_HTTP_PORT="x"), **misspelt}
        code, _, errors = await ideo(command, environment=environment)
        assert code == 2
        assert errors.splitlines()[:6] == expected
    for command in ("user me", "quarantine ls", "quarantine ls --url http://127.0.0.1:9", "conformance"):
        calling = {"IDEO_URL": "http://127.0.0.1:9", "IDEO_TOKEN": "t", **misspelt}
        code, _, errors = await ideo(command, environment=calling)
        assert (code, errors.splitlines()[:6]) == (5, expected), command
        assert errors.count("is not a setting") == 5, command
    completing = {"_IDEO_COMPLETE": "bash_complete", "COMP_CWORD": "3"}
    for words in ("ideo draft show", "ideo quarantine show"):
        environment = {**misspelt, **completing, "COMP_WORDS": f"{words} "}
        assert (await ideo("", environment=environment))[2] == ""
    code, output, _ = await ideo("doctor", environment={**hub_environment(database, "http://h"), **misspelt})
    assert code == 1
    assert "IDEO_ALLOWED_ORIGN is not a setting, and is ignored" in output
    assert "fix: set IDEO_ALLOWED_ORIGINS instead" in output


async def test_settings_come_from_files_and_the_environment_counts_first(
    database: str, tmp_path: Path
) -> None:
    (tmp_path / "db").write_text(f"{database}\n")
    (tmp_path / "other").write_text("IDEO_HTTP_PORT=many\nexport DATABASE_URL='mysql://x'  # ours\n")
    status = "migrate status"
    named = {"DATABASE_URL_FILE": str(tmp_path / "db")}
    assert (await ideo(status, environment=named))[0] == 0
    code, _, errors = await ideo(status, environment={"IDEO_ENV_FILE": str(tmp_path / "other")})
    assert code == 2
    assert_sentence(errors, "IDEO_HTTP_PORT: ", "DATABASE_URL: must")
    both = {"IDEO_ENV_FILE": str(tmp_path / "other"), "IDEO_HTTP_PORT": "0"}
    assert (await ideo(status, environment={**both, **named}))[0] == 0
    assert (await ideo(status, environment={**both, "DATABASE_URL": database}))[0] == 0
    (tmp_path / ".env").write_text(f"DATABASE_URL={database}\n")
    assert (await ideo(status, environment={}, cwd=tmp_path))[0] == 2
    assert (await ideo(status, environment={"IDEO_ENV": "dev"}, cwd=tmp_path))[0] == 0


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("DATABASE_URL_FILE", None),
        ("DATABASE_URL_FILE", b""),
        ("IDEO_JWT_SECRET_FILE", b"\xff\xfe"),
        ("IDEO_ENV_FILE", None),
        ("IDEO_ENV_FILE", b"kingfisher"),
        ("IDEO_ENV_FILE", b"A=1\nB='kingfisher\n"),
        ("IDEO_ENV_FILE", b"A=\0kingfisher\n"),
    ],
)
async def test_a_file_of_settings_that_cannot_be_read_is_named(
    tmp_path: Path, name: str, content: bytes | None
) -> None:
    path = tmp_path / "file"
    if content is not None:
        path.write_bytes(content)
    for command in ("migrate status", "doctor"):
        environment = {"DATABASE_URL_FILE": "/nowhere"} | {name: str(path)}
        code, output, errors = await ideo(command, environment=environment)
        assert code == 2
        assert f"{name}: " in output + errors
        assert "kingfisher" not in output + errors
        assert not NOISE.search(errors)


async def test_doctor_changes_nothing(tmp_path: Path) -> None:
    environment = {"IDEO_ENV": "dev", "IDEO_DATA_DIR": str(tmp_path / "data"), "IDEO_JWT_SECRET": "x" * 32}
    code, output, errors = await ideo(
        "doctor", environment={**environment, "IDEO_HTTP_PORT": "0", "IDEO_GRPC_PORT": "0"}
    )
    assert (code, errors) == (0, ""), output
    assert "the embedded PostgreSQL is not running" in output
    assert [*tmp_path.iterdir()] == []


async def test_a_right_address_that_does_not_answer_is_shown_without_its_password(
    database: str, capfd: pytest.CaptureFixture[str]
) -> None:
    right = {
        "DATABASE_URL": "postgresql://ann:kingfisher%23bullfinch@127.0.0.1:9/x?sslpassword=kingfisher%3Fbullfinch",
        "IDEO_WAKEUP_URL": "redis://ann:kingfisher%40bullfinch@127.0.0.1:9/0",
        "IDEO_RUNTIME_EVENTS_URL": "redis://:kingfisher%2Fbullfinch@127.0.0.1:9/0",
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9",
        "OTEL_EXPORTER_OTLP_HEADERS": "authorization=kingfisher%20bullfinch",
        "IDEO_TOKEN": "kingfisher",
        "IDEO_DEBUG": "1",
    }
    environment = {**hub_environment(database, "http://127.0.0.1:9"), **right}
    commands = ("doctor", "doctor --json", "migrate up", "serve", "refine x --url http://127.0.0.1:9")
    ended = await asyncio.gather(*(ideo(command, environment=environment) for command in commands))
    for command, (code, output, errors) in zip(commands, ended, strict=True):
        assert code in (1, 5), (command, output, errors)
        assert not re.search("kingfisher|bullfinch", output + errors), (command, output, errors)
    # A hub that runs, and of whose servers none but the database answers.
    environment |= {"DATABASE_URL": database, "IDEO_ENV": "dev"}
    async with running("serve", environment=environment) as hub:
        await hub.serving("HTTP", "gRPC")
        async with httpx.AsyncClient(base_url=hub.addresses["HTTP"], trust_env=False, timeout=60) as http:
            ready = (await http.get("/readyz")).text + (await http.get("/metrics")).text
            await http.get("/api/me")
        assert await hub.stop() == 0
    log = capfd.readouterr().err
    assert "authentication_refused" in log, "the log was not read"
    assert not re.search("kingfisher|bullfinch", ready + log)


async def test_a_full_disk_is_no_mistake_of_the_hub() -> None:
    code, _, errors = await in_shell("ideo --help > /dev/full", environment={})
    assert code == 1
    assert_sentence(errors, "cannot write the output", "No space left on device")
    assert "report" not in errors
