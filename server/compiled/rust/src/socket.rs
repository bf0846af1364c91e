//! The messages in what was read of a WebSocket, as `server/runtime/websocket.py` reads them.

/// Bytes that a frame has at least, to be looked at: its head.
const HEAD: usize = 4;

/// The messages that lie whole in `ahead` from `at` on, each in one frame of less than 64 KiB and of `max` bytes at most,
/// up to the first that does not. Returns where they stand, and the place after the last.
pub fn messages(ahead: &[u8], mut at: usize, max: usize) -> (Vec<(usize, usize)>, usize) {
    let mut found = Vec::new();
    while let Some(&[first, second, high, low, _]) =
        ahead.get(at..).and_then(|rest| rest.first_chunk())
    {
        if first != 0x81 && first != 0x82 {
            break;
        }
        let (length, start) = match second {
            0..126 => (usize::from(second), at + 2),
            126 => (usize::from(high) << 8 | usize::from(low), at + HEAD),
            _ => break,
        };
        if start + length > ahead.len() || length > max {
            break;
        }
        at = start + length;
        found.push((start, at));
    }
    (found, at)
}
