"""The steps of the hub that cost most, in Rust."""

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias, overload

#: Class, id, text, calls with id, name and arguments, name, id of the call, status, usage.
PrintedMessage: TypeAlias = tuple[
    str, str, str, list[tuple[str, str, str]], str, str, str, tuple[int, int, int, int, int] | None
]

#: Path, entry of the file map, content, times of its creation and change, SHA-256 in hex.
ChangedFile: TypeAlias = tuple[str, bytes, bytes, str | None, str | None, str]

class TokenFrames:
    """The reader of one run's token frames: `src/lib.rs`."""

    def __new__(cls, keys: Mapping[str, bytes]) -> TokenFrames: ...
    @property
    def size_bytes(self) -> int: ...
    def forget(self) -> None: ...
    def take(
        self,
        frames: Sequence[object],
        start: int,
        first_seq: int,
        moment: tuple[int, int, int],
        last: bytes,
        indexes: Callable[..., Sequence[int]],
    ) -> tuple[tuple[int, bytes, bytes, list[bytes]], bytes] | None: ...

class Messages(Sequence[bytes]):
    """Messages in what was read of a WebSocket: `src/lib.rs`."""

    @property
    def sizes(self) -> list[int]: ...
    @overload
    def __getitem__(self, index: int) -> bytes: ...
    @overload
    def __getitem__(self, index: slice) -> Messages: ...
    def __len__(self) -> int: ...

def whole_messages(ahead: bytes, used: int, max_frame_bytes: int) -> tuple[Messages, int]: ...
def difference(old: bytes, new: bytes) -> bytes: ...
def printed_messages(
    raw: bytes, start: int
) -> tuple[list[tuple[str, PrintedMessage | None]], int, int] | None: ...
def text_file(entry: bytes) -> tuple[bytes, str | None, str | None] | None: ...

class StateSplit:
    """A state frame as its values and what is between them: `src/states.rs`."""

    def __new__(cls, frame: bytes, places: Sequence[tuple[int, int]]) -> StateSplit: ...
    def next(self, frame: bytes) -> tuple[StateSplit, list[tuple[int, bytes]]] | None: ...
    @property
    def digest(self) -> bytes: ...
    @property
    def size_bytes(self) -> int: ...

class FileUpdates:
    """State frames that differ from the last one in text files alone: `src/lib.rs`."""

    def __new__(cls, keys: Mapping[str, bytes], sha256: Callable[[bytes], object]) -> FileUpdates: ...
    def next(
        self,
        last: StateSplit,
        frame: bytes,
        names: Sequence[tuple[bool, str]],
        seq: int,
        moment: tuple[int, int, int],
        message_count: int,
    ) -> tuple[StateSplit, bytes, bytes, list[ChangedFile]] | None: ...

class LegacyTokens:
    """Makes legacy frames of tokens: `src/legacy.rs`."""

    def take(
        self,
        deltas: bytes,
        at: int,
        seq: int,
        last_seq: int,
        token: bytes,
        header: Callable[[int], bytes],
        max_bytes: int,
    ) -> tuple[bytes, bytes, bytes] | None: ...

def send_to_all(descriptors: bytes, data: bytes) -> list[tuple[int, int]]: ...
