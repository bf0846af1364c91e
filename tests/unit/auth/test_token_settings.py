"""Settings that decide who checks tokens."""

from __future__ import annotations

from typing import Any

import pytest

from server.adapters import create_verifier
from server.auth.keyset import KeySet
from server.auth.tokens import SharedSecret
from server.settings.loading import SettingsError, load
from tests.support.tokens import SECRET

JWKS: dict[str, Any] = {"jwks_url": "https://login.example.com/jwks"}
NAMED: dict[str, Any] = {"jwt_issuer": "https://login.example.com", "jwt_audience": "hub"}


@pytest.fixture(autouse=True)
def _nothing_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("IDEO_ENV", "IDEO_JWKS_URL", "IDEO_JWT_ISSUER", "IDEO_JWT_AUDIENCE", "IDEO_JWT_SECRET"):
        monkeypatch.delenv(name, raising=False)


def problems(**given: Any) -> str:
    with pytest.raises(SettingsError) as caught:
        create_verifier(load(**given))
    return "\n".join(caught.value.problems)


def test_production_names_all_missing_settings_at_once() -> None:
    found = problems(in_prod=("IDEO_JWKS_URL",))
    for name in ("IDEO_JWKS_URL", "IDEO_JWT_ISSUER", "IDEO_JWT_AUDIENCE"):
        assert found.count(f"{name}: is required") == 1


@pytest.mark.parametrize("env", ["prod", "dev"])
def test_keys_need_an_issuer_and_an_audience(env: str) -> None:
    found = problems(env=env, **JWKS)
    assert "IDEO_JWT_ISSUER: is required" in found
    assert "IDEO_JWT_AUDIENCE: is required" in found
    assert "IDEO_JWT_ISSUER" not in problems(env=env, jwt_issuer="x", **JWKS)


@pytest.mark.parametrize(
    ("env", "address", "good"),
    [
        ("prod", "https://login.example.com/jwks", True),
        ("prod", "http://login.example.com/jwks", False),
        ("prod", "http://127.0.0.1/jwks", False),
        ("dev", "http://127.0.0.1:8000/jwks", True),
        ("dev", "http://[::1]:8000/jwks", True),
        ("dev", "http://localhost/jwks", True),
        ("dev", "http://login.example.com/jwks", False),
        ("dev", "http://127.0.0.1.example.com/jwks", False),
        ("dev", "ftp://127.0.0.1/jwks", False),
        ("dev", "https:///jwks", False),
        ("dev", "file:///etc/passwd", False),
        ("dev", "http://[::1/jwks", False),
    ],
)
def test_keys_come_over_https_or_from_this_machine_in_development(env: str, address: str, good: bool) -> None:
    given: dict[str, Any] = {"env": env, **NAMED, "jwks_url": address}
    if good:
        assert isinstance(create_verifier(load(**given)), KeySet)
    else:
        assert "IDEO_JWKS_URL" in problems(**given)


def test_a_shared_secret_is_for_development_and_excludes_a_key_set() -> None:
    assert isinstance(create_verifier(load(env="dev", jwt_secret=SECRET)), SharedSecret)
    assert "IDEO_JWT_SECRET" in problems(env="prod", jwt_secret=SECRET)
    assert "IDEO_JWT_SECRET" in problems(env="dev", jwt_secret=SECRET, **JWKS, **NAMED)
    assert "IDEO_JWKS_URL" in problems(env="dev")


@pytest.mark.parametrize(("env", "seconds"), [("prod", 12), ("dev", 1)])
def test_a_lease_may_be_short_only_in_development(env: str, seconds: float) -> None:
    assert load(env=env, lease_ttl_s=seconds).lease_ttl_s == seconds


def test_a_lease_outlives_a_slow_call_to_the_database() -> None:
    with pytest.raises(SettingsError, match="IDEO_LEASE_TTL_S"):
        load(env="prod", lease_ttl_s=11.9)
