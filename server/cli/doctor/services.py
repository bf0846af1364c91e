"""The checks of wake-ups, keys, the runtime and the runtime's event server."""

from __future__ import annotations

import asyncio
import contextlib
from uuid import uuid4

import asyncpg
import redis.asyncio as redis
from redis.exceptions import RedisError

from server.adapters import create_verifier
from server.agent_server.client import AgentServer
from server.auth.keyset import KeySet
from server.auth.secret_file import SecretFileError, read_secret
from server.cli.doctor.database import fetch_row
from server.cli.doctor.finding import TIMEOUT_S, Finding
from server.db.connections import connect
from server.db.errors import database_errors
from server.domain.errors import DatabaseUnavailable, RuntimeRefused, RuntimeUnavailable
from server.runtime.client import DeepagentsRuntime
from server.settings.loading import SettingsError
from server.settings.settings import Settings

_CHANNEL = "ideo_doctor"
#: Seconds within which a notification arrives: it takes milliseconds.
WAKEUP_S = 2.0
_UNREACHABLE = (
    "check that it runs, that DEEPAGENTS_RUNTIME_URL is its address, and that the network policy allows the "
    "connection"
)
#: Statuses of a server that does not accept the key.
_NOT_ALLOWED = (401, 403)


async def check_wakeups(settings: Settings, dsn: str) -> Finding:
    """Whether wake-ups pass from one connection to another."""
    if settings.wakeup_url is not None:
        return await _ping("wakeups", "IDEO_WAKEUP_URL", settings.wakeup_url.get_secret_value())
    direct = settings.database_direct_url.get_secret_value() if settings.database_direct_url else dsn
    received = asyncio.Event()
    try:
        with database_errors():
            listener = await connect(direct, timeout_s=TIMEOUT_S, command_timeout_s=TIMEOUT_S)
            try:
                await listener.add_listener(_CHANNEL, lambda *_: received.set())
                await fetch_row(dsn, f"SELECT pg_notify('{_CHANNEL}', '')")
                async with asyncio.timeout(WAKEUP_S):
                    await received.wait()
            finally:
                await listener.close(timeout=TIMEOUT_S)
    except (TimeoutError, DatabaseUnavailable, asyncpg.PostgresError):
        return Finding(
            "wakeups",
            "a NOTIFY on one connection does not reach a LISTEN on another",
            "set DATABASE_DIRECT_URL to an address of the same database that bypasses the transaction pooler",
        )
    return Finding("wakeups", "LISTEN and NOTIFY work")


async def check_events(settings: Settings, dsn: str) -> Finding:
    """Whether the server to which the runtime publishes its frames answers."""
    if settings.runtime_events_url is None:
        source = "server-sent events" if settings.runtime_kind == "langgraph-server" else "WebSocket"
        return Finding("events", f"frames come over the runtime's {source}")
    url = settings.runtime_events_url.get_secret_value()
    return await _ping("events", "IDEO_RUNTIME_EVENTS_URL", url)


async def _ping(check: str, setting: str, url: str) -> Finding:
    client = redis.from_url(url, socket_timeout=TIMEOUT_S, socket_connect_timeout=TIMEOUT_S)
    try:
        await client.ping()
    except (RedisError, OSError, TimeoutError):
        return Finding(
            check,
            f"the server of {setting} does not answer",
            f"check that it runs and that {setting} has the right host, port and password",
        )
    finally:
        await client.aclose()
    return Finding(check, f"the server of {setting} answers")


async def check_keys(settings: Settings, dsn: str) -> Finding:
    """Whether there are keys to verify tokens with."""
    if settings.dev and settings.jwt_secret is None and settings.jwks_url is None:
        with contextlib.suppress(OSError, SecretFileError):
            read_secret(settings.data_dir)
            return Finding("keys", "tokens are verified with the key that `ideo dev` keeps in IDEO_DATA_DIR")
    try:
        verifier = create_verifier(settings)
    except SettingsError as error:
        return Finding("keys", error.problems[0], "set the key or the address of the keys")
    async with verifier.running():
        if not verifier.ready:
            return Finding(
                "keys",
                "no usable key could be fetched from IDEO_JWKS_URL",
                "request it with curl: it must answer 200 with a JWK Set of RS256, ES256 or EdDSA keys",
            )
    kind = "published keys" if isinstance(verifier, KeySet) else "a shared secret"
    return Finding("keys", f"tokens are verified with {kind}")


async def check_tokens(settings: Settings, dsn: str) -> Finding:
    """Where a token may be; what it costs to have it in addresses."""
    if not settings.query_token:
        return Finding("tokens", "are accepted in headers and subprotocols")
    return Finding(
        "tokens",
        "are also accepted in addresses (?token=), which gateways log and browsers remember; if all clients "
        "use tickets or headers, turn this off with IDEO_QUERY_TOKEN=false",
    )


async def check_runtime(settings: Settings, dsn: str) -> Finding:
    """Whether the runtime answers, in the way that the runtime does."""
    if settings.runtime_url is None:
        return Finding("runtime", "recorded runs are replayed (ideo dev)")
    if settings.runtime_kind == "langgraph-server":
        return await _check_langgraph_server(settings, settings.runtime_url)
    async with DeepagentsRuntime(settings.runtime_url, total_s=TIMEOUT_S) as runtime:
        try:
            state = await runtime.state(str(uuid4()))
        except RuntimeUnavailable as error:
            return Finding("runtime", f"{error.message} ({settings.runtime_url})", _UNREACHABLE)
        except RuntimeRefused as error:
            return Finding(
                "runtime",
                f"answers HTTP {error.status} instead of 404 for a run that does not exist",
                "check that DEEPAGENTS_RUNTIME_URL is the runtime's address and not another service's",
            )
    if state is not None:
        return Finding(
            "runtime",
            "reports a state for a run that does not exist",
            "check that DEEPAGENTS_RUNTIME_URL is the runtime's address",
        )
    return Finding("runtime", "answers")


async def _check_langgraph_server(settings: Settings, url: str) -> Finding:
    """Whether a LangGraph server answers, accepts the key, and has the graph."""
    api_key = settings.langgraph_api_key.get_secret_value() if settings.langgraph_api_key is not None else ""
    async with AgentServer(url, settings.langgraph_assistant, api_key=api_key, total_s=TIMEOUT_S) as runtime:
        try:
            known = await runtime.state(str(uuid4()))
            has_graph = await runtime.has_assistant()
        except RuntimeUnavailable as error:
            return Finding("runtime", f"{error.message} ({url})", _UNREACHABLE)
        except RuntimeRefused as error:
            advice = "check that DEEPAGENTS_RUNTIME_URL is the address of a LangGraph server"
            if error.status in _NOT_ALLOWED:
                advice = "set IDEO_LANGGRAPH_API_KEY to a key that it accepts"
            return Finding("runtime", f"the LangGraph server answers HTTP {error.status}", advice)
    if known is not None:
        return Finding(
            "runtime",
            "reports a state for a run that does not exist",
            "check that DEEPAGENTS_RUNTIME_URL is the address of a LangGraph server",
        )
    if not has_graph:
        return Finding(
            "runtime",
            "the LangGraph server has no such graph or assistant",
            "set IDEO_LANGGRAPH_ASSISTANT to a name in its langgraph.json",
        )
    return Finding("runtime", "the LangGraph server answers, and has the graph")
