"""Replies to the questions of agents: who may reply, to which question, and what becomes of the run."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from uuid import UUID, uuid4

from server.domain.access.sharing import AccessStore
from server.domain.crash_points import crash_point
from server.domain.errors import CursorOutOfRange, InputClosed, NotFound, PermissionDenied, ReplyUnsupported
from server.domain.journal.events import InputRequested
from server.domain.journal.journal import EventCodec
from server.domain.model import IdempotencyKey, Principal, Refinement
from server.domain.refinements import Refinements
from server.domain.runs.replies import REJECT, USUAL_DECISIONS, ActionDecision, Reply, ReplyStore, value_of
from server.domain.runs.runner import Runner

#: The route of a reply on every interface: the same key names the same request on all of them.
REPLY_ROUTE = "reply_to_input"


@dataclass(frozen=True, slots=True)
class Replied:
    """A refinement after a reply. `replayed`: an earlier request with the same key had replied."""

    refinement: Refinement
    replayed: bool = False


class InputReplies:
    """The use case of a reply."""

    def __init__(
        self,
        *,
        refinements: Refinements,
        access: AccessStore,
        replies: ReplyStore,
        runner: Runner,
        codec: EventCodec,
    ) -> None:
        self._refinements, self._access, self._replies = refinements, access, replies
        self._runner, self._codec = runner, codec

    async def reply(
        self,
        principal: Principal,
        thread_id: UUID,
        seq: int,
        decisions: Sequence[ActionDecision],
        *,
        key: str | None = None,
    ) -> Replied:
        """Reply to the question in the event `seq`. The run goes on, on whichever replica drives it: on
        another one when that replica next renews its lease.

        The same request with the same key replies once. Raises NotFound, also when the event is not a
        question; PermissionDenied; ReplyUnsupported; InputClosed; KeyReused; InvalidArgument and
        Unprocessable as `value_of`.
        """
        await self._check_may_reply(principal, thread_id)
        if not self._runner.can_resume:
            raise ReplyUnsupported
        question = await self.question(principal, thread_id, seq)
        value = value_of(question, decisions)
        reply = Reply(
            id=uuid4(),
            seq=seq,
            input_id=question.input_id,
            user_id=principal.user_id,
            decisions=tuple(each.decision for each in decisions),
            value=value,
        )
        request = [str(thread_id), seq, value]
        named = None if key is None else IdempotencyKey.of(REPLY_ROUTE, key, request)
        added = await self._replies.add(principal, thread_id, reply, named)
        crash_point("replied")
        self._runner.reply(thread_id)
        return Replied(await self._refinements.get(principal, thread_id), replayed=not added)

    async def decline(
        self, principal: Principal, thread_id: UUID, seq: int, *, key: str | None = None
    ) -> bool:
        """Let the run go on without a person's decision: each action of the question is rejected. A question
        that cannot be rejected so cancels the run. Returns False, and changes nothing, when it is closed.

        `key`: as of `reply`. Raises NotFound, PermissionDenied, KeyReused.
        """
        await self._check_may_reply(principal, thread_id)
        question = await self.question(principal, thread_id, seq)
        allowed = [action.allowed_decisions or USUAL_DECISIONS for action in question.actions]
        if self._runner.can_resume and allowed and all(REJECT in words for words in allowed):
            decisions = [ActionDecision(REJECT)] * len(allowed)
            with suppress(InputClosed):
                await self.reply(principal, thread_id, seq, decisions, key=key)
                return True
        elif await self._replies.is_open(thread_id, seq):
            await self._refinements.cancel(principal, thread_id)
            return True
        return False

    async def closed_seq(self, refinement: Refinement) -> int:
        """The questions up to this seq can no longer be answered. Raises DatabaseUnavailable."""
        if refinement.status.terminal:
            return refinement.last_seq
        return await self._replies.closed_seq(refinement.thread_id)

    async def _check_may_reply(self, principal: Principal, thread_id: UUID) -> None:
        """Raises NotFound, PermissionDenied."""
        refinement = await self._refinements.get(principal, thread_id)
        access_type = await self._access.access_type(principal, refinement.proposal_id)
        if access_type is None or not access_type.can_act:
            raise PermissionDenied("only an owner or editor may reply to an agent")

    async def question(self, principal: Principal, thread_id: UUID, seq: int) -> InputRequested:
        """The question in an event. Raises NotFound when it is not one."""
        try:
            event = await self._refinements.event(principal, thread_id, seq)
        except CursorOutOfRange:
            raise NotFound("no such question") from None
        question = self._codec.decode(event).kind
        if not isinstance(question, InputRequested):
            raise NotFound("no such question")
        return question
