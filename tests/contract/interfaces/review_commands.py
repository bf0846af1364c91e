"""Reviews by command line: the steps of the cases as commands, and their outcomes as those of the APIs."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ide_orchestrator.conformance.outcomes import Outcome
from tests.contract.interfaces.review_callers import Subject, differences, moved, restored, reviewed
from tests.support.commands import Ideo

#: Fields of a comparison that the command, which prints a line for each file, does not show.
_OF_PAGES = ("statistics", "base_version", "more")


async def over_commands(
    ideo: Ideo, folder: Path, subject: Subject, name: str, given: Mapping[str, Any]
) -> Outcome:
    """A step by command line. folder: where to write the files that commands read.

    The code of a refusal is its HTTP status; 400 if the command itself refuses.
    """
    if name == "decide":
        # A command makes one decision, about any number of files.
        decisions = given["decisions"] or [{"decision": "rejected", "path": None}]
        commands = [_decide(subject.proposal, decision) for decision in decisions]
    else:
        commands = [_COMMANDS[name](subject, given, folder)]
    outcome = Outcome()
    for command in commands:
        code, output, messages = await ideo(*command, "--json")
        lines = [json.loads(line) for line in output.splitlines()]
        refused = re.match(r"ideo: ([0-9]{3}): ", messages)
        if code and (messages or not lines):
            return Outcome(moved(lines[0]) if lines else {}, refused[1] if refused else "400")
        outcome = Outcome(_value(name, lines))
    return outcome


def _value(name: str, lines: list[dict[str, Any]]) -> dict[str, Any]:
    if name in ("diff", "diff_draft"):
        found = differences({"base_version": 0}, lines)
        return {key: value for key, value in found.items() if key not in _OF_PAGES}
    if name == "restore":
        return restored(lines[0])
    # A revision is shown live, so the lines are events.
    return {} if name == "revise" else reviewed(lines[0])


def _decide(proposal: str, decision: Mapping[str, Any]) -> list[str]:
    command = ["proposal", "decide", proposal, decision["decision"] or "none"]
    command += [decision["path"]] if decision["path"] else []
    for hunk_id in decision.get("hunk_ids", ()):
        command += ["--hunk", hunk_id]
    command += ["--as", decision["new_path"]] if "new_path" in decision else []
    return [*command, "--path-id", decision["path_id"]] if "path_id" in decision else command


def _get(subject: Subject, given: Mapping[str, Any], folder: Path) -> list[str]:
    return ["proposal", "show", subject.proposal]


def _diff(subject: Subject, given: Mapping[str, Any], folder: Path) -> list[str]:
    command = ["proposal", "diff", subject.proposal]
    command += [given["path"]] if "path" in given else []
    command += ["--draft"] if given.get("base") == "draft" else []
    command += ["--other", given["other_proposal_id"]] if "other_proposal_id" in given else []
    return [*command, "--context", str(given["context"])] if "context" in given else command


def _diff_draft(subject: Subject, given: Mapping[str, Any], folder: Path) -> list[str]:
    command = ["draft", "diff", subject.draft]
    command += [given["path"]] if "path" in given else []
    for field, option in (("version", "--version"), ("base_version", "--base"), ("context", "--context")):
        command += [option, str(given[field])] if field in given else []
    return command


def _restore(subject: Subject, given: Mapping[str, Any], folder: Path) -> list[str]:
    return ["draft", "restore", subject.draft, str(given["version"])]


def _accept(subject: Subject, given: Mapping[str, Any], folder: Path) -> list[str]:
    command = ["proposal", "accept", subject.proposal]
    command += ["--merge"] if given.get("strategy") == "three_way" else []
    command += ["--dry-run"] if given.get("validate_only") else []
    command += ["--comment", given["comment"]] if "comment" in given else []
    for number, file in enumerate(given.get("resolved_files", ())):
        if "text" in file:
            text = folder / f"resolved-{number}"
            text.write_bytes(file["text"].encode())
            command += ["--resolve", file["path"], str(text)]
        else:
            command += ["--use", "nothing" if "deleted" in file else file["side"], file["path"]]
    return command


def _reject(subject: Subject, given: Mapping[str, Any], folder: Path) -> list[str]:
    command = ["proposal", "reject", subject.proposal]
    return [*command, "--comment", given["comment"]] if "comment" in given else command


def _revise(subject: Subject, given: Mapping[str, Any], folder: Path) -> list[str]:
    command = ["proposal", "revise", subject.proposal, given["user_prompt"]]
    return [*command, "--keep-decisions"] if given.get("keep_decisions") else command


_COMMANDS = {
    "get": _get,
    "diff": _diff,
    "diff_draft": _diff_draft,
    "restore": _restore,
    "accept": _accept,
    "reject": _reject,
    "revise": _revise,
}
