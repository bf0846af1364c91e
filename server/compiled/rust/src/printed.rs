//! What `repr` of Python prints: literals of JSON's kinds of values, and a piece of a message with the graph's metadata.

use crate::json::{hex, push_char};

/// Of values within values.
const MAX_DEPTH: usize = 16;

/// Reads the printed string literal at `at`. Returns the place after it.
pub fn literal(text: &[u8], at: usize, out: &mut Vec<u8>) -> Option<usize> {
    let quote = *text.get(at)?;
    if quote != b'\'' && quote != b'"' {
        return None;
    }
    let mut at = at + 1;
    loop {
        let rest = text.get(at..)?;
        let plain = rest
            .iter()
            .position(|&b| b == quote || b == b'\\' || b == b'\n' || b == b'\r' || b == 0)?;
        out.extend_from_slice(&rest[..plain]);
        at += plain;
        if text[at] == quote {
            return Some(at + 1);
        }
        if text[at] != b'\\' {
            return None;
        }
        let sign = *text.get(at + 1)?;
        at += 2;
        let digits = match sign {
            b'\\' | b'\'' | b'"' => {
                out.push(sign);
                continue;
            }
            b'n' => {
                out.push(b'\n');
                continue;
            }
            b'r' => {
                out.push(b'\r');
                continue;
            }
            b't' => {
                out.push(b'\t');
                continue;
            }
            b'x' => 2,
            b'u' => 4,
            b'U' => 8,
            _ => return None,
        };
        push_char(out, hex(text.get(at..at + digits)?)?)?;
        at += digits;
    }
}
/// The place after the literal at `at`.
fn skip_literal(text: &[u8], at: usize) -> Option<usize> {
    let quote = text[at];
    let mut at = at + 1;
    loop {
        let rest = text.get(at..)?;
        at += rest
            .iter()
            .position(|&b| b == quote || b == b'\\' || b == b'\n' || b == b'\r' || b == 0)?;
        match text[at] {
            b'\\' => {
                if !matches!(
                    *text.get(at + 1)?,
                    b'\\' | b'\'' | b'"' | b'n' | b'r' | b't' | b'x' | b'u' | b'U'
                ) {
                    return None;
                }
                at += 2;
            }
            sign if sign == quote => return Some(at + 1),
            _ => return None,
        }
    }
}
/// The place after the value at `at`; None if it is not as `repr` writes JSON's kinds of values.
pub fn skip(text: &[u8], at: usize, depth: usize) -> Option<usize> {
    match *text.get(at)? {
        b'\'' | b'"' => skip_literal(text, at),
        open @ (b'[' | b'(' | b'{') if depth < MAX_DEPTH => {
            let close = if open == b'[' {
                b']'
            } else if open == b'(' {
                b')'
            } else {
                b'}'
            };
            let mut here = at + 1;
            if *text.get(here)? == close {
                return Some(here + 1);
            }
            loop {
                if open == b'{' {
                    if !matches!(*text.get(here)?, b'\'' | b'"') {
                        return None;
                    }
                    here = skip_literal(text, here)?;
                    if text.get(here..here + 2)? != b": " {
                        return None;
                    }
                    here += 2;
                }
                here = skip(text, here, depth + 1)?;
                let sign = *text.get(here)?;
                if sign == close {
                    return Some(here + 1);
                }
                if sign != b',' {
                    return None;
                }
                here += 1;
                match *text.get(here)? {
                    b')' if close == b')' => return Some(here + 1),
                    b' ' => here += 1,
                    _ => return None,
                }
            }
        }
        b'N' if text[at..].starts_with(b"None") => Some(at + 4),
        b'T' if text[at..].starts_with(b"True") => Some(at + 4),
        b'F' if text[at..].starts_with(b"False") => Some(at + 5),
        b'-' | b'0'..=b'9' => number(text, at),
        _ => None,
    }
}
pub fn number(text: &[u8], at: usize) -> Option<usize> {
    let mut here = at + (text[at] == b'-') as usize;
    let digits = |from: usize| {
        text[from..]
            .iter()
            .take_while(|b| b.is_ascii_digit())
            .count()
    };
    let whole = digits(here);
    if whole == 0 || whole > 18 {
        return None;
    }
    here += whole;
    if text.get(here) == Some(&b'.') {
        let some = digits(here + 1);
        if some == 0 || some > 18 {
            return None;
        }
        here += 1 + some;
    }
    Some(here)
}
pub fn word(text: &[u8], at: usize) -> usize {
    at + text[at..]
        .iter()
        .take_while(|b| b.is_ascii_alphanumeric() || **b == b'_')
        .count()
}

#[derive(Default)]
pub struct Chunk {
    pub id: Option<Vec<u8>>,
    pub name: Option<Vec<u8>>,
    pub args: Option<Vec<u8>>,
    pub index: Option<u64>,
}
#[derive(Default)]
pub struct Piece {
    pub tool: bool,
    pub text: Vec<u8>,
    pub id: Vec<u8>,
    pub name: Vec<u8>,
    pub tool_call_id: Vec<u8>,
    pub status: Vec<u8>,
    pub last: bool,
    pub chunks: Vec<Chunk>,
    pub node: Vec<u8>,
    pub namespace: Vec<u8>,
    /// The content's literal in the printed text.
    pub literal: (usize, usize),
}
/// A string, or nothing for None; None for another value.
fn optional(text: &[u8], at: usize, out: &mut Option<Vec<u8>>) -> Option<usize> {
    if text[at..].starts_with(b"None") {
        *out = None;
        return Some(at + 4);
    }
    let mut found = Vec::new();
    let end = literal(text, at, &mut found)?;
    *out = Some(found);
    Some(end)
}
fn chunks(text: &[u8], at: usize, out: &mut Vec<Chunk>) -> Option<usize> {
    if *text.get(at)? != b'[' {
        return None;
    }
    let mut here = at + 1;
    if *text.get(here)? == b']' {
        return Some(here + 1);
    }
    loop {
        if *text.get(here)? != b'{' {
            return None;
        }
        here += 1;
        let mut chunk = Chunk::default();
        loop {
            let mut key = Vec::new();
            here = literal(text, here, &mut key)?;
            if text.get(here..here + 2)? != b": " {
                return None;
            }
            here += 2;
            here = match key.as_slice() {
                b"id" => optional(text, here, &mut chunk.id)?,
                b"name" => optional(text, here, &mut chunk.name)?,
                b"args" => optional(text, here, &mut chunk.args)?,
                b"index" => {
                    let end = skip(text, here, 0)?;
                    let value = &text[here..end];
                    chunk.index = if value == b"None" {
                        None
                    } else {
                        Some(std::str::from_utf8(value).ok()?.parse::<u32>().ok()? as u64)
                    };
                    end
                }
                _ => skip(text, here, 1)?,
            };
            match text.get(here..here + 2)? {
                b", " => here += 2,
                sign if sign[0] == b'}' => {
                    here += 1;
                    break;
                }
                _ => return None,
            }
        }
        out.push(chunk);
        match *text.get(here)? {
            b']' => return Some(here + 1),
            b',' if *text.get(here + 1)? == b' ' => here += 2,
            _ => return None,
        }
    }
}

/// The piece of a message that a printed text is.
pub fn piece(text: &[u8]) -> Option<Piece> {
    let mut found = Piece::default();
    let mut at = if text.starts_with(b"(AIMessageChunk(") {
        16
    } else if text.starts_with(b"(ToolMessage(") {
        found.tool = true;
        found.last = true;
        13
    } else {
        return None;
    };
    let mut seen = 0u32;
    loop {
        let end = word(text, at);
        let key = &text[at..end];
        if *text.get(end)? != b'=' || key.is_empty() {
            return None;
        }
        at = end + 1;
        let (bit, next) = match key {
            b"content" => {
                let end = literal(text, at, &mut found.text)?;
                found.literal = (at, end);
                (1, end)
            }
            b"id" => (2, optional_into(text, at, &mut found.id)?),
            b"name" => (4, optional_into(text, at, &mut found.name)?),
            b"tool_call_id" => (8, optional_into(text, at, &mut found.tool_call_id)?),
            b"status" => (16, optional_into(text, at, &mut found.status)?),
            b"additional_kwargs" => {
                if text.get(at..at + 2)? != b"{}" {
                    return None;
                }
                (32, at + 2)
            }
            b"tool_call_chunks" if !found.tool => (64, chunks(text, at, &mut found.chunks)?),
            b"chunk_position" if !found.tool => {
                let end = skip(text, at, 0)?;
                found.last = &text[at..end] == b"'last'";
                if text[at] == b'"' {
                    return None;
                }
                (128, end)
            }
            b"response_metadata" | b"usage_metadata" => (0, skip(text, at, 0)?),
            b"tool_calls" | b"invalid_tool_calls" if !found.tool => (0, skip(text, at, 0)?),
            _ => return None,
        };
        if seen & bit != 0 {
            return None;
        }
        seen |= bit;
        at = next;
        match *text.get(at)? {
            b')' => break,
            b',' if *text.get(at + 1)? == b' ' => at += 2,
            _ => return None,
        }
    }
    if seen & 1 == 0 || (!found.tool && !found.status.is_empty()) {
        return None;
    }
    if text.get(at..at + 4)? != b"), {" {
        return None;
    }
    at += 4;
    loop {
        let quote = *text.get(at)?;
        let end = word(text, at + 1);
        if quote != b'\'' || text.get(end..end + 3)? != b"': " {
            return None;
        }
        let key = &text[at + 1..end];
        at = end + 3;
        let next = skip(text, at, 0)?;
        let target = match key {
            b"langgraph_node" => Some(&mut found.node),
            b"langgraph_checkpoint_ns" => Some(&mut found.namespace),
            _ => None,
        };
        if let Some(target) = target {
            target.clear();
            if matches!(text[at], b'\'' | b'"') {
                literal(text, at, target)?;
            }
        }
        at = next;
        match text.get(at..at + 2)? {
            b", " => at += 2,
            b"})" if at + 2 == text.len() => break,
            _ => return None,
        }
    }
    let parent = found
        .namespace
        .iter()
        .rposition(|&b| b == b'|')
        .unwrap_or(0);
    found.namespace.truncate(parent);
    Some(found)
}
fn optional_into(text: &[u8], at: usize, out: &mut Vec<u8>) -> Option<usize> {
    if text[at..].starts_with(b"None") {
        return Some(at + 4);
    }
    literal(text, at, out)
}
