"""The contents of a draft's files on the wire, of which a draft may have 64 MiB: in parts, and what fits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from server.domain.drafts.draft import DraftFile
from server.encoding.json_text import byte_pieces, decode_surrogates, escape_text
from server.wire.large_events import MIN_OMITTED
from server.wire.large_proposals import MAX_RESPONSE_BYTES

#: Bytes of a part of a file's JSON before it is encoded; a multiple of three.
PART_BYTES = 48 << 10


def left_out(files: Mapping[str, DraftFile]) -> set[str]:
    """The paths of files whose contents do not fit a response, the largest: they need not be copied into the
    message first."""
    sizes = {path: len(file.content or b"") for path, file in files.items()}
    omitted, size = set(), 0
    for path in sorted(sizes, key=sizes.__getitem__):
        size += sizes[path]
        # A character has at most four bytes: shorter ones are too short to be left out.
        if size > MAX_RESPONSE_BYTES and sizes[path] >= 4 * MIN_OMITTED:
            omitted.add(path)
    return omitted


def text_json_parts(content: bytes) -> Iterator[bytes]:
    """The JSON text of a file's text, in parts. content: with a text (`DraftFile.is_text`)."""
    yield b'"'
    for part in byte_pieces(content, PART_BYTES):
        yield escape_text(decode_surrogates(part))
    yield b'"'
