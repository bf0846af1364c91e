"""Webhooks from the fact to the receiver: a real database, a real receiver, signatures by another library."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from standardwebhooks.webhooks import WebhookVerificationError

from ide_orchestrator.client import HubError
from server.cli.hub_client import HubClient
from tests.support.hand_clock import retried, until
from tests.support.hub import RunningHub, finished, running_hub, start
from tests.support.receiver import Receiver, receiver
from tests.support.runtime import SILENCE, ScriptedRuntime, files, serve_runtime, state_frame
from tests.support.servers import free_port
from tests.support.tokens import bearer

LOOPBACK = ("127.0.0.0/8",)
ASKS = state_frame(files=files(a="1"), __interrupt__="[Interrupt(value='secret question')]")


@dataclass
class Told:
    """A hub, a caller, and a receiver that the hub may call."""

    hub: RunningHub
    client: HubClient
    receiver: Receiver

    async def webhook(self, **fields: Any) -> dict[str, Any]:
        """A webhook that calls the receiver, with its secret."""
        return await self.client.call("POST", "/api/webhooks", {"target_url": self.receiver.url} | fields)

    async def read(self, webhook: dict[str, Any]) -> dict[str, Any]:
        """A webhook as it is shown."""
        return await self.client.call("GET", f"/api/webhooks/{webhook['id']}")

    async def delivery(self, webhook: dict[str, Any], **expected: Any) -> dict[str, Any]:
        """The newest delivery, once it has these values."""

        async def ask() -> dict[str, Any]:
            listed = await self.client.call("GET", f"/api/webhooks/{webhook['id']}/deliveries")
            newest: dict[str, Any] = listed["items"][0]
            assert {name: newest[name] for name in expected} == expected
            return newest

        return await retried(ask, AssertionError, IndexError)

    async def run(self, prompt: str = "[[replay:short_run]]") -> dict[str, Any]:
        """A proposal whose run is over."""
        return await finished(self.client, await start(self.client, prompt))

    async def pass_time(self, interval: str) -> None:
        """Make everything about webhooks older, and due."""
        await self.hub.core.pool.execute(
            "UPDATE webhook_deliveries SET retried_from = retried_from - $1::text::interval, "
            "next_attempt_at = CASE WHEN next_attempt_at IS NOT NULL THEN now() END",
            interval,
        )
        await self.hub.core.pool.execute(
            "UPDATE webhooks SET retry_at = NULL, failing_since = failing_since - $1::text::interval",
            interval,
        )


@pytest.fixture
async def told(database: str) -> AsyncIterator[Told]:
    async with (
        receiver() as listening,
        running_hub(database, webhook_allowed_hosts=LOOPBACK) as hub,
        hub.client() as client,
    ):
        yield Told(hub, client, listening)


async def test_the_end_of_a_run_is_told_as_a_signed_cloudevent(told: Told) -> None:
    webhook = await told.webhook(event_types=["run.finished"])
    proposal = await told.run()
    await until(lambda: told.receiver.calls)
    [call] = told.receiver.calls
    event = call.verified(webhook["secret"])
    assert event["specversion"] == "1.0"
    assert event["id"] == call.id
    assert event["type"] == "com.bizmatters.ide.run.finished"
    assert event["source"] == f"/api/workflows/{proposal['workflow_id']}"
    assert event["subject"] == proposal["id"]
    assert event["data"] == {
        "proposal_id": proposal["id"],
        "thread_id": proposal["thread_id"],
        "workflow_id": proposal["workflow_id"],
        "draft_id": proposal["draft_id"],
        "seq": 52,
        "status": "completed",
        "failure_reason": "",
        "file_count": 2,
    }
    assert call.headers["content-type"] == "application/cloudevents+json"
    delivery = await told.delivery(webhook, status="delivered")
    assert (delivery["id"], delivery["attempts"], delivery["http_status"]) == (call.id, 1, 204)


async def test_a_run_that_failed_is_told_with_its_reason(told: Told) -> None:
    webhook = await told.webhook()
    await told.run("[[replay:error_mid_stream]]")
    await until(lambda: told.receiver.calls)
    data = told.receiver.calls[0].verified(webhook["secret"])["data"]
    assert (data["status"], data["failure_reason"]) == ("failed", "upstream_error")


async def test_an_input_request_is_told_when_it_is_journalled_and_without_its_text(database: str) -> None:
    runtime = ScriptedRuntime(streams=[[ASKS, SILENCE]])
    async with (
        serve_runtime(runtime) as url,
        receiver() as listening,
        running_hub(database, runtime_url=url, webhook_allowed_hosts=LOOPBACK) as hub,
        hub.client() as client,
    ):
        told = Told(hub, client, listening)
        webhook = await told.webhook(event_types=["input.requested"])
        started = await start(client, "ask me")
        await until(lambda: listening.calls)
        call = listening.calls[0]
        event = call.verified(webhook["secret"])
        assert event["type"] == "com.bizmatters.ide.input.requested"
        assert b"secret question" not in call.body
        listed = await client.call("GET", f"/api/refinements/{started['thread_id']}/events")
        [asked] = [item["seq"] for item in listed["items"] if "input_requested" in item]
        assert event["data"]["seq"] == asked
        # The other end of the run is not asked for.
        await client.call("POST", f"/api/refinements/{started['thread_id']}/cancel")
        await finished(client, started)
        assert len(listening.calls) == 1


async def test_the_decision_about_a_proposal_is_told_with_the_version_that_it_made(told: Told) -> None:
    webhook = await told.webhook(event_types=["proposal.resolved"])
    for verb, resolution, version in (("reject", "rejected", 0), ("accept", "accepted", 2)):
        proposal = await told.run()
        path, key = f"/api/proposals/{proposal['id']}", {"If-Match": "*", "Idempotency-Key": verb}
        dry = await told.client.call("POST", f"{path}/accept?validate_only=true", {}, headers=key)
        assert dry["conflict_count"] == 0
        # Sent again, it is decided and told once.
        for _ in range(2):
            await told.client.call("POST", f"{path}/{verb}", {"comment": "secret reason"}, headers=key)
        await told.delivery(webhook, status="delivered", proposal_id=proposal["id"])
        call = told.receiver.calls[-1]
        event = call.verified(webhook["secret"])
        assert (event["type"], event["subject"]) == ("com.bizmatters.ide.proposal.resolved", proposal["id"])
        assert event["data"] == {
            "proposal_id": proposal["id"],
            "thread_id": proposal["thread_id"],
            "workflow_id": proposal["workflow_id"],
            "draft_id": proposal["draft_id"],
            "resolution": resolution,
            "draft_version": version,
        }
        assert b"secret reason" not in call.body
    assert len(told.receiver.calls) == 2


async def test_a_webhook_tells_its_owner_only_what_the_owner_may_see(told: Told) -> None:
    mine = await told.webhook()
    elsewhere = await told.client.call("POST", "/api/workflows", {"name": "another"})
    other = await told.webhook(workflow_id=elsewhere["id"])
    async with told.hub.client("eve@example.com") as eve:
        stranger = await eve.call("POST", "/api/webhooks", {"target_url": told.receiver.url})
        me = await eve.call("GET", "/api/me")
        first = await told.run()
        await until(lambda: told.receiver.calls)
        # The service that has a grant gets it, as it would get a stream.
        started = await start(told.client, "[[replay:short_run silent=10]]")
        grant = f"/api/proposals/{started['proposal_id']}/access/{me['user_id']}"
        await told.client.call("PUT", grant, {"access_type": "viewer"})
        await told.client.call("POST", f"/api/refinements/{started['thread_id']}/cancel")
        await finished(told.client, started)
        await until(lambda: len(told.receiver.calls) == 3)

    def subjects(webhook: dict[str, Any]) -> set[str]:
        found = set()
        for call in told.receiver.calls:
            with suppress(WebhookVerificationError):
                found.add(call.verified(webhook["secret"])["subject"])
        return found

    assert subjects(mine) == {first["id"], started["proposal_id"]}
    assert subjects(stranger) == {started["proposal_id"]}
    assert subjects(other) == set()


async def test_a_right_that_ended_after_the_fact_is_respected(told: Told) -> None:
    webhook = await told.webhook()
    await told.hub.core.pool.execute("UPDATE webhooks SET retry_at = now() + interval '1 hour'")
    await told.run()
    await told.hub.core.pool.execute("DELETE FROM proposal_access")
    await told.hub.core.pool.execute("UPDATE webhooks SET retry_at = NULL")
    await told.delivery(webhook, status="given_up", failure="not_permitted")
    assert told.receiver.calls == []


async def test_a_delivery_that_fails_is_tried_again_under_the_same_id(told: Told) -> None:
    told.receiver.status = lambda before: (500, 502, 200)[before]
    webhook = await told.webhook()
    await told.run()
    for attempts, http_status in ((1, 500), (2, 502)):
        failed = await told.delivery(webhook, attempts=attempts, failure="status", http_status=http_status)
        assert (failed["status"], failed["delivered_at"]) == ("waiting", None)
        assert (await told.read(webhook))["failing_since"] is not None
        await told.pass_time("1 minute")
    delivered = await told.delivery(webhook, status="delivered")
    assert (delivered["attempts"], delivered["failure"], delivered["http_status"]) == (3, "", 200)
    assert len({call.id for call in told.receiver.calls}) == 1
    assert len({call.body for call in told.receiver.calls}) == 1
    assert (await told.read(webhook))["failing_since"] is None


async def test_a_delivery_is_given_up_after_three_days_and_its_webhook_disabled(told: Told) -> None:
    told.receiver.status = 503
    webhook = await told.webhook()
    await told.run()
    await told.delivery(webhook, attempts=1, failure="status")
    await told.pass_time("73 hours")
    await told.delivery(webhook, attempts=2, status="given_up")
    shown = await told.read(webhook)
    assert (shown["enabled"], shown["disabled_reason"]) == (False, "failing")
    await told.run()
    assert (await told.delivery(webhook))["attempts"] == 2
    # It counts as sound again, and what happened meanwhile is not told.
    told.receiver.status = 200
    enabled = await told.client.call("PATCH", f"/api/webhooks/{webhook['id']}", {"enabled": True})
    assert (enabled["enabled"], enabled["failing_since"]) == (True, None)
    proposal = await told.run()
    await told.delivery(webhook, status="delivered", proposal_id=proposal["id"])
    assert len(told.receiver.calls) == 3


async def test_a_receiver_that_is_gone_is_not_called_again(told: Told) -> None:
    told.receiver.status = 410
    webhook = await told.webhook()
    await told.run()
    await told.delivery(webhook, attempts=1, http_status=410)
    assert (await told.read(webhook))["disabled_reason"] == "gone"
    await told.pass_time("1 minute")
    await told.run()
    assert len(told.receiver.calls) == 1


async def test_a_delivery_is_made_again_by_hand_under_the_same_id(told: Told) -> None:
    webhook = await told.webhook()
    await told.run()
    delivery = await told.delivery(webhook, status="delivered")
    path = f"/api/webhooks/{webhook['id']}/deliveries"
    again = await told.client.call("POST", f"{path}/{delivery['id']}/redeliver")
    assert again["status"] == "waiting"
    await until(lambda: len(told.receiver.calls) == 2)
    await told.delivery(webhook, status="delivered", attempts=2)
    assert {call.id for call in told.receiver.calls} == {delivery["id"]}
    # Also long after it was given up: it is tried as long as a new one.
    told.receiver.status = 500
    await told.pass_time("20 days")
    await told.client.call("POST", f"{path}/{delivery['id']}/redeliver")
    await told.delivery(webhook, status="waiting", attempts=3)
    with pytest.raises(HubError):
        await told.client.call("POST", f"{path}/{uuid4()}/redeliver")


@pytest.mark.parametrize("status", [500, 204])
async def test_a_delivery_that_is_asked_for_during_an_attempt_is_made_after_it_whatever_becomes_of_it(
    told: Told, status: int
) -> None:
    told.receiver.status = lambda before: (500, status, 204)[before]
    webhook = await told.webhook()
    await told.run()
    delivery = await told.delivery(webhook, attempts=1, failure="status")
    told.receiver.may_answer = asyncio.Event()
    await told.pass_time("1 minute")
    await until(lambda: len(told.receiver.calls) == 2)
    path = f"/api/webhooks/{webhook['id']}/deliveries/{delivery['id']}/redeliver"
    await told.client.call("POST", path)
    told.receiver.may_answer.set()
    # Not after the pause of a minute that follows a failed attempt.
    await told.delivery(webhook, status="delivered", attempts=3)


async def test_both_secrets_sign_during_the_overlap_of_a_rotation_and_one_after_it(told: Told) -> None:
    webhook = await told.webhook()
    path = f"/api/webhooks/{webhook['id']}/rotate"
    rotated = await told.client.call("POST", path, {})
    assert rotated["previous_secret_expires_at"] is not None
    await told.run()
    await until(lambda: len(told.receiver.calls) == 1)
    for secret in (webhook["secret"], rotated["secret"]):
        told.receiver.calls[0].verified(secret)
    await told.hub.core.pool.execute("UPDATE webhooks SET previous_secret_expires_at = now()")
    await told.run()
    await until(lambda: len(told.receiver.calls) == 2)
    told.receiver.calls[1].verified(rotated["secret"])
    with pytest.raises(WebhookVerificationError):
        told.receiver.calls[1].verified(webhook["secret"])
    at_once = await told.client.call("POST", path, {"overlap_s": 0})
    assert at_once["previous_secret_expires_at"] is None
    assert len({webhook["secret"], rotated["secret"], at_once["secret"]}) == 3


async def test_a_key_makes_one_webhook_and_one_secret_until_the_webhook_is_deleted(told: Told) -> None:
    def create(**fields: Any) -> Any:
        body = {"target_url": told.receiver.url} | fields
        return told.client.call("POST", "/api/webhooks", body, key="k")

    made = await create()
    assert await create() == made
    path = f"/api/webhooks/{made['id']}"
    rotated = await told.client.call("POST", f"{path}/rotate", {}, key="k")
    assert await told.client.call("POST", f"{path}/rotate", {}, key="k") == rotated
    with pytest.raises(HubError, match="used for another request"):
        await create(event_types=["run.finished"])
    other = await told.webhook()
    with pytest.raises(HubError, match="used for another request"):
        await told.client.call("POST", f"/api/webhooks/{other['id']}/rotate", {}, key="k")
    async with httpx.AsyncClient(headers=bearer(told.hub.token()), trust_env=False) as http:
        assert (await http.delete(told.hub.http + path)).status_code == 204
    assert (await create(event_types=["run.finished"]))["id"] != made["id"]


async def test_a_redirect_is_not_followed(told: Told) -> None:
    async with receiver() as elsewhere:
        told.receiver.status = 307
        told.receiver.headers["location"] = elsewhere.url
        webhook = await told.webhook()
        await told.run()
        await told.delivery(webhook, attempts=1, failure="status", http_status=307)
        assert elsewhere.calls == []


async def test_a_deleted_webhook_is_not_called_and_fails_no_run(told: Told) -> None:
    told.receiver.status = 500
    webhook = await told.webhook()
    await told.run()
    await told.delivery(webhook, attempts=1)
    async with httpx.AsyncClient(headers=bearer(told.hub.token()), trust_env=False) as http:
        assert (await http.delete(f"{told.hub.http}/api/webhooks/{webhook['id']}")).status_code == 204
    assert (await told.run())["status"] == "completed"
    assert await told.hub.core.pool.fetchval("SELECT count(*) FROM webhook_deliveries") == 0


async def test_a_receiver_that_is_away_costs_another_nothing(told: Told) -> None:
    """Many receivers that answer nothing, and hundreds of events for them, beside one that answers."""
    away = f"http://127.0.0.1:{free_port()}"
    for _ in range(20):
        await told.webhook(target_url=away)
    sound = await told.webhook()
    runs = [await told.run() for _ in range(4)]
    await until(lambda: len(told.receiver.calls) == 4)
    assert {call.verified(sound["secret"])["subject"] for call in told.receiver.calls} == {
        run["id"] for run in runs
    }


async def test_secrets_are_shown_once_and_are_in_no_list_and_no_log(
    told: Told, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    told.receiver.status = 500
    webhook = await told.webhook(target_url=f"{told.receiver.url}/hook?key=hidden-in-the-address")
    rotated = await told.client.call("POST", f"/api/webhooks/{webhook['id']}/rotate", {})
    await told.run()
    await told.delivery(webhook, attempts=1)
    listed = await told.client.call("GET", "/api/webhooks")
    shown = [listed["items"][0], await told.read(webhook)]
    assert [each["secret"] for each in shown] == [None, None]
    for secret in (webhook["secret"], rotated["secret"], "hidden-in-the-address"):
        assert secret not in caplog.text


async def test_what_is_over_is_removed_after_a_month_and_what_cannot_be_told_given_up(told: Told) -> None:
    webhook = await told.webhook()
    await told.run()
    await told.delivery(webhook, status="delivered")
    await told.client.call("PATCH", f"/api/webhooks/{webhook['id']}", {"enabled": False})
    pool, deliveries = told.hub.core.pool, told.hub.core.deliveries
    waiting = "UPDATE webhook_deliveries SET next_attempt_at = now(), delivered_at = NULL"
    await pool.execute(waiting)
    await deliveries.sweep()
    await told.delivery(webhook, status="waiting")
    await told.pass_time("74 hours")
    await deliveries.sweep()
    await told.delivery(webhook, status="given_up", failure="expired")
    await pool.execute("UPDATE webhook_deliveries SET created_at = created_at - interval '31 days'")
    await deliveries.sweep()
    assert await pool.fetchval("SELECT count(*) FROM webhook_deliveries") == 0


@pytest.mark.parametrize("unreadable", [{"event_type": "of.a.later.release"}, {"data": []}])
async def test_a_delivery_that_cannot_be_read_costs_no_other_an_attempt(
    told: Told, unreadable: dict[str, Any]
) -> None:
    webhook = await told.webhook(event_types=["run.finished"])
    await told.run()
    await told.delivery(webhook, status="delivered")
    await told.hub.core.pool.execute(
        """
        INSERT INTO webhook_deliveries
        SELECT (jsonb_populate_record(d, changed || '{"attempts": 0, "delivered_at": null}'
          || jsonb_build_object('event_id', gen_random_uuid(), 'next_attempt_at', now()))).*
        FROM webhook_deliveries d, unnest(ARRAY[$1::jsonb, '{}']) AS changed WHERE d.event_id = $2
        """,
        json.dumps(unreadable),
        UUID(told.receiver.calls[0].id),
    )
    await until(lambda: len(told.receiver.calls) > 1)
    # What comes later is delivered, too, before the other one is tried again.
    await told.run()
    await until(lambda: len(told.receiver.calls) > 2)
    assert len({call.id for call in told.receiver.calls}) == 3
    attempts = await told.hub.core.pool.fetch("SELECT attempts FROM webhook_deliveries")
    assert {row["attempts"] for row in attempts} == {1}
