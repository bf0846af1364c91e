"""All attacks, by name."""

from __future__ import annotations

import asyncio

from tests.hostile.attacks import (
    answers,
    catching_up,
    connect_floods,
    drafts,
    event_streams,
    frames,
    grpc_floods,
    headers,
    http2_oddities,
    http_floods,
    large_requests,
    many_connections,
    readers,
    reviews,
    rights,
    webhooks,
)
from tests.hostile.attacks.attack import Aim, Attack, Family

CONTROL = Family("no attack")


@CONTROL.attack()
async def nothing(aim: Aim) -> str:
    """Nothing: what two measurements without an attack differ by."""
    await asyncio.sleep(aim.seconds)
    return "nothing"


FAMILIES = (
    CONTROL,
    http_floods.FAMILY,
    headers.FAMILY,
    connect_floods.FAMILY,
    grpc_floods.FAMILY,
    http2_oddities.FAMILY,
    many_connections.FAMILY,
    readers.FAMILY,
    catching_up.FAMILY,
    frames.FAMILY,
    answers.FAMILY,
    event_streams.FAMILY,
    reviews.FAMILY,
    drafts.FAMILY,
    large_requests.FAMILY,
    rights.FAMILY,
    webhooks.FAMILY,
)
ATTACKS: dict[str, Attack] = {attack.name: attack for family in FAMILIES for attack in family.attacks}
