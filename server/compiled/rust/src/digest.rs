//! The digests of frames, as `frame_digest` of `server/encoding/frame_delta.py`.

use blake2b_simd::Params;
use blake2b_simd::many::{HashManyJob, hash_many};

/// `DIGEST_BYTES`, and those of a piece.
pub const DIGEST_BYTES: usize = 8;
const PIECE_DIGEST_BYTES: usize = 16;
/// `WHOLE_BYTES`: longer frames are hashed in pieces, of which each has at least so many bytes and the next one begins with
/// this sign.
const WHOLE: usize = 16 << 10;
const LEAST: usize = 4 << 10;
const FIRST: u8 = b'{';
/// Places around its own at which a piece is looked for, and bytes that are looked at together.
const NEAR: usize = 2;
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

/// The pieces of a frame: where each ends, and its digest.
#[derive(Default)]
pub struct Pieces(Vec<(usize, [u8; PIECE_DIGEST_BYTES])>);

impl Pieces {
    /// Those of a frame, and the frame's digest. last, known: of the frame before.
    pub fn of(frame: &[u8], last: &[u8], known: &Pieces) -> (Self, [u8; DIGEST_BYTES]) {
        if frame.len() <= WHOLE {
            return (Pieces::default(), together(std::iter::once(frame))[0]);
        }
        let mut found = Pieces(Vec::with_capacity(known.0.len() + 2));
        let mut new = Vec::new();
        let (mut at, mut known_at) = (0, 0usize);
        while at < frame.len() {
            let end = end(frame, at);
            let piece = &frame[at..end];
            // Pieces come in the same order, and most are the same: each is looked for around its place.
            let near = known_at.saturating_sub(NEAR)..known.0.len().min(known_at + NEAR + 1);
            let same = near.into_iter().find(|&index| {
                let (known_end, _) = known.0[index];
                let start = if index == 0 { 0 } else { known.0[index - 1].0 };
                last[start..known_end] == *piece
            });
            known_at = same.map_or((known_at + 1).min(known.0.len()), |index| index + 1);
            match same {
                Some(index) => found.0.push((end, known.0[index].1)),
                None => {
                    new.push(found.0.len());
                    found.0.push((end, [0; PIECE_DIGEST_BYTES]));
                }
            }
            at = end;
        }
        let starts = |index: usize| if index == 0 { 0 } else { found.0[index - 1].0 };
        let texts = new
            .iter()
            .map(|&index| &frame[starts(index)..found.0[index].0]);
        let digests = together(texts);
        for (index, digest) in new.into_iter().zip(digests) {
            found.0[index].1 = digest;
        }
        let all: Vec<u8> = found.0.iter().flat_map(|piece| piece.1).collect();
        let digest = together(std::iter::once(all.as_slice()))[0];
        (found, digest)
    }

    pub fn size(&self) -> usize {
        self.0.len() * size_of::<(usize, [u8; PIECE_DIGEST_BYTES])>()
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
