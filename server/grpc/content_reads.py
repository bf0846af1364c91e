"""The contents of files, and archives of them, in pieces: of proposals, of drafts, and of refinements after
any event."""

from __future__ import annotations

from contextlib import aclosing
from uuid import UUID

from server.domain.proposals.archive import ArchivedFiles, archive_pieces
from server.domain.proposals.contents import PIECE_BYTES, ArchivedStore, ContentStore, read_pieces
from server.grpc.answers import message_form, reserved
from server.grpc.authentication import Context, caller
from server.grpc.writing import MessageWriter
from server.wire import messages as m
from server.wire.validation import sha256_or_not_found


async def write_content(
    writer: MessageWriter,
    context: Context,
    store: ContentStore,
    holder_id: UUID,
    request: m.ReadFileRequest | m.ReadDraftFileRequest | m.ReadRefinementFileRequest,
    response: type[m.ReadFileResponse | m.ReadDraftFileResponse | m.ReadRefinementFileResponse],
    **ids: str,
) -> None:
    """Write the content that a request asks for. Each piece is read once the reader took the one before.

    response: the message of a piece. ids: what a slow reader is logged with. Raises as `read_pieces`, and
    LimitReached.
    """
    sha256 = sha256_or_not_found(request.sha256, "file")
    await reserved().resize(2 * PIECE_BYTES)
    async with writer.abort_if_slow(context, **ids):
        async for piece in read_pieces(store, caller(), holder_id, sha256, offset=request.offset):
            message = response(data=piece.data, offset=piece.offset, size_bytes=piece.size_bytes)
            await writer.write(context, await message_form().message(message), reserved())


async def write_archive(
    writer: MessageWriter,
    context: Context,
    store: ArchivedStore,
    files: ArchivedFiles,
    response: type[m.ReadArchiveResponse | m.ReadDraftArchiveResponse],
    **ids: str,
) -> None:
    """Write the archive of the files. response, ids: as of `write_content`. Raises as `archive_pieces`, and
    LimitReached."""
    await reserved().resize(files.size_bytes + 2 * PIECE_BYTES)
    pieces = archive_pieces(store, caller(), files)
    async with writer.abort_if_slow(context, **ids), aclosing(pieces):
        async for piece in pieces:
            message = await message_form().message(response(data=piece))
            await writer.write(context, message, reserved())
