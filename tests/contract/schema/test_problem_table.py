from __future__ import annotations

import json
import pickle
import re
from dataclasses import replace
from http import HTTPStatus
from pathlib import Path
from uuid import UUID

import pytest
from google.rpc import code_pb2, error_details_pb2

from server.domain import errors
from server.domain.errors import HubError
from server.domain.proposals.files import File
from server.domain.review.conflicts import shown_conflicts
from server.domain.review.file_merge import ConflictKind, MergeConflict
from server.domain.review.line_merge import ConflictPlace, Lines
from server.http.errors import HTTP_ONLY
from server.wire import messages as m
from server.wire.conflicts import fit_conflicts
from server.wire.problem_details import grpc_status, problem_json
from server.wire.problems import (
    CLOSE_DONE,
    CLOSE_SLOW_READER,
    INTERNAL,
    PROBLEMS,
    Problem,
    problem_of,
)
from server.wire.text import dumps

ROWS = [*PROBLEMS.values(), INTERNAL]
ROOT = Path(__file__).parents[3]
PROTO = ROOT / "proto" / "ide_orchestrator" / "v1" / "problem.proto"
REFERENCE = ROOT / "docs" / "reference"

FILES = {name: File(name.encode()) for name in ("base", "draft", "proposal")}
PLACE = ConflictPlace(*(Lines(index, 1, name.encode()) for index, name in enumerate(FILES)))
[CONFLICT] = shown_conflicts([MergeConflict("/a", ConflictKind.BOTH_MODIFIED, **FILES, places=(PLACE,))])

EXAMPLES: list[HubError] = [
    errors.InvalidArgument({"user_prompt": "is missing", "colour\ud800": "is not a field of this request"}),
    errors.Unauthenticated("there is no token"),
    errors.PermissionDenied("only an owner may"),
    errors.NotFound("no such proposal"),
    errors.Conflict("it is over"),
    errors.DraftBusy(),
    errors.InputClosed(),
    errors.ReplyUnsupported(),
    errors.KeyReused(),
    errors.EtagRequired(),
    errors.EtagMismatch("draft"),
    errors.DraftMoved([CONFLICT], base_version=1, draft_version=3, draft_etag="3-e"),
    errors.CursorOutOfRange(9, 3, 7),
    errors.Unprocessable({"context_selection": "is not a range"}),
    errors.TooLarge("too large"),
    errors.LimitReached("at most 5", retry_after_s=3),
    errors.ClientTooSlow("took nothing"),
    errors.RuntimeRefused("the runtime said no", status=422),
    errors.RuntimeUnavailable("no connection"),
    errors.InvokeUncertain("no answer"),
    errors.DatabaseUnavailable(),
    errors.KeysUnavailable(retry_after_s=3),
    errors.ShuttingDown(),
]


def subclasses(kind: type[HubError]) -> set[type[HubError]]:
    direct = set(kind.__subclasses__())
    return direct.union(*map(subclasses, direct))


def test_every_error_has_a_row_and_every_row_an_error() -> None:
    named = {kind for kind in subclasses(HubError) if kind.__module__ == errors.__name__}
    assert named == set(PROBLEMS) == {type(example) for example in EXAMPLES}


def test_every_reason_of_the_contract_has_exactly_one_row() -> None:
    told = [row.reason for row in ROWS]
    assert sorted(told) == sorted(set(m.ProblemReason.values()) - {0})


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.code)
def test_the_contract_says_the_same_statuses(row: Problem) -> None:
    comment = re.search(rf"((?:  // .*\n)+)  PROBLEM_REASON_{row.name} =", PROTO.read_text())
    assert comment is not None
    text = " ".join(comment[1].replace("//", "").split())
    assert f"HTTP {row.http}, {code_pb2.Code.Name(row.grpc)}" in text


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.code)
def test_a_row_is_well_formed(row: Problem) -> None:
    assert 400 <= HTTPStatus(row.http) < 600
    assert row.close.code in {1009, 1011, 1012, 1013} or 4000 <= row.close.code < 5000
    assert row.code == row.name.lower()
    assert row.title
    assert row.error


def test_the_reference_lists_every_code_with_its_statuses() -> None:
    expected = {row.code: (row.http, code_pb2.Code.Name(row.grpc)) for row in ROWS}
    expected |= {code: (problem.status, "none") for code, problem in HTTP_ONLY.items()}
    section = (REFERENCE / "http.md").read_text().partition("\n## Errors\n")[2].partition("\n## ")[0]
    listed = [
        (code, (int(cells[2].split()[0].strip(",")), cells[3].split()[0].strip(",")))
        for line in section.splitlines()
        if line.startswith("| `")
        for cells in [line.split("|")]
        for code in re.findall("`([a-z_]+)`", cells[1].partition(", from")[0])
    ]
    assert sorted(listed) == sorted(expected.items())


def test_the_reference_lists_every_close_code() -> None:
    section = (REFERENCE / "streams.md").read_text().partition("| close | meaning |")[2].partition("\n\n")[0]
    listed = [int(code) for line in section.splitlines() for code in re.findall(r"\d{4}", line.split("|")[1])]
    closes = {CLOSE_DONE, CLOSE_SLOW_READER, *(row.close for row in ROWS if row.close is not None)}
    assert sorted(listed) == sorted({close.code for close in closes})


def test_the_legacy_error_codes_are_kept() -> None:
    words = {row.http: row.error for row in ROWS}
    assert (words[401], words[403], words[404]) == ("Unauthorized", "Forbidden", "Not Found")


@pytest.mark.parametrize("error", EXAMPLES, ids=lambda error: type(error).__name__)
def test_an_error_of_another_process_is_the_same_problem(error: HubError) -> None:
    come = pickle.loads(pickle.dumps(error))
    assert type(come) is type(error)
    problem, same = (problem_json(each, instance="/api/x", trace_id="ab") for each in (error, come))
    assert problem == same
    assert str(come) == str(error)


@pytest.mark.parametrize("error", EXAMPLES, ids=lambda error: type(error).__name__)
def test_http_and_grpc_give_the_same_problem(error: HubError) -> None:
    problem = problem_json(error, instance="/api/x", trace_id="ab")
    status = grpc_status(error, trace_id="ab")
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    assert info.domain == "ide-orchestrator"
    assert info.reason == problem["code"]
    assert problem["type"] == f"/problems/{problem['code']}"
    assert (problem["instance"], problem["trace_id"]) == ("/api/x", "ab")
    request = error_details_pb2.RequestInfo()
    assert status.details[1].Unpack(request)
    assert request.request_id == "ab"
    assert problem["detail"] == status.message
    assert status.code == problem_of(error).grpc
    retry = error_details_pb2.RetryInfo()
    delays = [d for d in status.details if d.Unpack(retry)]
    assert bool(delays) == (error.retry_after_s is not None)
    assert retry.retry_delay.seconds == (error.retry_after_s or 0)


def test_wrong_fields_are_named_on_both_sides() -> None:
    error = EXAMPLES[0]
    violations = error_details_pb2.BadRequest()
    assert grpc_status(error, trace_id="").details[2].Unpack(violations)
    told = {violation.field: violation.description for violation in violations.field_violations}
    expected = {"user_prompt": "is missing", "colour\ufffd": "is not a field of this request"}
    assert told == problem_json(error, instance="", trace_id="")["fields"] == expected


def test_a_cursor_problem_gives_the_bounds_of_the_journal() -> None:
    problem = problem_json(errors.CursorOutOfRange(9, 3, 7), instance="", trace_id="")
    assert (problem["floor"], problem["last_seq"], problem["status"]) == (3, 7, 410)


def test_a_draft_that_has_moved_is_told_with_its_conflicts() -> None:
    error = errors.DraftMoved([CONFLICT] * 9, base_version=1, draft_version=3, draft_etag="3-e")
    problem = json.loads(dumps(problem_json(error, instance="", trace_id="")))
    assert (problem["base_version"], problem["draft_version"], problem["draft_etag"]) == (1, 3, "3-e")
    assert (problem["conflict_count"], len(problem["conflicts"])) == (9, 9)
    conflict = problem["conflicts"][0]
    texts = {side: (each["first_line"], each["text"]) for side, each in conflict["places"][0].items()}
    assert texts == {"base": (1, "base"), "draft": (2, "draft"), "proposal": (3, "proposal")}
    assert (conflict["path"], conflict["kind"], conflict["truncated"]) == ("/a", "both_modified", False)
    told = m.DraftMoved()
    assert grpc_status(error, trace_id="").details[2].Unpack(told)
    assert (told.draft_etag, told.conflict_count) == ("3-e", 9)
    assert [each.path for each in told.conflicts] == ["/a"] * len(told.conflicts)
    assert told.conflicts[0].draft_sha256 == conflict["draft_sha256"] == FILES["draft"].sha256


def test_the_status_of_a_draft_that_has_moved_fits_the_metadata_of_clients() -> None:
    long = replace(CONFLICT, path="/" + "ä" * 511, places=(PLACE,) * 1000, place_count=1000)
    status = grpc_status(
        errors.DraftMoved([long] * 5000, base_version=1, draft_version=3, draft_etag="3-" + "e" * 16),
        trace_id="0" * 32,
    )
    assert 4 * len(status.SerializeToString()) / 3 < 7 << 10
    told = m.DraftMoved()
    assert status.details[2].Unpack(told)
    assert (told.conflict_count, told.conflicts[0].truncated) == (5000, True)


def test_the_conflicts_of_an_answer_are_bounded_and_their_paths_come_first() -> None:
    huge = ConflictPlace(*(Lines(0, 1, b"x" * 1_000) for _ in range(3)))
    conflicts = [replace(CONFLICT, places=(huge,) * 10, place_count=10)] * 10
    shown = fit_conflicts(conflicts, 40_000)
    assert [each.path for each in shown] == ["/a"] * 10
    assert [len(each.places) for each in shown] == [10, 1, *[0] * 8]
    assert [each.truncated for each in shown] == [False, *[True] * 9]
    assert len(dumps(shown)) < 40_000


def test_the_proposal_of_a_failed_start_is_named_on_both_sides() -> None:
    error = errors.RuntimeRefused("no", status=422)
    error.proposal_id = UUID(int=7)
    info = error_details_pb2.ErrorInfo()
    assert grpc_status(error, trace_id="").details[0].Unpack(info)
    assert info.metadata["proposal_id"] == str(UUID(int=7))
    assert problem_json(error, instance="", trace_id="")["proposal_id"] == str(UUID(int=7))
    error.proposal_id = None
    assert "proposal_id" not in problem_json(error, instance="", trace_id="")


def test_what_clients_retry_by_themselves_is_what_may_be_retried() -> None:
    """gRPC's retry policies name UNAVAILABLE: a start that they repeat must have reached no runtime."""
    retried = {kind for kind, row in PROBLEMS.items() if row.grpc == code_pb2.UNAVAILABLE}
    assert retried == {
        errors.RuntimeUnavailable,
        errors.DatabaseUnavailable,
        errors.KeysUnavailable,
        errors.ShuttingDown,
    }


@pytest.mark.parametrize("error", [ValueError("secret"), errors.LeaseLost("secret"), HubError("secret")])
def test_what_is_not_in_the_table_is_internal(error: Exception) -> None:
    assert problem_of(error) is INTERNAL


def test_a_fault_of_the_hub_leaks_nothing() -> None:
    error = ValueError("secret")
    assert "secret" not in str(problem_json(error, instance="", trace_id=""))
    assert "secret" not in str(grpc_status(error, trace_id=""))
