"""Reports of a check: for people, for programs, and for build servers."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Sequence

from ide_orchestrator.conformance.checking import Result

#: Characters that XML 1.0 cannot hold.
_NOT_IN_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_MARKS = {"passed": "pass", "failed": "FAIL", "skipped": "skip"}


def line_of(result: Result, width: int) -> str:
    """One row of the table. width: of the rules' names."""
    row = f"{_MARKS[result.outcome]}  {result.rule:{width}}  {result.says}"
    return f"{row}\n      {'':{width}}  {result.detail}" if result.detail else row


def summary_of(results: Sequence[Result]) -> str:
    """How many rules had which outcome."""
    counts = Counter(result.outcome for result in results)
    parts = [f"{counts[outcome]} {outcome}" for outcome in ("passed", "failed", "skipped") if counts[outcome]]
    return (
        f"{len(results)} rules: {', '.join(parts) or 'none'} in {sum(each.seconds for each in results):.1f} s"
    )


def junit_of(results: Sequence[Result], target: str) -> bytes:
    """The results in the XML form of JUnit, which build servers show."""
    counts = Counter(result.outcome for result in results)
    suite = ET.Element(
        "testsuite",
        name="ideo conformance",
        tests=str(len(results)),
        failures=str(counts["failed"]),
        skipped=str(counts["skipped"]),
        errors="0",
        time=f"{sum(each.seconds for each in results):.3f}",
        hostname=_clean(target),
    )
    for result in results:
        case = ET.SubElement(
            suite, "testcase", classname=result.rule, name=result.says, time=f"{result.seconds:.3f}"
        )
        if result.outcome == "failed":
            ET.SubElement(case, "failure", message=_clean(result.detail))
        elif result.outcome == "skipped":
            ET.SubElement(case, "skipped", message=_clean(result.detail))
    suites = ET.Element("testsuites")
    suites.append(suite)
    ET.indent(suites)
    document: bytes = ET.tostring(suites, encoding="utf-8", xml_declaration=True)
    return document


def _clean(text: str) -> str:
    return _NOT_IN_XML.sub("�", text)
