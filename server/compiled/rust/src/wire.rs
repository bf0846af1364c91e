//! Protocol Buffers: varints, and the fields of a token's event and of one that changes text files.

use pyo3::exceptions::PyKeyError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};

use crate::printed::Piece;
use crate::states::TextFile;

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

/// When an event came: its epoch, and its time in seconds since 1970 and nanoseconds.
pub type Moment = (u64, i64, u32);

/// The keys of the fields that every `Event` has, and of the entries of an `EventBatch` (`server/wire/event_fields.py`).
struct EventKeys {
    entry: Vec<u8>,
    seq: Vec<u8>,
    epoch: Vec<u8>,
    create_time: Vec<u8>,
    seconds: Vec<u8>,
    nanos: Vec<u8>,
}

impl EventKeys {
    /// Raises KeyError if one is missing.
    fn of(keys: &Bound<'_, PyDict>) -> PyResult<Self> {
        let key = keys_in(keys);
        Ok(EventKeys {
            entry: key("entry")?,
            seq: key("seq")?,
            epoch: key("epoch")?,
            create_time: key("create_time")?,
            seconds: key("seconds")?,
            nanos: key("nanos")?,
        })
    }

    /// The fields between `seq` and an event's kind, which those of one moment share.
    fn shared(&self, (epoch, seconds, nanos): Moment) -> Vec<u8> {
        let mut time = Vec::new();
        // A negative number is written as one of 64 bits.
        for (key, number) in [(&self.seconds, seconds as u64), (&self.nanos, nanos.into())] {
            if number != 0 {
                time.extend_from_slice(key);
                varint(&mut time, number);
            }
        }
        let mut out = self.epoch.clone();
        varint(&mut out, epoch);
        delimited(&mut out, &self.create_time, &time);
        out
    }

    /// Writes an event as an entry of an `EventBatch`. kind_key, kind: its kind, with the key of that.
    fn event(&self, out: &mut Vec<u8>, seq: u64, shared: &[u8], kind_key: &[u8], kind: &[u8]) {
        let size = self.seq.len()
            + varint_len(seq)
            + shared.len()
            + kind_key.len()
            + varint_len(kind.len() as u64)
            + kind.len();
        out.reserve(size + 16);
        out.extend_from_slice(&self.entry);
        varint(out, size as u64);
        out.extend_from_slice(&self.seq);
        varint(out, seq);
        out.extend_from_slice(shared);
        delimited(out, kind_key, kind);
    }
}

/// The keys of the fields of `Event`, `Token` and `ToolCallPiece` in the contract. The fields are written in the order in
/// which they stand here, which is that of their numbers (`server/wire/token_encoder.py`).
pub struct Keys {
    of_event: EventKeys,
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

/// Gives the keys of fields by their names. Raises KeyError.
fn keys_in(keys: &Bound<'_, PyDict>) -> impl Fn(&'static str) -> PyResult<Vec<u8>> {
    |name| {
        let Some(key) = keys.get_item(name)? else {
            return Err(PyKeyError::new_err(name));
        };
        Ok(key.cast::<PyBytes>()?.as_bytes().to_vec())
    }
}

impl Keys {
    /// Raises KeyError if one is missing.
    pub fn of(keys: &Bound<'_, PyDict>) -> PyResult<Self> {
        let key = keys_in(keys);
        Ok(Keys {
            of_event: EventKeys::of(keys)?,
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

    /// The fields of an event between `seq` and its kind, which those of one moment share.
    pub fn shared(&self, moment: Moment) -> Vec<u8> {
        self.of_event.shared(moment)
    }

    /// Writes an event as an entry of an `EventBatch`. shared: the fields between `seq` and the token. token: its fields.
    pub fn event(&self, out: &mut Vec<u8>, seq: u64, shared: &[u8], token: &[u8]) {
        self.of_event.event(out, seq, shared, &self.token, token);
    }
}

/// Where an event stands in its journal, and when it came.
pub struct Place {
    pub seq: u64,
    pub moment: Moment,
}

/// A text file that differs from the one before. sha256: of its content.
pub struct ChangedFile<'a> {
    pub path: &'a [u8],
    pub file: &'a TextFile,
    pub sha256: [u8; 32],
}

/// The keys of the fields of `Event`, `StateUpdate` and `FileChange` that such an event has, in the order in which they are
/// written (`server/wire/file_updates.py`).
pub struct FileKeys {
    of_event: EventKeys,
    state_update: Vec<u8>,
    message_count: Vec<u8>,
    files: Vec<u8>,
    path: Vec<u8>,
    /// `kind` with its value.
    modified: Vec<u8>,
    text: Vec<u8>,
    sha256: Vec<u8>,
    size_bytes: Vec<u8>,
    created_at: Vec<u8>,
    modified_at: Vec<u8>,
}

impl FileKeys {
    /// Raises KeyError if one is missing.
    pub fn of(keys: &Bound<'_, PyDict>) -> PyResult<Self> {
        let key = keys_in(keys);
        Ok(FileKeys {
            of_event: EventKeys::of(keys)?,
            state_update: key("state_update")?,
            message_count: key("message_count")?,
            files: key("files")?,
            path: key("path")?,
            modified: key("modified")?,
            text: key("text")?,
            sha256: key("sha256")?,
            size_bytes: key("size_bytes")?,
            created_at: key("created_at")?,
            modified_at: key("modified_at")?,
        })
    }

    /// Writes the event of these changes, in the order of their paths, as an entry of an `EventBatch`.
    pub fn event(
        &self,
        out: &mut Vec<u8>,
        place: &Place,
        message_count: u32,
        changes: &[ChangedFile<'_>],
    ) {
        let mut update = Vec::new();
        if message_count != 0 {
            update.extend_from_slice(&self.message_count);
            varint(&mut update, message_count.into());
        }
        for change in changes {
            let size = self.change_size(change);
            update.reserve(size + 16);
            update.extend_from_slice(&self.files);
            varint(&mut update, size as u64);
            self.change(&mut update, change);
        }
        let shared = self.of_event.shared(place.moment);
        (self.of_event).event(out, place.seq, &shared, &self.state_update, &update);
    }

    fn change(&self, out: &mut Vec<u8>, change: &ChangedFile<'_>) {
        let content = &change.file.content;
        delimited(out, &self.path, change.path);
        out.extend_from_slice(&self.modified);
        // A text that is empty is not the same as none.
        delimited(out, &self.text, content);
        delimited(out, &self.sha256, &hex(&change.sha256));
        if !content.is_empty() {
            out.extend_from_slice(&self.size_bytes);
            varint(out, content.len() as u64);
        }
        for (key, time) in self.times(change.file) {
            delimited(out, key, time);
        }
    }

    /// Bytes that `change` writes.
    fn change_size(&self, change: &ChangedFile<'_>) -> usize {
        let content = &change.file.content;
        let delimited = |key: &[u8], size: usize| key.len() + varint_len(size as u64) + size;
        let size_bytes = if content.is_empty() {
            0
        } else {
            self.size_bytes.len() + varint_len(content.len() as u64)
        };
        delimited(&self.path, change.path.len())
            + self.modified.len()
            + delimited(&self.text, content.len())
            + delimited(&self.sha256, 2 * change.sha256.len())
            + size_bytes
            + (self.times(change.file))
                .map(|(key, time)| delimited(key, time.len()))
                .sum::<usize>()
    }

    fn times<'a>(&'a self, file: &'a TextFile) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
        [
            (&self.created_at, &file.created_at),
            (&self.modified_at, &file.modified_at),
        ]
        .into_iter()
        .filter_map(|(key, time)| Some((key.as_slice(), time.as_deref()?)))
    }
}

/// In lower case.
pub fn hex(bytes: &[u8; 32]) -> [u8; 64] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = [0; 64];
    for (pair, &byte) in text.chunks_exact_mut(2).zip(bytes) {
        pair[0] = DIGITS[usize::from(byte >> 4)];
        pair[1] = DIGITS[usize::from(byte & 0xF)];
    }
    text
}

/// What a change left behind in the index of changed files: a text.
const TEXT: u8 = 1;

/// The event's entries of the index of changed files (`server/domain/journal/file_index.py`).
pub fn index(place: &Place, changes: &[ChangedFile<'_>]) -> Vec<u8> {
    let mut out = Vec::with_capacity(64 + 64 * changes.len());
    varint(&mut out, place.seq);
    let (_, seconds, nanos) = place.moment;
    let seconds = u64::try_from(seconds).unwrap_or(0);
    varint(
        &mut out,
        seconds.saturating_mul(1_000_000) + u64::from(nanos / 1000),
    );
    varint(&mut out, changes.len() as u64);
    for change in changes {
        varint(&mut out, change.path.len() as u64);
        out.extend_from_slice(change.path);
        // No tool call is known.
        out.extend_from_slice(&[0, TEXT]);
        out.extend_from_slice(&change.sha256);
        varint(&mut out, change.file.content.len() as u64);
    }
    out
}
