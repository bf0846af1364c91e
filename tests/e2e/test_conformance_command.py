"""`ideo conformance` against a running hub: its results in each form, and its exit codes."""

from __future__ import annotations

import json
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

from ide_orchestrator.conformance import RULES
from tests.support.commands import Commands, Ideo
from tests.support.hub import RunningHub, running_hub
from tests.support.pages import code_blocks
from tests.support.programs import output_of


async def test_the_table_the_junit_file_and_the_json_say_the_same(
    hub: RunningHub, ideo: Ideo, tmp_path: Path
) -> None:
    file = tmp_path / "results.xml"
    only = ["--only", "headers", "--only", "strangers.rest", "--grpc", hub.grpc]
    code, output, messages = await ideo("conformance", *only, "--junit", str(file))
    assert code == 0, output + messages
    names = ["run", "headers.etag", "headers.answers", "headers.sse", "headers.durable", "strangers.rest"]
    rows = [line.split() for line in output.splitlines() if not line.startswith(" ")]
    assert [row[1] for row in rows] == names
    assert {row[0] for row in rows} == {"pass", "skip"}
    assert "it needs the token of another user: --other-token" in output
    assert "6 rules: 5 passed, 1 skipped in" in messages
    (suite,) = ET.parse(file).getroot()
    assert (suite.get("tests"), suite.get("failures"), suite.get("skipped")) == ("6", "0", "1")
    assert [case.get("classname") for case in suite] == names
    code, output, _ = await ideo("conformance", *only, "--json")
    results = [json.loads(line) for line in output.splitlines()]
    assert (code, [result["rule"] for result in results]) == (0, names)
    assert results[-1]["outcome"] == "skipped"
    async with hub.client() as client:
        workflows = [workflow async for workflow in client.workflows()]
        proposals = [proposal async for proposal in client.proposals()]
    assert [workflow["archived"] for workflow in workflows] == [True, True]
    assert {proposal["resolution"] for proposal in proposals} == {"rejected"}


async def test_the_address_of_grpc_is_the_one_that_the_hub_says_and_with_a_wrong_one_its_rules_fail(
    ideo: Ideo,
) -> None:
    code, output, messages = await ideo("conformance", "--only", "info")
    assert code == 0
    assert "pass  info.grpc" in output
    assert "skip" not in output + messages
    code, output, _ = await ideo("conformance", "--only", "info", "--grpc", "127.0.0.1:1")
    assert code == 1
    assert "FAIL  info.grpc" in output


async def test_where_no_hub_answers_over_grpc_its_rules_are_skipped(database: str) -> None:
    # Nobody listens there.
    async with running_hub(database, grpc_public_url="http://127.0.0.1:1") as hub:
        code, output, messages = await Commands(hub.ideo_settings).ideo("conformance", "--only", "info")
    assert code == 0
    assert "skip  info.grpc" in output
    assert "127.0.0.1:1 (UNAVAILABLE)" in messages
    assert "give --grpc HOST:PORT" in messages


async def test_what_cannot_be_checked_has_the_exit_code_of_its_cause(ideo: Ideo) -> None:
    assert (await ideo("conformance", IDEO_URL="http://127.0.0.1:1"))[0] == 5
    assert (await ideo("conformance", IDEO_TOKEN="x"))[0] == 4
    code, _, messages = await ideo("conformance", "--only", "nonsense")
    assert (code, "no rule is called nonsense" in messages) == (2, True)


async def test_rules_are_listed(ideo: Ideo) -> None:
    code, output, _ = await ideo("conformance", "--list")
    assert code == 0
    assert [line.split()[0] for line in output.splitlines()] == [rule.name for rule in RULES]


async def test_the_program_of_the_page_works_as_it_is(hub: RunningHub, tmp_path: Path) -> None:
    (program,) = code_blocks("docs/howto/check-a-hub.md", "python")
    (tmp_path / "program.py").write_text(program)
    settings = {**hub.ideo_settings, "IDEO_GRPC": hub.grpc, "NO_PROXY": "127.0.0.1"}
    output = await output_of(sys.executable, "program.py", folder=tmp_path, within_s=100, **settings)
    assert "passed resume.agui" in output
    assert "failed" not in output
