"""Drafts on the wire: requests, the contract's message, the JSON of the HTTP interface."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from datetime import datetime
from typing import Annotated, Literal, Self
from uuid import UUID

import msgspec
from pydantic import Field, PlainValidator

from server.domain.drafts import draft as domain
from server.domain.drafts.changes import UpdateDraft
from server.domain.drafts.drafts import WrittenDraft
from server.domain.errors import InvalidArgument
from server.domain.model import Page
from server.encoding.json_text import base64_pieces, dump, replace_surrogates
from server.wire import messages as m
from server.wire.draft_files import PART_BYTES, left_out, text_json_parts
from server.wire.large_events import omit_contents
from server.wire.large_proposals import MAX_RESPONSE_BYTES, drop_last
from server.wire.pages import CURSOR_TEXT, VERSIONS_CURSOR, PageQuery
from server.wire.text import dumps, model_of, rfc3339, set_time
from server.wire.validation import DIGITS, MAX_SEQ, WHOLE_NUMBER, QueryModel, RequestModel, field_error
from server.wire.workflows import MAX_FILES, FilesByPath, path_error

# --- Requests --------------------------------------------------------------------------------


def _validate_paths(value: object) -> tuple[str, ...]:
    paths = () if value is None else value
    if not isinstance(paths, list | tuple):
        raise field_error("must be a list of paths")
    if len(paths) > MAX_FILES:
        raise field_error(f"must be at most {MAX_FILES} paths")
    seen: set[str] = set()
    for index, path in enumerate(paths):
        wrong = path_error(path) or ("is a duplicate" if path in seen else None)
        if wrong is not None:
            raise field_error(f"path {index} {wrong}")
        seen.add(path)
    return tuple(paths)


class UpdateDraftRequest(RequestModel):
    """Files to write and to delete, as one new version. Files that it does not name stay."""

    files: FilesByPath = Field(default_factory=dict)
    deleted_paths: Annotated[
        tuple[str, ...],
        PlainValidator(_validate_paths, json_schema_input_type=list[str] | None),
        Field(description="Paths of files to delete.", json_schema_extra={"maxItems": MAX_FILES}),
    ] = ()

    def command(self) -> UpdateDraft:
        """The command. Raises InvalidArgument when it names no file, or writes one that it deletes."""
        if not self.files and not self.deleted_paths:
            raise InvalidArgument({"files": "is missing: name a file to write or to delete"})
        for index, path in enumerate(self.deleted_paths):
            if path in self.files:
                raise InvalidArgument({"deleted_paths": f"path {index} is written by the same request"})
        return UpdateDraft(self.files, self.deleted_paths)


class RestoreDraftVersionRequest(RequestModel):
    """The version whose files the draft is to have again."""

    version: Annotated[int, Field(ge=1, le=MAX_SEQ, description="The version to restore."), WHOLE_NUMBER]


class DraftVersionQuery(QueryModel):
    """Which version of a draft."""

    version: Annotated[int, Field(ge=0, le=MAX_SEQ, description="The version; 0 for the newest."), DIGITS] = 0


class DraftQuery(DraftVersionQuery):
    """Which version of a draft, and how much of it."""

    view: Annotated[
        Literal["basic", "full"], Field(description="`basic`: the files without their contents.")
    ] = "full"


class DraftVersionsQuery(PageQuery):
    """Which page of a draft's versions."""

    cursor: Annotated[str | None, Field(description=CURSOR_TEXT, json_schema_extra=VERSIONS_CURSOR)] = None


def update_draft(request: m.UpdateDraftRequest) -> UpdateDraft:
    """The command of a message. Raises InvalidArgument."""
    # A tuple of pairs, which shows paths that occur twice.
    files = tuple((file.path, file.text) for file in request.files)
    values = {"files": files, "deleted_paths": tuple(request.deleted_paths)}
    return UpdateDraftRequest.model_validate(values).command()


def restored_version(request: m.RestoreDraftVersionRequest) -> int:
    """The version that a message names. Raises InvalidArgument."""
    return RestoreDraftVersionRequest.model_validate({"version": request.version}).version


# --- Messages --------------------------------------------------------------------------------


def draft_message(draft: domain.Draft) -> m.Draft:
    """A draft with the files that the record has, in path order (contract: Draft)."""
    message = _described(draft)
    for path in sorted(draft.files):
        _fill_file(message.files.add(), draft.files[path])
    return message


def _described(draft: domain.Draft) -> m.Draft:
    """A draft without files."""
    message = m.Draft(
        id=str(draft.id),
        workflow_id=str(draft.workflow_id),
        version=draft.version,
        latest_version=draft.latest_version,
        etag=draft.etag,
        created_by_user_id=str(draft.created_by_user_id),
        restored_version=draft.restored_version,
    )
    set_time(message.create_time, draft.created_at)
    if draft.proposal_id is not None:
        message.proposal_id = str(draft.proposal_id)
    return message


def _fill_file(target: m.DraftFile, file: domain.DraftFile) -> None:
    target.path = file.path
    target.sha256, target.size_bytes = file.sha256, file.size_bytes
    set_time(target.modify_time, file.modified_at)
    text = file.text
    if text is not None:
        target.text = replace_surrogates(text)
        target.sanitized = target.text != text
    elif file.content is not None:
        target.binary = file.content


def fit_draft(draft: domain.Draft, offset: int) -> m.GetDraftResponse:
    """The response with a draft, from a file on: contents are left out, the largest first, and then last
    files, so that it fits. At least one file is in it if there is any.

    Raises InvalidArgument for an offset after the last file.
    """
    count = len(draft.files)
    if offset > count:
        raise InvalidArgument({"file_offset": f"must be at most {count}, the number of files"})
    files = {path: draft.files[path] for path in sorted(draft.files)[offset:]}
    omitted = left_out(files)
    message = _described(draft)
    for path, file in files.items():
        target = message.files.add()
        _fill_file(target, file._replace(content=None) if path in omitted else file)
        target.content_omitted = path in omitted
    excess = message.ByteSize() - MAX_RESPONSE_BYTES
    if excess > 0:
        omit_contents(message.files, excess)
        drop_last(message.files, message.ByteSize() - MAX_RESPONSE_BYTES, least=1)
    kept = offset + len(message.files)
    return m.GetDraftResponse(draft=message, next_file_offset=kept if kept < count else 0)


def drafts_message(page: Page) -> m.ListDraftVersionsResponse:
    """A page of versions."""
    return m.ListDraftVersionsResponse(
        drafts=map(draft_message, page.items), next_page_token=page.next_token or ""
    )


def updated_message(written: WrittenDraft) -> m.UpdateDraftResponse:
    """The response to an update."""
    return m.UpdateDraftResponse(draft=draft_message(written.draft), replayed=written.replayed)


def restored_message(written: WrittenDraft) -> m.RestoreDraftVersionResponse:
    """The response to a restoration."""
    return m.RestoreDraftVersionResponse(draft=draft_message(written.draft), replayed=written.replayed)


# --- JSON ------------------------------------------------------------------------------------


class DraftFile(msgspec.Struct, omit_defaults=True):
    """A file of a draft. Its content is `text`, or `base64` when it is not text; neither with `view=basic`.
    `modified_at`: when the version was made that wrote it last."""

    sha256: str
    size_bytes: int
    modified_at: datetime
    text: str | None = None
    base64: str | None = None


class Draft(msgspec.Struct):
    """A draft at a version. `etag` is that of the newest version. `files` maps path to file; it is null in
    lists and in the answers of writes. `restored_version` is 0 when the version restored none."""

    id: UUID
    workflow_id: UUID
    version: int
    latest_version: int
    etag: str
    created_at: datetime
    created_by_user_id: UUID
    proposal_id: UUID | None
    restored_version: int
    files: dict[str, DraftFile] | None

    @classmethod
    def of(cls, draft: domain.Draft) -> Self:
        """The JSON of a record without its files: `draft_json_parts` adds them."""
        return model_of(cls, draft, files=None)


def draft_json_parts(draft: domain.Draft, texts: Collection[str]) -> Iterator[bytes]:
    """The JSON text of a draft with its files, in parts of bounded size that are made as they are asked for.
    texts: the paths of those that are text (`text_paths`)."""
    # No other member of the text can hold these quotes.
    before, _, after = dumps(Draft.of(draft)).partition(b'"files":null')
    yield before + b'"files":{'
    comma = b""
    # A few versions wrote thousands of files.
    times = {at: rfc3339(at) for at in {file.modified_at for file in draft.files.values()}}
    for path in sorted(draft.files):
        file = draft.files[path]
        described = (
            f'{{"sha256":"{file.sha256}","size_bytes":{file.size_bytes},'
            f'"modified_at":"{times[file.modified_at]}"'
        )
        yield comma + dump(path) + b":" + described.encode()
        if file.content is not None:
            yield from _content_parts(file.content, is_text=path in texts)
        yield b"}"
        comma = b","
    yield b"}" + after


def _content_parts(content: bytes, *, is_text: bool) -> Iterator[bytes]:
    if is_text:
        yield b',"text":'
        yield from text_json_parts(content)
        return
    yield b',"base64":"'
    yield from base64_pieces(content, PART_BYTES)
    yield b'"'


class DraftVersionPage(msgspec.Struct):
    """A page of a draft's versions, without files, newest first. `next_cursor` is null on the last page."""

    items: list[Draft]
    next_cursor: str | None

    @classmethod
    def of(cls, page: Page) -> Self:
        """The JSON of a page."""
        return cls([Draft.of(item) for item in page.items], page.next_token)
