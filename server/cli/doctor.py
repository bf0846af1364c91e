"""What is wrong with an installation, and how to mend it: `ideo doctor`.

Each check looks at one thing that the hub needs, with the hub's own parts, changes nothing, and says in one
line how it stands and, if badly, what to do. A check that needs what another found missing is left out.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import asyncpg
import httpx
import redis.asyncio as redis
from cryptography import x509
from redis.exceptions import RedisError

from server.auth.keyset import KeySet
from server.compose import verifier_of
from server.db import migrate
from server.db.errors import database_errors
from server.domain.errors import DatabaseUnavailable, RuntimeRefused, RuntimeUnavailable
from server.runtime.client import DeepagentsRuntime
from server.settings import Settings, SettingsError

#: Oldest PostgreSQL that is tested against.
OLDEST_POSTGRES = 14
#: Clocks that differ by more make trouble: tokens are judged by one, leases by the other.
CLOCKS_MOST = timedelta(seconds=2)
#: How long each answer is waited for, in seconds.
PATIENCE_S = 5.0
#: How long before its end a certificate is worth a word.
CERTIFICATE_LEFT = timedelta(days=14)


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found. `mend`: what to do, empty when all is well."""

    check: str
    told: str
    mend: str = ""

    @property
    def well(self) -> bool:
        """Whether nothing is to be done."""
        return not self.mend


Check = Callable[[Settings, str], Awaitable[Finding]]


async def examine(settings: Settings, dsn: str) -> AsyncIterator[Finding]:
    """Every finding, as soon as it is there. `dsn`: the database that the settings mean."""
    reached = True
    for check, needs_database in _CHECKS:
        if needs_database and not reached:
            continue
        finding = await check(settings, dsn)
        if check is _database:
            reached = finding.well
        yield finding


def of_settings(error: SettingsError) -> list[Finding]:
    """The findings about settings that cannot be used."""
    return [
        Finding("settings", problem, "correct it; docs/reference/settings.md says what it may be")
        for problem in error.problems
    ]


# --- The database --------------------------------------------------------------------------------


async def _ask(dsn: str, statement: str) -> Any:
    """One row. Raises DatabaseUnavailable."""
    with database_errors():
        connection = await asyncpg.connect(dsn, timeout=PATIENCE_S, statement_cache_size=0)
        try:
            return await connection.fetchrow(statement)
        finally:
            await connection.close()


async def _database(settings: Settings, dsn: str) -> Finding:
    try:
        row = await _ask(dsn, "SELECT current_setting('server_version_num')::integer / 10000 AS version")
    except DatabaseUnavailable as error:
        why = type(error.__cause__).__name__ if error.__cause__ else "no answer"
        return Finding(
            "database",
            f"cannot be reached ({why})",
            "see that PostgreSQL runs, that DATABASE_URL names its host, port, user, password and database, "
            "and that the network policy lets the hub there",
        )
    if row["version"] < OLDEST_POSTGRES:
        return Finding("database", f"PostgreSQL {row['version']}", f"upgrade to {OLDEST_POSTGRES} or later")
    return Finding("database", f"PostgreSQL {row['version']}")


async def _migrations(settings: Settings, dsn: str) -> Finding:
    states = await migrate.status(dsn)
    missing = [state.id for state in states if not state.applied]
    if missing:
        return Finding("migrations", f"{len(missing)} of {len(states)} are missing", "run `ideo migrate up`")
    return Finding("migrations", f"all {len(states)} are applied")


async def _rights(settings: Settings, dsn: str) -> Finding:
    row = await _ask(
        dsn,
        "SELECT current_user AS name, pg_is_in_recovery() AS standby, "
        "coalesce(bool_and(has_table_privilege(c.oid, needed)), true) AS may "
        "FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace, "
        "unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) needed "
        "WHERE n.nspname = current_schema() AND c.relkind = 'r'",
    )
    if row["standby"]:
        return Finding("rights", "the server is a standby", "let DATABASE_URL name the primary")
    if not row["may"]:
        return Finding(
            "rights",
            f"{row['name']} may not read and write every table",
            "let the user that migrates own the tables, or grant SELECT, INSERT, UPDATE, DELETE on all",
        )
    return Finding("rights", f"{row['name']} may read and write")


async def _connections(settings: Settings, dsn: str) -> Finding:
    row = await _ask(dsn, "SELECT current_setting('max_connections')::integer AS most")
    told = f"a pool of {settings.database_max_connections}, the server takes {row['most']}"
    if 2 * settings.database_max_connections > row["most"]:
        return Finding(
            "connections",
            told,
            "lower IDEO_DATABASE_MAX_CONNECTIONS, raise max_connections, or put a pooler between: "
            "two replicas need twice the pool",
        )
    return Finding("connections", told)


async def _clock(settings: Settings, dsn: str) -> Finding:
    before = datetime.now(UTC)
    row = await _ask(dsn, "SELECT clock_timestamp() AS now")
    after = datetime.now(UTC)
    # Somewhere between the two the database looked at its clock.
    apart = max(before - row["now"], row["now"] - after, timedelta(0))
    told = f"differs from the database's by {apart.total_seconds():.1f} s at least"
    if apart > CLOCKS_MOST:
        return Finding("clock", told, "synchronise the clocks of both machines (NTP)")
    return Finding("clock", told)


async def _wakeups(settings: Settings, dsn: str) -> Finding:
    if settings.wakeup_url is not None:
        return await _redis("wakeups", "IDEO_WAKEUP_URL", settings.wakeup_url.get_secret_value())
    direct = settings.database_direct_url.get_secret_value() if settings.database_direct_url else dsn
    heard = asyncio.Event()
    try:
        with database_errors():
            listener = await asyncpg.connect(direct, timeout=PATIENCE_S, statement_cache_size=0)
            try:
                await listener.add_listener("ideo_doctor", lambda *_: heard.set())
                await _ask(dsn, "SELECT pg_notify('ideo_doctor', '')")
                async with asyncio.timeout(PATIENCE_S):
                    await heard.wait()
            finally:
                await listener.close(timeout=PATIENCE_S)
    except (TimeoutError, DatabaseUnavailable, asyncpg.PostgresError):
        return Finding(
            "wakeups",
            "what one connection notifies another does not hear",
            "set DATABASE_DIRECT_URL to a way to the same database that is not through a transaction pooler",
        )
    return Finding("wakeups", "LISTEN and NOTIFY work")


async def _redis(check: str, name: str, url: str) -> Finding:
    client = redis.from_url(url, socket_timeout=PATIENCE_S, socket_connect_timeout=PATIENCE_S)
    try:
        await client.ping()
    except (RedisError, OSError, TimeoutError):
        return Finding(
            check,
            f"the server of {name} does not answer",
            f"see that it runs and that {name} names its host, port and password",
        )
    finally:
        await client.aclose()
    return Finding(check, f"the server of {name} answers")


# --- Tokens, the runtime -------------------------------------------------------------------------


async def _keys(settings: Settings, dsn: str) -> Finding:
    try:
        verifier = verifier_of(settings)
    except SettingsError as error:
        return Finding("keys", error.problems[0], "set what tokens are checked with")
    async with verifier.running():
        if not verifier.ready:
            return Finding(
                "keys",
                "no key could be fetched from IDEO_JWKS_URL that tokens may be signed with",
                "open it by hand: it must answer 200 with a JWK Set that has RS256, ES256 or EdDSA keys",
            )
    return Finding("keys", "published keys are there" if isinstance(verifier, KeySet) else "a shared secret")


async def _runtime(settings: Settings, dsn: str) -> Finding:
    if settings.runtime_url is None:
        return Finding("runtime", "recorded runs are replayed (ideo dev)")
    async with DeepagentsRuntime(settings.runtime_url, total_s=PATIENCE_S) as runtime:
        try:
            known = await runtime.state(uuid4())
        except RuntimeUnavailable as error:
            return Finding(
                "runtime",
                error.message,
                "see that it runs, that DEEPAGENTS_RUNTIME_URL names it, and what the network policy says",
            )
        except RuntimeRefused as error:
            return Finding(
                "runtime",
                f"asked about a run that there is not, it answers HTTP {error.status} instead of 404",
                "see that DEEPAGENTS_RUNTIME_URL is the runtime's address, not another service's",
            )
    if known is not None:
        return Finding(
            "runtime",
            "it says to know a run that there is not",
            "see that DEEPAGENTS_RUNTIME_URL is the runtime's address",
        )
    return Finding("runtime", "answers")


async def _events(settings: Settings, dsn: str) -> Finding:
    if settings.runtime_events_url is None:
        return Finding("events", "frames come over the runtime's WebSocket")
    url = settings.runtime_events_url.get_secret_value()
    return await _redis("events", "IDEO_RUNTIME_EVENTS_URL", url)


# --- This machine --------------------------------------------------------------------------------


async def _origins(settings: Settings, dsn: str) -> Finding:
    for origin in settings.allowed_origins:
        parts = urlsplit(origin)
        whole = f"{parts.scheme}://{parts.netloc}"
        local = parts.hostname in ("localhost", "127.0.0.1", "::1")
        if parts.scheme not in ("http", "https") or not parts.hostname or whole != origin or "*" in origin:
            return Finding(
                "origins",
                "one of IDEO_ALLOWED_ORIGINS is no origin",
                "write each origin as a browser sends it: scheme, host and port, without path and `*`",
            )
        if parts.scheme == "http" and not local and not settings.dev:
            return Finding(
                "origins",
                "one of IDEO_ALLOWED_ORIGINS is not encrypted",
                "serve the IDE's pages over https and name that origin",
            )
    return Finding("origins", f"{len(settings.allowed_origins)} may call")


async def _served(settings: Settings) -> bool:
    """Whether a hub serves here already."""
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    try:
        async with httpx.AsyncClient(timeout=PATIENCE_S, trust_env=False) as client:
            answer = await client.get(f"http://{host}:{settings.http_port}/healthz")
        return answer.status_code == 200 and answer.json() == {"status": "ok"}
    except (httpx.HTTPError, ValueError):
        return False


async def _ports(settings: Settings, dsn: str) -> Finding:
    if settings.http_port and await _served(settings):
        return Finding("ports", "a hub serves here")
    for name, port in (("IDEO_HTTP_PORT", settings.http_port), ("IDEO_GRPC_PORT", settings.grpc_port)):
        family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((settings.host, port))
            except OSError as error:
                return Finding(
                    "ports",
                    f"{name} cannot be taken ({error.strerror or type(error).__name__})",
                    f"stop what listens there, or set {name} or IDEO_HOST otherwise",
                )
    return Finding("ports", "both can be taken")


async def _certificate(settings: Settings, dsn: str) -> Finding:
    certificate, key = settings.grpc_certificate, settings.grpc_key
    if certificate is None or key is None:
        return Finding("certificate", "gRPC speaks plain text")
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key)
        ends_at = x509.load_pem_x509_certificate(certificate.read_bytes()).not_valid_after_utc
    except (ssl.SSLError, ValueError, OSError):
        return Finding(
            "certificate",
            "IDEO_GRPC_CERTIFICATE and IDEO_GRPC_KEY are no pair",
            "name a certificate in PEM and the key that it was made for",
        )
    left = ends_at - datetime.now(UTC)
    if left < CERTIFICATE_LEFT:
        told = "has expired" if left < timedelta(0) else f"expires in {left.days} days"
        return Finding("certificate", told, "renew it; the hub takes new files without a restart")
    return Finding("certificate", f"is good for {left.days} days")


#: Each check, and whether it needs the database.
_CHECKS: tuple[tuple[Check, bool], ...] = (
    (_database, False),
    (_migrations, True),
    (_rights, True),
    (_connections, True),
    (_clock, True),
    (_wakeups, True),
    (_keys, False),
    (_runtime, False),
    (_events, False),
    (_origins, False),
    (_ports, False),
    (_certificate, False),
)
