"""The request of AG-UI 1.0: what its client asks an agent to do."""

from __future__ import annotations

import hashlib
from typing import Annotated, Any
from uuid import UUID

from pydantic import ConfigDict, Field

from server.domain import model
from server.wire.agui_resume import ResumeEntries
from server.wire.refinements import StartRefinementRequest
from server.wire.validation import NOT_BLANK, STORABLE, RequestModel, renamed_fields

MAX_ID, MAX_MESSAGES = 255, 10_000

_Id = Annotated[str, Field(min_length=1, max_length=MAX_ID), NOT_BLANK, STORABLE]


class RunAgentInput(RequestModel):
    """A run to start, or to attach to. Members that are not named here are accepted and not used."""

    model_config = ConfigDict(extra="ignore")

    threadId: Annotated[
        _Id,
        Field(description="The client's conversation; or the `thread_id` of a refinement, to attach to it."),
    ]
    runId: Annotated[
        _Id,
        Field(description="Names the run: sent again with the same ids, it attaches to what it started."),
    ]
    messages: Annotated[
        list[dict[str, Any]],
        Field(max_length=MAX_MESSAGES, description="The conversation. The last user message is the prompt."),
    ]
    resume: ResumeEntries = Field(default=[])

    def command(self, workflow_id: UUID) -> model.StartRefinement:
        """The start of a refinement. Raises InvalidArgument."""
        with renamed_fields({"user_prompt": "messages"}):
            return StartRefinementRequest.model_validate({"user_prompt": self._prompt()}).command(workflow_id)

    @property
    def key(self) -> str:
        """The idempotency key of the start."""
        ids = f"{self.threadId}\0{self.runId}"
        return f"agui-{hashlib.sha256(ids.encode()).hexdigest()}"

    def _prompt(self) -> str:
        """The text of the last user message; empty without one."""
        for message in reversed(self.messages):
            if message.get("role") == "user":
                return _text(message.get("content"))
        return ""


def _text(content: object) -> str:
    """The text of a message's content: text, or parts of which some are."""
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    texts = [part.get("text") for part in parts if isinstance(part, dict) and part.get("type") == "text"]
    return "\n".join(text for text in texts if isinstance(text, str))
