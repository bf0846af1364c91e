"""The files of a draft as a run is given them, and what the run made of them. Pure.

A run whose runtime takes files works on them: its file map is the draft's from its first state on. One whose
runtime gets no more than the prompt has a file map of its own, in which the draft's files are missing without
having been deleted.
"""

from __future__ import annotations

import base64
from collections.abc import Collection, Mapping
from typing import Any

from server.domain.drafts.draft import DraftFile

#: Maximum bytes of the files that a run is given: each state frame of the run repeats them, with the
#: messages, and the largest frame has 16 MiB, where JSON may take twice the bytes of a text.
MAX_GIVEN_BYTES = 4 << 20


def agent_files(files: Mapping[str, DraftFile]) -> dict[str, Any]:
    """Files with contents in deepagents' own form, by path.

    A text is a list of lines, the form of its first versions, which later ones read, too; a file that is not
    text is base64, which only later ones read.
    """
    return {path: _agent_file(file) for path, file in files.items()}


def _agent_file(file: DraftFile) -> dict[str, Any]:
    at = file.modified_at.isoformat()
    times = {"created_at": at, "modified_at": at}
    text = file.text
    if text is not None:
        return {"content": text.split("\n"), **times}
    return {"content": base64.b64encode(file.content or b"").decode(), "encoding": "base64", **times}


def are_given(given: Mapping[str, str], shown: Mapping[str, str]) -> bool:
    """Whether the first files that a run shows are those that it was given: then it works on them.

    Both map paths to hashes. A run that was given nothing works on nothing.
    """
    return bool(given) and all(shown.get(path) == sha256 for path, sha256 in given.items())


def proposed_changes(
    base: Mapping[str, str], proposed: Mapping[str, str], rejected: Collection[str], *, includes_base: bool
) -> dict[str, str | None]:
    """What a proposal changes in the version that its run started from: hashes by path, None for a deleted
    file.

    base, proposed: hashes by path. rejected: the paths of the files that the proposal rejects; the run has
    them. A file that the run was given and did not touch does not change.
    """
    changes: dict[str, str | None] = {
        path: sha256 for path, sha256 in proposed.items() if base.get(path) != sha256
    }
    if includes_base:
        gone = base.keys() - proposed.keys() - set(rejected)
        changes |= dict.fromkeys(gone)
    return {path: changes[path] for path in sorted(changes)}
