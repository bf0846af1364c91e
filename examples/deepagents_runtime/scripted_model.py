"""A chat model without a provider, for tests: it says what the prompt tells it, and calls the tools it names.

A prompt is a JSON list of steps, one for each turn of the model: `{"text": "…", "calls": [["tool",
{arguments}], …]}`, or `{"error": "…"}` for a provider that fails. The prompt of a sub-agent is such a list,
too. For any other prompt the steps are DEFAULT_STEPS.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    BaseMessage,
    HumanMessage,
    message_chunk_to_message,
)
from langchain_core.messages.tool import tool_call_chunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult

DEFAULT_STEPS: list[dict[str, Any]] = [
    {
        "text": "I will write the plan.",
        "calls": [["write_file", {"file_path": "/plan.md", "content": "# Plan\n\n1. Ask.\n2. Answer.\n"}]],
    },
    {"text": "The plan is in /plan.md."},
]


class ProviderError(Exception):
    """A failure that a step asks for."""


class ScriptedModel(BaseChatModel):
    """Plays the steps of the prompt, word by word."""

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def bind_tools(self, tools: Sequence[Any], **options: Any) -> ScriptedModel:
        """The model itself: the script names the tools."""
        return self

    def _stream(
        self, messages: list[BaseMessage], stop: Any = None, run_manager: Any = None, **options: Any
    ) -> Iterator[ChatGenerationChunk]:
        turn = sum(isinstance(message, AIMessage) for message in messages)
        step = _steps(messages)[turn]
        if "error" in step:
            raise ProviderError(step["error"])
        pieces = [AIMessageChunk(content=word) for word in step.get("text", "").split(" ") if word]
        for piece in pieces[1:]:
            piece.content = f" {piece.content}"
        for index, (tool, arguments) in enumerate(step.get("calls", [])):
            call = tool_call_chunk(
                name=tool, args=json.dumps(arguments), id=f"call_{turn}_{index}", index=index
            )
            pieces.append(AIMessageChunk(content="", tool_call_chunks=[call]))
        pieces.append(AIMessageChunk(content="", chunk_position="last"))
        for piece in pieces:
            chunk = ChatGenerationChunk(message=piece)
            if run_manager is not None:
                run_manager.on_llm_new_token(chunk.text, chunk=chunk)
            yield chunk

    def _generate(
        self, messages: list[BaseMessage], stop: Any = None, run_manager: Any = None, **options: Any
    ) -> ChatResult:
        first, *others = self._stream(messages, stop, run_manager, **options)
        whole = sum(others, first).message
        return ChatResult(generations=[ChatGeneration(message=message_chunk_to_message(whole))])


def _steps(messages: list[BaseMessage]) -> list[dict[str, Any]]:
    prompt = next(message.text for message in messages if isinstance(message, HumanMessage))
    return json.loads(prompt) if prompt.startswith("[") else DEFAULT_STEPS
