"""A hub whose tokens are those of an issuer that publishes its keys."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from server.adapters import create_verifier
from server.compose import open_hub
from server.lifecycle import Hub
from server.replay.server import replay_runtime
from server.settings.loading import load
from tests.unit.auth.issuer import AUDIENCE, ISSUER


@asynccontextmanager
async def issuer_hub(dsn: str, jwks_url: str) -> AsyncIterator[Hub]:
    """The hub, on a migrated database. jwks_url: where the keys are."""
    settings = load(
        env="dev",
        http_port=0,
        grpc_port=0,
        drain_s=0,
        jwks_url=jwks_url,
        jwt_issuer=ISSUER,
        jwt_audience=AUDIENCE,
    )
    async with (
        replay_runtime() as runtime,
        open_hub(settings, dsn=dsn, runtime_url=runtime, verifier=create_verifier(settings)) as hub,
    ):
        yield hub
