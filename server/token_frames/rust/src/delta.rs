//! The delta of a token frame, as `server/encoding/frame_delta.py` says it.

use blake2b_simd::Params;

use crate::wire::varint;

/// `Encoding.TOKEN`.
const TOKEN: u8 = 1;
const DIGEST_BYTES: usize = 8;
/// Bytes that are compared at once.
const STEP: usize = 32;

pub fn digest(frame: &[u8]) -> [u8; DIGEST_BYTES] {
    let hash = Params::new().hash_length(DIGEST_BYTES).hash(frame);
    let mut digest = [0; DIGEST_BYTES];
    digest.copy_from_slice(hash.as_bytes());
    digest
}

/// Writes a delta up to its insertion. Returns where the insertion is in `new`.
pub fn begin(out: &mut Vec<u8>, digest: &[u8], old: &[u8], new: &[u8]) -> (usize, usize) {
    let shorter = old.len().min(new.len());
    let head = common_head(&old[..shorter], &new[..shorter]);
    let tail = common_tail(
        &old[old.len() - shorter + head..],
        &new[new.len() - shorter + head..],
    );
    out.push(TOKEN);
    out.extend_from_slice(digest);
    varint(out, head as u64);
    varint(out, tail as u64);
    (head, new.len() - tail)
}

/// Writes an insertion that is not deflated.
pub fn insert(out: &mut Vec<u8>, inserted: &[u8]) {
    varint(out, (inserted.len() as u64) << 1);
    out.extend_from_slice(inserted);
}

/// Of two texts of the same length.
fn common_head(a: &[u8], b: &[u8]) -> usize {
    let steps = a.chunks_exact(STEP).zip(b.chunks_exact(STEP));
    let at = STEP * steps.take_while(|(x, y)| x == y).count();
    let rest = a[at..].iter().zip(&b[at..]);
    at + rest.take_while(|(x, y)| x == y).count()
}

/// Of two texts of the same length.
fn common_tail(a: &[u8], b: &[u8]) -> usize {
    let steps = a.rchunks_exact(STEP).zip(b.rchunks_exact(STEP));
    let at = STEP * steps.take_while(|(x, y)| x == y).count();
    let (a, b) = (&a[..a.len() - at], &b[..b.len() - at]);
    let rest = a.iter().rev().zip(b.iter().rev());
    at + rest.take_while(|(x, y)| x == y).count()
}
