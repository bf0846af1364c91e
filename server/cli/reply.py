"""`ideo reply`: answer the question of a refinement's agent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NoReturn
from urllib.parse import urlencode

from ide_orchestrator.client import Refused
from ide_orchestrator.client.http_calls import member
from server.cli.hub_client import HubClient
from server.cli.hub_session import run_with_hub
from server.cli.printable import json_line, print_line, printable
from server.domain.runs.replies import CALLING_DECISIONS


def run(
    thread_id: str,
    words: Sequence[str],
    *,
    seq: int | None,
    arguments: Sequence[str],
    message: str,
    url: str | None,
    token: str | None,
    as_json: bool,
) -> NoReturn:
    """Answer the question in the event `seq`, or the last one of the thread. words: a decision for each
    action, or one for all. arguments: those of each `edit`, in order."""

    async def _reply(client: HubClient) -> int:
        asked_at, question = await _question(client, thread_id, seq)
        count = len(question.get("actions", ()))
        decided = list(words) * count if len(words) == 1 else words
        body = {"seq": asked_at, "decisions": _decisions(decided, list(arguments), message)}
        refinement = await client.call_once("POST", f"/api/refinements/{thread_id}/reply", body)
        status = printable(str(member(refinement, "status")))
        print_line(json_line(refinement) if as_json else f"replied: the refinement is {status}")
        return 0

    run_with_hub(_reply, url=url, token=token)


async def _question(client: HubClient, thread_id: str, seq: int | None) -> tuple[int, dict[str, Any]]:
    """The question in an event, or the last one of the thread. Raises Refused."""
    found: tuple[int, dict[str, Any]] | None = None
    after, complete = 0 if seq is None else seq - 1, False
    while not complete:
        query = urlencode({"after": after, "limit": 1_000 if seq is None else 1})
        page = await client.call("GET", f"/api/refinements/{thread_id}/events?{query}")
        items = member(page, "items")
        for event in items:
            if "input_requested" in event:
                found = event["seq"], event["input_requested"]
        after, complete = page.get("next_cursor") or after, not items or seq is not None
    if found is None:
        where = "the refinement" if seq is None else f"the event {seq}"
        raise Refused(f"{where} has no question of the agent")
    return found


def _decisions(words: Sequence[str], arguments: list[str], message: str) -> list[dict[str, str]]:
    """The decisions of a request. Raises Refused when there are not as many arguments as decisions to
    edit."""
    if words.count("edit") != len(arguments):
        raise Refused("each edit needs --arguments, and nothing else does")
    decisions = []
    for word in words:
        decision = {"decision": word}
        if word == "edit":
            decision["edited_arguments"] = arguments.pop(0)
        elif message and word not in CALLING_DECISIONS:
            decision["message"] = message
        decisions.append(decision)
    return decisions
