"""Which form reads token frames."""

from __future__ import annotations

from importlib import metadata

from server.compiled.choice import (
    compiled_whole_messages,
    interpreter_of_runs,
    legacy_tokens,
    why_not_compiled,
)
from server.compiled.spliced import SplicingInterpreter
from tests.unit.compiled.forms import compiled


def test_where_the_module_is_installed_it_is_used() -> None:
    form = compiled()
    assert interpreter_of_runs(compiled=True) is form
    assert legacy_tokens(compiled=True) is not None
    assert compiled_whole_messages(compiled=True) is not None


def test_it_is_not_used_where_it_is_not_wanted() -> None:
    assert interpreter_of_runs(compiled=False) is SplicingInterpreter
    assert legacy_tokens(compiled=False) is None
    assert compiled_whole_messages(compiled=False) is None


def test_the_module_of_another_version_is_not_used() -> None:
    compiled()
    its = metadata.version("ide-orchestrator-compiled")
    assert why_not_compiled("0.0.1") == f"the installed module has the version {its}, and the hub 0.0.1"
