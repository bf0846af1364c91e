"""The files of drafts on the wire: in parts, and what fits a response."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from server.domain.drafts.draft import Draft, DraftFile, text_paths
from server.domain.model import Workflow
from server.wire.drafts import draft_json_parts, fit_draft
from server.wire.large_proposals import MAX_RESPONSE_BYTES
from server.wire.workflows import fit_workflow, workflow_json_parts

AT = datetime(2026, 1, 1, tzinfo=UTC)
IDS = [UUID(int=number) for number in range(3)]


def drafted(contents: dict[str, bytes]) -> dict[str, DraftFile]:
    return {path: DraftFile(path, "0" * 64, len(content), AT, content) for path, content in contents.items()}


def a_draft(files: dict[str, DraftFile]) -> Draft:
    return Draft(IDS[0], IDS[1], 1, 1, "etag", AT, IDS[2], files=files)


#: Definitions with the member that the files come into, too.
DEFINITION = {"files": {}, "locked": [{"files": {}}, '"files":{}'], "archived": '"files":{},"locked":false'}


@given(
    st.dictionaries(
        st.text(max_size=5),
        st.one_of(st.binary(max_size=9), st.text().map(lambda text: text.encode("utf-8", "surrogatepass"))),
        max_size=4,
    )
)
def test_a_workflows_json_has_its_texts_and_a_drafts_all_files(contents: dict[str, bytes]) -> None:
    files = drafted(contents)
    texts = {path: file.text for path, file in files.items() if file.text is not None}
    workflow = Workflow(IDS[0], "w", IDS[1], DEFINITION, IDS[2], AT, locked=True)
    found = json.loads(b"".join(workflow_json_parts(workflow, files, text_paths(files))))
    assert (found["files"], found["agent_definition"]) == (texts, DEFINITION)
    assert (found["locked"], found["archived"]) == (True, False)
    described = json.loads(b"".join(draft_json_parts(a_draft(files), text_paths(files))))["files"]
    assert {path: file.get("text") for path, file in described.items()} == {
        path: texts.get(path) for path in contents
    }


@given(st.binary(max_size=40), st.text())
def test_a_content_is_text_if_it_has_one(content: bytes, text: str) -> None:
    for each in (content, text.encode("utf-8", "surrogatepass"), b"\xc3\xa9" * 150_000 + content):
        file = DraftFile("/a", "0" * 64, len(each), AT, each)
        assert file.is_text == (file.text is not None)


def test_a_text_that_is_not_ascii_has_as_many_bytes_in_json_as_in_utf_8() -> None:
    files = drafted({"/a": "é\U0001f642".encode() * 100_000})
    text = b"".join(draft_json_parts(a_draft(files), text_paths(files)))
    assert len(text) < 610_000
    assert max(map(len, draft_json_parts(a_draft(files), text_paths(files)))) <= 64 << 10


def test_a_response_has_what_fits_and_no_more_is_made_of_the_rest() -> None:
    contents = {f"/{number}": b"x" * (1 << 20) for number in range(5)} | {"/binary": b"\xff" * (1 << 20)}
    contents["/small"] = b"s"
    files = drafted(contents)
    draft = fit_draft(a_draft(files), 0)
    assert draft.ByteSize() <= MAX_RESPONSE_BYTES
    kept = {file.path for file in draft.draft.files if not file.content_omitted}
    assert "/small" in kept
    assert len(kept) == 3
    workflow = fit_workflow(Workflow(IDS[0], "w", IDS[1], {}, IDS[2], AT), files)
    assert workflow.ByteSize() <= MAX_RESPONSE_BYTES
    by_path = {file.path: file for file in workflow.workflow.files}
    assert by_path.keys() == contents.keys() - {"/binary"}
    assert by_path["/small"].text == "s"
    assert all(file.text or file.content_omitted for file in by_path.values())
