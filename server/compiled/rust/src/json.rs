//! Strings of JSON, and where its values end.

/// Of values within values.
const MAX_DEPTH: usize = 32;
/// The longest number: none of them is too large.
const MAX_NUMBER: usize = 18;
/// Bytes that are looked at together.
const STEP: usize = 16;

/// Reads a JSON string from the byte after its first quote on. Returns the place after its last quote.
pub fn json_string(data: &[u8], mut at: usize, out: &mut Vec<u8>) -> Option<usize> {
    loop {
        let rest = data.get(at..)?;
        let plain = plain(rest)?;
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
pub fn hex(digits: &[u8]) -> Option<u32> {
    digits
        .iter()
        .try_fold(0u32, |n, &d| Some(n << 4 | (d as char).to_digit(16)?))
}
pub fn push_char(out: &mut Vec<u8>, code: u32) -> Option<()> {
    let mut some = [0u8; 4];
    out.extend_from_slice(char::from_u32(code)?.encode_utf8(&mut some).as_bytes());
    Some(())
}

/// The place after the value at `at`; None if it is not proper JSON, or if only a parser can tell. Whether it is UTF-8 is not
/// looked at.
pub fn value(text: &[u8], at: usize, depth: usize) -> Option<usize> {
    match *text.get(at)? {
        b'"' => string(text, at),
        open @ (b'[' | b'{') if depth < MAX_DEPTH => {
            let close = if open == b'[' { b']' } else { b'}' };
            let mut here = space(text, at + 1);
            if *text.get(here)? == close {
                return Some(here + 1);
            }
            loop {
                if open == b'{' {
                    if *text.get(here)? != b'"' {
                        return None;
                    }
                    here = space(text, string(text, here)?);
                    if *text.get(here)? != b':' {
                        return None;
                    }
                    here = space(text, here + 1);
                }
                here = space(text, value(text, here, depth + 1)?);
                match *text.get(here)? {
                    b',' => here = space(text, here + 1),
                    sign if sign == close => return Some(here + 1),
                    _ => return None,
                }
            }
        }
        b'-' | b'0'..=b'9' => number(text, at),
        b'n' => text[at..].starts_with(b"null").then_some(at + 4),
        b't' => text[at..].starts_with(b"true").then_some(at + 4),
        b'f' => text[at..].starts_with(b"false").then_some(at + 5),
        _ => None,
    }
}
/// The place after the space at `at`.
pub fn space(text: &[u8], mut at: usize) -> usize {
    while matches!(text.get(at), Some(b' ' | b'\t' | b'\r' | b'\n')) {
        at += 1;
    }
    at
}
/// A whole number, or one with a fraction: others are left to a parser.
fn number(text: &[u8], at: usize) -> Option<usize> {
    let digits = |from: usize| {
        let rest = text.get(from..).unwrap_or_default();
        rest.iter().take_while(|b| b.is_ascii_digit()).count()
    };
    let start = at + usize::from(text[at] == b'-');
    let whole = digits(start);
    if whole == 0 || (whole > 1 && text[start] == b'0') {
        return None;
    }
    let mut end = start + whole;
    if text.get(end) == Some(&b'.') {
        let fraction = digits(end + 1);
        if fraction == 0 {
            return None;
        }
        end += 1 + fraction;
    }
    let goes_on = matches!(text.get(end), Some(b'e' | b'E' | b'.' | b'+' | b'-'));
    (!goes_on && end - at <= MAX_NUMBER).then_some(end)
}
/// How many bytes of a string there are before the first that is escaped or ends it; None if there is no such one.
fn plain(rest: &[u8]) -> Option<usize> {
    let is_plain = |b: &u8| *b >= 0x20 && *b != b'"' && *b != b'\\';
    let steps = rest.chunks_exact(STEP);
    // Without an exit inside a step, so that it is done at once.
    let plain = STEP
        * steps
            .take_while(|step| step.iter().fold(true, |all, b| all & is_plain(b)))
            .count();
    Some(plain + rest[plain..].iter().position(|b| !is_plain(b))?)
}
/// The place after the string at `at`.
fn string(text: &[u8], at: usize) -> Option<usize> {
    let mut at = at + 1;
    loop {
        at += plain(text.get(at..)?)?;
        match text[at] {
            b'"' => return Some(at + 1),
            b'\\' => {
                at += match *text.get(at + 1)? {
                    b'u' => 2 + escaped(text, at + 2)?,
                    b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => 2,
                    _ => return None,
                }
            }
            _ => return None,
        }
    }
}
/// The length of the digits at `at`, with those of a second half.
fn escaped(text: &[u8], at: usize) -> Option<usize> {
    match hex(text.get(at..at + 4)?)? {
        0xDC00..=0xDFFF => None,
        0xD800..0xDC00 => {
            let is_second = text.get(at + 4..at + 6)? == b"\\u"
                && (0xDC00..0xE000).contains(&hex(text.get(at + 6..at + 10)?)?);
            is_second.then_some(10)
        }
        _ => Some(4),
    }
}
