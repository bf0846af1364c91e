"""The hub without its interfaces on a runtime that the test plays: start a refinement, see how it ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from server.compiled.choice import why_not_compiled
from server.core import open_core
from server.db.workflows import PostgresWorkflowStore
from server.domain.journal.events import Event
from server.domain.model import (
    CreateWorkflow,
    Principal,
    Proposal,
    ProposalStatus,
    Refinement,
    StartRefinement,
)
from server.domain.proposals.store import ProposalStore
from server.domain.refinements import Refinements
from server.lifecycle import Core
from server.settings.loading import load
from server.wire.agent_definition import DEFAULT_DEFINITION
from server.wire.codec import ProtobufCodec
from tests.support.hand_clock import PATIENCE_S
from tests.support.stored import a_user
from tests.support.tokens import VERIFIER

_CODEC = ProtobufCodec()


@dataclass
class Driven:
    """A hub's core, a user, and a workflow of the user's."""

    core: Core
    user: Principal
    workflow_id: UUID

    def refinements_on(self, proposals: ProposalStore) -> Refinements:
        """The hub's refinements on another store of their starts."""
        core, context = self.core, self.core.runner.context
        return Refinements(
            proposals=proposals,
            access=core.access,
            workflows=PostgresWorkflowStore(core.pool),
            runs=context.runs,
            runner=core.runner,
            broadcaster=core.broadcaster,
            authorizations=core.authorizations,
            quotas=core.quotas,
            observer=context.observer,
            codec=context.codec,
            clock=context.clock,
        )

    async def start(self, prompt: str = "do it") -> Refinement:
        """A started refinement."""
        started = await self.core.refinements.start(self.user, StartRefinement(self.workflow_id, prompt))
        return started.refinement

    async def events(self, thread_id: UUID) -> list[Event]:
        """All events of a thread, once it is over."""
        subscription = await self.core.refinements.follow(self.user, thread_id, 0)
        found: list[Event] = []
        try:
            async with asyncio.timeout(PATIENCE_S):
                while (step := await subscription.step()) is not None:
                    if isinstance(step, list):
                        found.extend(_CODEC.decode(event) for part in step for event in part.events())
        finally:
            subscription.close()
        return found

    async def waiting(self, started: Refinement) -> Proposal:
        """The proposal of a refinement, once it shows that the agent waits."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                proposal = await self.core.proposals.get(self.user, started.proposal_id)
                if proposal.status is ProposalStatus.AWAITING_INPUT:
                    return proposal
                assert not proposal.status.terminal, verdict(proposal)
                await asyncio.sleep(0.01)

    async def outcome(self, started: Refinement) -> tuple[Proposal, list[Event]]:
        """The proposal and the events of a refinement, once it is over."""
        events = await self.events(started.thread_id)
        return await self.core.proposals.get(self.user, started.proposal_id), events


@asynccontextmanager
async def driven(
    runtime_url: str, database: str, pool: Any, *, replica: str | None = None, **settings: Any
) -> AsyncIterator[Driven]:
    """A core whose runs are tried again quickly; `settings` by field name."""
    limits: dict[str, Any] = settings.pop("limits", {})
    defaults: dict[str, Any] = {"env": "dev", "empty_result_grace_s": 0.6}
    chosen = load(**defaults | settings)
    async with open_core(
        chosen,
        dsn=database,
        runtime_url=runtime_url,
        verifier=VERIFIER,
        compiled=not why_not_compiled(),
        replica=replica,
    ) as core:
        quick: dict[str, Any] = {
            "state_poll_s": 0.05,
            "uncertain_invoke_s": 0.05,
            "reconnect_first_s": 0.01,
            "max_reconnect_s": 0.05,
            "max_unknown_thread_answers": 3,
            "sweep_s": 0.1,
        }
        context = core.runner.context
        core.runner.context = replace(context, limits=replace(context.limits, **quick | limits))
        user = await a_user(pool)
        made = await core.workflows.create(user, CreateWorkflow("w", DEFAULT_DEFINITION, {}))
        yield Driven(core, user, made.id)


def verdict(proposal: Proposal) -> tuple[str, str | None, dict[str, str]]:
    """Status, reason, and the texts of the files."""
    reason = proposal.failure.reason if proposal.failure else None
    return proposal.status.value, reason, {path: file.text for path, file in proposal.files.items()}
