"""`ideo` calls a hub with TLS whose certificate an authority of one's own signed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.commands import ideo
from tests.support.hub import RunningHub, finished, start
from tests.support.tls import Front, tls_in_front_of


@pytest.fixture
async def front(hub: RunningHub, tmp_path: Path) -> AsyncIterator[Front]:
    async with tls_in_front_of(hub.http, tmp_path) as opened:
        yield opened


async def test_every_kind_of_call_trusts_the_authorities_of_ssl_cert_file(
    hub: RunningHub, front: Front, tmp_path: Path
) -> None:
    async with hub.client() as client:
        started = await start(client, "[[replay:short_run]]")
        await finished(client, started)
    thread = started["thread_id"]
    trusting = {"IDEO_URL": front.http, "IDEO_TOKEN": hub.token(), "SSL_CERT_FILE": str(front.ca_file)}
    for line in (
        "user me",
        f"watch {thread}",
        "refine [[replay:short_run]]",
        f"record {thread} -o {tmp_path / 'recording'}",
        f"proposal download {started['proposal_id']} -o {tmp_path / 'files.zip'}",
    ):
        code, _, errors = await ideo(line, environment=trusting)
        assert code == 0, (line, errors)


async def test_an_authority_that_is_not_trusted_is_answered_with_what_to_set(
    hub: RunningHub, front: Front
) -> None:
    environment = {"IDEO_URL": front.http, "IDEO_TOKEN": hub.token()}
    code, _, errors = await ideo("user me", environment=environment)
    assert code == 5
    assert "its certificate is not accepted" in errors
    assert "SSL_CERT_FILE names a PEM file" in errors
    for wrong in ("/nowhere.pem", str(Path(__file__))):
        code, _, errors = await ideo("user me", environment={**environment, "SSL_CERT_FILE": wrong})
        assert code == 2
        assert errors == (
            "ideo: SSL_CERT_FILE must name a PEM file of certificates that can be read: "
            f"{front.http} has TLS\n"
        )
