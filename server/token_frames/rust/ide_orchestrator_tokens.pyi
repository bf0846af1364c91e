"""Token frames of deepagents-runtime into entries of the journal."""

from collections.abc import Callable, Mapping, Sequence

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
        shared: bytes,
        last: bytes,
        number: Callable[..., Sequence[object]],
    ) -> tuple[int, bytes, bytes, list[bytes], bytes] | None: ...

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
