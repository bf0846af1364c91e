//! Token frames from their deltas, as legacy frames: `server/domain/streams/legacy_frames.py` does the same in Python.

use std::collections::HashMap;
use std::ops::Range;

use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::MAX_FRAME;
use crate::delta;
use crate::wire::read_varint;

/// Sizes whose headers are kept.
const MAX_HEADERS: usize = 4096;
const SEQ: &[u8] = b"\"seq\"";

/// The framed frames, the index after each as 64-bit numbers of this machine, and the last frame's text.
type Made<'py> = (
    Bound<'py, PyBytes>,
    Bound<'py, PyBytes>,
    Bound<'py, PyBytes>,
);

/// Makes legacy frames of tokens.
#[pyclass]
pub struct LegacyTokens {
    /// What comes before a frame of a size, and the function that has said so.
    headers: HashMap<usize, Vec<u8>>,
    of: Option<Py<PyAny>>,
}

#[pymethods]
impl LegacyTokens {
    #[new]
    fn new() -> Self {
        LegacyTokens {
            headers: HashMap::new(),
            of: None,
        }
    }

    /// The frames of the events from `seq` to `last_seq`, as far as they are regular tokens: until they have `max_bytes`.
    /// None if the first is not.
    ///
    /// deltas: a batch of deltas, in which that of `seq` begins at `at`. token: the text of the token frame before. header:
    /// what comes before a frame of so many bytes.
    #[allow(clippy::too_many_arguments)]
    fn take<'py>(
        &mut self,
        py: Python<'py>,
        deltas: &[u8],
        at: usize,
        seq: u64,
        last_seq: u64,
        token: &[u8],
        header: &Bound<'py, PyAny>,
        max_bytes: usize,
    ) -> PyResult<Option<Made<'py>>> {
        if !self.of.as_ref().is_some_and(|mine| mine.is(header)) {
            self.headers.clear();
            self.of = Some(header.clone().unbind());
        }
        let (mut at, mut made, mut ends) = (at, Vec::new(), Vec::new());
        let mut old = token.to_vec();
        let mut text = Vec::new();
        let mut known = false;
        for seq in seq..=last_seq {
            let Some((size, start)) = read_varint(deltas, at) else {
                break;
            };
            let Some(delta) = start
                .checked_add(size)
                .and_then(|end| deltas.get(start..end))
            else {
                break;
            };
            text.clear();
            let Some((head, tail)) = delta::apply(&mut text, &old, delta, MAX_FRAME) else {
                break;
            };
            let changed = if known {
                head.saturating_sub(SEQ.len())..(text.len() - tail).max(head) + SEQ.len()
            } else {
                0..text.len()
            };
            if !is_plain(&text, changed) {
                break;
            }
            known = true;
            let number = format!(",\"seq\":{seq}}}");
            let size = text.len() - 1 + number.len();
            if !self.headers.contains_key(&size) {
                if self.headers.len() >= MAX_HEADERS {
                    self.headers.clear();
                }
                let made = header.call1((size,))?;
                self.headers
                    .insert(size, made.cast::<PyBytes>()?.as_bytes().to_vec());
            }
            made.extend_from_slice(&self.headers[&size]);
            made.extend_from_slice(&text[..text.len() - 1]);
            made.extend_from_slice(number.as_bytes());
            ends.extend_from_slice(&(made.len() as u64).to_ne_bytes());
            std::mem::swap(&mut old, &mut text);
            at = start + delta.len();
            if made.len() >= max_bytes {
                break;
            }
        }
        if ends.is_empty() {
            return Ok(None);
        }
        Ok(Some((
            PyBytes::new(py, &made),
            PyBytes::new(py, &ends),
            PyBytes::new(py, &old),
        )))
    }
}

/// Whether a text is a JSON object without a member `seq`, so that one can be put at its end. The texts are proper JSON: a
/// delta has no others. changed: where it differs from one that is.
fn is_plain(text: &[u8], changed: Range<usize>) -> bool {
    let looked_at = &text[changed.start..changed.end.min(text.len())];
    text.starts_with(b"{\"")
        && text.ends_with(b"}")
        && !looked_at.windows(SEQ.len()).any(|some| some == SEQ)
}
