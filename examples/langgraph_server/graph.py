"""The graph of a run: that of examples/deepagents_runtime, for LangGraph's Agent Server.

`langgraph.json` names it, and puts that example's folder on Python's path.
"""

from __future__ import annotations

from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.graph.state import CompiledStateGraph

from agent import AgentDefinition, build_agent


def make_graph(config: RunnableConfig) -> CompiledStateGraph[Any, Any, Any, Any]:
    """The graph as the workflow's `agent_definition` describes it. The server brings the checkpointer."""
    definition = config.get("configurable", {}).get("agent_definition") or {}
    return build_agent(AgentDefinition.model_validate(definition), None)
