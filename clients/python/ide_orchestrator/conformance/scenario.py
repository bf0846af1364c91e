"""The golden scenario: one refinement, followed in every way while it runs, and what all readers agree on."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from ide_orchestrator.client import Event, Hub, HubError
from ide_orchestrator.client.http_calls import if_match
from ide_orchestrator.client.resources import Proposal
from ide_orchestrator.conformance.target import Broken, Skipped, Target
from ide_orchestrator.conformance.transports import TYPED, answered

#: What the agent is asked. The runtime of recorded runs plays the recording that the end names.
PROMPT = "Add web search to the agent. [[replay:short_run speed=10]]"
#: The draft that the refinement begins with. Cases name the file.
FILES = {"/THE_SPEC/a.md": "# A\n"}
#: Ways of which most must agree on the events.
_WITNESSES = ("pages", "websocket-binary", "sse", "durable")
#: Seconds for putting away what a check made.
_TIDY_S = 30.0


@dataclass
class Run:
    """A refinement that has ended."""

    workflow_id: str
    draft_id: str
    thread_id: str
    proposal_id: str
    #: The key and the answer of its start, with status and headers.
    key: str
    start: Any
    prompt: str
    proposal: Proposal
    events: list[Event]
    #: What was read while it ran, by way; the error of a way that failed.
    live: dict[str, list[Event] | Exception] = field(default_factory=dict)

    @property
    def last_seq(self) -> int:
        """The number of events."""
        return self.events[-1].seq

    @property
    def hashes(self) -> dict[str, str]:
        """The hash of each file of the proposal. Raises Skipped without files."""
        files = self.proposal["generated_files"] or {}
        if not files:
            raise Skipped(f"the refinement {self.proposal['status']} without files; give another --prompt")
        return {path: file["sha256"] for path, file in files.items()}


class Scenario:
    """Starts what the rules need, once, and ends it again.

    run_s: seconds that a refinement may take; stream_s: those that a stream may take after it.
    """

    def __init__(
        self, target: Target, *, prompt: str = PROMPT, run_s: float = 600, stream_s: float = 60
    ) -> None:
        self.target, self.prompt = target, prompt
        self._run_s, self._stream_s = run_s, stream_s
        self.hub = Hub(target.http, target.token, ssl=target.ssl, trust_env=False)
        self._workflow: dict[str, Any] = {}
        self._run: Run | None = None
        #: Refinements that may still run.
        self._open: set[str] = set()
        self._proposals: set[str] = set()

    async def begin(self, live: Sequence[str]) -> Run:
        """Start the refinement, follow it in these ways while it runs, and read what it gave. Raises
        HubError, Broken."""
        self._run = await self.refine(live)
        return self._run

    @property
    def run(self) -> Run:
        """The refinement. Raises Skipped when there is none."""
        if self._run is None:
            raise Skipped("the refinement did not run to its end")
        return self._run

    async def refine(self, live: Sequence[str] = ()) -> Run:
        """Another refinement of the same workflow, run to its end. Raises HubError, Broken."""
        if not self._workflow:
            self._workflow = dict(await self.hub.create_workflow("conformance check", FILES))
        workflow_id, key = self._workflow["id"], str(uuid4())
        async with self.target.open_http() as http:
            answer = await http.post(
                f"/api/workflows/{workflow_id}/refinements",
                json={"user_prompt": self.prompt},
                headers={"Idempotency-Key": key},
            )
        started = answered(answer)
        thread_id, proposal_id = started["thread_id"], started["proposal_id"]
        self._open.add(thread_id)
        self._proposals.add(proposal_id)
        readers = {way: asyncio.ensure_future(self._read(way, thread_id)) for way in live}
        try:
            await asyncio.wait_for(self._ended(thread_id), self._run_s)
            await asyncio.wait(readers.values(), timeout=self._stream_s) if readers else None
        except asyncio.TimeoutError:
            raise Broken(f"the refinement {thread_id} did not end within {self._run_s:g} s") from None
        finally:
            for reader in readers.values():
                reader.cancel()
            finished = await asyncio.gather(*readers.values(), return_exceptions=True)
        self._open.discard(thread_id)
        found = {
            way: _unfinished(result) if isinstance(result, BaseException) else result
            for way, result in zip(readers, finished, strict=True)
        }
        return Run(
            workflow_id=workflow_id,
            draft_id=self._workflow["current_draft_id"],
            thread_id=thread_id,
            proposal_id=proposal_id,
            key=key,
            start=answer,
            prompt=self.prompt,
            proposal=await self.hub.proposal(proposal_id),
            events=await self._agreed(thread_id, found),
            live=found,
        )

    async def _read(self, way: str, thread_id: str) -> list[Event]:
        _, follow = TYPED[way]
        return [event async for event in follow(self.target, thread_id, 0)]

    async def _ended(self, thread_id: str) -> None:
        """Wait for the end of a run, without trusting one stream for it."""
        while (found := await self.hub.refinement(thread_id))["completed_at"] is None:
            with suppress(HubError):
                query = f"?after={found['last_seq']}&limit=1&wait=5"
                await self.hub.call("GET", f"/api/refinements/{thread_id}/events{query}")

    async def _agreed(self, thread_id: str, live: dict[str, list[Event] | Exception]) -> list[Event]:
        """The events that most ways deliver. Raises Broken when none delivers any."""
        votes: Counter[bytes] = Counter()
        histories: dict[bytes, list[Event]] = {}
        found = [history for history in live.values() if isinstance(history, list)]
        for way in _WITNESSES:
            with suppress(HubError, Broken, asyncio.TimeoutError):
                found.append(await asyncio.wait_for(self._read(way, thread_id), self._stream_s))
        for history in found:
            name = b"".join(event.SerializeToString(deterministic=True) for event in history)
            votes[name] += 1
            histories[name] = history
        histories.pop(b"", None)
        if not histories:
            raise Broken("no transport delivers events")
        return histories[max(histories, key=lambda name: votes[name])]

    async def aclose(self) -> None:
        """Cancel what still runs, reject what awaits a decision, archive the workflow, and close the
        connections. Does not fail."""
        with suppress(HubError, asyncio.TimeoutError):
            await asyncio.wait_for(self._tidy(), _TIDY_S)
        await self.hub.aclose()

    async def _tidy(self) -> None:
        for thread_id in self._open:
            await self.hub.cancel(thread_id)
        for proposal_id in self._proposals:
            # Afterwards nobody could decide it. Not those whose run has just been cancelled, or was accepted.
            with suppress(HubError):
                proposal = await self.hub.proposal(proposal_id, contents=False)
                path = f"/api/proposals/{proposal_id}/reject"
                await self.hub.call("POST", path, {"comment": "conformance"}, headers=if_match(proposal))
        if self._workflow:
            path = f"/api/workflows/{self._workflow['id']}"
            await self.hub.call("PATCH", path, {"archived": True})


def _unfinished(error: BaseException) -> Exception:
    if isinstance(error, asyncio.CancelledError):
        return Broken("the stream did not end after the run")
    return error if isinstance(error, Exception) else Broken(str(error))
