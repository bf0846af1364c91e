"""Settings have descriptions, old names still work, and every mistake is reported."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from server.settings.loading import SettingsError, known_names, load
from server.settings.names import RENAMED, old_names_in_use, unknown_names
from server.settings.settings import ClientSettings, Settings


def test_every_setting_has_a_description() -> None:
    fields = {**Settings.model_fields, **ClientSettings.model_fields}
    assert [name for name, field in fields.items() if not field.description] == []


def test_every_old_name_stands_for_a_setting() -> None:
    present = {field.alias for field in Settings.model_fields.values()}
    assert set(RENAMED.values()) <= present
    assert not RENAMED.keys() & present


def test_no_name_that_the_pages_use_is_reported_as_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    pages = (page.read_text() for page in Path("docs/howto").glob("*.md"))
    for name in {found for page in pages for found in re.findall(r"\bIDEO_[A-Z0-9_]*[A-Z]\b", page)}:
        monkeypatch.setenv(name, "x")
    assert unknown_names(known_names()) == {}


def test_an_old_name_is_read_where_the_present_one_is_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IDEO_STREAMS", "7")
    assert load().max_streams == 7
    monkeypatch.setenv("IDEO_MAX_STREAMS", "8")
    assert load().max_streams == 8
    assert old_names_in_use() == {"IDEO_STREAMS": "IDEO_MAX_STREAMS"}


def test_wrong_values_and_missing_names_are_reported_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DATABASE_URL", raising=False)
    monkeypatch.setenv("IDEO_HTTP_PORT", "many")
    monkeypatch.setenv("IDEO_WAKEUP_URL", "http://kingfisher")
    with pytest.raises(SettingsError) as caught:
        load(require=("DATABASE_URL",))
    problems = caught.value.problems
    assert [problem.partition(":")[0] for problem in problems] == [
        "IDEO_WAKEUP_URL",
        "IDEO_HTTP_PORT",
        "DATABASE_URL",
    ]
    assert "kingfisher" not in str(problems)


def test_a_wrong_value_is_answered_in_plain_words_for_every_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    said = set()
    for name in (str(field.alias) for field in Settings.model_fields.values()):
        for value in ("kingfisher 1", "", "-1", "1.5", "nan", "9" * 30, "9" * 5000, "1", "x" * 300):
            with monkeypatch.context() as changed:
                changed.setenv(name, value)
                try:
                    load()
                except SettingsError as error:
                    said |= set(error.problems)
    assert {
        "IDEO_HTTP_PORT: must be a whole number",
        "IDEO_HTTP_PORT: must be at most 65535",
        "IDEO_WORKBENCH: must be true or false",
        "IDEO_WHEN_BUSY: must be parallel, refuse, enqueue or supersede",
    } <= said
    ours = re.compile(r"[A-Z_]+(: (must|has|is required)|.* works only with IDEO_)")
    assert [problem for problem in said if not ours.match(problem)] == []
    assert not [problem for problem in said if "kingfisher" in problem or "parse" in problem]


#: Values that do not work, by the variable; none of their parts may be shown.
WRONG = {
    "IDEO_ALLOWED_ORIGINS": (
        "*",
        "kingfisher.example.com",
        "https://kingfisher.example.com/app",
        "https://*.kingfisher.example.com",
        "https://ann@kingfisher",
        "https://kingfisher:many",
        "https://ok.example,https://king fisher",
        "ftp://kingfisher",
        "null",
    ),
    "IDEO_DIRECTORY_DOMAINS": (
        "@kingfisher.example",
        "*.kingfisher.example",
        "kingfisher",
        "ann@kingfisher.example",
        "ok.example,https://kingfisher.example",
    ),
    "DEEPAGENTS_RUNTIME_URL": (
        "kingfisher",
        "ftp://kingfisher",
        "http://",
        "http://kingfisher:many",
        "http://kingfisher:99999",
        "http://kingfisher:0",
        "http://ann:kingfisher@h",
        "http://h/?q=kingfisher",
        "http://h/#kingfisher",
        "http://king fisher",
        "http://[kingfisher",
    ),
    "OTEL_EXPORTER_OTLP_ENDPOINT": ("kingfisher:4318", "grpc://kingfisher"),
    "OTEL_EXPORTER_OTLP_HEADERS": ("kingfisher", "a=b,kingfisher", "a b=kingfisher", "a=king\nfisher"),
    "IDEO_WAKEUP_URL": ("redis://h?kingfisher", "redis://h/kingfisher", "redis://:king#fisher@h"),
    "IDEO_RUNTIME_EVENTS_URL": ("redis://h?socket_timeout=kingfisher", "kingfisher"),
    "IDEO_HOST": (
        "",
        "http://kingfisher",
        "kingfisher:80",
        "127.0.0.1:80",
        "[::1]",
        "999.1.1.1",
        "king fisher",
        "kingfisher/",
        "*",
        "-kingfisher",
    ),
    "IDEO_GRPC_PUBLIC_URL": (
        "kingfisher:50051",
        "https://kingfisher/path",
        "grpc://kingfisher",
        "https://a@kingfisher",
    ),
    "IDEO_CRASH_POINT": ("kingfisher", "kingfisher:2", "after_append:0", ""),
    "IDEO_HTTP_PORT": ("99999", "-1", "8080.5", "9" * 5000),
    "IDEO_RUN_MAX_DURATION_S": ("nan", "inf", "1e999", "0"),
    "IDEO_JOURNAL_RETENTION_DAYS": ("nan", "-1", "1e9"),
}


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, values in WRONG.items() for value in values]
)
def test_a_wrong_value_is_named_at_the_start_and_not_shown(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as caught:
        load()
    [problem] = caught.value.problems
    assert problem.startswith(f"{name}: ")
    assert "king" not in problem
    assert "fisher" not in problem


@pytest.mark.parametrize(
    ("value", "host"),
    [
        (" 127.0.0.1 ", "127.0.0.1"),
        ("0.0.0.0", "0.0.0.0"),
        ("::", "::"),
        ("::1", "::1"),
        ("fe80::1%eth0", "fe80::1%eth0"),
        ("localhost", "localhost"),
        ("hub-1.example.com", "hub-1.example.com"),
        ("db_1", "db_1"),
        ("1and1.example", "1and1.example"),
    ],
)
def test_the_address_to_listen_on_is_an_ip_address_or_a_name(value: str, host: str) -> None:
    assert Settings.model_validate({"host": value}).host == host


def test_lists_are_separated_by_commas_and_origins_lose_their_last_slash() -> None:
    settings = Settings.model_validate(
        {"allowed_origins": " https://a/, https://b ,", "grpc_allowed_sans": "x, y/"}
    )
    assert settings.allowed_origins == ("https://a", "https://b")
    assert settings.grpc_allowed_sans == ("x", "y/")
