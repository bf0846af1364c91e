"""Rules of reviews: previews are the same on every protocol, stale ones are refused, a proposal is decided
once."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from typing import Any

import grpc.aio

from ide_orchestrator.client import HubError
from ide_orchestrator.conformance.callers import PROTOCOLS, open_channel
from ide_orchestrator.conformance.grpc_calls import check_error
from ide_orchestrator.conformance.refusal_rules import PROTOCOL_NAMES
from ide_orchestrator.conformance.rule import Rule
from ide_orchestrator.conformance.scenario import Scenario
from ide_orchestrator.conformance.target import LIMIT_REACHED, Broken, expect
from ide_orchestrator.conformance.transports import answered
from ide_orchestrator.v1.proposal_pb2 import RESOLUTION_REJECTED
from ide_orchestrator.v1.review_pb2 import AcceptProposalRequest, RejectProposalRequest
from ide_orchestrator.v1.review_pb2_grpc import ReviewServiceStub

#: Accepts a proposal with an etag (none: empty), or only says what that would do. Gives the number of files
#: that change. Raises HubError.
Accept = Callable[[Scenario, str, bool], Awaitable[int]]


async def _over_http(scenario: Scenario, etag: str, validate_only: bool) -> int:
    headers = {"If-Match": f'"{etag}"'} if etag else {}
    path = f"/api/proposals/{scenario.run.proposal_id}/accept"
    async with scenario.target.open_http() as http:
        answer = await http.post(
            path, json={}, headers=headers, params={"validate_only": str(validate_only).lower()}
        )
    return int(answered(answer)["change_count"])


async def _over_stub(protocol: str, scenario: Scenario, etag: str, validate_only: bool) -> int:
    request = AcceptProposalRequest(
        proposal_id=scenario.run.proposal_id, etag=etag, validate_only=validate_only
    )
    async with open_channel(protocol, scenario.target) as channel:
        try:
            answer: Any = await ReviewServiceStub(channel).AcceptProposal(
                request, metadata=scenario.target.metadata
            )
        except grpc.aio.AioRpcError as error:
            raise check_error(error) from error
    return int(answer.change_count)


async def _refused(accept: Accept, scenario: Scenario, etag: str, validate_only: bool) -> str:
    try:
        await accept(scenario, etag, validate_only)
    except HubError as error:
        if error.code == LIMIT_REACHED:
            raise
        return error.code
    raise Broken("it is not refused")


async def _etag_of(scenario: Scenario) -> str:
    return (await scenario.hub.proposal(scenario.run.proposal_id, contents=False))["etag"]


async def _previewed(accept: Accept, scenario: Scenario) -> None:
    """The same preview as over HTTP, and nothing changes."""
    expect(bool(scenario.run.hashes), True, "whether there are files")
    etag = await _etag_of(scenario)
    expected = await _over_http(scenario, etag, True)
    expect(expected > 0, True, "whether accepting would change files")
    expect(await accept(scenario, etag, True), expected, "the number of files that would change")
    expect(await _etag_of(scenario), etag, "the etag after a preview")


async def _needs_the_etag(accept: Accept, scenario: Scenario) -> None:
    # Only previews: a hub that takes a wrong etag is not to change anything.
    expect(await _refused(accept, scenario, "", True), "etag_required", "the code without an etag")
    code = await _refused(accept, scenario, "0-0000000000000000", True)
    expect(code, "etag_mismatch", "the code with another etag")


async def _accepted(scenario: Scenario) -> None:
    run = scenario.run
    expected = run.hashes
    # With a key and an etag of the run, so that the rule can be tried again.
    accepted = await scenario.hub.accept(run.proposal, request_id=f"accept-{run.key}")
    expect(accepted["proposal"]["resolution"], "accepted", "the resolution")
    draft = await scenario.hub.draft(run.draft_id)
    expect(draft["version"], run.proposal["base_version"] + 1, "the version of the draft")
    files = {path: file["sha256"] for path, file in (draft["files"] or {}).items()}
    found = {path: sha256 for path, sha256 in files.items() if path in expected}
    expect(found, expected, "the files of the draft")
    for protocol in PROTOCOLS:
        if protocol == "grpc" and not scenario.target.grpc:
            continue
        accept: Accept = _over_http if protocol == "rest" else partial(_over_stub, protocol)
        code = await _refused(accept, scenario, await _etag_of(scenario), False)
        expect(code, "conflict", f"over {PROTOCOL_NAMES[protocol]}, the code of another decision")


async def _rejected(scenario: Scenario) -> None:
    """Another refinement, rejected by Connect."""
    run = await scenario.refine()
    before = await scenario.hub.draft(run.draft_id, contents=False)
    request = RejectProposalRequest(
        proposal_id=run.proposal_id, etag=run.proposal["etag"], comment="conformance"
    )
    async with open_channel("connect-json", scenario.target) as channel:
        answer: Any = await ReviewServiceStub(channel).RejectProposal(
            request, metadata=scenario.target.metadata
        )
    expect(answer.proposal.resolution, RESOLUTION_REJECTED, "the resolution over Connect")
    proposal = await scenario.hub.proposal(run.proposal_id, contents=False)
    expect(proposal["resolution"], "rejected", "the resolution over HTTP")
    expect(proposal["resolution_comment"], "conformance", "the comment")
    after = await scenario.hub.draft(run.draft_id, contents=False)
    expect(after["version"], before["version"], "the version of the draft")


def review_rules() -> Iterator[Rule]:
    """The rules of this module; the last ones change the draft."""
    for protocol in PROTOCOLS:
        accept: Accept = _over_http if protocol == "rest" else partial(_over_stub, protocol)
        words, grpc_ = PROTOCOL_NAMES[protocol], protocol == "grpc"
        yield Rule(
            f"preview.{protocol}",
            f"Over {words}, what accepting would change is the same, and nothing changes",
            partial(_previewed, accept),
            grpc=grpc_,
        )
        yield Rule(
            f"precondition.{protocol}",
            f"Over {words}, accepting needs the etag of the proposal as it is",
            partial(_needs_the_etag, accept),
            grpc=grpc_,
        )
    yield Rule("accept", "An accepted proposal is a new version of the draft, once", _accepted)
    yield Rule("reject", "A rejected proposal leaves the draft as it was", _rejected)
