"""The frames of a run: its events in the form of deepagents-runtime's frames, and how it ended.

The events hold the same data as those frames do, LangGraph's own. The server closes a stream without saying
why, so the end comes from the run's status.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from server.agent_server.events import ServerEvent, ServerEvents
from server.agent_server.repeats import Repeats
from server.domain.runs.runtime import Frames, OversizedFrame
from server.encoding.json_text import dump

#: The frame after the last one of a run that is over.
END = b'{"event_type":"end","data":{}}'
#: The run stands at a breakpoint. LangGraph sends this as an update, which the server leaves out.
BREAKPOINT = b'{"event_type":"on_updates","data":{"__interrupt__":[]}}'
#: Events about the stream, and the error of a run that its status has, too: a replay leaves it out.
_NOT_OF_THE_AGENT = frozenset({b"metadata", b"error", b"feedback", b"end"})
_QUESTION = b'"__interrupt__":'


def frame_of(event: ServerEvent) -> bytes | None:
    """The frame of an event; None for one that is not the agent's."""
    if event.name in _NOT_OF_THE_AGENT:
        return None
    if event.name == b"values":
        return b'{"event_type":"on_state_update","data":' + event.data + b"}"
    if event.name == b"messages":
        return b'{"event_type":"on_llm_stream","data":{"raw_event":' + event.data + b"}}"
    name = dump("on_" + event.name.decode(errors="replace"))
    return b'{"event_type":' + name + b',"data":' + event.data + b"}"


def error_frame(message: str) -> bytes:
    """The frame of a run that failed."""
    return dump(
        {"event_type": "error", "data": {"error": {"message": message}, "context": "execution_failed"}}
    )


class RunFrames:
    """The frames of one connection to a run's stream.

    repeats: of that connection. ending: called when the server has closed the stream, with whether a frame
    asked a person; returns the frames after the last one. Raises StreamClosed when the run is not over.
    """

    def __init__(
        self,
        events: ServerEvents,
        repeats: Repeats,
        ending: Callable[[bool], Awaitable[Sequence[bytes]]],
    ) -> None:
        self._events, self._repeats, self._ending = events, repeats, ending
        self._asked = self._over = False

    def __aiter__(self) -> Frames:
        return self

    async def __anext__(self) -> Sequence[bytes | OversizedFrame]:
        if self._over:
            raise StopAsyncIteration
        try:
            events = await anext(self._events)
        except StopAsyncIteration:
            self._over = True
            return await self._ending(self._asked)
        frames = [await self._frame(event) for event in events]
        return [frame for frame in frames if frame is not None]

    async def _frame(self, event: ServerEvent | OversizedFrame) -> bytes | OversizedFrame | None:
        if isinstance(event, OversizedFrame):
            return event
        if await self._repeats.repeated(event):
            return None
        self._asked = self._asked or (event.name == b"values" and _QUESTION in event.data)
        frame = frame_of(event)
        if frame is None:
            self._events.empty.add(1)
        return frame
