"""The socket on which HTTP listens, with a client of the same machine."""

import array
import fcntl
import socket
import termios
from contextlib import closing, suppress

from server.http.listener import RECEIVE_BUFFER_BYTES, listening_socket

#: Bytes that are read of a request before it waits.
READ_BYTES = 64 << 20
BLOCK = bytes(1 << 20)


def _fill(client: socket.socket) -> None:
    """Send until nothing more is taken."""
    with suppress(BlockingIOError):
        while True:
            client.send(BLOCK)


def _held_bytes(accepted: socket.socket) -> int:
    """Bytes that have arrived and were not read."""
    found = array.array("i", [0])
    fcntl.ioctl(accepted, termios.FIONREAD, found)
    return found[0]


def test_the_kernel_holds_little_of_a_request_that_is_no_longer_read() -> None:
    """By itself it lets the buffer of a client that sends much grow while its data is read."""
    with (
        closing(listening_socket("127.0.0.1", 0)) as listener,
        socket.create_connection(listener.getsockname()) as client,
    ):
        client.setblocking(False)
        with closing(listener.accept()[0]) as accepted:
            accepted.setblocking(False)
            read = 0
            while read < READ_BYTES:
                _fill(client)
                with suppress(BlockingIOError):
                    read += len(accepted.recv(READ_BYTES))
            _fill(client)
            # Linux takes twice as much as it is asked for.
            assert 0 < _held_bytes(accepted) <= 2 * RECEIVE_BUFFER_BYTES
