"""What becomes of a run's events in a recording: the runtime's frames, without those of the hub.

A thread's typed events say which of its legacy frames are the runtime's; the legacy frames have their texts.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from server.replay.recording import line_of, text_line

_END = '{"event_type":"end","data":{}}'
#: Why runs fail without a word of the runtime that a recording could repeat.
_RUNTIME_SAID = ("upstream_error", "empty_result")


class RunNotes:
    """What the typed events of a run say about its legacy frames. Events come in order, from the first."""

    def __init__(self) -> None:
        #: The seqs of the last event, and of the last one that has a legacy frame.
        self.last_seq = self.last_frame_seq = 0
        self.ended = False
        self.reason = ""
        self._message = ""
        #: How often frames may be missing or repeated, and frames that are not UTF-8.
        self.discontinuities = self.binary_frames = 0
        self._completed = False
        #: Whether the agent waits for an answer, and whether a frame reported an error.
        self._asks = self._error_reported = False
        #: The seqs of the answers, and of the frames that are not JSON objects which can be read.
        self._answers: list[int] = []
        self._texts: set[int] = set()

    def add(self, event: Mapping[str, Any]) -> None:
        """Note an event (Event as JSON)."""
        self.last_seq = event["seq"]
        if "token" in event or "state_update" in event:
            self.last_frame_seq = self.last_seq
        elif "upstream_frame" in event:
            self._add_frame(event["upstream_frame"])
        elif "input_requested" in event:
            self._asks = True
        elif "input_answered" in event:
            self._asks = False
            self._answers.append(self.last_seq)
        elif "discontinuity" in event:
            self.discontinuities += 1
        elif "terminal" in event:
            terminal = event["terminal"]
            self.ended, self.last_frame_seq = True, self.last_seq
            self._completed = terminal.get("outcome") == "OUTCOME_COMPLETED"
            self.reason, self._message = terminal.get("reason", ""), terminal.get("message", "")

    def _add_frame(self, frame: Mapping[str, Any]) -> None:
        reason = str(frame.get("reason", "")).removeprefix("UPSTREAM_FRAME_REASON_")
        if reason == "AFTER_END":
            return
        self.last_frame_seq = self.last_seq
        if reason in ("MALFORMED", "TOO_COMPLEX"):
            self._texts.add(self.last_seq)
        self._error_reported |= reason == "ERROR_REPORT"
        self.binary_frames += "binary" in frame

    @property
    def stopped_by_hub(self) -> bool:
        """Whether the run ended for a reason that is not in the runtime's frames, such as a cancel."""
        return self.ended and not self._completed and self.reason not in _RUNTIME_SAID

    def part_of(self, seq: int) -> int:
        """The part of the recording that an event belongs to: 1, and one more after each answer."""
        return 1 + sum(answer < seq for answer in self._answers)

    @property
    def parts(self) -> int:
        """The number of parts."""
        return 1 + len(self._answers)

    def lines(self, seq: int, frame: str) -> Iterator[str]:
        """The lines of the recording for the legacy frame of an event."""
        if not (self.ended and seq == self.last_seq):
            yield self._line(seq, frame)
        elif not self.stopped_by_hub:
            if self.reason == "upstream_error" and not self._error_reported:
                # The runtime's state had it, and no frame.
                yield line_of(json.dumps({"event_type": "error", "data": {"error": self._message}}))
            yield line_of(without_seq(frame))
        elif self._asks:
            # The stream of an agent that waits had ended.
            yield _END

    def last_line(self, part: int) -> str | None:
        """What ends a part whose stream had ended, and whose `end` no journal has: the agent asks a
        person."""
        return _END if part < self.parts or (self._asks and not self.ended) else None

    def _line(self, seq: int, frame: str) -> str:
        if seq in self._texts:
            value = json.loads(frame)
            data = value.get("data")
            if value.get("event_type") == "unknown" and isinstance(data, dict) and data.keys() == {"raw"}:
                return text_line(str(data["raw"]))
        return line_of(without_seq(frame))


def without_seq(frame: str) -> str:
    """The runtime's frame of a legacy frame."""
    value = json.loads(frame)
    suffix = f',"seq":{value["seq"]}}}'
    if frame.endswith(suffix) and frame.count('"seq"') == 1:
        return frame.removesuffix(suffix) + "}"
    del value["seq"]
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
