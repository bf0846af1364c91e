"""The ports that the hub listens on: whether it can, and how several processes share them.

Imports neither interface: the parent of `ideo serve --processes` stays small.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

from server.addresses import listening
from server.http.listener import family_of, listening_socket
from server.settings.settings import Settings
from server.start_error import StartError


class CannotListen(StartError):
    """An address to listen on is taken, not this machine's, or not permitted. setting: its port's."""

    def __init__(
        self, setting: str, host: str, port: int | str, reason: str, what_to_do: str | None = None
    ) -> None:
        shown = f"[{host}]" if ":" in host else host
        what_to_do = what_to_do or listening.another(host="IDEO_HOST", port=setting)
        super().__init__(f"cannot listen on {shown}:{port} ({reason}): {what_to_do}")


def check_ports(settings: Settings) -> None:
    """Raises StartError, which names each port on which the hub could not listen now."""
    http, grpc = settings.http_port, settings.grpc_port
    if http and http == grpc:
        raise CannotListen("IDEO_GRPC_PORT", settings.host, grpc, "it is the port of IDEO_HTTP_PORT, too")
    refused: list[tuple[str, int, OSError | UnicodeError]] = []
    for setting, port in (("IDEO_HTTP_PORT", http), ("IDEO_GRPC_PORT", grpc)):
        try:
            listening_socket(settings.host, port).close()
        except (OSError, UnicodeError) as error:
            refused.append((setting, port, error))
    if len({listening.refusal(error) for *_, error in refused}) == 1:
        # One reason: a program that listens on both, or the host.
        named = " and ".join(setting for setting, *_ in refused)
        raise _refusal(settings, named, " and ".join(str(port) for _, port, _ in refused), refused[0][2])
    if refused:
        raise StartError("; ".join(str(_refusal(settings, *each)) for each in refused))


def http_listener(settings: Settings, *, shared: bool = False) -> socket.socket:
    """The socket on which HTTP listens. `shared`: as those of other processes. Raises CannotListen."""
    with _refusals(settings, "IDEO_HTTP_PORT", settings.http_port):
        return listening_socket(settings.host, settings.http_port, shared=shared)


@contextlib.contextmanager
def held_ports(settings: Settings) -> Iterator[Settings]:
    """The settings with the ports of both interfaces, which are this process's until the block ends.

    It does not listen: its children do, each with a shared socket of its own, and the kernel gives each new
    connection to one of them. Any other program finds the ports taken, also while no child listens. Raises
    CannotListen.
    """
    check_ports(settings)
    with contextlib.ExitStack() as stack:
        http = _held(settings, "IDEO_HTTP_PORT", settings.http_port, stack)
        grpc = _held(settings, "IDEO_GRPC_PORT", settings.grpc_port, stack)
        yield settings.model_copy(update={"http_port": http, "grpc_port": grpc})


def _held(settings: Settings, setting: str, port: int, stack: contextlib.ExitStack) -> int:
    if not hasattr(socket, "SO_REUSEPORT"):
        raise CannotListen(setting, settings.host, port, "several processes can share it only on Linux")
    with _refusals(settings, setting, port):
        holder = stack.enter_context(socket.socket(family_of(settings.host), socket.SOCK_STREAM))
        # Connections of an earlier hub that the kernel has not forgotten are no obstacle ...
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        holder.bind((settings.host, port))
        # ... but this socket is one for a program that does not share the port.
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
        return int(holder.getsockname()[1])


@contextlib.contextmanager
def _refusals(settings: Settings, setting: str, port: int) -> Iterator[None]:
    try:
        yield
    except (OSError, UnicodeError) as error:
        raise _refusal(settings, setting, port, error) from None


def _refusal(
    settings: Settings, setting: str, port: int | str, error: OSError | UnicodeError
) -> CannotListen:
    what_to_do = listening.remedy(error, host="IDEO_HOST", port=setting)
    return CannotListen(setting, settings.host, port, listening.refusal(error), what_to_do)
