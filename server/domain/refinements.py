"""Refinements: start one, read its state, follow its events, cancel it.

A caller that may not see a refinement gets the same answer as for one that does not exist.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from typing import Any
from uuid import UUID, uuid4

from server.domain.access.quotas import Quotas
from server.domain.access.sharing import AccessStore
from server.domain.access.stream_authorization import AuthorizationRegistry
from server.domain.clock import Clock
from server.domain.crash_points import crash_point
from server.domain.drafts.busy import WhenBusy
from server.domain.drafts.context import JobContext
from server.domain.errors import (
    CursorOutOfRange,
    DatabaseUnavailable,
    InvalidArgument,
    InvokeUncertain,
    NotFound,
    PermissionDenied,
    RuntimeRefused,
    RuntimeUnavailable,
    ShuttingDown,
)
from server.domain.fair_budget import Reservation
from server.domain.idempotent_start import Started, answer_to_repeat, key_for, started_refinement
from server.domain.jobs import check_context, check_refinable, job_for
from server.domain.journal.events import Event, RunStarted
from server.domain.journal.journal import EventCodec
from server.domain.model import (
    IdempotencyKey,
    Principal,
    ProposalStatus,
    Refinement,
    Revision,
    StartRefinement,
    Workflow,
)
from server.domain.off_loop import REQUESTS
from server.domain.proposals.store import EarlierStart, ProposalStore, StoredStart
from server.domain.runs.lease import RunStore
from server.domain.runs.observer import RunObserver
from server.domain.runs.runner import Runner
from server.domain.streams.broadcaster import Broadcaster
from server.domain.streams.pages import EventPage, read_page
from server.domain.streams.subscription import Subscription
from server.domain.workflows import WorkflowStore

#: Seconds for the end of a cancelled run with the answer about it, and for that answer.
CANCEL_S, ANSWER_S = 4.0, 1.0


class Refinements:
    """The use cases around a refinement."""

    def __init__(
        self,
        *,
        proposals: ProposalStore,
        access: AccessStore,
        workflows: WorkflowStore,
        runs: RunStore,
        runner: Runner,
        broadcaster: Broadcaster,
        authorizations: AuthorizationRegistry,
        quotas: Quotas,
        observer: RunObserver,
        codec: EventCodec,
        clock: Clock,
        job_context: JobContext = JobContext.BOTH,
        when_busy: WhenBusy = WhenBusy.PARALLEL,
    ) -> None:
        self._job_context, self._when_busy = job_context, when_busy
        self._proposals, self._access = proposals, access
        self._workflows, self._runs = workflows, runs
        self._runner, self._broadcaster, self._codec = runner, broadcaster, codec
        self._clock, self._authorizations, self._quotas = clock, authorizations, quotas
        self._observer = observer
        #: False once this replica shuts down.
        self.accepting = True

    async def start(
        self, principal: Principal, command: StartRefinement, *, key: str | None = None
    ) -> Started:
        """Record the request and start its run; returns once the runtime has accepted it.

        The same command with the same key, on any replica, does not start a second run, even while no run
        can be started. Raises KeyReused for another command, Conflict while the first start is in progress.
        DatabaseUnavailable: the run may be stored, and under way.

        While another refinement of the draft has not ended, `command.when_busy` says what happens: a queued
        run begins by itself, on the draft's newest version at that time, and superseded ones end soon.

        Raises NotFound for a workflow that is not the principal's, Conflict for one that is locked or
        archived, DraftBusy, Unprocessable for lines that the file does not have, and LimitReached. If the
        runtime does not accept the run, the proposal is stored as failed and the runtime's error is
        raised with its id: InvokeUncertain if the runtime may have the run nevertheless. While the
        breaker is open, RuntimeUnavailable is raised and nothing is stored. If the caller disconnects
        meanwhile, the run continues.
        """
        if not self.accepting:
            raise ShuttingDown
        workflow = await self._workflows.get(principal, command.workflow_id)
        if workflow is None:
            raise NotFound("no such workflow")
        named = None if key is None else key_for(command, key)
        repeated = await self.repeated(principal, workflow.id, named)
        return repeated or await self.start_on(principal, workflow, command, key=named)

    async def repeated(
        self, principal: Principal, workflow_id: UUID, key: IdempotencyKey | None
    ) -> Started | None:
        """The answer to a request that was carried out before; None when it was not. Raises KeyReused for
        another request with the key, Conflict while the first is in progress."""
        earlier = None if key is None else await self._proposals.find_earlier_start(principal, key)
        if key is None or earlier is None or earlier.key_reusable:
            return None
        return answer_to_repeat(earlier, key, workflow_id)

    async def start_on(
        self,
        principal: Principal,
        workflow: Workflow,
        command: StartRefinement,
        *,
        key: IdempotencyKey | None,
        revision: Revision | None = None,
    ) -> Started:
        """As `start`, on the workflow's version of the draft. revision: the proposal that this one revises;
        then the workflow has the file that the request is about."""
        if not self.accepting:
            raise ShuttingDown
        check_refinable(workflow)
        self._runner.check_runtime()
        # Before the file is read: those who wait for their turn hold nothing.
        await self._quotas.count_creation(principal.quota_id)
        if revision is None:
            workflow = await self._with_context_file(workflow, command)
        sizes = [len(text) for text in workflow.files.values()]
        await REQUESTS.run_unless_small(sizes, check_context, workflow, command)
        now = self._clock.now()
        proposal_id = uuid4()
        prompt = command.user_prompt if revision is None else revision.prompt
        when_busy = command.when_busy or self._when_busy
        invocation = await REQUESTS.run_unless_small(
            sizes,
            job_for,
            workflow,
            command,
            prompt,
            self._job_context,
            self._observer.traceparent(),
            may_wait=when_busy is WhenBusy.ENQUEUE,
        )
        thread_id = invocation.job_id
        started = RunStarted(thread_id, proposal_id, workflow.id)
        if not self.accepting:
            # Its turn may have been long in coming.
            raise ShuttingDown
        beginning = asyncio.ensure_future(
            self._begin(
                principal,
                command,
                proposal_id=proposal_id,
                invocation=invocation,
                draft_id=workflow.current_draft_id,
                base_version=workflow.draft_version,
                first_event=self._codec.encode(Event(1, 1, now, started)),
                now=now,
                key=key,
                max_active_runs=self._quotas.limits.max_active_runs,
                revision=revision,
                when_busy=when_busy,
            )
        )
        beginning.add_done_callback(lambda done: done.cancelled() or done.exception())
        # It may be stored when the caller leaves, and then nobody else would drive it until the lease ends.
        stored, invoked = await asyncio.shield(beginning)
        if isinstance(stored, EarlierStart) and key is not None:
            return answer_to_repeat(stored, key, workflow.id)
        if invoked is None:
            return Started(started_refinement(thread_id, proposal_id, workflow.id, now, queued=True))
        try:
            await asyncio.shield(invoked)
        except (RuntimeRefused, RuntimeUnavailable) as error:
            if isinstance(error, RuntimeUnavailable) and error.sent:
                error = InvokeUncertain(error.message)
            error.add_context(f"proposal {proposal_id} was stored as failed")
            error.proposal_id = proposal_id
            raise error from None
        return Started(started_refinement(thread_id, proposal_id, workflow.id, now))

    async def _begin(
        self, principal: Principal, command: StartRefinement, **start: Any
    ) -> tuple[StoredStart | EarlierStart, asyncio.Future[None] | None]:
        """Store a start, as `ProposalStore.start`, and drive its run. Returns what was stored, and what is
        done when the runtime has the job; None for a run that is queued, or was started before."""
        stored = await self._proposals.start(principal, command, **start)
        if isinstance(stored, EarlierStart):
            return stored, None
        if stored.lease is None:
            crash_point("queued")
            # The refinement that it waits for may have ended by now.
            self._runner.sweep_soon()
            return stored, None
        crash_point("started")
        self._runner.cancel_soon(stored.superseded)
        return stored, self._runner.drive(stored.lease)

    async def _with_context_file(self, workflow: Workflow, command: StartRefinement) -> Workflow:
        """The workflow with the one file of its draft that the request is about, if there is one."""
        path = command.context_file_path
        text = None if path is None else await self._workflows.text_of(workflow, path)
        return workflow if path is None or text is None else replace(workflow, files={path: text})

    async def get(self, principal: Principal, thread_id: UUID) -> Refinement:
        """The state of the refinement. Raises NotFound."""
        refinement = await self._proposals.refinement(principal, thread_id)
        if refinement is None:
            raise NotFound("no such refinement")
        return refinement

    async def cancel(self, principal: Principal, thread_id: UUID) -> Refinement:
        """Cancel the run; a run that has ended is not changed. Raises NotFound, PermissionDenied.

        A run that another replica drives is cancelled when that replica next renews its lease. One whose end
        is not stored in time is cancelled nevertheless, and its state is returned as it is then.
        """
        refinement = await self.get(principal, thread_id)
        access_type = await self._access.access_type(principal, refinement.proposal_id)
        if access_type is None or not access_type.can_act:
            raise PermissionDenied("only an owner or editor may cancel a refinement")
        if refinement.status.terminal:
            return refinement
        await self._runs.request_cancel(thread_id)
        try:
            async with asyncio.timeout(CANCEL_S):
                if refinement.status is ProposalStatus.QUEUED:
                    await self._runner.sweep()
                if self._runner.cancel(thread_id):
                    await self._runner.wait(thread_id, CANCEL_S - ANSWER_S)
                return await self.get(principal, thread_id)
        except TimeoutError:
            raise DatabaseUnavailable from None

    async def follow(
        self, principal: Principal, thread_id: UUID, after: int, reservation: Reservation | None = None
    ) -> Subscription:
        """A reader of the events after `after`, or after what a share link hides; close it when done.
        `reservation`: for what is not yet sent.

        Raises NotFound, CursorOutOfRange, LimitReached. The reader's steps raise Unauthenticated or
        PermissionDenied when the principal may no longer follow.
        """
        await self._quotas.open_stream(principal)
        close_stream = partial(self._quotas.close_stream, principal)
        return await self._subscribe(principal, thread_id, after, reservation, on_close=close_stream)

    async def _subscribe(
        self,
        principal: Principal,
        thread_id: UUID,
        after: int,
        reservation: Reservation | None,
        *,
        on_close: Callable[[], None] = lambda: None,
    ) -> Subscription:
        """A subscription that calls `on_close` when it is closed, and also when this raises."""
        # Before access is checked, so that the next recheck notices access that is revoked meanwhile.
        authorization = self._authorizations.admit(principal, thread_id)
        stop_observing: Callable[[], None] | None = None

        # Instead of an ExitStack, which would take 2 KB for each reader.
        def close() -> None:
            if stop_observing is not None:
                stop_observing()
            self._authorizations.dismiss(authorization)
            on_close()

        try:
            refinement = await self.get(principal, thread_id)
            stop_observing = self._observer.following(thread_id, refinement.traceparent)
            return await self._broadcaster.subscribe(
                thread_id,
                max(after, principal.after_seq),
                authorization,
                on_close=close,
                reservation=reservation,
            )
        except BaseException:
            close()
            raise

    async def event(
        self, principal: Principal, thread_id: UUID, seq: int, reservation: Reservation | None = None
    ) -> bytes:
        """One serialised event, which stays in the reservation.

        Raises NotFound, also for an event that a share link hides, InvalidArgument for seq 0, and
        CursorOutOfRange for an event that was removed or does not exist yet.
        """
        if seq == 0:
            raise InvalidArgument({"seq": "must be at least 1"})
        subscription = await self._subscribe(principal, thread_id, seq - 1, reservation)
        try:
            if seq <= principal.after_seq:
                raise NotFound("no such event")
            segments = await subscription.available()
            if not segments:
                head = subscription.topic.head
                raise CursorOutOfRange(seq, head.floor, head.last_seq)
            return segments[0].within(0).events()[0]
        finally:
            subscription.close()

    async def page(
        self,
        principal: Principal,
        thread_id: UUID,
        *,
        after: int,
        limit: int,
        wait_s: float,
        reservation: Reservation | None = None,
    ) -> EventPage:
        """At most `limit` events after the cursor, waiting up to `wait_s` for the first. They stay in the
        reservation.

        Raises as `follow`.
        """
        with self._quotas.waiting_call(principal) if wait_s else nullcontext():
            subscription = await self._subscribe(principal, thread_id, after, reservation)
            try:
                return await read_page(subscription, limit=limit, wait_s=wait_s)
            finally:
                subscription.close()
