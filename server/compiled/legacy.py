"""The legacy frames of tokens, in Rust (ADR 0075)."""

from __future__ import annotations

from array import array

from ide_orchestrator_compiled import LegacyTokens

from server.domain.streams.legacy_tokens import Framing, TokensMade


class CompiledLegacyTokens:
    """Implements `LegacyTokens`. Importing this module raises ImportError where the Rust module is not
    installed."""

    def __init__(self) -> None:
        self._made = LegacyTokens()

    def take(
        self,
        deltas: bytes,
        at: int,
        seq: int,
        last_seq: int,
        token: bytes,
        framing: Framing,
        max_bytes: int,
    ) -> TokensMade | None:
        """As of LegacyTokens."""
        made = self._made.take(deltas, at, seq, last_seq, token, framing.header, max_bytes)
        if made is None:
            return None
        data, ends, last = made
        indexes = array("Q")
        indexes.frombytes(ends)
        return TokensMade(data, indexes, last)
