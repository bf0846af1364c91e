"""Which graph a frame comes from: the agent itself, or a sub-agent, whose state is never the agent's.

With sub-graphs, LangGraph's stream gives each item a namespace: empty for the agent itself, otherwise the
path of tasks to the sub-agent. A runtime may pass it on beside the frame's type, or in the data. It may also
send LangGraph's own stream parts, `{"type", "ns", "data"}`.
"""

from __future__ import annotations

from collections.abc import Mapping

from server.frames import raw_json

#: Namespaces of the agent itself.
_ROOT = frozenset({b"null", b"[]", b'""', b'"()"', b'"[]"'})
#: Members that give a frame's namespace, beside its type.
_BESIDE = frozenset({"ns", "namespace", "checkpoint_ns", "langgraph_checkpoint_ns"})
#: Members of a state that no agent has: LangGraph reserves them.
_RESERVED = frozenset({"checkpoint_ns", "langgraph_checkpoint_ns"})
#: Longest list of names of tasks that is read.
_MAX_NAMESPACE_BYTES = 4096


def is_sub_agents(top: Mapping[str, bytes], data: Mapping[str, bytes]) -> bool:
    """Whether a state frame shows a sub-agent's state. top, data: the members of the frame and its data."""
    metadata = raw_json.members(top["metadata"]) if "metadata" in top else None
    # A state inside the data, with its namespace beside it.
    wrapped = _BESIDE if "data" in data or _names_tasks(data.get("ns")) else _RESERVED
    return _has_namespace(top, _BESIDE) or _has_namespace(data, wrapped) or _has_namespace(metadata, _BESIDE)


def _names_tasks(namespace: bytes | None) -> bool:
    """Whether it is a list of LangGraph's names of tasks, `node:id`, which no agent has as its own state."""
    if namespace is None or len(namespace) > _MAX_NAMESPACE_BYTES:
        return False
    names = [raw_json.string(item) for item in raw_json.items(namespace) or []]
    return bool(names) and all(name is not None and ":" in name for name in names)


def _has_namespace(members: Mapping[str, bytes] | None, keys: frozenset[str]) -> bool:
    if members is None or keys.isdisjoint(members):
        return False
    return any(members.get(key, b"null").strip() not in _ROOT for key in keys)


def part_of_agent(top: Mapping[str, bytes]) -> str | None:
    """The mode of a stream part of the agent itself, such as `values`; None for any other frame."""
    if top.get("ns") != b"[]" or "data" not in top or "event_type" in top:
        return None
    return raw_json.string(top.get("type"))


def state_members(top: Mapping[str, bytes], data: Mapping[str, bytes]) -> dict[str, bytes]:
    """The members of the agent's state. A stream part has the requests for input beside it."""
    if "interrupts" in top and part_of_agent(top) == "values":
        return {**data, "__interrupt__": top["interrupts"]}
    return dict(data)
