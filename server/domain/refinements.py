"""Refinements: start one, see where it stands, follow its events, cancel it.

A caller that may not see a refinement is told the same as for one that does not exist.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Any
from uuid import UUID, uuid4

from server.domain.access.quotas import Quotas
from server.domain.access.sharing import AccessStore
from server.domain.access.stream_authorization import AuthorizationRegistry
from server.domain.clock import Clock
from server.domain.crash_points import crash_point
from server.domain.errors import (
    Conflict,
    KeyReused,
    NotFound,
    PermissionDenied,
    RuntimeRefused,
    RuntimeUnavailable,
    ShuttingDown,
)
from server.domain.journal.events import Event, RunStarted
from server.domain.journal.journal import EventCodec, JournalHead
from server.domain.journal.segments import Segment
from server.domain.model import (
    IdempotencyKey,
    Principal,
    ProposalStatus,
    Refinement,
    StartRefinement,
    Workflow,
)
from server.domain.proposals.store import EarlierStart, Proposals
from server.domain.runs.lease import RunStore
from server.domain.runs.observer import RunObserver
from server.domain.runs.runner import Runner
from server.domain.runs.runtime import Invocation
from server.domain.streams.broadcaster import Broadcaster, Subscription
from server.domain.streams.legacy_frames import LegacyFrameSubscription
from server.domain.streams.topic import Heartbeat, ReconnectElsewhere
from server.domain.workflows import Workflows

#: The route of every face's start: the same key names the same request on all of them.
START_ROUTE = "start_refinement"
#: Seconds after which a start that is still being carried out may be asked about again.
IN_FLIGHT_RETRY_S = 1


@dataclass(frozen=True, slots=True)
class Started:
    """A started refinement. `replayed`: by an earlier request with the same key; nothing was done now."""

    refinement: Refinement
    replayed: bool = False


@dataclass(frozen=True, slots=True)
class EventPage:
    """A page of events: `segments` hold at most the limit asked for. `complete`: nothing follows."""

    segments: tuple[Segment, ...]
    head: JournalHead
    next_after: int
    complete: bool


class Refinements:
    """The use cases around a refinement."""

    def __init__(
        self,
        *,
        proposals: Proposals,
        access: AccessStore,
        workflows: Workflows,
        runs: RunStore,
        runner: Runner,
        tails: Broadcaster,
        admissions: AuthorizationRegistry,
        quotas: Quotas,
        observer: RunObserver,
        codec: EventCodec,
        clock: Clock,
    ) -> None:
        self._proposals, self._access = proposals, access
        self._workflows, self._runs = workflows, runs
        self._runner, self._tails, self._codec = runner, tails, codec
        self._clock, self._admissions, self._quotas = clock, admissions, quotas
        self._observer = observer
        #: False once this replica is going away.
        self.accepting = True

    async def start(
        self, principal: Principal, command: StartRefinement, *, key: str | None = None
    ) -> Started:
        """Record the request and start its run; returns once the runtime took it.

        The same command with the same key, on any replica, starts nothing again, even while nothing
        can be started. Raises KeyReused for another command, Conflict while the first start is being
        carried out.

        Raises NotFound for a workflow that is not the principal's. When the runtime does not take
        the run, its error is raised after the proposal was stored as failed. If the caller goes away
        meanwhile, the run goes on. While the runtime is left alone, RuntimeUnavailable is raised and
        nothing stored. Raises LimitReached for who starts too many, or has too many that are live.
        """
        if not self.accepting:
            raise ShuttingDown
        workflow = await self._workflows.get(principal, command.workflow_id)
        if workflow is None:
            raise NotFound("there is no such workflow")
        named = None if key is None else IdempotencyKey(START_ROUTE, key, _digest(command))
        if named is not None:
            earlier = await self._proposals.earlier(principal, named)
            if earlier is not None and not earlier.free:
                return _again(earlier, command)
        self._runner.check_runtime()
        await self._quotas.create(principal.user_id)
        now = self._clock.now()
        proposal_id = uuid4()
        invocation = self._invocation(workflow, command)
        thread_id = invocation.job_id
        started = RunStarted(thread_id, proposal_id, workflow.id)
        stored = await self._proposals.start(
            principal,
            command,
            proposal_id=proposal_id,
            invocation=invocation,
            draft_id=workflow.current_draft_id,
            first_event=self._codec.encode(Event(1, 1, now, started)),
            now=now,
            key=named,
            max_active_runs=self._quotas.limits.max_active_runs,
        )
        if isinstance(stored, EarlierStart):
            return _again(stored, command)
        crash_point("started")
        try:
            await asyncio.shield(self._runner.drive(stored))
        except (RuntimeRefused, RuntimeUnavailable) as error:
            error.add_context(f"proposal {proposal_id} was stored as failed")
            raise
        return Started(_as_started(thread_id, proposal_id, workflow.id, now))

    def _invocation(self, workflow: Workflow, command: StartRefinement) -> Invocation:
        """The runtime's job. The prompt goes where the seed says and where the published runtime
        looks (`agent_definition.user_request`); so do file and selection, for the same reason."""
        context: dict[str, Any] = {}
        if command.context_file_path is not None:
            context["context_file_path"] = command.context_file_path
        if command.context_selection is not None:
            context["context_selection"] = command.context_selection
        traceparent = self._observer.traceparent()
        return Invocation(
            # A trace's id is 16 bytes, as is a UUID.
            trace_id=UUID(traceparent.split("-")[1]) if traceparent else uuid4(),
            traceparent=traceparent,
            job_id=uuid4(),
            agent_definition={**workflow.agent_definition, "user_request": command.user_prompt, **context},
            input_payload={"messages": [{"role": "user", "content": command.user_prompt}], **context},
        )

    async def get(self, principal: Principal, thread_id: UUID) -> Refinement:
        """Where the refinement stands. Raises NotFound."""
        refinement = await self._proposals.refinement(principal, thread_id)
        if refinement is None:
            raise NotFound("there is no such refinement")
        return refinement

    async def cancel(self, principal: Principal, thread_id: UUID) -> Refinement:
        """Cancel the run; one that is over stays as it is. Raises NotFound, PermissionDenied.

        A run that another replica drives is cancelled when that replica next renews its lease.
        """
        refinement = await self.get(principal, thread_id)
        access_type = await self._access.access_type(principal, refinement.proposal_id)
        if access_type is None or not access_type.acts:
            raise PermissionDenied("only an owner or editor may cancel a refinement")
        if refinement.status.terminal:
            return refinement
        await self._runs.request_cancel(thread_id)
        if self._runner.cancel(thread_id):
            await self._runner.wait(thread_id)
        return await self.get(principal, thread_id)

    async def follow(self, principal: Principal, thread_id: UUID, after: int) -> Subscription:
        """A reader of the events behind `after`, or behind what a share link hides; close it when done.

        Raises NotFound, CursorOutOfRange, LimitReached. The reader's steps raise Unauthenticated,
        PermissionDenied once the principal may no longer follow.
        """
        caller = principal.user_id
        await self._quotas.open_stream(caller)
        return await self._followed(
            principal, thread_id, after, closed=lambda: self._quotas.close_stream(caller)
        )

    async def _followed(
        self, principal: Principal, thread_id: UUID, after: int, *, closed: Callable[[], None]
    ) -> Subscription:
        """A reader; `closed` is called once, when it is closed, or could not be opened."""
        # Before access is looked up: what is withdrawn meanwhile is noticed at the next look.
        admission = self._admissions.admit(principal, thread_id)
        admission.closed = closed
        try:
            refinement = await self.get(principal, thread_id)
            admission.closed = _both(closed, self._observer.following(thread_id, refinement.traceparent))
            return await self._tails.follow(thread_id, max(after, principal.after_seq), admission)
        except BaseException:
            admission.close()
            raise

    async def follow_legacy_frames(
        self, principal: Principal, thread_id: UUID, after: int
    ) -> LegacyFrameSubscription:
        """A reader of the seed's frames behind `after`; as `follow`."""
        return LegacyFrameSubscription(
            await self.follow(principal, thread_id, after), self._tails, self._codec
        )

    async def page(
        self, principal: Principal, thread_id: UUID, *, after: int, limit: int, wait_s: float
    ) -> EventPage:
        """At most `limit` events behind the cursor, waiting up to `wait_s` for the first.

        Raises as `follow`.
        """
        after = max(after, principal.after_seq)
        with contextlib.ExitStack() as waits:
            if wait_s:
                waits.enter_context(self._quotas.waiting(principal.user_id))
            follower = await self._followed(principal, thread_id, after, closed=waits.pop_all().close)
        try:
            found: list[Segment] = []
            last = after
            try:
                # Without a wait there is no limit either: what is there is read.
                async with asyncio.timeout(wait_s or None):
                    while last < after + limit:
                        step = await self._next(follower, wait=not found and wait_s > 0)
                        if not step:
                            break
                        room = after + limit - last
                        for segment in step:
                            cut = segment.up_to(segment.first_seq + room - 1)
                            found.append(cut)
                            room -= cut.last_seq - cut.first_seq + 1
                            last = cut.last_seq
                            if room <= 0:
                                break
            except TimeoutError:
                pass
            head = follower.tail.head
            return EventPage(tuple(found), head, last, head.terminal and last >= head.last_seq)
        finally:
            follower.close()

    @staticmethod
    async def _next(follower: Subscription, *, wait: bool) -> list[Segment]:
        if not wait:
            return await follower.available() if follower.cursor < follower.tail.head.last_seq else []
        while True:
            step = await follower.step()
            if not isinstance(step, Heartbeat | ReconnectElsewhere):
                return step or []


def _both(first: Callable[[], None], second: Callable[[], None]) -> Callable[[], None]:
    """Calls both."""

    def _call() -> None:
        first()
        second()

    return _call


def _as_started(thread_id: UUID, proposal_id: UUID, workflow_id: UUID, at: datetime) -> Refinement:
    """A refinement as its start answers it, whatever happened since."""
    return Refinement(
        thread_id=thread_id,
        proposal_id=proposal_id,
        workflow_id=workflow_id,
        status=ProposalStatus.PROCESSING,
        epoch=1,
        last_seq=1,
        floor=1,
        created_at=at,
    )


def _digest(command: StartRefinement) -> bytes:
    context = [command.context_file_path, command.context_selection]
    return sha256(json.dumps([str(command.workflow_id), command.user_prompt, *context]).encode()).digest()


def _again(earlier: EarlierStart, command: StartRefinement) -> Started:
    """What a repeated request is answered. Raises KeyReused, Conflict."""
    if earlier.request_sha256 != _digest(command):
        raise KeyReused
    if not earlier.taken:
        message = "the first request with this idempotency key is still being carried out"
        raise Conflict(message, retry_after_s=IN_FLIGHT_RETRY_S)
    first = _as_started(earlier.thread_id, earlier.proposal_id, command.workflow_id, earlier.created_at)
    return Started(first, replayed=True)
