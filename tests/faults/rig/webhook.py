"""The webhook of a rig, and what it reported of each run."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import httpx

from tests.faults.rig.history import Journal, Report, reportable
from tests.support.hand_clock import PATIENCE_S
from tests.support.receiver import Receiver

#: Seconds in which all is reported: after a crash, the claim of an attempt must end first.
REPORTED_S = 45.0


async def posted(http: httpx.AsyncClient, url: str, body: Any) -> Any:
    """What a POST makes that prepares a case, also if PostgreSQL takes longer than the hub waits for it: on a
    busy machine."""
    answer = await http.post(url, json=body)
    give_up_at = time.monotonic() + PATIENCE_S
    while answer.status_code == 503 and time.monotonic() < give_up_at:
        await asyncio.sleep(0.1)
        answer = await http.post(url, json=body)
    return answer.raise_for_status().json()


class Webhook:
    """A webhook that calls a receiver. `create` comes first."""

    def __init__(self, receiver: Receiver) -> None:
        self._receiver, self._secret = receiver, ""

    async def create(self, http: httpx.AsyncClient, address: str, workflow_id: str) -> None:
        """Create it at a replica, for all runs of a workflow."""
        asked = {"target_url": self._receiver.url, "workflow_id": workflow_id}
        self._secret = (await posted(http, f"{address}/api/webhooks", asked))["secret"]

    async def reports_of(self, thread_id: str, journal: Journal) -> list[Report]:
        """What was reported of a run, once that is all or its time is over."""
        deadline = time.monotonic() + REPORTED_S
        while True:
            events = [
                call.verified(self._secret)
                for call in self._receiver.calls
                if call.event["data"]["thread_id"] == thread_id and "seq" in call.event["data"]
            ]
            reports = [
                Report(event["id"], event["type"].removeprefix("com.bizmatters.ide."), event["data"]["seq"])
                for event in events
            ]
            complete = reportable(journal) <= {(report.type, report.seq) for report in reports}
            if complete or time.monotonic() > deadline:
                return reports
            await asyncio.sleep(0.1)
