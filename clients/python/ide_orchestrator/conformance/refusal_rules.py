"""Rules of refusals: each wrong call of the corpus has its code and names its fields, on every protocol."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import partial
from typing import Any

from ide_orchestrator.conformance.callers import PROTOCOLS, Call, caller
from ide_orchestrator.conformance.cases import CASES, put_in
from ide_orchestrator.conformance.outcomes import Outcome
from ide_orchestrator.conformance.rule import Rule
from ide_orchestrator.conformance.scenario import Scenario
from ide_orchestrator.conformance.target import Broken, Skipped

PROTOCOL_NAMES = {
    "rest": "HTTP",
    "grpc": "gRPC",
    "connect-json": "Connect with JSON",
    "connect-proto": "Connect with binary messages",
    "grpc-web": "gRPC-Web",
}
_PORTABLE = [case for case in CASES if case.get("portable")]
#: Differences that a result names.
_SHOWN = 3
#: What differs where the hub does what it must refuse.
_TAKEN = "it is not refused"


async def _refusals(protocol: str, who: str, scenario: Scenario) -> None:
    run, wrong, allowed = scenario.run, list[str](), set[str]()
    if who == "stranger" and not scenario.target.other_token:
        raise Skipped("it needs the token of another user: --other-token")
    tokens = {"owner": scenario.target.token, "nobody": "", "stranger": scenario.target.other_token}
    known = {
        "$workflow": run.workflow_id,
        "$draft": run.draft_id,
        "$thread": run.thread_id,
        "$proposal": run.proposal_id,
        "$nothing": "00000000-0000-4000-8000-000000000000",
    }
    known["$etag"] = (await scenario.hub.draft(run.draft_id, contents=False))["etag"]
    async with AsyncExitStack() as stack:
        calls = {
            name: await stack.enter_async_context(caller(protocol, replace(scenario.target, token=token)))
            for name, token in tokens.items()
        }
        for case in _PORTABLE:
            by = case.get("as", "owner")
            if by in calls and (by == "stranger") == (who == "stranger"):
                difference = await _difference(calls[by], case, known)
                if difference == _TAKEN and "unless" in case:
                    allowed.add(case["unless"])
                elif difference:
                    wrong.append(f"{case['name']}: {difference}")
    if wrong:
        more = f"; and {len(wrong) - _SHOWN} more" if len(wrong) > _SHOWN else ""
        raise Broken("; ".join(wrong[:_SHOWN]) + more)
    if allowed:
        raise Skipped(
            f"the hub takes calls that {', '.join(sorted(allowed))} may allow; it refuses the others"
        )


async def _difference(call: Call, case: dict[str, Any], known: dict[str, str]) -> str:
    try:
        found = await call(case["call"], put_in(case.get("with", {}), known))
    except Broken as broken:
        return str(broken)
    if found.code is None and "code" in case["gives"]:
        await _take_back(call, case["call"], found.value)
        return _TAKEN
    return Outcome.of_case(put_in(case["gives"], known)).difference(found)


async def _take_back(call: Call, name: str, made: Mapping[str, Any]) -> None:
    """Remove what a hub has made that should have refused the call; drafts belong to the check's workflow."""
    if name == "create_webhook":
        await call("delete_webhook", {"webhook_id": made["id"]})
    elif name == "create_workflow":
        await call("update_workflow", {"workflow_id": made["id"], "archived": True})
    elif name == "start":
        await call("cancel", {"thread_id": made["thread_id"]})


def refusal_rules() -> Iterator[Rule]:
    """The rules of this module."""
    for protocol in PROTOCOLS:
        yield Rule(
            f"refusals.{protocol}",
            f"Over {PROTOCOL_NAMES[protocol]}, each wrong call is refused with its code and its fields",
            partial(_refusals, protocol, "owner"),
            grpc=protocol == "grpc",
        )
    for protocol in PROTOCOLS:
        yield Rule(
            f"strangers.{protocol}",
            f"Over {PROTOCOL_NAMES[protocol]}, another user finds nothing of the caller's",
            partial(_refusals, protocol, "stranger"),
            grpc=protocol == "grpc",
        )
