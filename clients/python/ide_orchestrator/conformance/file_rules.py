"""Rules of files: a proposal has the same bytes on every protocol, and those of the run's events."""

from __future__ import annotations

import base64
import hashlib
import io
import zipfile
from collections.abc import Iterator
from functools import partial
from typing import Any

from ide_orchestrator.conformance.callers import PROTOCOLS, open_channel
from ide_orchestrator.conformance.projections import agui_events, agui_hashes, legacy_files, legacy_frames
from ide_orchestrator.conformance.refusal_rules import PROTOCOL_NAMES
from ide_orchestrator.conformance.rule import Rule
from ide_orchestrator.conformance.scenario import Scenario
from ide_orchestrator.conformance.target import Broken, expect
from ide_orchestrator.v1.event_pb2 import FILE_CHANGE_KIND_DELETED
from ide_orchestrator.v1.proposal_pb2 import (
    PROPOSAL_VIEW_FULL,
    GetProposalRequest,
    ReadArchiveRequest,
    ReadFileRequest,
)
from ide_orchestrator.v1.proposal_pb2_grpc import ProposalServiceStub


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


async def _of_events(scenario: Scenario) -> None:
    """The changes of all events make the proposal's files."""
    run = scenario.run
    files: dict[str, str] = {}
    for event in run.events:
        for change in event.state_update.files:
            if change.kind == FILE_CHANGE_KIND_DELETED:
                files.pop(change.path, None)
                continue
            files[change.path] = change.sha256
            kind = change.WhichOneof("content")
            if kind is not None:
                content = change.text.encode() if kind == "text" else change.binary
                expect(_hash(content), change.sha256, f"the hash of {change.path} in event {event.seq}")
    for rejected in run.proposal["rejected_files"] or ():
        files.pop(rejected["path"], None)
    expect(files, run.hashes, "the files that the events make")


async def _over_http(scenario: Scenario) -> None:
    run = scenario.run
    expect(run.proposal["file_count"], len(run.hashes), "file_count")
    for path, file in (run.proposal["generated_files"] or {}).items():
        lines = "\n".join(file["content"])
        content = base64.b64decode(lines) if file.get("encoding") == "base64" else lines.encode()
        _check_content(path, content, file["sha256"], file["size_bytes"])
        by_hash = await scenario.hub.read_file(run.proposal_id, file["sha256"])
        _check_content(f"{path}, read by its hash,", by_hash, file["sha256"], file["size_bytes"])


async def _over_stub(protocol: str, scenario: Scenario) -> None:
    run, found = scenario.run, {}
    async with open_channel(protocol, scenario.target) as channel:
        stub, metadata = ProposalServiceStub(channel), scenario.target.metadata
        offset = -1
        while offset:
            request = GetProposalRequest(
                proposal_id=run.proposal_id, file_offset=max(offset, 0), view=PROPOSAL_VIEW_FULL
            )
            answer = await stub.GetProposal(request, metadata=metadata)
            for file in answer.proposal.generated_files:
                content = file.binary if file.WhichOneof("content") == "binary" else file.text.encode()
                if not file.content_omitted:
                    _check_content(file.path, content, file.sha256, file.size_bytes)
                asked = ReadFileRequest(proposal_id=run.proposal_id, sha256=file.sha256)
                pieces: Any = stub.ReadFile(asked, metadata=metadata)
                whole = b"".join([piece.data async for piece in pieces])
                _check_content(f"{file.path}, read by its hash,", whole, file.sha256, file.size_bytes)
                found[file.path] = file.sha256
            offset = answer.next_file_offset
    expect(found, run.hashes, "the list of files")


def _check_content(path: str, content: bytes, sha256: str, size_bytes: int) -> None:
    expect(len(content), size_bytes, f"the size of {path}")
    expect(_hash(content), sha256, f"the hash of {path}")


async def _archive(scenario: Scenario) -> None:
    run = scenario.run
    pieces = [piece async for piece in scenario.hub.archive(run.proposal_id)]
    try:
        with zipfile.ZipFile(io.BytesIO(b"".join(pieces))) as archive:
            found = {name: _hash(archive.read(name)) for name in archive.namelist()}
    except zipfile.BadZipFile as wrong:
        raise Broken(f"it is not a zip file: {wrong}") from None
    portable = {
        path.removeprefix("/"): file["sha256"]
        for path, file in (run.proposal["generated_files"] or {}).items()
        if not file.get("portability")
    }
    missing = sorted(path for path, sha256 in portable.items() if found.get(path) != sha256)
    expect(missing, [], "the list of files that the archive does not have with the same bytes")
    expect(len(found), len(run.hashes), "the number of files in the archive")


async def _archive_over_stub(protocol: str, scenario: Scenario) -> None:
    run = scenario.run
    expect(bool(run.hashes), True, "whether there are files")
    whole = b"".join([piece async for piece in scenario.hub.archive(run.proposal_id)])
    async with open_channel(protocol, scenario.target) as channel:
        asked = ReadArchiveRequest(proposal_id=run.proposal_id)
        pieces: Any = ProposalServiceStub(channel).ReadArchive(asked, metadata=scenario.target.metadata)
        found = b"".join([piece.data async for piece in pieces])
    expect(_hash(found), _hash(whole), "the hash of the archive")


async def _in_legacy_frames(scenario: Scenario) -> None:
    run = scenario.run
    frames = [frame async for frame in legacy_frames(scenario.target, run.thread_id, 0)]
    found = {path: _hash(content) for path, content in legacy_files(frames).items()}
    expected = {path: sha256 for path, sha256 in run.hashes.items() if path in found}
    expect({path: found[path] for path in expected}, expected, "the files of the last state frame")
    expect(bool(expected), True, "whether a state frame has files")


async def _in_agui(scenario: Scenario) -> None:
    run = scenario.run
    events = [event async for _, event in agui_events(scenario.target, run.workflow_id, run.thread_id)]
    found = agui_hashes(events)
    expected = {path: sha256 for path, sha256 in run.hashes.items() if path in found}
    expect({path: found[path] for path in expected}, expected, "the files of the shared state")
    expect(bool(expected), True, "whether the shared state has files")


def file_rules() -> Iterator[Rule]:
    """The rules of this module."""
    yield Rule("files.events", "The changes of the events make the files of the proposal", _of_events)
    yield Rule("files.rest", "Over HTTP, each file of the proposal has its size and its hash", _over_http)
    for protocol in PROTOCOLS[1:]:
        yield Rule(
            f"files.{protocol}",
            f"Over {PROTOCOL_NAMES[protocol]}, the proposal has the same files, byte for byte",
            partial(_over_stub, protocol),
            grpc=protocol == "grpc",
        )
    yield Rule(
        "files.websocket-legacy",
        "The last state frame of the first clients has the same files",
        _in_legacy_frames,
    )
    yield Rule("files.agui", "The shared state of AG-UI has the same files", _in_agui)
    yield Rule("archive.rest", "The archive over HTTP has the same files, byte for byte", _archive)
    for protocol in PROTOCOLS[1:]:
        yield Rule(
            f"archive.{protocol}",
            f"Over {PROTOCOL_NAMES[protocol]}, the archive is that of HTTP",
            partial(_archive_over_stub, protocol),
            grpc=protocol == "grpc",
        )
