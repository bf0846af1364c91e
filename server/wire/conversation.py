"""The agent's messages, tokens and tool calls to and from the contract's messages."""

from __future__ import annotations

from typing import Any

from server.domain.journal.events import (
    AgentMessage,
    InvalidToolCall,
    Role,
    Token,
    TokenUsage,
    ToolCall,
    ToolCallPiece,
)
from server.encoding.json_text import replace_surrogates
from server.wire import messages as m
from server.wire.content import read_parts, write_parts
from server.wire.text import to_uint32, to_uint64

#: The contract's numbers by domain value. Enum attributes cost a descriptor call each on the hot path.
_ROLE_NUMBER: dict[Role, Any] = {role: role.value for role in Role}
_ROLE_OF = {role.value: role for role in Role}


def write_token(target: m.Token, token: Token) -> None:
    """Write a token."""
    try:
        _fill_token(target, token)
    except UnicodeEncodeError:
        target.Clear()
        clean = Token(
            replace_surrogates(token.message_id),
            token.role,
            replace_surrogates(token.text),
            tuple(
                ToolCallPiece(
                    p.index,
                    replace_surrogates(p.id),
                    replace_surrogates(p.name),
                    replace_surrogates(p.arguments),
                )
                for p in token.tool_calls
            ),
            replace_surrogates(token.node),
            token.last,
            replace_surrogates(token.name),
            replace_surrogates(token.tool_call_id),
            uninterpreted=True,
            parts=token.parts,
            status=replace_surrogates(token.status),
            namespace=replace_surrogates(token.namespace),
        )
        _fill_token(target, clean)


def _fill_token(target: m.Token, token: Token) -> None:
    # The member must be set even when every field has its default.
    target.SetInParent()
    target.message_id = token.message_id
    target.role = _ROLE_NUMBER[token.role]
    target.text = token.text
    for piece in token.tool_calls:
        target.tool_calls.add(
            index=to_uint32(piece.index), id=piece.id, name=piece.name, arguments=piece.arguments
        )
    target.node = token.node
    target.last = token.last
    target.name = token.name
    target.tool_call_id = token.tool_call_id
    target.uninterpreted = token.uninterpreted
    if token.parts:
        write_parts(target.parts, token.parts)
    if token.status:
        target.status = token.status
    if token.namespace:
        target.namespace = token.namespace


def write_agent_message(target: m.AgentMessage, message: AgentMessage) -> None:
    """Write a message of the agent's conversation."""
    target.SetInParent()
    target.id = replace_surrogates(message.id)
    target.role = _ROLE_NUMBER[message.role]
    target.text = replace_surrogates(message.text)
    for call in message.tool_calls:
        target.tool_calls.add(
            id=replace_surrogates(call.id),
            name=replace_surrogates(call.name),
            arguments=replace_surrogates(call.arguments),
        )
    target.name = replace_surrogates(message.name)
    target.tool_call_id = replace_surrogates(message.tool_call_id)
    target.uninterpreted = message.uninterpreted or target.text != message.text
    write_parts(target.parts, message.parts)
    for invalid in message.invalid_tool_calls:
        target.invalid_tool_calls.add(
            id=replace_surrogates(invalid.id),
            name=replace_surrogates(invalid.name),
            arguments=replace_surrogates(invalid.arguments),
            error=replace_surrogates(invalid.error),
        )
    target.status = replace_surrogates(message.status)
    if message.usage is not None:
        _write_usage(target.usage, message.usage)


def _write_usage(target: m.TokenUsage, usage: TokenUsage) -> None:
    target.SetInParent()
    target.input_tokens = to_uint64(usage.input_tokens)
    target.output_tokens = to_uint64(usage.output_tokens)
    target.total_tokens = to_uint64(usage.total_tokens)
    target.cached_input_tokens = to_uint64(usage.cached_input_tokens)
    target.reasoning_tokens = to_uint64(usage.reasoning_tokens)


def read_token(token: m.Token) -> Token:
    """The token of a message."""
    return Token(
        token.message_id,
        _ROLE_OF.get(token.role, Role.UNSPECIFIED),
        token.text,
        tuple(ToolCallPiece(p.index, p.id, p.name, p.arguments) for p in token.tool_calls),
        token.node,
        token.last,
        token.name,
        token.tool_call_id,
        token.uninterpreted,
        read_parts(token.parts),
        token.status,
        token.namespace,
    )


def read_agent_message(message: m.AgentMessage) -> AgentMessage:
    """The message of the agent's conversation."""
    return AgentMessage(
        message.id,
        _ROLE_OF.get(message.role, Role.UNSPECIFIED),
        message.text,
        tuple(ToolCall(call.id, call.name, call.arguments) for call in message.tool_calls),
        message.name,
        message.tool_call_id,
        message.uninterpreted,
        read_parts(message.parts),
        tuple(InvalidToolCall(c.id, c.name, c.arguments, c.error) for c in message.invalid_tool_calls),
        message.status,
        _read_usage(message.usage) if message.HasField("usage") else None,
    )


def _read_usage(usage: m.TokenUsage) -> TokenUsage:
    return TokenUsage(
        usage.input_tokens,
        usage.output_tokens,
        usage.total_tokens,
        usage.cached_input_tokens,
        usage.reasoning_tokens,
    )
