"""The texts of token frames that differ only in their text, found without parsing the frames.

Most frames of a run are of this kind: pieces of one message, each printed with the same metadata.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from server.domain.runs.runtime import OversizedFrame
from server.encoding.frame_delta import DEFLATE_FROM_BYTES
from server.frames import raw_json

#: Text whose JSON text, literal and value are all the same bytes.
PLAIN = rb"[^'\"\\\x00-\x1f]*+"
#: The same with line feeds, which are escaped in the literal and in JSON, and double quotes, in JSON alone.
_LINE_FEED, _QUOTE = rb"\\n", rb"\""
_TEXT = re.compile(rb"(?:[^'\"\\\x00-\x1f]++|" + re.escape(_LINE_FEED) + b"|" + re.escape(_QUOTE) + b")*+")


def similar_texts(
    frames: Sequence[bytes | OversizedFrame], start: int, around: tuple[bytes, bytes]
) -> tuple[list[bytes], list[bytes]]:
    """The texts of the frames from `start` on, as they stand in the frame and as they are meant.

    Stops at the first frame that does not have the bytes `around` its text, or whose text is long or has
    other escapes.
    """
    before, after = around
    head, tail = len(before), len(after)
    printed: list[bytes] = []
    meant: list[bytes] = []
    for index in range(start, len(frames)):
        frame = frames[index]
        if (
            not isinstance(frame, bytes)
            or not head <= len(frame) - tail < head + DEFLATE_FROM_BYTES
            or not frame.startswith(before)
            or not frame.endswith(after)
        ):
            break
        text = value = frame[head : len(frame) - tail]
        if _TEXT.fullmatch(text) is None:
            break
        if b"\\" in text:
            value = text.replace(_LINE_FEED, b"\n").replace(_QUOTE, b'"')
        if not raw_json.is_utf8(text):
            break
        printed.append(text)
        meant.append(value)
    return printed, meant
