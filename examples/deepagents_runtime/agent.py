"""The agent: a deepagents graph, as the workflow's `agent_definition` describes it."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import Annotated, Any

from deepagents import create_deep_agent
from langchain.agents.middleware import InterruptOnConfig
from langchain_core.messages import ToolMessage
from langchain_core.tools import InjectedToolCallId, tool
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.graph.state import CompiledStateGraph
from langgraph.types import Command
from pydantic import BaseModel

from scripted_model import ScriptedModel

#: A chat model as LangChain names it, such as `anthropic:claude-sonnet-4-6`.
MODEL = os.environ.get("AGENT_MODEL", "scripted")


class AgentDefinition(BaseModel):
    """What a workflow may say about its agent; other members are ignored."""

    system_prompt: str | None = None
    #: The tools that a person has to approve, such as `write_file`.
    ask_before: list[str] = []


@tool
def write_binary_file(
    file_path: str, content_base64: str, tool_call_id: Annotated[str, InjectedToolCallId]
) -> Command[Any]:
    """Write a file that is not text, such as an image. Its content is given in base64."""
    now = datetime.now(UTC).isoformat()
    file = {"content": content_base64, "encoding": "base64", "created_at": now, "modified_at": now}
    answer = ToolMessage(f"Wrote {file_path}", tool_call_id=tool_call_id)
    return Command(update={"files": {file_path: file}, "messages": [answer]})


def build_agent(
    definition: AgentDefinition, checkpointer: BaseCheckpointSaver[Any] | None
) -> CompiledStateGraph[Any, Any, Any, Any]:
    """The graph of a run. checkpointer: None where the server has one."""
    decisions: InterruptOnConfig = {"allowed_decisions": ["approve", "edit", "reject"]}
    return create_deep_agent(
        model=ScriptedModel() if MODEL == "scripted" else MODEL,
        tools=[write_binary_file],
        system_prompt=definition.system_prompt,
        interrupt_on=dict.fromkeys(definition.ask_before, decisions),
        checkpointer=checkpointer,
    )
