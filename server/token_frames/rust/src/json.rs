//! Strings of JSON.

/// Reads a JSON string from the byte after its first quote on. Returns the place after its last quote.
pub fn json_string(data: &[u8], mut at: usize, out: &mut Vec<u8>) -> Option<usize> {
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
