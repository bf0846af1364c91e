"""Checks whether a hub keeps the promises of its interfaces: one refinement, followed and read in every way.

`ideo conformance` is the command. Programs, such as a test of one's own, call `check`. Needs the
extra `grpc`.
"""

from ide_orchestrator.conformance.checking import RULES, Result, UnknownRule, check, select
from ide_orchestrator.conformance.report import junit_of, line_of, summary_of
from ide_orchestrator.conformance.rule import Rule
from ide_orchestrator.conformance.scenario import PROMPT
from ide_orchestrator.conformance.target import Target, find_grpc

__all__ = [
    "PROMPT",
    "RULES",
    "Result",
    "Rule",
    "Target",
    "UnknownRule",
    "check",
    "find_grpc",
    "junit_of",
    "line_of",
    "select",
    "summary_of",
]
