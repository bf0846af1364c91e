"""`ideo cancel`: end a refinement's run."""

from __future__ import annotations

from typing import NoReturn

from ide_orchestrator.client.http_calls import member
from server.cli.hub_client import HubClient
from server.cli.hub_session import run_with_hub
from server.cli.printable import json_line, print_line, words

#: The statuses of a refinement whose run has ended.
_ENDED = ("completed", "failed", "cancelled")


def run(thread_id: str, *, url: str | None, token: str | None, as_json: bool) -> NoReturn:
    """Cancel a run. A run that has ended stays as it is; one on another replica ends a moment later."""

    async def _cancel(client: HubClient) -> int:
        refinement = await client.cancel(thread_id)
        status = words(member(refinement, "status"))
        ending = "" if status in _ENDED else ": its run is about to end"
        print_line(json_line(refinement) if as_json else f"the refinement is {status}{ending}")
        return 0

    run_with_hub(_cancel, url=url, token=token)
