"""Refinements: start one, read its state, follow its events, cancel it.

A caller that may not see a refinement gets the same answer as for one that does not exist.
"""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from typing import Any
from uuid import UUID, uuid4

from server.domain.access.quotas import Quotas
from server.domain.access.sharing import AccessStore
from server.domain.access.stream_authorization import AuthorizationRegistry
from server.domain.clock import Clock
from server.domain.crash_points import crash_point
from server.domain.drafts.context import JobContext, check_selection, with_context
from server.domain.drafts.draft import DraftVersion
from server.domain.errors import (
    Conflict,
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
from server.domain.idempotent_start import Started, answer_to_repeat, key_for, started_refinement
from server.domain.journal.events import Event, RunStarted
from server.domain.journal.journal import EventCodec
from server.domain.model import (
    Principal,
    Refinement,
    StartRefinement,
    Workflow,
)
from server.domain.outgoing import Reservation
from server.domain.proposals.store import EarlierStart, ProposalStore
from server.domain.runs.lease import RunStore
from server.domain.runs.observer import RunObserver
from server.domain.runs.runner import Runner
from server.domain.runs.runtime import Invocation
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
    ) -> None:
        self._job_context = job_context
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

        Raises NotFound for a workflow that is not the principal's, Conflict for one that is locked or
        archived, Unprocessable for lines that the file does not have, and LimitReached. If the runtime does
        not accept the run, the proposal is stored as failed and the runtime's error is raised with its id:
        InvokeUncertain if the runtime may have the run nevertheless. While the breaker is open,
        RuntimeUnavailable is raised and nothing is stored. If the caller disconnects meanwhile, the run
        continues.
        """
        if not self.accepting:
            raise ShuttingDown
        workflow = await self._workflows.get(principal, command.workflow_id)
        if workflow is None:
            raise NotFound("no such workflow")
        idempotency_key = None if key is None else key_for(command, key)
        if idempotency_key is not None:
            earlier = await self._proposals.find_earlier_start(principal, idempotency_key)
            if earlier is not None and not earlier.key_reusable:
                return answer_to_repeat(earlier, command)
        _check(workflow, command)
        self._runner.check_runtime()
        await self._quotas.count_creation(principal.quota_id)
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
            base_version=workflow.draft_version,
            first_event=self._codec.encode(Event(1, 1, now, started)),
            now=now,
            key=idempotency_key,
            max_active_runs=self._quotas.limits.max_active_runs,
        )
        if isinstance(stored, EarlierStart):
            return answer_to_repeat(stored, command)
        crash_point("started")
        try:
            await asyncio.shield(self._runner.drive(stored))
        except (RuntimeRefused, RuntimeUnavailable) as error:
            if isinstance(error, RuntimeUnavailable) and error.sent:
                error = InvokeUncertain(error.message)
            error.add_context(f"proposal {proposal_id} was stored as failed")
            error.proposal_id = proposal_id
            raise error from None
        return Started(started_refinement(thread_id, proposal_id, workflow.id, now))

    def _invocation(self, workflow: Workflow, command: StartRefinement) -> Invocation:
        """The runtime's job, still without the files of the draft.

        Prompt, file and selection are in both `input_payload` and `agent_definition`: the published runtime
        reads only the latter.
        """
        context: dict[str, Any] = {}
        if command.context_file_path is not None:
            context["context_file_path"] = command.context_file_path
        if command.context_selection is not None:
            context["context_selection"] = command.context_selection
        prompt, text = command.user_prompt, _context_text(workflow, command)
        if text is not None and command.context_file_path and self._job_context.has_lines:
            prompt = with_context(prompt, command.context_file_path, command.context_selection, text)
        draft = None
        if workflow.files and self._job_context.has_files:
            draft = DraftVersion(workflow.current_draft_id, workflow.draft_version)
        traceparent = self._observer.traceparent()
        return Invocation(
            # A trace id has 16 bytes, like a UUID.
            trace_id=UUID(traceparent.split("-")[1]) if traceparent else uuid4(),
            traceparent=traceparent,
            job_id=uuid4(),
            agent_definition={**workflow.agent_definition, "user_request": prompt, **context},
            input_payload={"messages": [{"role": "user", "content": prompt}], **context},
            draft=draft,
        )

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
        resources = ExitStack()
        await self._quotas.open_stream(principal)
        resources.callback(self._quotas.close_stream, principal)
        return await self._subscribe(principal, thread_id, after, resources, reservation)

    async def _subscribe(
        self,
        principal: Principal,
        thread_id: UUID,
        after: int,
        resources: ExitStack,
        reservation: Reservation | None,
    ) -> Subscription:
        """A subscription that closes `resources` when it is closed. They are also closed when this raises."""
        try:
            # Before access is checked, so that the next recheck notices access that is revoked meanwhile.
            authorization = resources.enter_context(self._authorizations.admit(principal, thread_id))
            refinement = await self.get(principal, thread_id)
            resources.callback(self._observer.following(thread_id, refinement.traceparent))
            return await self._broadcaster.subscribe(
                thread_id,
                max(after, principal.after_seq),
                authorization,
                on_close=resources.close,
                reservation=reservation,
            )
        except BaseException:
            resources.close()
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
        subscription = await self._subscribe(principal, thread_id, seq - 1, ExitStack(), reservation)
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
        resources = ExitStack()
        if wait_s:
            resources.enter_context(self._quotas.waiting_call(principal))
        subscription = await self._subscribe(principal, thread_id, after, resources, reservation)
        try:
            return await read_page(subscription, limit=limit, wait_s=wait_s)
        finally:
            subscription.close()


def _check(workflow: Workflow, command: StartRefinement) -> None:
    """Check that the workflow may be refined, and that its file has the lines that the request is about."""
    if workflow.archived or workflow.locked:
        word = "archived" if workflow.archived else "locked"
        raise Conflict(f"the workflow is {word}: it cannot be refined")
    text = _context_text(workflow, command)
    if text is not None and command.context_selection is not None:
        check_selection(command.context_selection, text)


def _context_text(workflow: Workflow, command: StartRefinement) -> str | None:
    """The text of the file that the request is about; None when the draft does not have it: the agent may be
    asked for a new one."""
    return workflow.files.get(command.context_file_path or "")
