"""Reviews over HTTP, over gRPC and by command line: one corpus, and the same outcome of each step."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest_asyncio

from ide_orchestrator.conformance.outcomes import Outcome
from server.domain.model import Principal
from server.domain.proposals.files import File
from server.wire import messages as m
from server.wire.problems import PROBLEMS
from tests.contract.interfaces.callers import both_interfaces
from tests.contract.interfaces.review_callers import Subject, over_grpc, over_http
from tests.contract.interfaces.review_commands import over_commands
from tests.support.commands import Commands, Ideo
from tests.support.git import applied, contents, needs_git
from tests.support.grpc_interface import Caller
from tests.support.http_interface import problem
from tests.support.hub import RunningHub, running_hub
from tests.support.proposed import a_proposal

CASES = json.loads((Path(__file__).parent / "review_cases.json").read_text())
INTERFACES = ("http", "grpc", "commands")
#: The HTTP status of each code: what a command tells of a refusal.
STATUSES = {row.code: str(row.http) for row in PROBLEMS.values()}


@dataclass
class Reviewer:
    """A user with a workflow and a proposal of it, and the ways to call."""

    hub: RunningHub
    http: httpx.AsyncClient
    caller: Caller
    ideo: Ideo
    folder: Path
    workflow: str = ""
    draft: str = ""
    proposal: str = ""

    async def prepare(self, case: Mapping[str, Any]) -> None:
        """A workflow with the case's draft, a proposal of it, and later edits of the draft."""
        body = {"name": "w", "files": case["draft"]}
        made = (await self.http.post("/api/workflows", json=body)).json()
        self.workflow, self.draft = made["id"], made["current_draft_id"]
        self.proposal = await self.propose(files_of(case["proposed"]))
        if "edits" in case:
            await self.call("write", {"files": case["edits"]})

    async def propose(self, files: Mapping[str, File]) -> str:
        user_id = await self.hub.core.pool.fetchval(
            "SELECT owner_user_id FROM workflows WHERE id = $1", UUID(self.workflow)
        )
        principal = Principal(user_id, "ann")
        workflow, _ = await self.hub.core.workflows.get(principal, UUID(self.workflow))
        return str(await a_proposal(self.hub.core.pool, principal, workflow, files))

    async def call(self, name: str, given: Mapping[str, Any]) -> dict[str, Any]:
        """A step that is not a review, over HTTP."""
        path = f"/api/drafts/{self.draft}"
        if name == "lock":
            answer = await self.http.patch(f"/api/workflows/{self.workflow}", json=given)
        elif name == "write":
            answer = await self.http.put(path, json=given, headers={"If-Match": "*"})
        else:
            answer = await self.http.get(path)
        body: dict[str, Any] = answer.raise_for_status().json()
        if name == "files":
            return {path: file["text"] for path, file in body["files"].items()}
        return body

    async def etag(self) -> str:
        answer = await self.http.get(f"/api/proposals/{self.proposal}?view=basic")
        assert answer.headers["etag"] == f'"{answer.json()["etag"]}"'
        return str(answer.json()["etag"])

    async def step(self, interface: str, step: Mapping[str, Any]) -> Outcome:
        given = dict(await self._put_in(step.get("with", {})))
        subject = Subject(self.proposal, self.draft)
        if interface == "commands":
            return await over_commands(self.ideo, self.folder, subject, step["call"], given)
        if step["call"] in ("decide", "accept", "reject", "revise"):
            given.setdefault("etag", await self.etag())
        if step["call"] == "restore":
            given.setdefault("etag", "*")
        if "request_id" in given:
            # Both interfaces share one set of keys.
            given["request_id"] = f"{given['request_id']}-{interface}"
        if interface == "http":
            return await over_http(self.http, subject, step["call"], given)
        return await over_grpc(self.caller, subject, step["call"], given)

    async def _put_in(self, value: Any) -> Any:
        """The value with what cases may name."""
        if isinstance(value, dict):
            return {key: await self._put_in(each) for key, each in value.items()}
        if isinstance(value, list):
            return [await self._put_in(each) for each in value]
        if value == "$draft_etag":
            return (await self.http.get(f"/api/drafts/{self.draft}?view=basic")).json()["etag"]
        if isinstance(value, str) and value.startswith("$repeat:"):
            text, _, times = value.removeprefix("$repeat:").partition("*")
            return text * int(times)
        if isinstance(value, str) and value.startswith("$hunk:"):
            _, path, index = value.split(":")
            compared = await over_http(self.http, Subject(self.proposal, self.draft), "diff", {})
            return compared.value["ids"][path][int(index)]
        return value


def files_of(texts: Mapping[str, str]) -> dict[str, File]:
    """Files by their paths."""
    return {path: File(text.encode()) for path, text in texts.items()}


@pytest_asyncio.fixture
async def reviewer(database: str, tmp_path: Path) -> AsyncIterator[Reviewer]:
    async with (
        running_hub(database, max_creates_per_minute=0) as hub,
        both_interfaces(hub) as (http, caller),
    ):
        yield Reviewer(hub, http, caller, Commands(hub.ideo_settings).ideo, tmp_path)


async def test_every_step_of_every_case_has_the_same_outcome_on_every_interface(reviewer: Reviewer) -> None:
    wrong: list[str] = []
    for case in CASES:
        outcomes: dict[tuple[str, int], Outcome] = {}
        for interface in INTERFACES:
            await reviewer.prepare(case)
            for number, step in enumerate(case["steps"]):
                name = f"{case['name']}, step {number} ({step['call']}) over {interface}"
                if interface == "commands" and step.get("requests_only"):
                    continue
                if step["call"] in ("files", "lock"):
                    found = await reviewer.call(step["call"], step.get("with", {}))
                    if step.get("gives", found) != found:
                        wrong.append(f"{name}: {found}")
                    continue
                outcome = await reviewer.step(interface, step)
                outcomes[interface, number] = outcome
                difference = _expected(step, outcome, interface).difference(outcome)
                if difference:
                    wrong.append(f"{name}: {difference}")
        for (interface, number), outcome in outcomes.items():
            first = outcomes["http", number]
            if interface == "commands":
                shown = {key: first.value.get(key) for key in outcome.value}
                first = Outcome(shown, first.code and STATUSES[first.code])
            if (first.value, first.code) != (outcome.value, outcome.code):
                wrong.append(f"{case['name']}, step {number} over {interface}: {outcome}, over HTTP {first}")
    assert not wrong, "\n".join(wrong)


def _expected(step: Mapping[str, Any], outcome: Outcome, interface: str) -> Outcome:
    """What the corpus says of a step; of a command, what it shows of that."""
    gives = dict(step.get("gives", {}))
    fields = frozenset(gives.pop("fields")) if "fields" in gives else None
    code = gives.pop("code", None)
    if interface == "commands":
        shown = {key: value for key, value in gives.items() if key in outcome.value}
        return Outcome(shown, code and STATUSES[code])
    return Outcome(gives, code, fields)


@needs_git
async def test_the_patch_of_a_draft_is_the_same_on_both_interfaces_and_makes_one_version_of_another(
    reviewer: Reviewer, tmp_path: Path
) -> None:
    one = {"/a.md": "1\n2\r\n3", "/gone.md": "x", "/s p.md": "y\n"}
    await reviewer.prepare({"draft": one, "proposed": {}})
    change = {"files": {"/a.md": "1\ntwo\r\n3\n", "/new/b.md": "é"}, "deleted_paths": ["/gone.md"]}
    await reviewer.call("write", change)
    two = {"/a.md": "1\ntwo\r\n3\n", "/new/b.md": "é", "/s p.md": "y\n"}
    for number, (before, after, versions) in enumerate(
        [({}, one, {"version": 1}), (one, two, {}), (two, one, {"version": 1, "base_version": 2})]
    ):
        answer = await reviewer.http.get(
            f"/api/drafts/{reviewer.draft}/diff", params=versions, headers={"Accept": "text/x-patch"}
        )
        assert (answer.headers["content-type"], answer.headers["left-out-files"]) == ("text/x-patch", "0")
        request = m.ReadDraftPatchRequest(draft_id=reviewer.draft, **versions)
        stream = reviewer.caller.reviews.ReadDraftPatch(request, metadata=reviewer.caller.metadata)
        assert b"".join([piece.data async for piece in stream]) == answer.content
        made = applied(tmp_path / str(number), files_of(before), answer.content)
        assert made == contents(files_of(after))


@needs_git
async def test_the_patch_is_the_same_on_both_interfaces_and_git_applies_it(
    reviewer: Reviewer, tmp_path: Path
) -> None:
    draft = {"/a.md": "1\n2\r\n3", "/gone.md": "x", "/s p.md": "y\n"}
    proposed = {"/a.md": "1\ntwo\r\n3\n", "/s p.md": "y\n", "/new/b.md": "é"}
    await reviewer.prepare({"draft": draft, "proposed": proposed})
    path = f"/api/proposals/{reviewer.proposal}/diff"
    answer = await reviewer.http.get(path, headers={"Accept": "text/x-patch"})
    assert answer.headers["content-type"] == "text/x-patch"
    assert answer.headers["left-out-files"] == "0"
    request = m.ReadPatchRequest(proposal_id=reviewer.proposal)
    stream = reviewer.caller.reviews.ReadPatch(request, metadata=reviewer.caller.metadata)
    pieces = [piece.data async for piece in stream]
    assert b"".join(pieces) == answer.content
    made = applied(tmp_path / "files", files_of(draft), answer.content)
    assert made == contents(files_of(proposed))


async def test_pages_of_a_comparison_are_bounded_in_files_and_in_bytes(reviewer: Reviewer) -> None:
    proposed = {f"/{number:03}.md": File(b"x\n" * 60_000) for number in range(40)}
    await reviewer.prepare({"draft": {}, "proposed": {}})
    reviewer.proposal = await reviewer.propose(proposed)
    seen: list[str] = []
    path: str | None = f"/api/proposals/{reviewer.proposal}/diff?limit=200"
    while path:
        answer = await reviewer.http.get(path)
        assert answer.status_code == 200, answer.text
        assert len(answer.content) < 5 << 20
        seen += [item["path"] for item in answer.json()["items"]]
        assert (answer.json()["statistics"] is None) == (len(seen) > len(answer.json()["items"]))
        path = answer.links["next"]["url"] if "next" in answer.links else None
    assert seen == sorted(proposed)
    token, counted = "", 0
    while counted < len(proposed):
        request = m.DiffProposalRequest(proposal_id=reviewer.proposal, page_size=15, page_token=token)
        page = await reviewer.caller.reviews.DiffProposal(request, metadata=reviewer.caller.metadata)
        assert page.ByteSize() < 4 << 20
        assert 1 <= len(page.files) <= 15
        counted, token = counted + len(page.files), page.next_page_token
    assert not token


async def test_what_is_too_large_for_a_page_is_left_out_and_in_the_patch(reviewer: Reviewer) -> None:
    await reviewer.prepare({"draft": {"/b.md": "1\n"}, "proposed": {}})
    line = b"x" * (4 << 20)
    reviewer.proposal = await reviewer.propose(
        {"/a.md": File(line), "/b.md": File(b"2\n"), "/c.bin": File(b"\0\xff", is_text=False)}
    )
    path = f"/api/proposals/{reviewer.proposal}/diff"
    items = (await reviewer.http.get(path)).json()["items"]
    shown = {item["path"]: item for item in items}
    assert shown["/a.md"]["truncated"]
    assert shown["/a.md"]["hunks"][0]["lines"] == []
    assert not shown["/b.md"]["truncated"]
    assert (shown["/c.bin"]["binary"], shown["/c.bin"]["hunks"]) == (True, [])
    patch = await reviewer.http.get(path, headers={"Accept": "text/x-patch"})
    assert b"+" + line in patch.content


async def test_a_decision_without_if_match_is_428_and_with_another_etag_412(reviewer: Reviewer) -> None:
    await reviewer.prepare({"draft": {"/a.md": "1"}, "proposed": {"/a.md": "2"}})
    path = f"/api/proposals/{reviewer.proposal}"
    for verb in ("accept", "approve", "reject"):
        missing = await reviewer.http.post(f"{path}/{verb}")
        assert (missing.status_code, problem(missing)["code"]) == (428, "etag_required")
        other = await reviewer.http.post(f"{path}/{verb}", headers={"If-Match": '"0-x"'})
        assert (other.status_code, problem(other)["code"]) == (412, "etag_mismatch")
    etag = await reviewer.etag()
    accepted = await reviewer.http.post(f"{path}/approve", headers={"If-Match": f'"{etag}"'})
    assert (accepted.status_code, accepted.json()["draft"]["version"]) == (200, 2)
    assert accepted.headers["etag"] == f'"{accepted.json()["proposal"]["etag"]}"' != f'"{etag}"'


async def test_a_reader_with_the_etag_gets_304_while_nothing_that_a_proposal_shows_has_changed(
    reviewer: Reviewer,
) -> None:
    await reviewer.prepare({"draft": {"/a.md": "1"}, "proposed": {"/a.md": "2"}})

    async def read(etag: str, method: str = "GET") -> httpx.Response:
        path = f"/api/proposals/{reviewer.proposal}"
        return await reviewer.http.request(method, path, headers={"If-None-Match": etag})

    first = f'"{await reviewer.etag()}"'
    for known in (first, f'"other", W/{first}', "*"):
        for method in ("GET", "HEAD"):
            answer = await read(known, method)
            assert (answer.status_code, answer.content, answer.headers["etag"]) == (304, b"", first)
    assert (await read('"other"')).status_code == 200
    await reviewer.step(
        "http", {"call": "decide", "with": {"decisions": [{"path": "/a.md", "decision": "rejected"}]}}
    )
    decided = await read(first)
    assert (decided.status_code, (await read(decided.headers["etag"])).status_code) == (200, 304)
    # These leave the etag as it is: a decision that was made for it is still right.
    await reviewer.call("write", {"files": {"/b.md": "b"}})
    stale = await read(decided.headers["etag"])
    assert (stale.status_code, stale.headers["etag"]) == (200, decided.headers["etag"])
    assert stale.json()["stale"]
    reviewer.proposal = await reviewer.propose({"/a.md": File(b"3")})
    fresh = f'"{await reviewer.etag()}"'
    assert (await read(fresh)).status_code == 304
    revision = {"user_prompt": "[[replay:error_mid_stream]]"}
    await reviewer.step("http", {"call": "revise", "with": revision})
    assert ((await read(fresh)).status_code, (await read(fresh)).headers["etag"]) == (200, fresh)


async def test_the_basic_view_has_hashes_and_sizes_and_no_contents(reviewer: Reviewer) -> None:
    await reviewer.prepare({"draft": {}, "proposed": {"/a.md": "1\n", "/é.md": "2"}})
    path = f"/api/proposals/{reviewer.proposal}"
    full = (await reviewer.http.get(path)).json()
    basic = (await reviewer.http.get(f"{path}?view=basic")).json()
    assert full["generated_files"]["/a.md"].pop("content") == ["1", ""]
    assert full["generated_files"]["/é.md"].pop("content") == ["2"]
    assert basic == full
    request = m.GetProposalRequest(proposal_id=reviewer.proposal, view=m.PROPOSAL_VIEW_BASIC)
    answer = await reviewer.caller.proposals.GetProposal(request, metadata=reviewer.caller.metadata)
    files = {file.path: file for file in answer.proposal.generated_files}
    assert {path: file.sha256 for path, file in files.items()} == {
        path: file["sha256"] for path, file in basic["generated_files"].items()
    }
    assert not any(file.WhichOneof("content") or file.content_omitted for file in files.values())
