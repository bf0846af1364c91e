"""What the compiled module does where it is wanted and can be had (`compiled`), and Python elsewhere.

Whether it can be had is asked once, where the hub is composed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import metadata

from server.compiled.spliced import SplicingInterpreter
from server.domain.runs.runtime import FrameInterpreter
from server.domain.streams.legacy_tokens import LegacyTokens


def interpreter_of_runs(*, compiled: bool) -> Callable[[], FrameInterpreter]:
    """Makes the interpreter of a run."""
    if not compiled:
        return SplicingInterpreter
    # It imports the module that is not everywhere.
    from server.compiled.interpreter import CompiledInterpreter

    return CompiledInterpreter


def legacy_tokens(*, compiled: bool) -> LegacyTokens | None:
    """Makes the legacy frames of tokens; None to have them made as all others."""
    if not compiled:
        return None
    from server.compiled.legacy import CompiledLegacyTokens

    return CompiledLegacyTokens()


def compiled_send_to_all(*, compiled: bool) -> Callable[[bytes, bytes], Sequence[tuple[int, int]]] | None:
    """Sends the same bytes to many sockets, as `send_to_all` of `http/multicast.py`; None to use that."""
    if not compiled:
        return None
    from ide_orchestrator_compiled import send_to_all

    return send_to_all


def compiled_whole_messages(
    *, compiled: bool
) -> Callable[[bytes, int, int], tuple[Sequence[bytes], int]] | None:
    """Finds the messages in what was read of a WebSocket, as `whole_messages` of `runtime/websocket.py`; None
    to have them found by that."""
    if not compiled:
        return None
    from ide_orchestrator_compiled import whole_messages

    return whole_messages


def why_not_compiled(hub_version: str = "") -> str:
    """Why the compiled form cannot be had here; empty if it can. hub_version: that of the hub, if it is not
    the installed one's."""
    ours = hub_version or metadata.version("ide-orchestrator")
    try:
        its = metadata.version("ide-orchestrator-compiled")
        if its != ours:
            return f"the installed module has the version {its}, and the hub {ours}"
        import ide_orchestrator_compiled  # noqa: F401 - whether it loads
    except metadata.PackageNotFoundError:
        return "it is not installed"
    except ImportError as error:
        # Such as one that was built for a newer C library.
        return f"it cannot be loaded: {error}"
    return ""
