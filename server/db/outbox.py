"""The outbox: events that webhooks report, stored in the transaction of what they report (ADR 0037).

A row for each event and webhook of a user who may see the event's proposal. An event that is stored again, as
where a database lost the commit, has the same id, and nothing is added.
"""

from __future__ import annotations

import json
from typing import Any

from server.domain.webhooks.events import OutboxEvent

#: The statement, with `{}` for a query of the events: id, type, proposal_id, data. With `OFFSET 0` the view
#: is asked for each event's proposal; a join would read it whole.
ADD_EVENTS = """
INSERT INTO webhook_deliveries (webhook_id, event_id, event_type, proposal_id, data)
SELECT w.id, e.id, e.type, e.proposal_id, e.data
FROM ({}) AS e JOIN proposals p ON p.id = e.proposal_id JOIN drafts d ON d.id = p.draft_id
CROSS JOIN LATERAL (SELECT caller_id FROM proposal_callers WHERE proposal_id = p.id OFFSET 0) AS a
JOIN webhooks w ON w.owner_user_id = a.caller_id
WHERE w.disabled_reason IS NULL AND e.type = ANY(w.event_types)
  AND (w.workflow_id IS NULL OR w.workflow_id = d.workflow_id)
ON CONFLICT DO NOTHING
"""

_ADD_EVENT = ADD_EVENTS.format(
    "SELECT $1::uuid AS id, $2::text AS type, $3::uuid AS proposal_id, $4::jsonb AS data"
)


async def add_to_outbox(connection: Any, event: OutboxEvent) -> None:
    """Store an event for the webhooks that report it, in the transaction of the connection."""
    await connection.execute(_ADD_EVENT, event.id, event.type.value, event.proposal_id, data_of(event))


def data_of(event: OutboxEvent) -> str:
    """The event's data as jsonb."""
    return json.dumps(dict(event.data))
