"""The settings. The descriptions here make docs/reference/settings.md; loading.py reads them."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationInfo, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from server.settings.values import (
    CrashPoint,
    Domains,
    Headers,
    HeaderValue,
    Host,
    HttpUrl,
    Names,
    Origins,
    Port,
    PostgresUrl,
    ReadableFile,
    Receivers,
    RedisUrl,
    Seconds,
    ServerUrl,
    SharedKey,
)

#: A lease must outlast a database call of the longest permitted duration.
MIN_LEASE_TTL_S = 12.0


_CONFIG = SettingsConfigDict(
    extra="ignore",
    populate_by_name=True,
    frozen=True,
    use_attribute_docstrings=True,
    hide_input_in_errors=True,
)


class Settings(BaseSettings):
    """The hub's settings. Fields are in the order of docs/reference/settings.md."""

    model_config = _CONFIG

    env: Literal["prod", "dev"] = Field("prod", alias="IDEO_ENV")
    """`dev` allows HS256 tokens and gRPC reflection, and starts an embedded PostgreSQL when `DATABASE_URL`
    is not set"""

    # --- Storage ---------------------------------------------------------------------------------

    database_url: PostgresUrl | None = Field(None, alias="DATABASE_URL")
    """PostgreSQL, such as `postgresql://user:password@host/name`; required with `prod`"""
    database_direct_url: PostgresUrl | None = Field(None, alias="DATABASE_DIRECT_URL")
    """address of the same database that does not lead through a transaction pooler (pgbouncer), for
    `LISTEN`; `DATABASE_URL` when not set. The hub notices a pooler by itself; without a direct address its
    replicas poll for each other's events (ADR 0011)"""
    database_max_connections: int = Field(10, alias="IDEO_DATABASE_MAX_CONNECTIONS", ge=2, le=200)
    """maximum number of connections in the pool of one replica, 2 to 200. The two writers of the journal have
    one more each, and wake-ups through PostgreSQL another"""
    data_dir: Path = Field(Path(".data"), alias="IDEO_DATA_DIR")
    """directory of the embedded PostgreSQL, and of the key of `ideo dev`"""
    journal_retention_days: float = Field(90.0, alias="IDEO_JOURNAL_RETENTION_DAYS", ge=0, le=36500)
    """days for which the events of an ended run are kept; `0`: forever. Proposals and their files are
    always kept (ADR 0023)"""
    wakeup_url: RedisUrl | None = Field(None, alias="IDEO_WAKEUP_URL")
    """`redis://` or `rediss://` address of a server (Dragonfly, Valkey, Redis 5 or later) that carries
    wake-ups and new events between many replicas, instead of `LISTEN` and `NOTIFY`. It sees every event, and
    cannot forge one; while it is unavailable, replicas poll (ADR 0011)"""

    # --- The runtime and its runs ----------------------------------------------------------------

    runtime_url: HttpUrl | None = Field(None, alias="DEEPAGENTS_RUNTIME_URL")
    """the runtime, with or without `/deepagents-runtime`, or the LangGraph server; required, except that
    `ideo dev` replays recorded runs without it"""
    runtime_kind: Literal["deepagents-runtime", "langgraph-server"] = Field(
        "deepagents-runtime", alias="IDEO_RUNTIME_KIND"
    )
    """what answers at that address: deepagents-runtime, or LangGraph's Agent Server, such as `langgraph dev`.
    With the latter a run's stream is `full` and replies are taken, whatever the next three settings say
    (ADR 0052)"""
    runtime_profile: Literal["none", "full", "ids"] = Field("none", alias="IDEO_RUNTIME_PROFILE")
    """what the runtime sends on a new connection to a run's stream: `full` repeats every frame from the
    first; `ids` repeats some, and no two frames of a run are equal; `none` promises nothing. Recorded runs
    have `full` (ADR 0009)"""
    runtime_events_url: RedisUrl | None = Field(None, alias="IDEO_RUNTIME_EVENTS_URL")
    """`redis://` or `rediss://` address of the server to which the runtime publishes its frames; the hub
    then reads frames there and not from the runtime's WebSocket (ADR 0013)"""
    runtime_can_resume: bool = Field(False, alias="IDEO_RUNTIME_CAN_RESUME")
    """whether the runtime continues a run with a person's reply, by `POST …/resume`. The published runtime
    cannot: then replies are refused, and `GET /api/info` does not have `input_replies` (ADR 0044)"""
    langgraph_assistant: str = Field("agent", alias="IDEO_LANGGRAPH_ASSISTANT", min_length=1, max_length=255)
    """the graph that a LangGraph server runs, by its name in `langgraph.json`, or the id of an assistant"""
    langgraph_api_key: HeaderValue | None = Field(None, alias="IDEO_LANGGRAPH_API_KEY")
    """the key that a LangGraph server asks for, sent as `x-api-key`"""
    job_context: Literal["files", "prompt", "both"] = Field("both", alias="IDEO_JOB_CONTEXT")
    """how a job brings the draft to the runtime: `files`, all files in `input_payload.files`; `prompt`, the
    file or the lines that the request is about, after the prompt; `both`. The published runtime reads only
    the prompt (ADR 0033)"""
    when_busy: Literal["parallel", "refuse", "enqueue", "supersede"] = Field(
        "parallel", alias="IDEO_WHEN_BUSY"
    )
    """what a start does by default while another refinement of the draft has not ended: `parallel`, it starts
    alongside it; `refuse`, it is refused with 409; `enqueue`, it waits; `supersede`, it cancels the other one
    (ADR 0038)"""
    lease_ttl_s: Seconds = Field(15.0, alias="IDEO_LEASE_TTL_S")
    """seconds after which another replica may take over the run of a replica that died; at least 12, except
    with `IDEO_ENV=dev`"""
    run_max_duration_s: Seconds = Field(1800.0, alias="IDEO_RUN_MAX_DURATION_S")
    """seconds after which a run fails"""
    run_idle_s: Seconds = Field(120.0, alias="IDEO_RUN_IDLE_S")
    """seconds of silence after which the runtime is asked for the state of a run"""
    run_silent_s: Seconds = Field(600.0, alias="IDEO_RUN_SILENT_S")
    """seconds without a frame on an open connection after which a run fails if the runtime reports it as
    completed and shows no files; must exceed the longest quiet step of an agent"""
    empty_result_grace_s: Seconds = Field(30.0, alias="IDEO_EMPTY_RESULT_GRACE_S")
    """seconds for which the hub waits for files after the runtime reports `completed` without any"""
    max_queue_mib: int = Field(8, alias="IDEO_MAX_QUEUE_MIB", ge=1, le=1024)
    """MiB of events that one run may have received but not yet committed; beyond that the hub stops reading
    the runtime's stream"""
    max_total_queue_mib: int = Field(128, alias="IDEO_MAX_TOTAL_QUEUE_MIB", ge=32, le=65536)
    """the same for all runs of one replica together, with the frames that are being read: the runtime's
    streams wait while the database is away, and do not fill the memory"""

    # --- HTTP and gRPC ---------------------------------------------------------------------------

    host: Host = Field("127.0.0.1", alias="IDEO_HOST")
    """address to listen on"""
    http_port: Port = Field(8080, alias="IDEO_HTTP_PORT")
    """port of HTTP; `0` takes a free one and prints it"""
    grpc_port: Port = Field(50051, alias="IDEO_GRPC_PORT")
    """port of gRPC; `0` takes a free one and prints it"""
    grpc_public_url: ServerUrl | None = Field(None, alias="IDEO_GRPC_PUBLIC_URL")
    """where clients reach gRPC, if not at this port of the HTTP address's host: `https://HOST:PORT`, or
    `http://HOST:PORT` for a port without TLS. `GET /api/info` says it"""
    grpc_certificate: ReadableFile | None = Field(None, alias="IDEO_GRPC_CERTIFICATE")
    """PEM file of the gRPC port's certificate, read again when it changes; without it gRPC is not
    encrypted"""
    grpc_key: ReadableFile | None = Field(None, alias="IDEO_GRPC_KEY")
    """PEM file of that certificate's key; both or neither"""
    grpc_client_ca: ReadableFile | None = Field(None, alias="IDEO_GRPC_CLIENT_CA")
    """PEM file of the authority that signs the clients' certificates; gRPC clients must then present one"""
    grpc_allowed_sans: Names = Field((), alias="IDEO_GRPC_ALLOWED_SANS")
    """comma-separated subject alternative names; a client's certificate must have one of them. Empty: any
    certificate of the authority"""
    grpc_max_calls: int = Field(10_000, alias="IDEO_GRPC_MAX_CALLS", ge=1, le=1_000_000)
    """maximum number of concurrent gRPC calls of one replica"""
    grpc_max_connection_age_s: Seconds = Field(3600.0, alias="IDEO_GRPC_MAX_CONNECTION_AGE_S")
    """seconds after which a gRPC connection is asked to close, so that clients spread over new replicas;
    its calls then have ten more minutes"""
    max_connections: int = Field(10_000, alias="IDEO_MAX_CONNECTIONS", ge=1, le=1_000_000)
    """maximum number of connections to each port of one replica (ADR 0018)"""
    allowed_origins: Origins = Field(("https://ide.bizmatters.com",), alias="IDEO_ALLOWED_ORIGINS")
    """comma-separated origins of browsers; `IDEO_ENV=dev` adds every port of this machine: `localhost`,
    `127.0.0.1` and `[::1]`"""

    workbench: bool = Field(False, alias="IDEO_WORKBENCH")
    """whether the hub serves the [workbench](../howto/use-the-workbench.md), a page for developers, at `/`;
    `true` with `ideo dev`. The page has no rights of its own: it calls the hub with its user's token
    (ADR 0050)"""

    # --- Who may call, and how much ----------------------------------------------------------------

    jwks_url: HttpUrl | None = Field(None, alias="IDEO_JWKS_URL")
    """where the issuer of tokens publishes its keys (RS256, ES256, EdDSA), `https://`, with `IDEO_ENV=dev`
    also `http://` on this machine; required with `prod`, excludes `IDEO_JWT_SECRET` (ADR 0014)"""
    jwt_issuer: str | None = Field(None, alias="IDEO_JWT_ISSUER")
    """the required `iss` of a token; required with `IDEO_JWKS_URL`. In development without it, a token names
    `ide-orchestrator` or nobody"""
    jwt_audience: str | None = Field(None, alias="IDEO_JWT_AUDIENCE")
    """the required `aud` of a token; as above"""
    jwt_secret: SharedKey | None = Field(None, alias="IDEO_JWT_SECRET")
    """HS256 key of at least 32 bytes, only with `IDEO_ENV=dev`; without it, `ideo dev` keeps one in
    `IDEO_DATA_DIR`, which `ideo token` finds there"""
    query_token: bool = Field(True, alias="IDEO_QUERY_TOKEN")
    """whether the address of a WebSocket or of server-sent events may hold a token, as `?token=`; tickets and
    headers always work (ADR 0016)"""
    directory_domains: Domains = Field((), alias="IDEO_DIRECTORY_DOMAINS")
    """comma-separated domains of e-mail addresses, those of your own organisations: callers whose verified
    address has one of them find users of the same domain by address, to grant them access. Never a domain
    where anybody gets an address (ADR 0017)"""
    operators: Names = Field((), alias="IDEO_OPERATORS")
    """comma-separated subjects (`sub`) of the tokens of people and services that operate the hub: they see
    and release the [quarantine](../howto/operate.md#release-frames-from-quarantine) of all users' runs by
    calls of the hub. Empty: nobody does; with `ideo dev` its user (ADR 0059)"""
    max_active_runs: int = Field(50, alias="IDEO_MAX_ACTIVE_RUNS", ge=0, le=1_000_000)
    """maximum number of one caller's runs that have not ended, over all replicas; beyond it the answer is
    429 with `Retry-After`. `0`: no limit (ADR 0018)"""
    max_creates_per_minute: int = Field(120, alias="IDEO_MAX_CREATES_PER_MINUTE", ge=0, le=1_000_000)
    """maximum number of refinements, workflows, grants, links, tickets and webhooks of one caller a minute;
    as above"""
    max_streams: int = Field(500, alias="IDEO_MAX_STREAMS", ge=0, le=1_000_000)
    """maximum number of one caller's open streams, including those by the caller's share links, which may
    have at most four fifths of them; as above"""

    webhook_allowed_hosts: Receivers = Field((), alias="IDEO_WEBHOOK_ALLOWED_HOSTS")
    """comma-separated host names, `*.name` for all names below one, addresses and networks
    (`hooks.internal,*.svc.cluster.local,10.8.0.0/16`) that webhooks may call although they are private, and
    also by `http://`; otherwise webhooks call public addresses by `https://` (ADR 0037)"""

    # --- Streams ---------------------------------------------------------------------------------

    heartbeat_s: Seconds = Field(10.0, alias="IDEO_HEARTBEAT_S", le=15)
    """seconds between heartbeats on quiet streams, at most 15"""
    max_window_mib: int = Field(4, alias="IDEO_MAX_WINDOW_MIB", ge=1, le=1024)
    """MiB of the newest events of one followed thread that are kept in memory"""
    max_total_window_mib: int = Field(64, alias="IDEO_MAX_TOTAL_WINDOW_MIB", ge=8, le=16384)
    """MiB that all readers share: the newest events of all followed threads, what is read from journals, and
    both in the forms in which they are sent. What was not read for the longest time is dropped first"""
    send_deadline_s: Seconds = Field(10.0, alias="IDEO_SEND_DEADLINE_S")
    """seconds within which a client must take some of the data that waits for it; otherwise its connection is
    closed"""
    drain_s: float = Field(10.0, alias="IDEO_DRAIN_S", ge=0, le=600)
    """seconds over which a stopping replica sends its open streams to other replicas; `0` with `ideo
    dev`"""

    # --- Observation and tests -------------------------------------------------------------------

    otlp_endpoint: HttpUrl | None = Field(None, alias="OTEL_EXPORTER_OTLP_ENDPOINT")
    """where traces are sent, by OTLP over HTTP; none without it. OpenTelemetry's other settings
    (`OTEL_SERVICE_NAME`, `OTEL_TRACES_SAMPLER`, `OTEL_BSP_*` …) apply too
    (ADR 0022)"""
    otlp_traces_endpoint: HttpUrl | None = Field(None, alias="OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
    """the same, for traces alone"""
    otlp_headers: Headers | None = Field(None, alias="OTEL_EXPORTER_OTLP_HEADERS")
    """headers for the address of traces, `name=value,name=value` with percent-encoded values"""
    otlp_traces_headers: Headers | None = Field(None, alias="OTEL_EXPORTER_OTLP_TRACES_HEADERS")
    """the same, for traces alone"""
    otel_disabled: bool = Field(False, alias="OTEL_SDK_DISABLED")
    """turns traces off"""
    compiled: bool = Field(True, alias="IDEO_COMPILED")
    """reads frames, and writes to the readers of a run, with the compiled module where it is installed,
    which takes less CPU; `false`: in Python (ADR 0075)"""
    metrics_threads: bool = Field(False, alias="IDEO_METRICS_THREADS")
    """adds thread ids as a label to `ide_orchestrator_websocket_connections`; the number of series then
    grows with use"""
    crash_point: CrashPoint | None = Field(None, alias="IDEO_CRASH_POINT")
    """`NAME` or `NAME:NTH`: the process ends there, for tests ([faults](faults.md)); only with
    `IDEO_ENV=dev`"""

    @field_validator("jwks_url")
    @classmethod
    def _require_https(cls, value: str | None, info: ValidationInfo) -> str | None:
        address = urlsplit(value or "")
        local = address.hostname in ("127.0.0.1", "::1", "localhost") and info.data.get("env") == "dev"
        if value and address.scheme != "https" and not (local and address.scheme == "http"):
            raise ValueError("must be an https:// address (with IDEO_ENV=dev also http:// on this machine)")
        return value

    @model_validator(mode="after")
    def _development_only(self) -> Self:
        if self.jwt_secret and self.env != "dev":
            raise ValueError("IDEO_JWT_SECRET works only with IDEO_ENV=dev: use IDEO_JWKS_URL")
        if self.crash_point and self.env != "dev":
            raise ValueError("IDEO_CRASH_POINT works only with IDEO_ENV=dev")
        if self.lease_ttl_s < MIN_LEASE_TTL_S and self.env != "dev":
            raise ValueError(
                f"IDEO_LEASE_TTL_S below {MIN_LEASE_TTL_S:.0f} works only with IDEO_ENV=dev: a database call "
                "may take 10 s, and another replica would take the run over meanwhile"
            )
        return self

    @model_validator(mode="after")
    def _channel_has_no_history(self) -> Self:
        if self.runtime_events_url and self.runtime_kind == "langgraph-server":
            raise ValueError("IDEO_RUNTIME_EVENTS_URL works only with IDEO_RUNTIME_KIND=deepagents-runtime")
        if self.runtime_events_url and self.runtime_profile != "none":
            raise ValueError("IDEO_RUNTIME_PROFILE must be none with IDEO_RUNTIME_EVENTS_URL")
        return self

    @property
    def traces(self) -> bool:
        """Whether traces are made: only when there is an address to send them to."""
        return not self.otel_disabled and bool(self.otlp_endpoint or self.otlp_traces_endpoint)

    @property
    def dev(self) -> bool:
        """Whether this is development."""
        return self.env == "dev"


class ClientSettings(BaseSettings):
    """Settings of the commands that talk to a running hub, used where no option is given."""

    model_config = _CONFIG

    url: str = Field(default="http://127.0.0.1:8080", validation_alias="IDEO_URL")
    """address of the hub; for `https://`, `SSL_CERT_FILE` names a PEM file of the authorities to trust"""
    token: SecretStr | None = Field(default=None, validation_alias="IDEO_TOKEN")
    """the token for calls of the hub"""
