"""Settings have descriptions, old names still work, and every mistake is reported."""

from __future__ import annotations

import pytest

from server.settings import RENAMED, ClientSettings, Settings, SettingsError, load, old_names_in_use


def test_every_setting_has_a_description() -> None:
    fields = {**Settings.model_fields, **ClientSettings.model_fields}
    assert [name for name, field in fields.items() if not field.description] == []


def test_every_old_name_stands_for_a_setting() -> None:
    present = {field.alias for field in Settings.model_fields.values()}
    assert set(RENAMED.values()) <= present
    assert not RENAMED.keys() & present


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


def test_lists_are_separated_by_commas_and_origins_lose_their_last_slash() -> None:
    settings = Settings.model_validate(
        {"allowed_origins": " https://a/, https://b ,", "grpc_allowed_sans": "x, y/"}
    )
    assert settings.allowed_origins == ("https://a", "https://b")
    assert settings.grpc_allowed_sans == ("x", "y/")
