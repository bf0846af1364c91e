//! Token frames of deepagents-runtime in their regular printed form, from a frame's bytes to its event's and its
//! delta's entries of the journal. Whatever is not regular is left to the parser in Python (`server/frames`), which
//! says what is right: `bench/compiled.py` compares both.
#![forbid(unsafe_code)]
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList, PyString};

/// Bytes of a frame, and of a text that replaces the one before: longer ones are left to the parser.
const MAX_FRAME: usize = 16 << 10;
const MAX_TEXT: usize = 4096;
/// As `DEFLATE_FROM_BYTES` of `server/encoding/frame_delta.py`.
const DEFLATE_FROM: usize = 128;
/// Of values within values.
const MAX_DEPTH: usize = 16;
/// Of `MessageRole` in `proto/ide_orchestrator/v1/event.proto`; the numbers of fields below are those of its `Event` and
/// `Token`.
const ROLE_AI: u8 = 2;
const ROLE_TOOL: u8 = 3;

fn varint(out: &mut Vec<u8>, mut n: u64) {
    while n >= 0x80 {
        out.push((n as u8) | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}
fn varint_len(mut n: u64) -> usize {
    let mut k = 1;
    while n >= 0x80 {
        n >>= 7;
        k += 1;
    }
    k
}
fn field(out: &mut Vec<u8>, number: u8, text: &[u8]) {
    if !text.is_empty() {
        out.push(number << 3 | 2);
        varint(out, text.len() as u64);
        out.extend_from_slice(text);
    }
}

/// Reads a JSON string from the byte after its first quote on. Returns the place after its last quote.
fn json_string(data: &[u8], mut at: usize, out: &mut Vec<u8>) -> Option<usize> {
    loop {
        let rest = data.get(at..)?;
        let plain = rest
            .iter()
            .position(|&b| b == b'"' || b == b'\\' || b < 0x20)?;
        out.extend_from_slice(&rest[..plain]);
        at += plain;
        match data[at] {
            b'"' => return Some(at + 1),
            b'\\' => {
                let sign = *data.get(at + 1)?;
                at += 2;
                match sign {
                    b'"' | b'\\' | b'/' => out.push(sign),
                    b'b' => out.push(8),
                    b'f' => out.push(12),
                    b'n' => out.push(10),
                    b'r' => out.push(13),
                    b't' => out.push(9),
                    b'u' => {
                        let mut code = hex(data.get(at..at + 4)?)?;
                        at += 4;
                        if (0xD800..0xDC00).contains(&code) {
                            if data.get(at..at + 2)? != b"\\u" {
                                return None;
                            }
                            let low = hex(data.get(at + 2..at + 6)?)?;
                            if !(0xDC00..0xE000).contains(&low) {
                                return None;
                            }
                            at += 6;
                            code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
                        }
                        push_char(out, code)?;
                    }
                    _ => return None,
                }
            }
            _ => return None,
        }
    }
}
fn hex(digits: &[u8]) -> Option<u32> {
    digits
        .iter()
        .try_fold(0u32, |n, &d| Some(n << 4 | (d as char).to_digit(16)?))
}
fn push_char(out: &mut Vec<u8>, code: u32) -> Option<()> {
    let mut some = [0u8; 4];
    out.extend_from_slice(char::from_u32(code)?.encode_utf8(&mut some).as_bytes());
    Some(())
}

/// Reads the printed string literal at `at`. Returns the place after it.
fn literal(text: &[u8], at: usize, out: &mut Vec<u8>) -> Option<usize> {
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
fn skip(text: &[u8], at: usize, depth: usize) -> Option<usize> {
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
fn number(text: &[u8], at: usize) -> Option<usize> {
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
fn word(text: &[u8], at: usize) -> usize {
    at + text[at..]
        .iter()
        .take_while(|b| b.is_ascii_alphanumeric() || **b == b'_')
        .count()
}

#[derive(Default)]
struct Chunk {
    id: Option<Vec<u8>>,
    name: Option<Vec<u8>>,
    args: Option<Vec<u8>>,
    index: Option<u64>,
}
#[derive(Default)]
struct Piece {
    tool: bool,
    text: Vec<u8>,
    id: Vec<u8>,
    name: Vec<u8>,
    tool_call_id: Vec<u8>,
    status: Vec<u8>,
    last: bool,
    chunks: Vec<Chunk>,
    node: Vec<u8>,
    namespace: Vec<u8>,
    /// The content's literal in the printed text.
    literal: (usize, usize),
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
fn piece(text: &[u8]) -> Option<Piece> {
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

const HEAD: &[u8] = br#"{"event_type":"on_llm_stream","data":{"raw_event":""#;
const TAIL: &[u8] = br#""}}"#;

/// The last frame without its text, and its token's fields before and after the text, if the next frame may differ
/// from it in the text alone.
struct Form {
    /// Bytes of the frame before and after the literal.
    prefix: usize,
    suffix: usize,
    before: Vec<u8>,
    after: Vec<u8>,
}

/// The reader of one run's token frames.
#[pyclass]
struct TokenFrames {
    /// The last frame that it has read, to which the form belongs.
    last: Option<Py<PyBytes>>,
    form: Option<Form>,
}

fn digest(frame: &[u8]) -> [u8; 8] {
    let hash = blake2b_simd::Params::new().hash_length(8).hash(frame);
    hash.as_bytes().try_into().expect("8 bytes")
}

fn common_head(a: &[u8], b: &[u8]) -> usize {
    let n = a.len().min(b.len());
    let mut at = 0;
    while at + 32 <= n && a[at..at + 32] == b[at..at + 32] {
        at += 32;
    }
    at + a[at..n]
        .iter()
        .zip(&b[at..n])
        .take_while(|(x, y)| x == y)
        .count()
}
fn common_tail(a: &[u8], b: &[u8], limit: usize) -> usize {
    let (n, m) = (a.len(), b.len());
    let mut at = 0;
    while at + 32 <= limit && a[n - at - 32..n - at] == b[m - at - 32..m - at] {
        at += 32;
    }
    while at < limit && a[n - 1 - at] == b[m - 1 - at] {
        at += 1;
    }
    at
}

impl Form {
    /// Reads the text of a frame of this form; false for another frame.
    fn text(&self, last: &[u8], frame: &[u8], out: &mut Vec<u8>) -> bool {
        let (prefix, suffix) = (&last[..self.prefix], &last[last.len() - self.suffix..]);
        if frame.len() < self.prefix + self.suffix + 2
            || !frame.ends_with(suffix)
            || !frame.starts_with(prefix)
        {
            return false;
        }
        let raw = &frame[self.prefix..frame.len() - self.suffix];
        if raw.len() > MAX_TEXT {
            return false;
        }
        let inner = &raw[1..raw.len() - 1];
        if raw[0] == b'\''
            && raw[raw.len() - 1] == b'\''
            && !inner
                .iter()
                .any(|&b| b == b'\'' || b == b'"' || b == b'\\' || b < 0x20)
        {
            if !inner.is_ascii() && std::str::from_utf8(inner).is_err() {
                return false;
            }
            out.extend_from_slice(inner);
            return true;
        }
        if std::str::from_utf8(raw).is_err() {
            return false;
        }
        let mut quoted = raw.to_vec();
        quoted.push(b'"');
        let mut value = Vec::new();
        if json_string(&quoted, 0, &mut value) != Some(quoted.len()) {
            return false;
        }
        literal(&value, 0, out) == Some(value.len())
    }
}

#[pymethods]
impl TokenFrames {
    #[new]
    fn new() -> Self {
        TokenFrames {
            last: None,
            form: None,
        }
    }

    /// The frames from `start` on, as far as they are regular: how many, the entries of their events and of their
    /// deltas, their digests, and the last frame, which is the next call's `last`. None if the first is not regular.
    ///
    /// shared: the events' epoch and time, serialised. last: the token frame before. calls: the run's `CallIndexes`.
    /// insertion: as in `server/encoding/frame_delta.py`.
    #[allow(clippy::too_many_arguments, clippy::type_complexity)]
    fn take<'py>(
        &mut self,
        py: Python<'py>,
        frames: &Bound<'py, PyAny>,
        start: usize,
        first_seq: u64,
        shared: &[u8],
        last: Bound<'py, PyBytes>,
        calls: &Bound<'py, PyAny>,
        insertion: &Bound<'py, PyAny>,
    ) -> PyResult<
        Option<(
            usize,
            Bound<'py, PyBytes>,
            Bound<'py, PyBytes>,
            Bound<'py, PyList>,
            Bound<'py, PyBytes>,
        )>,
    > {
        if !self
            .last
            .as_ref()
            .is_some_and(|mine| mine.bind(py).is(&last))
        {
            self.form = None;
        }
        let mut last = last;
        let size = frames.len()?;
        let mut events = Vec::with_capacity(160 * (size - start));
        let mut deltas = Vec::with_capacity(48 * (size - start));
        let digests = PyList::empty(py);
        let mut seq = first_seq;
        let mut text = Vec::new();
        let mut body = Vec::new();
        let mut delta = Vec::new();
        for index in start..size {
            let item = frames.get_item(index)?;
            let Ok(frame_object) = item.cast::<PyBytes>() else {
                break;
            };
            let frame = frame_object.as_bytes();
            if frame.len() > MAX_FRAME {
                break;
            }
            let old = last.as_bytes();
            text.clear();
            body.clear();
            delta.clear();
            let similar = match &self.form {
                Some(form) => form.text(old, frame, &mut text),
                None => false,
            };
            let digest = digest(frame);
            if similar {
                let form = self.form.as_ref().expect("there is one");
                body.extend_from_slice(&form.before);
                field(&mut body, 3, &text);
                body.extend_from_slice(&form.after);
            } else {
                if !frame.starts_with(HEAD)
                    || !frame.ends_with(TAIL)
                    || std::str::from_utf8(frame).is_err()
                {
                    break;
                }
                let mut raw = Vec::with_capacity(frame.len());
                if json_string(frame, HEAD.len(), &mut raw) != Some(frame.len() - 2) {
                    break;
                }
                let Some(found) = piece(&raw) else { break };
                field(&mut body, 1, &found.id);
                body.push(2 << 3);
                body.push(if found.tool { ROLE_TOOL } else { ROLE_AI });
                let before = body.len();
                field(&mut body, 3, &found.text);
                let after_text = body.len();
                if !found.chunks.is_empty() || found.last {
                    let list = PyList::empty(py);
                    for chunk in &found.chunks {
                        let entry = PyDict::new(py);
                        for (key, value) in [
                            ("id", &chunk.id),
                            ("name", &chunk.name),
                            ("args", &chunk.args),
                        ] {
                            let value = value
                                .as_ref()
                                .map(|v| PyString::new(py, std::str::from_utf8(v).unwrap_or("")));
                            entry.set_item(key, value)?;
                        }
                        entry.set_item("index", chunk.index)?;
                        list.append(entry)?;
                    }
                    let message_id =
                        PyString::new(py, std::str::from_utf8(&found.id).unwrap_or(""));
                    let options = PyDict::new(py);
                    options.set_item("last", found.last)?;
                    let numbered =
                        calls.call_method("number", (message_id, list), Some(&options))?;
                    for (chunk, numbered) in found.chunks.iter().zip(numbered.try_iter()?) {
                        let number: u64 = numbered?.getattr("index")?.extract()?;
                        let mut inner = Vec::new();
                        if number != 0 {
                            inner.push(1 << 3);
                            varint(&mut inner, number);
                        }
                        field(&mut inner, 2, chunk.id.as_deref().unwrap_or(b""));
                        field(&mut inner, 3, chunk.name.as_deref().unwrap_or(b""));
                        field(&mut inner, 4, chunk.args.as_deref().unwrap_or(b""));
                        body.push(4 << 3 | 2);
                        varint(&mut body, inner.len() as u64);
                        body.extend_from_slice(&inner);
                    }
                }
                let after = body.len();
                field(&mut body, 5, &found.node);
                if found.last {
                    body.extend_from_slice(&[6 << 3, 1]);
                }
                field(&mut body, 7, &found.name);
                field(&mut body, 8, &found.tool_call_id);
                if found.tool {
                    field(&mut body, 11, &found.status);
                }
                field(&mut body, 12, &found.namespace);
                self.form = None;
                // The literal is where it is in the printed text if nothing around it is escaped.
                let suffix = raw.len() - found.literal.1 + TAIL.len();
                let prefix = HEAD.len() + found.literal.0;
                if found.chunks.is_empty()
                    && !found.last
                    && frame.len() >= prefix + suffix
                    && raw[found.literal.1..]
                        == frame[frame.len() - suffix..frame.len() - TAIL.len()]
                    && frame[HEAD.len()..prefix] == raw[..found.literal.0]
                    && after_text == after
                {
                    self.form = Some(Form {
                        prefix,
                        suffix,
                        before: body[..before].to_vec(),
                        after: body[after..].to_vec(),
                    });
                }
            }
            delta.push(1);
            delta.extend_from_slice(&digest);
            let head = common_head(old, frame);
            let tail = common_tail(old, frame, old.len().min(frame.len()) - head);
            varint(&mut delta, head as u64);
            varint(&mut delta, tail as u64);
            let inserted = &frame[head..frame.len() - tail];
            if inserted.len() < DEFLATE_FROM {
                varint(&mut delta, (inserted.len() as u64) << 1);
                delta.extend_from_slice(inserted);
            } else {
                let made = insertion.call1((&last, PyBytes::new(py, inserted)))?;
                delta.extend_from_slice(made.cast::<PyBytes>()?.as_bytes());
            }
            varint(&mut deltas, delta.len() as u64);
            deltas.extend_from_slice(&delta);
            let token = 1 + varint_len(body.len() as u64) + body.len();
            let whole = 1 + varint_len(seq) + shared.len() + token;
            events.push(0x0A);
            varint(&mut events, whole as u64);
            events.push(8);
            varint(&mut events, seq);
            events.extend_from_slice(shared);
            events.push(12 << 3 | 2);
            varint(&mut events, body.len() as u64);
            events.extend_from_slice(&body);
            digests.append(PyBytes::new(py, &digest))?;
            seq += 1;
            last = frame_object.clone();
        }
        if seq == first_seq {
            return Ok(None);
        }
        self.last = Some(last.clone().unbind());
        Ok(Some((
            (seq - first_seq) as usize,
            PyBytes::new(py, &events),
            PyBytes::new(py, &deltas),
            digests,
            last,
        )))
    }
}

#[pymodule]
fn ide_orchestrator_tokens(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<TokenFrames>()
}
