"""Which tool call wrote a file, as far as the event that changes the file shows.

A runtime shows the files that a step of tools changed together with the tools' answers. It does not say which
answer belongs to which file.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from server.domain.journal.events import AgentMessage, Role, StateUpdate

#: Longer ids are left out: they are repeated for each file, and each range of lines.
_MAX_ID_CHARS = 255
#: Characters of an answer that are looked at: a tool that writes a file says so in a sentence.
_MAX_ANSWER_CHARS = 4096
#: Files of one event whose writers are looked for at most: each in each answer.
_MAX_FILES = 100


def writers_of(update: StateUpdate) -> Mapping[str, str]:
    """The ids of the tool calls that wrote the changed files, by path; not of files whose writer is unknown.

    The only call that was answered wrote all of them. Of several, one whose answer names a single changed
    file wrote that; the last one, if several do.
    """
    answers = [change.message for change in update.messages if _is_success(change.message)]
    if not answers:
        return {}
    paths = [change.path for change in update.files]
    if len(answers) == 1:
        return dict.fromkeys(paths, answers[0].tool_call_id)
    if len(paths) > _MAX_FILES:
        return {}
    writers: dict[str, str] = {}
    for answer in answers:
        named = _named(paths, answer.text[:_MAX_ANSWER_CHARS])
        if len(named) == 1:
            writers[named[0]] = answer.tool_call_id
    return writers


def _is_success(message: AgentMessage) -> bool:
    return (
        message.role is Role.TOOL
        and 0 < len(message.tool_call_id) <= _MAX_ID_CHARS
        and message.status != "error"
    )


def _named(paths: Collection[str], text: str) -> list[str]:
    """The paths that the text names, without those that are a part of another one that it names."""
    found = [path for path in paths if path and path in text]
    return [path for path in found if not any(path != other and path in other for other in found)]
