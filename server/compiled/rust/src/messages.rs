//! The printed list of an agent's messages, as `server/frames/message_list.py` reads it, where it is regular.

use crate::json::json_string;
use crate::printed::{literal, number, skip, word};

/// Bytes of a list, and values within values, that are read here.
const MAX_LIST: usize = 128 << 10;
const MAX_DEPTH: usize = 16;
/// Entries of a dict: each is compared with those before it.
const MAX_ENTRIES: usize = 64;
/// Digits of a number with a fraction, which Python writes again as it is.
const MAX_DIGITS: usize = 15;

const CLASSES: [&str; 4] = ["HumanMessage", "AIMessage", "ToolMessage", "SystemMessage"];
const COUNTS: [(&[u8], Option<&[u8]>); 5] = [
    (b"input_tokens", None),
    (b"output_tokens", None),
    (b"total_tokens", None),
    (b"input_token_details", Some(b"cache_read")),
    (b"output_token_details", Some(b"reasoning")),
];

pub struct Call {
    pub id: Vec<u8>,
    pub name: Vec<u8>,
    /// As JSON, or the text that they are.
    pub arguments: Vec<u8>,
}

#[derive(Default)]
pub struct Message {
    pub class: &'static str,
    pub id: Vec<u8>,
    pub text: Vec<u8>,
    pub name: Vec<u8>,
    pub tool_call_id: Vec<u8>,
    pub status: Vec<u8>,
    pub calls: Vec<Call>,
    pub usage: Option<[u64; 5]>,
}

/// An item of the list: where it stands in the text, and what it says, if it is a message of the usual form.
pub struct Item {
    pub start: usize,
    pub end: usize,
    pub message: Option<Message>,
}

pub struct List {
    /// From the opening bracket on.
    pub text: Vec<u8>,
    pub items: Vec<Item>,
}

impl List {
    pub fn chars(&self) -> usize {
        self.text.iter().filter(|&&b| b & 0xC0 != 0x80).count()
    }

    /// As `structure.marks`.
    pub fn marks(&self) -> usize {
        let is_mark = |b: &&u8| matches!(**b, b',' | b':' | b'[' | b'{' | b'(');
        self.text.iter().filter(is_mark).count()
    }
}

/// The list in a JSON string whose items begin at `at`, behind the opening bracket; None if it is not regular.
pub fn list(raw: &[u8], at: usize) -> Option<List> {
    let size = raw.get(at..)?.len();
    if size > MAX_LIST {
        return None;
    }
    let mut text = Vec::with_capacity(size + 1);
    text.push(b'[');
    if json_string(raw, at, &mut text)? != raw.len() {
        return None;
    }
    std::str::from_utf8(&text).ok()?;
    let mut items = Vec::new();
    let mut at = 1;
    if text.get(at..)? == b"]" {
        return Some(List { text, items });
    }
    loop {
        let (end, message) = item(&text, at)?;
        items.push(Item {
            start: at,
            end,
            message,
        });
        match text.get(end..)? {
            b"]" => return Some(List { text, items }),
            rest if rest.starts_with(b", ") => at = end + 2,
            _ => return None,
        }
    }
}

/// The place after a call with arguments by their names, and the message that it is; None if it is not one.
fn item(text: &[u8], at: usize) -> Option<(usize, Option<Message>)> {
    let head = word(text, at);
    if *text.get(head)? != b'(' || !text[at].is_ascii_alphabetic() {
        return None;
    }
    let class = CLASSES
        .into_iter()
        .find(|class| class.as_bytes() == &text[at..head]);
    let mut arguments: Vec<(&[u8], &[u8])> = Vec::new();
    let mut at = head + 1;
    loop {
        let end = word(text, at);
        if *text.get(end)? != b'=' || end == at || arguments.len() == MAX_ENTRIES {
            return None;
        }
        let value = skip(text, end + 1, 0)?;
        arguments.push((&text[at..end], &text[end + 1..value]));
        match text.get(value)? {
            b')' => {
                let message = class.and_then(|class| message(class, &arguments));
                return Some((value + 1, message));
            }
            b',' if *text.get(value + 1)? == b' ' => at = value + 2,
            _ => return None,
        }
    }
}

/// What a message says; None if one of its members needs more than this.
fn message(class: &'static str, arguments: &[(&[u8], &[u8])]) -> Option<Message> {
    if (1..arguments.len()).any(|i| arguments[..i].iter().any(|one| one.0 == arguments[i].0)) {
        return None;
    }
    let mut found = Message {
        class,
        ..Message::default()
    };
    let mut has_content = false;
    for &(name, value) in arguments {
        match name {
            b"content" => {
                has_content = true;
                found.text = string(value)?;
            }
            b"id" => found.id = string(value)?,
            b"name" => found.name = string(value)?,
            b"tool_call_id" => found.tool_call_id = string(value)?,
            b"status" => found.status = string(value)?,
            b"additional_kwargs" if value != b"{}" && value != b"None" => return None,
            b"invalid_tool_calls" if value != b"[]" && value != b"None" => return None,
            b"tool_calls" => found.calls = calls(value)?,
            b"usage_metadata" => found.usage = usage(value)?,
            _ => {}
        }
    }
    has_content.then_some(found)
}

/// A string, empty for None; None for another value.
fn string(value: &[u8]) -> Option<Vec<u8>> {
    let mut found = Vec::new();
    if value == b"None" {
        return Some(found);
    }
    (literal(value, 0, &mut found)? == value.len()).then_some(found)
}

/// The entries of a dict, the value of each as its text; None if it has one twice.
fn entries(value: &[u8]) -> Option<Vec<(Vec<u8>, &[u8])>> {
    let mut found: Vec<(Vec<u8>, &[u8])> = Vec::new();
    if *value.first()? != b'{' {
        return None;
    }
    if value == b"{}" {
        return Some(found);
    }
    let mut at = 1;
    loop {
        let mut key = Vec::new();
        at = literal(value, at, &mut key)?;
        if value.get(at..at + 2)? != b": " || found.len() == MAX_ENTRIES {
            return None;
        }
        if found.iter().any(|entry| entry.0 == key) {
            return None;
        }
        let end = skip(value, at + 2, 0)?;
        found.push((key, &value[at + 2..end]));
        match value.get(end..)? {
            b"}" => return Some(found),
            rest if rest.starts_with(b", ") => at = end + 2,
            _ => return None,
        }
    }
}

fn calls(value: &[u8]) -> Option<Vec<Call>> {
    let mut found = Vec::new();
    if matches!(value, b"[]" | b"None") {
        return Some(found);
    }
    if !value.starts_with(b"[{") {
        return None;
    }
    let mut at = 1;
    loop {
        let end = skip(value, at, 0)?;
        found.push(call(&value[at..end])?);
        match value.get(end..)? {
            b"]" => return Some(found),
            rest if rest.starts_with(b", ") => at = end + 2,
            _ => return None,
        }
    }
}

fn call(value: &[u8]) -> Option<Call> {
    let mut found = Call {
        id: Vec::new(),
        name: Vec::new(),
        arguments: b"{}".to_vec(),
    };
    for (key, value) in entries(value)? {
        match key.as_slice() {
            b"id" => found.id = string(value)?,
            b"name" => found.name = string(value)?,
            b"args" if matches!(value[0], b'\'' | b'"' | b'N') => found.arguments = string(value)?,
            b"args" => found.arguments = json(value)?,
            b"function" => return None,
            _ => {
                json(value)?;
            }
        }
    }
    Some(found)
}

/// The counts of a usage, if there is one.
fn usage(value: &[u8]) -> Option<Option<[u64; 5]>> {
    if matches!(value, b"None" | b"{}") {
        return Some(None);
    }
    let mut found = [0; 5];
    json(value)?;
    let members = entries(value)?;
    for (count, (name, detail)) in found.iter_mut().zip(COUNTS) {
        let Some((_, value)) = members.iter().find(|member| member.0 == name) else {
            continue;
        };
        *count = match detail {
            None => count_of(value),
            Some(_) if !value.starts_with(b"{") => 0,
            Some(detail) => entries(value)?
                .iter()
                .find(|member| member.0 == detail)
                .map_or(0, |member| count_of(member.1)),
        };
    }
    Some(Some(found))
}

/// A whole number above 0; otherwise 0.
fn count_of(value: &[u8]) -> u64 {
    std::str::from_utf8(value)
        .ok()
        .and_then(|digits| digits.parse().ok())
        .unwrap_or(0)
}

/// A value as JSON, in the form of Python's own writer; None for one that it would write in another way.
fn json(value: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(value.len() + value.len() / 8);
    (write_json(value, 0, 0, &mut out)? == value.len()).then_some(out)
}

fn write_json(text: &[u8], at: usize, depth: usize, out: &mut Vec<u8>) -> Option<usize> {
    match *text.get(at)? {
        b'\'' | b'"' => write_string(text, at, out).map(|(end, _)| end),
        open @ (b'[' | b'{') if depth < MAX_DEPTH => {
            let close = if open == b'[' { b']' } else { b'}' };
            let mut keys = Vec::new();
            out.push(open);
            let mut here = at + 1;
            if *text.get(here)? == close {
                out.push(close);
                return Some(here + 1);
            }
            loop {
                if open == b'{' {
                    let (end, key) = write_string(text, here, out)?;
                    if text.get(end..end + 2)? != b": "
                        || keys.len() == MAX_ENTRIES
                        || keys.contains(&key)
                    {
                        return None;
                    }
                    keys.push(key);
                    out.extend_from_slice(b": ");
                    here = end + 2;
                }
                here = write_json(text, here, depth + 1, out)?;
                match *text.get(here)? {
                    sign if sign == close => {
                        out.push(close);
                        return Some(here + 1);
                    }
                    b',' if *text.get(here + 1)? == b' ' => {
                        out.extend_from_slice(b", ");
                        here += 2;
                    }
                    _ => return None,
                }
            }
        }
        b'N' if text[at..].starts_with(b"None") => {
            out.extend_from_slice(b"null");
            Some(at + 4)
        }
        b'T' if text[at..].starts_with(b"True") => {
            out.extend_from_slice(b"true");
            Some(at + 4)
        }
        b'F' if text[at..].starts_with(b"False") => {
            out.extend_from_slice(b"false");
            Some(at + 5)
        }
        b'-' | b'0'..=b'9' => {
            let end = number(text, at)?;
            if !is_as_written(&text[at..end]) {
                return None;
            }
            out.extend_from_slice(&text[at..end]);
            Some(end)
        }
        _ => None,
    }
}

/// Whether Python writes this number as it stands here.
fn is_as_written(number: &[u8]) -> bool {
    let digits = number.strip_prefix(b"-").unwrap_or(number);
    let point = digits.iter().position(|&b| b == b'.');
    let whole = &digits[..point.unwrap_or(digits.len())];
    if whole.len() > 1 && whole[0] == b'0' {
        return false;
    }
    let Some(point) = point else {
        return number != b"-0";
    };
    let fraction = &digits[point + 1..];
    let is_short = whole.len() + fraction.len() <= MAX_DIGITS;
    let has_no_zeros = fraction == b"0" || !fraction.ends_with(b"0");
    // Below a ten-thousandth there is an exponent.
    let has_no_exponent = whole != b"0" || fraction == b"0" || !fraction.starts_with(b"0000");
    is_short && has_no_zeros && has_no_exponent
}

/// Writes the string at `at`. Returns the place after it, and the string.
fn write_string(text: &[u8], at: usize, out: &mut Vec<u8>) -> Option<(usize, Vec<u8>)> {
    let mut value = Vec::new();
    let end = literal(text, at, &mut value)?;
    out.push(b'"');
    let mut rest = value.as_slice();
    while let Some(plain) = rest
        .iter()
        .position(|&b| b < 0x20 || b == b'"' || b == b'\\')
    {
        out.extend_from_slice(&rest[..plain]);
        match rest[plain] {
            sign @ (b'"' | b'\\') => out.extend_from_slice(&[b'\\', sign]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            8 => out.extend_from_slice(b"\\b"),
            12 => out.extend_from_slice(b"\\f"),
            sign => out.extend_from_slice(format!("\\u{sign:04x}").as_bytes()),
        }
        rest = &rest[plain + 1..];
    }
    out.extend_from_slice(rest);
    out.push(b'"');
    Some((end, value))
}
