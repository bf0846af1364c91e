"""Replies to the questions of agents, in `runs.reply`. SQL (ADR 0003)."""

from __future__ import annotations

import json
from uuid import UUID

import asyncpg
from typing_extensions import override

from server.db.errors import database_errors
from server.db.idempotency import Written, find_written, store_key
from server.db.lock_queues import LockQueues
from server.domain.errors import InputClosed
from server.domain.model import IdempotencyKey, Principal
from server.domain.runs.replies import Reply, ReplyStore

#: A question can be answered while neither it nor a later one is closed.
_ADD = """
WITH run AS (
  UPDATE runs SET reply = $3, closed_input_seq = $2
  WHERE thread_id = $1 AND status = 'running' AND closed_input_seq < $2 AND cancel_requested_at IS NULL
  RETURNING proposal_id
), shown AS (
  UPDATE proposals p SET status = 'processing' FROM run
  WHERE p.id = run.proposal_id AND p.status = 'awaiting_input'
)
SELECT proposal_id FROM run
"""
#: The same condition.
_IS_OPEN = (
    "SELECT true FROM runs"
    " WHERE thread_id = $1 AND status = 'running' AND closed_input_seq < $2 AND cancel_requested_at IS NULL"
)

_CLOSED = "SELECT closed_input_seq FROM runs WHERE thread_id = $1"

_HAS_ENDED = (
    "SELECT finished_at IS NOT NULL OR cancel_requested_at IS NOT NULL FROM runs WHERE thread_id = $1"
)


class PostgresReplyStore(ReplyStore):
    """The replies of all runs."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool
        self._locks = LockQueues()

    @override
    async def add(
        self, principal: Principal, thread_id: UUID, reply: Reply, key: IdempotencyKey | None
    ) -> bool:
        async with self._locks.turn(thread_id):
            return await self._add(principal, thread_id, reply, key)

    async def _add(
        self, principal: Principal, thread_id: UUID, reply: Reply, key: IdempotencyKey | None
    ) -> bool:
        with database_errors():
            async with (
                self._pool.acquire() as connection,
                connection.transaction(),
            ):
                if await find_written(connection, principal.user_id, key) is not None:
                    return False
                proposal_id = await connection.fetchval(_ADD, thread_id, reply.seq, reply_to_text(reply))
                if proposal_id is None:
                    if await find_written(connection, principal.user_id, key) is not None:
                        # The same request was committed meanwhile.
                        return False
                    if await connection.fetchval(_HAS_ENDED, thread_id):
                        raise InputClosed("the run has ended, or is being cancelled")
                    raise InputClosed
                await store_key(connection, principal.user_id, key, Written(proposal_id=proposal_id))
        return True

    @override
    async def closed_seq(self, thread_id: UUID) -> int:
        with database_errors():
            return int(await self._pool.fetchval(_CLOSED, thread_id) or 0)

    @override
    async def is_open(self, thread_id: UUID, seq: int) -> bool:
        with database_errors():
            found = await self._pool.fetchval(_IS_OPEN, thread_id, seq)
        return found is not None


def reply_to_text(reply: Reply) -> str:
    """A reply as JSON text in ASCII: it may hold U+0000 and lone surrogates, as escapes."""
    form = {
        "id": str(reply.id),
        "seq": reply.seq,
        "input_id": reply.input_id,
        "user_id": str(reply.user_id),
        "decisions": reply.decisions,
        "value": reply.value,
    }
    return json.dumps(form)


def reply_from_text(text: str | None) -> Reply | None:
    """The reply from the text that `reply_to_text` returns; None from NULL."""
    if text is None:
        return None
    form = json.loads(text)
    return Reply(
        id=UUID(form["id"]),
        seq=form["seq"],
        input_id=form["input_id"],
        user_id=UUID(form["user_id"]),
        decisions=tuple(form["decisions"]),
        value=form["value"],
    )
