"""The settings, and the only reader of the environment (DESIGN section 4).

All mistakes are reported at once, by the name of the environment variable and without its value.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict


class SettingsError(Exception):
    """Settings that are wrong: `problems` has a sentence for each."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


Port = Annotated[int, Field(ge=0, le=65535)]
Seconds = Annotated[float, Field(gt=0, le=86400)]
#: A lease must outlive a call to the database that takes as long as it may.
SHORTEST_LEASE_S = 12.0


class Settings(BaseSettings):
    """What the operator sets. Names are the environment's; see docs/reference/settings.md."""

    model_config = SettingsConfigDict(extra="ignore", populate_by_name=True, frozen=True)

    env: Literal["prod", "dev"] = Field("prod", alias="IDEO_ENV")
    database_url: SecretStr | None = Field(None, alias="DATABASE_URL")
    database_direct_url: SecretStr | None = Field(None, alias="DATABASE_DIRECT_URL")
    runtime_url: str | None = Field(None, alias="DEEPAGENTS_RUNTIME_URL")
    runtime_profile: Literal["none", "full", "ids"] = Field("none", alias="IDEO_RUNTIME_PROFILE")
    runtime_events_url: SecretStr | None = Field(None, alias="IDEO_RUNTIME_EVENTS_URL")
    data_dir: Path = Field(Path(".data"), alias="IDEO_DATA_DIR")
    host: str = Field("127.0.0.1", alias="IDEO_HOST")
    http_port: Port = Field(8080, alias="IDEO_HTTP_PORT")
    grpc_port: Port = Field(50051, alias="IDEO_GRPC_PORT")
    grpc_certificate: Path | None = Field(None, alias="IDEO_GRPC_CERTIFICATE")
    grpc_key: Path | None = Field(None, alias="IDEO_GRPC_KEY")
    grpc_client_ca: Path | None = Field(None, alias="IDEO_GRPC_CLIENT_CA")
    grpc_allowed_sans: Annotated[tuple[str, ...], NoDecode] = Field((), alias="IDEO_GRPC_ALLOWED_SANS")
    grpc_max_calls: int = Field(10_000, alias="IDEO_GRPC_MAX_CALLS", ge=1, le=1_000_000)
    grpc_max_connection_age_s: Seconds = Field(3600.0, alias="IDEO_GRPC_MAX_CONNECTION_AGE_S")
    allowed_origins: Annotated[tuple[str, ...], NoDecode] = Field(
        ("https://ide.bizmatters.com",), alias="IDEO_ALLOWED_ORIGINS"
    )
    query_token: bool = Field(True, alias="IDEO_QUERY_TOKEN")
    jwt_secret: SecretStr | None = Field(None, alias="IDEO_JWT_SECRET")
    jwks_url: str | None = Field(None, alias="IDEO_JWKS_URL")
    jwt_issuer: str | None = Field(None, alias="IDEO_JWT_ISSUER")
    jwt_audience: str | None = Field(None, alias="IDEO_JWT_AUDIENCE")
    wakeup_url: SecretStr | None = Field(None, alias="IDEO_WAKEUP_URL")
    database_max_connections: int = Field(10, alias="IDEO_DATABASE_MAX_CONNECTIONS", ge=2, le=200)
    lease_ttl_s: Seconds = Field(15.0, alias="IDEO_LEASE_TTL_S")
    run_max_duration_s: Seconds = Field(1800.0, alias="IDEO_RUN_MAX_DURATION_S")
    run_idle_s: Seconds = Field(120.0, alias="IDEO_RUN_IDLE_S")
    run_silent_s: Seconds = Field(600.0, alias="IDEO_RUN_SILENT_S")
    empty_result_grace_s: Seconds = Field(30.0, alias="IDEO_EMPTY_RESULT_GRACE_S")
    max_queue_mib: int = Field(8, alias="IDEO_MAX_QUEUE_MIB", ge=1, le=1024)
    send_deadline_s: Seconds = Field(10.0, alias="IDEO_SEND_DEADLINE_S")
    max_window_mib: int = Field(4, alias="IDEO_MAX_WINDOW_MIB", ge=1, le=1024)
    drain_s: float = Field(10.0, alias="IDEO_DRAIN_S", ge=0, le=600)
    heartbeat_s: Seconds = Field(10.0, alias="IDEO_HEARTBEAT_S", le=15)
    max_active_runs: int = Field(50, alias="IDEO_MAX_ACTIVE_RUNS", ge=0, le=1_000_000)
    max_creates_per_minute: int = Field(120, alias="IDEO_MAX_CREATES_PER_MINUTE", ge=0, le=1_000_000)
    max_streams: int = Field(500, alias="IDEO_MAX_STREAMS", ge=0, le=1_000_000)
    max_connections: int = Field(10_000, alias="IDEO_MAX_CONNECTIONS", ge=1, le=1_000_000)
    otlp_endpoint: str | None = Field(None, alias="OTEL_EXPORTER_OTLP_ENDPOINT")
    otlp_traces_endpoint: str | None = Field(None, alias="OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
    otel_disabled: bool = Field(False, alias="OTEL_SDK_DISABLED")
    journal_retention_days: float = Field(90.0, alias="IDEO_JOURNAL_RETENTION_DAYS", ge=0, le=36500)
    metrics_threads: bool = Field(False, alias="IDEO_METRICS_THREADS")
    crash_point: str | None = Field(None, alias="IDEO_CRASH_POINT", pattern=r"^[a-z_]+(:[1-9][0-9]*)?$")

    @field_validator("allowed_origins", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        if isinstance(value, str):
            return tuple(part.strip().rstrip("/") for part in value.split(",") if part.strip())
        return value

    @field_validator("grpc_allowed_sans", mode="before")
    @classmethod
    def _names(cls, value: Any) -> Any:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @field_validator("grpc_certificate", "grpc_key", "grpc_client_ca")
    @classmethod
    def _readable(cls, value: Path | None) -> Path | None:
        if value and not (value.is_file() and os.access(value, os.R_OK)):
            raise ValueError("must be a file that can be read")
        return value

    @field_validator("database_url", "database_direct_url")
    @classmethod
    def _postgres(cls, value: SecretStr | None) -> SecretStr | None:
        if value and urlsplit(value.get_secret_value()).scheme not in ("postgres", "postgresql"):
            raise ValueError("must be a PostgreSQL address such as postgresql://user:password@host/name")
        return value

    @field_validator("jwks_url")
    @classmethod
    def _not_tampered_with(cls, value: str | None, info: ValidationInfo) -> str | None:
        address = urlsplit(value or "")
        here = address.hostname in ("127.0.0.1", "::1", "localhost") and info.data.get("env") == "dev"
        if value and address.scheme != "https" and not (here and address.scheme == "http"):
            raise ValueError("must be an https:// address (IDEO_ENV=dev: or http:// on this machine)")
        return value

    @field_validator("runtime_url", "jwks_url")
    @classmethod
    def _http(cls, value: str | None) -> str | None:
        if value and (urlsplit(value).scheme not in ("http", "https") or not urlsplit(value).hostname):
            raise ValueError("must be an http:// or https:// address")
        return value

    @field_validator("wakeup_url", "runtime_events_url")
    @classmethod
    def _redis(cls, value: SecretStr | None) -> SecretStr | None:
        if value:
            parts = urlsplit(value.get_secret_value())
            if parts.scheme not in ("redis", "rediss") or not parts.hostname:
                raise ValueError("must be a redis:// or rediss:// address")
        return value

    @field_validator("jwt_secret")
    @classmethod
    def _long_enough(cls, value: SecretStr | None) -> SecretStr | None:
        if value and len(value.get_secret_value().encode()) < 32:
            raise ValueError("must have at least 32 bytes")
        return value

    @model_validator(mode="after")
    def _development_only(self) -> Self:
        if self.jwt_secret and self.env != "dev":
            raise ValueError("IDEO_JWT_SECRET works only with IDEO_ENV=dev: use IDEO_JWKS_URL")
        if self.crash_point and self.env != "dev":
            raise ValueError("IDEO_CRASH_POINT works only with IDEO_ENV=dev")
        if self.lease_ttl_s < SHORTEST_LEASE_S and self.env != "dev":
            raise ValueError(
                f"IDEO_LEASE_TTL_S below {SHORTEST_LEASE_S:.0f} works only with IDEO_ENV=dev: a call to the "
                "database may take 10 s, and a run would be taken over meanwhile"
            )
        return self

    @model_validator(mode="after")
    def _channel_has_no_history(self) -> Self:
        if self.runtime_events_url and self.runtime_profile != "none":
            raise ValueError("IDEO_RUNTIME_PROFILE must be none with IDEO_RUNTIME_EVENTS_URL")
        return self

    @property
    def traces(self) -> bool:
        """Whether traces are made: whether there is somewhere to send them."""
        return not self.otel_disabled and bool(self.otlp_endpoint or self.otlp_traces_endpoint)

    @property
    def dev(self) -> bool:
        """Whether this is development."""
        return self.env == "dev"


class ClientSettings(BaseSettings):
    """What the commands that talk to a running hub take when no option says otherwise."""

    model_config = SettingsConfigDict(extra="ignore", populate_by_name=True, frozen=True)

    url: str = Field(default="http://127.0.0.1:8080", validation_alias="IDEO_URL")
    token: SecretStr | None = Field(default=None, validation_alias="IDEO_TOKEN")


#: Names of the first release, which are read where the present name is not set.
RENAMED = {
    "IDEO_RUN_LONGEST_S": "IDEO_RUN_MAX_DURATION_S",
    "IDEO_LIVE_RUNS": "IDEO_MAX_ACTIVE_RUNS",
    "IDEO_STREAMS": "IDEO_MAX_STREAMS",
    "IDEO_CONNECTIONS": "IDEO_MAX_CONNECTIONS",
    "IDEO_GRPC_CALLS": "IDEO_GRPC_MAX_CALLS",
    "IDEO_GRPC_PEERS": "IDEO_GRPC_ALLOWED_SANS",
    "IDEO_GRPC_CONNECTION_AGE_S": "IDEO_GRPC_MAX_CONNECTION_AGE_S",
    "IDEO_CREATES_PER_MINUTE": "IDEO_MAX_CREATES_PER_MINUTE",
    "IDEO_DATABASE_POOL": "IDEO_DATABASE_MAX_CONNECTIONS",
    "IDEO_JOURNAL_DAYS": "IDEO_JOURNAL_RETENTION_DAYS",
    "IDEO_QUEUE_MIB": "IDEO_MAX_QUEUE_MIB",
    "IDEO_WINDOW_MIB": "IDEO_MAX_WINDOW_MIB",
}


def old_names_in_use() -> dict[str, str]:
    """The old names that the environment still has, each with the present name."""
    return {old: new for old, new in RENAMED.items() if old in os.environ}


#: Settings that need others beside them.
_TOGETHER = {
    "IDEO_JWKS_URL": ("IDEO_JWT_ISSUER", "IDEO_JWT_AUDIENCE"),
    "IDEO_GRPC_CERTIFICATE": ("IDEO_GRPC_KEY",),
    "IDEO_GRPC_KEY": ("IDEO_GRPC_CERTIFICATE",),
    "IDEO_GRPC_CLIENT_CA": ("IDEO_GRPC_CERTIFICATE",),
    "IDEO_GRPC_ALLOWED_SANS": ("IDEO_GRPC_CLIENT_CA",),
}


def load(*, require: tuple[str, ...] = (), in_prod: tuple[str, ...] = (), **overrides: Any) -> Settings:
    """The settings from the environment, `overrides` (by field name) first.

    require, in_prod: environment names that must be set, always or without IDEO_ENV=dev; with each go
    those that it is worth nothing without. Raises SettingsError with every mistake.
    """
    problems: list[str] = []
    fields = Settings.model_fields
    given: dict[str, Any] = {
        new: os.environ[old] for old, new in RENAMED.items() if old in os.environ and new not in os.environ
    }
    given |= {str(fields[name].alias): value for name, value in overrides.items() if value is not None}
    settings: Settings | None = None
    try:
        settings = Settings(**given)
    except ValidationError as error:
        for problem in error.errors(include_input=False, include_url=False):
            name = str(problem["loc"][0]) if problem["loc"] else ""
            text = problem["msg"].removeprefix("Value error, ")
            problems.append(f"{name}: {text}" if name else text)

    def _set(name: str) -> Any:
        return given.get(name) or os.environ.get(name)

    wanted = [*(in_prod if _set("IDEO_ENV") != "dev" else ()), *require]
    for name, others in _TOGETHER.items():
        if name in wanted or _set(name):
            wanted += others
    problems.extend(f"{name}: is required" for name in dict.fromkeys(wanted) if not _set(name))
    if problems or settings is None:
        raise SettingsError(problems)
    return settings
