"""Checking a hub: the rules, one after the other, and what each gave."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal

import grpc.aio

from ide_orchestrator.client import HubError, NotTrusted, Unavailable
from ide_orchestrator.conformance.file_rules import file_rules
from ide_orchestrator.conformance.http_rules import http_rules
from ide_orchestrator.conformance.refusal_rules import refusal_rules
from ide_orchestrator.conformance.review_rules import review_rules
from ide_orchestrator.conformance.rule import Rule
from ide_orchestrator.conformance.scenario import PROMPT, Scenario
from ide_orchestrator.conformance.stream_rules import stream_rules
from ide_orchestrator.conformance.target import LIMIT_REACHED, Broken, Skipped, Target

#: Every rule, in the order in which they are tried: the reviews last, since they change the draft.
RULES: tuple[Rule, ...] = (*http_rules(), *stream_rules(), *file_rules(), *refusal_rules(), *review_rules())
#: What brings about the refinement that most rules look at. It is a rule, too, and cannot be left out.
RUN = "run"
_RUN_SAYS = "A refinement starts, runs and ends, and its events can be read"
#: Seconds that a rule waits at most where the hub is at a limit of the caller's: its creations are counted by
#: the minute.
MAX_LIMIT_WAIT_S = 60.0
Pause = Callable[[float], Awaitable[object]]


@dataclass(frozen=True)
class Result:
    """What a rule gave. detail: why it failed or was skipped; empty when it passed."""

    rule: str
    says: str
    outcome: Literal["passed", "failed", "skipped"]
    detail: str
    seconds: float


class UnknownRule(ValueError):
    """No rule has the name. The text says so."""


def select(patterns: Sequence[str] = ()) -> list[Rule]:
    """The rules whose name or group is named, or fits a pattern such as `*.sse`; without patterns all.

    Raises UnknownRule for a pattern that fits none.
    """
    for pattern in patterns:
        if pattern != RUN and not any(_fits(rule, pattern) for rule in RULES):
            raise UnknownRule(f"no rule is called {pattern}")
    return [rule for rule in RULES if not patterns or any(_fits(rule, each) for each in patterns)]


def _fits(rule: Rule, pattern: str) -> bool:
    return rule.group == pattern or fnmatchcase(rule.name, pattern)


async def check(
    target: Target,
    only: Sequence[str] = (),
    *,
    prompt: str = PROMPT,
    run_s: float = 600,
    rule_s: float = 120,
    pause: Pause = asyncio.sleep,
) -> AsyncGenerator[Result, None]:
    """The results of the rules, as they come.

    only: names of rules or groups, or patterns. prompt: what the refinement asks the agent. run_s,
    rule_s: seconds that the refinement, and each rule, may take. pause: waits for so many seconds before a
    rule is tried again, because the hub was at a limit. What the rules make is archived at the end; proposals
    stay. Raises UnknownRule, and HubError when no hub answers at the target's address, or when it
    rejects the token.
    """
    rules = select(only)
    # A run has a limit of its own. Its events are then read on several transports, each as long as a rule.
    whole_s = run_s + 6 * rule_s
    scenario = Scenario(target, prompt=prompt, run_s=run_s, stream_s=rule_s)
    try:
        await _reach(scenario, rule_s)
        needed = [rule for rule in rules if rule.run]
        began = not (needed or RUN in only)
        for rule in rules:
            if rule.run and not began:
                began = True
                yield await tried(_run_rule(needed, target), scenario, whole_s, pause)
            # One more refinement runs for that rule.
            yield await tried(rule, scenario, whole_s if rule.name == "reject" else rule_s, pause)
        if not began:
            yield await tried(_run_rule([], target), scenario, whole_s, pause)
    finally:
        await scenario.aclose()


async def _reach(scenario: Scenario, answer_s: float) -> None:
    """Raise Unavailable when no server answers within these seconds, NotTrusted when its certificate is not
    accepted, NotAuthenticated when it rejects the token."""
    try:
        await asyncio.wait_for(scenario.hub.call("GET", "/api/info"), answer_s)
    except asyncio.TimeoutError:
        raise Unavailable(f"the answer of {scenario.target.http} has no end after {answer_s:g} s") from None
    except (Unavailable, NotTrusted) as error:
        if not error.status:
            raise
    except HubError as error:
        if error.code == "unauthenticated":
            raise


def _run_rule(rules: Sequence[Rule], target: Target) -> Rule:
    live = [rule.live for rule in rules if rule.live and (target.grpc or not rule.grpc)]

    async def _begin(scenario: Scenario) -> None:
        await scenario.begin(live)

    return Rule(RUN, _RUN_SAYS, _begin, run=False)


async def tried(rule: Rule, scenario: Scenario, limit_s: float, pause: Pause) -> Result:
    """What the rule gave. It is tried once more where the hub was at a limit of the caller's for at most
    MAX_LIMIT_WAIT_S, and skipped where it then is again.

    limit_s: seconds that each try may take.
    """
    began = time.monotonic()
    outcome: Literal["passed", "failed", "skipped"] = "passed"
    detail = ""
    try:
        if rule.grpc and not scenario.target.grpc:
            raise Skipped("it needs the address of gRPC: --grpc")
        if rule.run:
            scenario.run  # noqa: B018 (raises Skipped)
        await _when_admitted(lambda: asyncio.wait_for(rule.check(scenario), limit_s), pause)
    except Skipped as why:
        outcome, detail = "skipped", str(why)
    except Broken as why:
        outcome, detail = "failed", str(why)
    except HubError as error:
        outcome, detail = "failed", f"the hub refuses: {error}" if error.code else str(error)
    except grpc.aio.AioRpcError as error:
        outcome, detail = "failed", f"gRPC {error.code().name}: {error.details()}"
    except asyncio.TimeoutError:
        outcome, detail = "failed", f"there is no end after {limit_s:g} s"
    # A hub that is not one may answer anything, and every way to misread it is a failure of the rule.
    except Exception as error:
        outcome, detail = (
            "failed",
            f"the answer is not of the interface's form ({type(error).__name__}: {error})",
        )
    return Result(rule.name, rule.says, outcome, detail, time.monotonic() - began)


async def _when_admitted(check: Callable[[], Awaitable[None]], pause: Pause) -> None:
    """Raises Skipped when the hub is at a limit of the caller's, also after the wait that it asks for."""
    for pauses_left in (1, 0):
        try:
            return await check()
        except HubError as error:
            if error.code != LIMIT_REACHED:
                raise
            wait_s = error.retry_after_s
            if wait_s is None or wait_s > MAX_LIMIT_WAIT_S or not pauses_left:
                again = "later" if wait_s is None else f"in {wait_s:.0f} s"
                raise Skipped(f"the hub's limit was reached ({error}): try again {again}") from None
        await pause(wait_s)
    return None
