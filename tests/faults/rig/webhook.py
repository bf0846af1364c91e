"""The webhook of a rig, and what it reported of each run."""

from __future__ import annotations

import asyncio
import time

import httpx

from tests.faults.rig.history import Journal, Report, reportable
from tests.support.receiver import Receiver

#: Seconds in which all is reported: after a crash, the claim of an attempt must end first.
REPORTED_S = 45.0


class Webhook:
    """A webhook that calls a receiver. `create` comes first."""

    def __init__(self, receiver: Receiver) -> None:
        self._receiver, self._secret = receiver, ""

    async def create(self, http: httpx.AsyncClient, address: str, workflow_id: str) -> None:
        """Create it at a replica, for all runs of a workflow."""
        asked = {"target_url": self._receiver.url, "workflow_id": workflow_id}
        hook = await http.post(f"{address}/api/webhooks", json=asked)
        self._secret = hook.raise_for_status().json()["secret"]

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
