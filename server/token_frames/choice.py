"""Which form reads token frames."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable

from server.domain.runs.runtime import FrameInterpreter
from server.token_frames.spliced import SplicingInterpreter


def is_compiled(*, wanted: bool) -> bool:
    """Whether the compiled form is used: it is, if it is wanted and installed."""
    return wanted and importlib.util.find_spec("ide_orchestrator_tokens") is not None


def interpreter_of_runs(*, compiled_wanted: bool) -> Callable[[], FrameInterpreter]:
    """Makes the interpreter of a run."""
    if not is_compiled(wanted=compiled_wanted):
        return SplicingInterpreter
    # It imports the module that is not everywhere.
    from server.token_frames.compiled import CompiledInterpreter

    return CompiledInterpreter
