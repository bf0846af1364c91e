//! The digests of frames, as `frame_digest` of `server/encoding/frame_delta.py`.

use blake2b_simd::Params;
use blake2b_simd::many::{HashManyJob, hash_many};

use crate::states::Same;

/// `DIGEST_BYTES`, and those of a piece.
pub const DIGEST_BYTES: usize = 8;
const PIECE_DIGEST_BYTES: usize = 16;
/// `WHOLE_BYTES`: longer frames are hashed in pieces, of which each has at least so many bytes and the next one begins with
/// this sign.
const WHOLE: usize = 16 << 10;
const LEAST: usize = 4 << 10;
const FIRST: u8 = b'{';
/// Bytes that are looked at together.
const STEP: usize = 64;

/// The digests of several texts, computed together.
pub fn together<'a, const N: usize>(texts: impl Iterator<Item = &'a [u8]>) -> Vec<[u8; N]> {
    let mut params = Params::new();
    params.hash_length(N);
    let mut jobs: Vec<_> = texts.map(|text| HashManyJob::new(&params, text)).collect();
    hash_many(&mut jobs);
    jobs.iter()
        .map(|job| {
            let mut digest = [0; N];
            digest.copy_from_slice(job.to_hash().as_bytes());
            digest
        })
        .collect()
}

/// A piece of a frame: where it begins and ends, and its digest.
#[derive(Clone, Copy)]
struct Piece {
    start: usize,
    end: usize,
    digest: [u8; PIECE_DIGEST_BYTES],
}

/// The pieces of a frame.
#[derive(Default)]
pub struct Pieces(Vec<Piece>);

impl Pieces {
    /// Those of a frame, and the frame's digest. known: those of the last frame. same: what both frames have.
    pub fn of(frame: &[u8], known: &Pieces, same: &[Same]) -> (Self, [u8; DIGEST_BYTES]) {
        if frame.len() <= WHOLE {
            return (Pieces::default(), together(std::iter::once(frame))[0]);
        }
        let (mut same, mut known) = (same.iter().peekable(), known.0.iter().peekable());
        let (mut found, mut new) = (Vec::with_capacity(known.len() + 2), Vec::new());
        let mut start = 0;
        while start < frame.len() {
            while same.next_if(|each| each.new_end() <= start).is_some() {}
            let kept = same
                .peek()
                .and_then(|each| Some((each, each.old_place(start)?)))
                .and_then(|(each, old)| {
                    while known.next_if(|piece| piece.start < old).is_some() {}
                    let piece = known.next_if(|piece| piece.start == old)?;
                    let end = start + piece.end - old;
                    // So is the sign that the next piece begins with, unless there is none.
                    let ends_same = end < each.new_end()
                        || (end == each.new_end() && end == frame.len() && known.peek().is_none());
                    ends_same.then_some(Piece {
                        start,
                        end,
                        ..*piece
                    })
                });
            let piece = kept.unwrap_or_else(|| {
                new.push(found.len());
                Piece {
                    start,
                    end: end(frame, start),
                    digest: [0; PIECE_DIGEST_BYTES],
                }
            });
            start = piece.end;
            found.push(piece);
        }
        let texts = new.iter().map(|&index| {
            let Piece { start, end, .. } = found[index];
            &frame[start..end]
        });
        for (index, digest) in new.iter().zip(together(texts)) {
            found[*index].digest = digest;
        }
        let all: Vec<u8> = found.iter().flat_map(|piece| piece.digest).collect();
        let digest = together(std::iter::once(all.as_slice()))[0];
        (Pieces(found), digest)
    }

    pub fn size(&self) -> usize {
        self.0.len() * size_of::<Piece>()
    }
}

/// Where the piece that begins at `at` ends.
fn end(frame: &[u8], at: usize) -> usize {
    let from = at + LEAST;
    let rest = frame.get(from..).unwrap_or_default();
    // Without an exit inside a step, so that it is done at once.
    let has_none = |step: &&[u8]| !step.iter().fold(false, |any, &b| any | (b == FIRST));
    let plain = STEP * rest.chunks_exact(STEP).take_while(has_none).count();
    let next = rest[plain..].iter().position(|&b| b == FIRST);
    next.map_or(frame.len(), |next| from + plain + next)
}
