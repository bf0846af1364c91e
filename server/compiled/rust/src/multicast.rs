//! The same bytes to many sockets, as `send_to_all` of `server/http/multicast.py` sends them.

use nix::sys::socket::{MsgFlags, send};
use pyo3::prelude::*;

/// Bytes of a descriptor: a C int.
const DESCRIPTOR: usize = 4;

/// Sends the same bytes to each socket, without waiting. Returns the places of those that did not take all, and how many
/// bytes each took.
///
/// The interpreter is released once for all of them. Only the caller's thread closes these sockets, and it is here.
#[pyfunction]
pub fn send_to_all(py: Python<'_>, descriptors: &[u8], data: &[u8]) -> Vec<(usize, usize)> {
    py.detach(|| {
        let mut rests = Vec::new();
        for (place, number) in descriptors.chunks_exact(DESCRIPTOR).enumerate() {
            let number = number.try_into().map_or(-1, i32::from_ne_bytes);
            // An error is the transport's to find.
            let sent = send(number, data, MsgFlags::MSG_DONTWAIT).unwrap_or(0);
            if sent != data.len() {
                rests.push((place, sent));
            }
        }
        rests
    })
}
