//! The delta of a token frame, as `server/encoding/frame_delta.py` says it.

use std::cell::RefCell;

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use crate::digest::DIGEST_BYTES;
use crate::wire::{read_varint, varint};

/// `Encoding.TOKEN`.
const TOKEN: u8 = 1;
/// `DEFLATE_FROM_BYTES`: insertions of this size are deflated.
const DEFLATE_FROM: usize = 128;
/// The largest dictionary that deflate takes, and what is used of it: with more it takes longer, and gives hardly fewer
/// bytes.
const DICTIONARY: usize = 1 << 15;
const USED: usize = 1 << 13;
/// Bytes that are compared at once: by the C library, and here.
const LONG_STEP: usize = 512;
const STEP: usize = 32;

thread_local! {
    /// It takes longer to make than to use, and hundreds of kilobytes.
    static DEFLATE: RefCell<Compress> = RefCell::new(Compress::new(Compression::fast(), false));
    static INFLATE: RefCell<Decompress> = RefCell::new(Decompress::new(false));
}

/// Writes a delta.
pub fn write(out: &mut Vec<u8>, digest: &[u8], old: &[u8], new: &[u8]) {
    out.push(TOKEN);
    out.extend_from_slice(digest);
    difference(out, old, new);
}

/// Writes the difference of two texts.
pub fn difference(out: &mut Vec<u8>, old: &[u8], new: &[u8]) {
    let shorter = old.len().min(new.len());
    let head = common_head(&old[..shorter], &new[..shorter]);
    let (old_rest, new_rest) = (
        &old[old.len() - shorter + head..],
        &new[new.len() - shorter + head..],
    );
    let tail = common_tail(old_rest, new_rest);
    varint(out, head as u64);
    varint(out, tail as u64);
    insert(out, old, &new[head..new.len() - tail]);
}

/// Writes an insertion with its length.
fn insert(out: &mut Vec<u8>, old: &[u8], inserted: &[u8]) {
    if inserted.len() >= DEFLATE_FROM {
        let dictionary = &old[old.len().saturating_sub(USED)..];
        if let Some(deflated) = deflated(dictionary, inserted) {
            varint(out, (deflated.len() as u64) << 1 | 1);
            out.extend_from_slice(&deflated);
            return;
        }
    }
    varint(out, (inserted.len() as u64) << 1);
    out.extend_from_slice(inserted);
}

/// The bytes deflated; None if that takes as many.
fn deflated(dictionary: &[u8], bytes: &[u8]) -> Option<Vec<u8>> {
    DEFLATE.with_borrow_mut(|deflate| {
        deflate.reset();
        if !dictionary.is_empty() {
            deflate.set_dictionary(dictionary).ok()?;
        }
        let mut out = Vec::with_capacity(bytes.len());
        let status = deflate.compress_vec(bytes, &mut out, FlushCompress::Finish);
        (status.ok()? == Status::StreamEnd).then_some(out)
    })
}

/// Writes the text that the delta of a token frame gives, of up to `max` bytes. Returns how many bytes of its head and of
/// its tail are those of `old`; None for another delta.
pub fn apply(out: &mut Vec<u8>, old: &[u8], delta: &[u8], max: usize) -> Option<(usize, usize)> {
    if *delta.first()? != TOKEN {
        return None;
    }
    let at = 1 + DIGEST_BYTES;
    let (head, at) = read_varint(delta, at)?;
    let (tail, at) = read_varint(delta, at)?;
    let (size, at) = read_varint(delta, at)?;
    let inserted = delta.get(at..at.checked_add(size >> 1)?)?;
    out.extend_from_slice(old.get(..head)?);
    if size & 1 == 1 {
        inflate(
            out,
            &old[old.len().saturating_sub(DICTIONARY)..],
            inserted,
            max,
        )?;
    } else {
        out.extend_from_slice(inserted);
    }
    out.extend_from_slice(&old[old.len().checked_sub(tail)?..]);
    (out.len() <= max).then_some((head, tail))
}

fn inflate(out: &mut Vec<u8>, dictionary: &[u8], deflated: &[u8], max: usize) -> Option<()> {
    INFLATE.with_borrow_mut(|inflate| {
        inflate.reset(false);
        if !dictionary.is_empty() {
            inflate.set_dictionary(dictionary).ok()?;
        }
        out.reserve(max.saturating_sub(out.len()));
        let status = inflate.decompress_vec(deflated, out, FlushDecompress::Finish);
        (status.ok()? == Status::StreamEnd).then_some(())
    })
}

/// Of two texts of the same length.
pub fn common_head(a: &[u8], b: &[u8]) -> usize {
    let steps = a.chunks_exact(LONG_STEP).zip(b.chunks_exact(LONG_STEP));
    let at = LONG_STEP * steps.take_while(|(x, y)| x == y).count();
    let steps = a[at..].chunks_exact(STEP).zip(b[at..].chunks_exact(STEP));
    let at = at + STEP * steps.take_while(|(x, y)| x == y).count();
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
