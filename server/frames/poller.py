"""The frames by which the runtime's WebSocket reports what its poller sees, instead of the run's own frames.

They look like state frames, with a sentence where the agent's messages are printed. They are known by that
sentence: an agent's own state may have members called `status` or `result`, too.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

_PROGRESS = re.compile(rb'"(Execution in progress\.\.\. \([0-9]{1,9}(?:\.[0-9]{1,20})?s\))"')
_SUMMARY = b'"Execution completed"'
_SUMMARY_MEMBERS = frozenset({"messages", "files", "result", "status"})
#: Values of `files` that show no file.
_NO_FILES = (b"null", b"{}")


def progress_text(data: Mapping[str, bytes]) -> str | None:
    """The sentence of a progress frame, which says that the run goes on; None for any other frame.

    data: the JSON texts of the frame's `data`.
    """
    if data.keys() != {"messages", "status"} or data["status"][:1] != b'"':
        return None
    found = _PROGRESS.fullmatch(data["messages"])
    return found[1].decode() if found else None


def is_poll_summary(data: Mapping[str, bytes], files: Mapping[str, bytes] | None) -> bool:
    """Whether the frame is a poll summary: it says that the run completed, and shows no file.

    Such a frame decides nothing and deletes nothing. files: the members of the file map in `data`, None when
    it has none.
    """
    return (
        data.get("messages") == _SUMMARY
        and data.keys() <= _SUMMARY_MEMBERS
        and (not files if files is not None else data.get("files", b"null") in _NO_FILES)
    )
