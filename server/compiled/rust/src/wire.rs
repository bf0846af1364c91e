//! Protocol Buffers: varints, and the fields of a token's event.

use pyo3::exceptions::PyKeyError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};

use crate::printed::Piece;

pub fn varint(out: &mut Vec<u8>, mut n: u64) {
    while n >= 0x80 {
        out.push((n as u8) | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

/// The number at `at`, and the place after it.
pub fn read_varint(data: &[u8], at: usize) -> Option<(usize, usize)> {
    let mut number = 0u64;
    for (index, &byte) in data.get(at..)?.iter().take(9).enumerate() {
        number |= u64::from(byte & 0x7F) << (7 * index);
        if byte < 0x80 {
            return Some((usize::try_from(number).ok()?, at + index + 1));
        }
    }
    None
}

fn varint_len(n: u64) -> usize {
    (64 - (n | 1).leading_zeros() as usize).div_ceil(7)
}

/// Writes a field that has a length; nothing if it is empty, as Protocol Buffers do.
fn field(out: &mut Vec<u8>, key: &[u8], text: &[u8]) {
    if !text.is_empty() {
        delimited(out, key, text);
    }
}

fn delimited(out: &mut Vec<u8>, key: &[u8], bytes: &[u8]) {
    out.extend_from_slice(key);
    varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// The keys of the fields of `Event`, `Token` and `ToolCallPiece` in the contract. The fields are written in the order in
/// which they stand here, which is that of their numbers (`server/wire/token_encoder.py`).
pub struct Keys {
    entry: Vec<u8>,
    seq: Vec<u8>,
    epoch: Vec<u8>,
    create_time: Vec<u8>,
    seconds: Vec<u8>,
    nanos: Vec<u8>,
    token: Vec<u8>,
    message_id: Vec<u8>,
    /// `role` with its value.
    role_ai: Vec<u8>,
    role_tool: Vec<u8>,
    text: Vec<u8>,
    tool_calls: Vec<u8>,
    call_index: Vec<u8>,
    call_id: Vec<u8>,
    call_name: Vec<u8>,
    call_arguments: Vec<u8>,
    node: Vec<u8>,
    /// `last` with its value.
    last: Vec<u8>,
    name: Vec<u8>,
    tool_call_id: Vec<u8>,
    status: Vec<u8>,
    namespace: Vec<u8>,
}

impl Keys {
    /// Raises KeyError if one is missing.
    pub fn of(keys: &Bound<'_, PyDict>) -> PyResult<Self> {
        let key = |name: &'static str| -> PyResult<Vec<u8>> {
            let Some(key) = keys.get_item(name)? else {
                return Err(PyKeyError::new_err(name));
            };
            Ok(key.cast::<PyBytes>()?.as_bytes().to_vec())
        };
        Ok(Keys {
            entry: key("entry")?,
            seq: key("seq")?,
            epoch: key("epoch")?,
            create_time: key("create_time")?,
            seconds: key("seconds")?,
            nanos: key("nanos")?,
            token: key("token")?,
            message_id: key("message_id")?,
            role_ai: key("role_ai")?,
            role_tool: key("role_tool")?,
            text: key("text")?,
            tool_calls: key("tool_calls")?,
            call_index: key("call_index")?,
            call_id: key("call_id")?,
            call_name: key("call_name")?,
            call_arguments: key("call_arguments")?,
            node: key("node")?,
            last: key("last")?,
            name: key("name")?,
            tool_call_id: key("tool_call_id")?,
            status: key("status")?,
            namespace: key("namespace")?,
        })
    }

    /// Writes the fields that come before a piece's text.
    pub fn before_text(&self, out: &mut Vec<u8>, piece: &Piece) {
        field(out, &self.message_id, &piece.id);
        out.extend_from_slice(if piece.tool {
            &self.role_tool
        } else {
            &self.role_ai
        });
    }

    pub fn text(&self, out: &mut Vec<u8>, text: &[u8]) {
        field(out, &self.text, text);
    }

    /// Writes the fields that come after a piece's text. numbers: those of its tool calls.
    pub fn after_text(&self, out: &mut Vec<u8>, piece: &Piece, numbers: &[u64]) {
        for (chunk, &number) in piece.chunks.iter().zip(numbers) {
            let mut call = Vec::new();
            if number != 0 {
                call.extend_from_slice(&self.call_index);
                varint(&mut call, number);
            }
            field(&mut call, &self.call_id, chunk.id.as_deref().unwrap_or(b""));
            field(
                &mut call,
                &self.call_name,
                chunk.name.as_deref().unwrap_or(b""),
            );
            field(
                &mut call,
                &self.call_arguments,
                chunk.args.as_deref().unwrap_or(b""),
            );
            delimited(out, &self.tool_calls, &call);
        }
        field(out, &self.node, &piece.node);
        if piece.last {
            out.extend_from_slice(&self.last);
        }
        field(out, &self.name, &piece.name);
        field(out, &self.tool_call_id, &piece.tool_call_id);
        if piece.tool {
            field(out, &self.status, &piece.status);
        }
        field(out, &self.namespace, &piece.namespace);
    }

    /// The fields of an event between `seq` and its kind, which those of one moment share: as `shared_fields` of
    /// `server/wire/token_encoder.py`. The epoch, and the time in seconds since 1970 and nanoseconds.
    pub fn moment(&self, (epoch, seconds, nanos): (u64, i64, u32)) -> Vec<u8> {
        let mut time = Vec::new();
        if seconds != 0 {
            time.extend_from_slice(&self.seconds);
            // A negative number is written as one of 64 bits.
            varint(&mut time, seconds as u64);
        }
        if nanos != 0 {
            time.extend_from_slice(&self.nanos);
            varint(&mut time, u64::from(nanos));
        }
        let mut out = self.epoch.clone();
        varint(&mut out, epoch);
        delimited(&mut out, &self.create_time, &time);
        out
    }

    /// Writes an event as an entry of an `EventBatch`. shared: the fields between `seq` and the token. token: its fields.
    pub fn event(&self, out: &mut Vec<u8>, seq: u64, shared: &[u8], token: &[u8]) {
        let size = self.seq.len()
            + varint_len(seq)
            + shared.len()
            + self.token.len()
            + varint_len(token.len() as u64)
            + token.len();
        out.extend_from_slice(&self.entry);
        varint(out, size as u64);
        out.extend_from_slice(&self.seq);
        varint(out, seq);
        out.extend_from_slice(shared);
        delimited(out, &self.token, token);
    }
}
