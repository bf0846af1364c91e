"""No part of a password is in what a command prints, whatever is wrong with the address that has it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from server.cli.main import main
from server.settings.loading import SettingsError, load
from server.settings.settings import Settings
from server.settings.sources import SECRETS
from server.settings.values import http_address

#: The two ends of every password. Neither is in any other text.
LEFT, RIGHT = "kingfisher", "bullfinch"
#: What an address reserves, what must be escaped in it, and what looks escaped already.
MIDDLES = (
    *("", "#", "/", "?", "@", "%", ":", "[", "]", "[]", " ", "\n", "\t", "\r\n", "&", "=", "+", "\\", "'"),
    *(
        '"',
        "%2",
        "%zz",
        "%00",
        "%23",
        "%40",
        "é",
        "\u202e",
        "\udcff",
        "${HOME}",
        "|",
        "^",
        "`",
        "<",
        ",",
        ";",
    ),
    *(";", "//", "@@", "#@", "/@", "?@", "&@", ":@", "@/", "@?", "\0"),
)
SCHEMES = {
    "DATABASE_URL": "postgresql",
    "DATABASE_DIRECT_URL": "postgres",
    "IDEO_WAKEUP_URL": "redis",
    "IDEO_RUNTIME_EVENTS_URL": "rediss",
    "DEEPAGENTS_RUNTIME_URL": "http",
    "IDEO_JWKS_URL": "https",
    "IDEO_URL": "http",
    "OTEL_EXPORTER_OTLP_ENDPOINT": "https",
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http",
}
THREAD = "0b9f6d6e-6f0e-4c52-9d5c-3f8c2f6f1a11"
COMMANDS = (
    *(("serve",), ("dev", "--once"), ("migrate", "up"), ("migrate", "status")),
    ("token", "--user", "ann@example.com"),
)
#: Of a hub that would start, if anything answered; the port discards what it gets.
COMPLETE = {
    "IDEO_ENV": "prod",
    "DATABASE_URL": "postgresql://ann@127.0.0.1:9/x",
    "DEEPAGENTS_RUNTIME_URL": "http://127.0.0.1:9",
    "IDEO_JWKS_URL": "https://127.0.0.1:9",
    "IDEO_JWT_ISSUER": "me",
    "IDEO_JWT_AUDIENCE": "hub",
    "IDEO_TOKEN": "a-token",
    "IDEO_HTTP_PORT": "0",
    "IDEO_GRPC_PORT": "0",
    "IDEO_DATA_DIR": "/nonexistent",
}


def addresses(scheme: str, middle: str) -> Iterator[str]:
    """Addresses with a password, and one that people may take for an address."""
    password = f"{LEFT}{middle}{RIGHT}"
    yield f"{scheme}://ann:{password}@127.0.0.1:9/x"
    yield f"{scheme}://{password}:ann@127.0.0.1:9/x"
    yield f"{scheme}://ann:80{middle}{LEFT}@127.0.0.1/x"
    yield f"{scheme}://ann@127.0.0.1:9/x?password={password}"
    yield f"{scheme}://ann@127.0.0.1:9/x?sslpassword={password}&ssl_password={password}"
    yield f"{scheme}://:{password}@127.0.0.1:9/0"
    yield f"{scheme}://{password}@127.0.0.1:9/0"
    yield f"{scheme}:/ann:{password}@127.0.0.1:9/0"
    yield f"{scheme}s://ann:{password}@127.0.0.1:9/0"
    yield f"{scheme}://ann:{password}@127.0.0.1:9,127.0.0.1:{LEFT}/x"
    yield f"{scheme}://ann:x@127.0.0.1:{password}/x"
    yield f"ann:{password}@127.0.0.1:9/x"
    yield f"host=127.0.0.1 port=9 user=ann password={password}"


def cases(setting: str) -> list[str]:
    """Every address of the setting."""
    return [each for middle in MIDDLES for each in addresses(SCHEMES[setting], middle)]


def shows_a_part(text: str) -> bool:
    """Whether a part of the password is in the text."""
    return LEFT in text or RIGHT in text


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing but what a hub needs."""
    for name in os.environ:
        if name.startswith(("IDEO_", "DATABASE_", "DEEPAGENTS_", "OTEL_")):
            monkeypatch.delenv(name)
    for name, value in COMPLETE.items():
        monkeypatch.setenv(name, value)


def loaded(setting: str, address: str) -> tuple[bool, str]:
    """Whether the settings are accepted with the address, and all that they or the error say."""
    field = next(name for name, field in Settings.model_fields.items() if field.alias == setting)
    given: dict[str, Any] = {field: address}
    try:
        settings = load(**given)
    except SettingsError as error:
        return False, f"{error!r} {error.problems} {error.__cause__} {error.__context__!r}"
    return True, f"{settings!r} {settings} {settings.model_dump()}"


@pytest.mark.parametrize("setting", [name for name in SCHEMES if name != "IDEO_URL"])
def test_no_settings_and_no_mistake_in_them_show_a_part_of_a_password(setting: str) -> None:
    refused = 0
    for address in cases(setting)[::3]:
        accepted, shown = loaded(setting, address)
        refused += not accepted
        assert not shows_a_part(shown), (address, shown)
    assert refused > 60


@pytest.mark.parametrize("setting", SCHEMES)
def test_no_command_shows_a_part_of_a_password_that_is_refused(setting: str) -> None:
    commands = (("refine", "x"), ("watch", THREAD)) if setting == "IDEO_URL" else COMMANDS
    tried = 0
    for number, address in enumerate(cases(setting)):
        if number % 9 or "\0" in address or _is_accepted(setting, address):
            continue
        done = CliRunner().invoke(main, commands[tried % len(commands)], env={setting: address})
        assert (done.exit_code, type(done.exception)) == (2, SystemExit), (address, done.output)
        assert not shows_a_part(done.output), (address, done.output)
        tried += 1
    assert tried > 30


def _is_accepted(setting: str, address: str) -> bool:
    if setting != "IDEO_URL":
        return loaded(setting, address)[0]
    with suppress(ValueError):
        http_address(address)
        return True
    return False


@pytest.mark.parametrize("setting", [name for name in SCHEMES if name in SECRETS])
@pytest.mark.parametrize("source", ["{}_FILE", "IDEO_ENV_FILE"])
def test_no_command_shows_a_part_of_a_password_in_a_file(tmp_path: Path, setting: str, source: str) -> None:
    file = tmp_path / "file"
    for number, address in enumerate(cases(setting)):
        if number % 16:
            continue
        line = b"" if source == "{}_FILE" else setting.encode() + b"="
        file.write_bytes(line + address.encode(errors="surrogateescape") + b"\n")
        # The variables that the command takes from the file are removed after it.
        given = {setting: None, source.format(setting): str(file)}
        done = CliRunner().invoke(main, ["token", "--user", "ann@example.com"], env=given)
        assert type(done.exception) in (SystemExit, type(None)), address
        assert not shows_a_part(done.output), (address, done.output)


@pytest.mark.parametrize(
    "arguments",
    [
        *("migrate {}", "migrate up {}", "serve {}", "doctor --url={}", "--{} serve", "{}", "watch {}"),
        *(f"watch {THREAD} {{}}", f"watch {THREAD} --after {{}}", "refine x --workflow {}"),
        *("migrate up --steps {}", "replay-runtime --port {}", "dev --once={}"),
        *("replay-runtime --frames {}", "token --user a@b --ttl {}", "refine x --url {} --token x"),
    ],
)
@pytest.mark.parametrize("middle", ["", "@", "/", "#", " ", "\n"], ids=repr)
def test_an_address_in_place_of_an_argument_is_refused_without_its_password(
    arguments: str, middle: str
) -> None:
    address = f"postgresql://ann:{LEFT}{middle}{RIGHT}@127.0.0.1/x"
    given = [each.format(address) for each in arguments.split()]
    done = CliRunner().invoke(main, given, env={"IDEO_ENV": "dev", "IDEO_JWT_SECRET": "x" * 32})
    assert done.exit_code == 2, done.output
    assert not shows_a_part(done.output), done.output


@pytest.mark.parametrize("secret", ["ann", "ann,name=", "=", "\n", " ", "%zz"], ids=repr)
def test_headers_of_traces_are_refused_without_their_values(secret: str) -> None:
    for name in ("OTEL_EXPORTER_OTLP_HEADERS", "OTEL_EXPORTER_OTLP_TRACES_HEADERS"):
        given = {name: f"{LEFT}{secret}{RIGHT}", "IDEO_JWT_SECRET": "x" * 32, "IDEO_ENV": "dev"}
        done = CliRunner().invoke(main, ["token", "--user", "a@b"], env={**given, "IDEO_JWKS_URL": None})
        assert not shows_a_part(done.output), done.output
