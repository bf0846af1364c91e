"""`ideo conformance`: whether a hub keeps the promises of its interfaces."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import asdict
from pathlib import Path
from typing import NoReturn

from ide_orchestrator.client import HubError
from ide_orchestrator.conformance import (
    PROMPT,
    RULES,
    Result,
    Rule,
    Target,
    UnknownRule,
    check,
    find_grpc,
    junit_of,
    line_of,
    select,
    summary_of,
)
from server.cli import exit_codes
from server.cli.exit_codes import CommandError, notice
from server.cli.hub_session import address_and_token, run_until_stopped
from server.cli.printable import json_line, printable


def run(
    *,
    url: str | None,
    token: str | None,
    grpc_address: str | None,
    other_token: str | None,
    ca_file: Path | None,
    prompt: str | None,
    run_seconds: int,
    only: Sequence[str],
    as_json: bool,
    junit: Path | None,
) -> NoReturn:
    """Print what each rule gave as it is tried; exit 1 when one failed, or none passed."""
    _rules(only)
    address, secret = address_and_token(url, token)

    async def _check() -> int:
        target = Target(address, secret, grpc_address or "", other_token or "", ca_file)
        if grpc_address is None:
            target = await _with_grpc(target)
        results: list[Result] = []
        width = max(len(rule.name) for rule in RULES)
        async with aclosing(check(target, only, prompt=prompt or PROMPT, run_s=run_seconds)) as checked:
            async for result in checked:
                results.append(result)
                line = json_line(asdict(result)) if as_json else line_of(result, width)
                print(printable(line, lines=True), flush=True)
        notice(f"{summary_of(results)} at {address}")
        if junit is not None:
            junit.write_bytes(junit_of(results, address))  # noqa: ASYNC240 (nothing else waits)
        outcomes = {result.outcome for result in results}
        return exit_codes.FAILED if "failed" in outcomes or "passed" not in outcomes else 0

    run_until_stopped(_check)


def list_rules(only: Sequence[str], *, as_json: bool) -> None:
    """Print the names of the rules and what they say."""
    rules = _rules(only)
    width = max(len(rule.name) for rule in rules)
    for rule in rules:
        listed = json_line({"rule": rule.name, "says": rule.says})
        sys.stdout.write((listed if as_json else f"{rule.name:{width}}  {rule.says}") + "\n")


def names_beginning_with(incomplete: str) -> list[str]:
    """The rules and groups whose name begins with the text."""
    names = {name for rule in RULES for name in (rule.name, rule.group)}
    return sorted(name for name in names if name.startswith(incomplete))


def _rules(only: Sequence[str]) -> list[Rule]:
    try:
        return select(only)
    except UnknownRule as error:
        raise CommandError(
            f"{error}: `ideo conformance --list` shows them", exit_code=exit_codes.USAGE
        ) from None


async def _with_grpc(target: Target) -> Target:
    """The target with the address of gRPC that the hub says, or by default has, if it answers there."""
    try:
        return await find_grpc(target)
    except HubError as error:
        notice(f"{error}. The rules of gRPC are skipped; to check them, give --grpc HOST:PORT")
        return target
