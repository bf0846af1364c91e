//! State frames that are like the one before, as `server/frames/similar_states.py` splits them.

use crate::delta::common_head;
use crate::json;

/// Where the values of a frame stand, in their order.
pub type Places = Vec<(usize, usize)>;

/// The places of the values in a frame that differs from the last one in some of them, and the indexes of those; None if
/// it differs in more than values, or if only a parser can tell.
pub fn next(old: &[u8], places: &[(usize, usize)], new: &[u8]) -> Option<(Places, Vec<usize>)> {
    let mut found = Vec::with_capacity(places.len());
    let mut changed = Vec::new();
    let (mut at_old, mut at_new) = (0, 0);
    loop {
        let (rest_old, rest_new) = (old.get(at_old..)?, new.get(at_new..)?);
        let shorter = rest_old.len().min(rest_new.len());
        let same = common_head(&rest_old[..shorter], &rest_new[..shorter]);
        let is_over = same == rest_old.len() && same == rest_new.len();
        let differs_at = at_old + same;
        // The values up to the one that differs.
        let mut last = None;
        while let Some(&(start, end)) = places.get(found.len()) {
            if !is_over && start > differs_at {
                break;
            }
            last = Some(found.len());
            found.push((start - at_old + at_new, end - at_old + at_new));
        }
        if is_over {
            return Some((found, changed));
        }
        let index = last?;
        let start = found[index].0;
        let end = json::value(new, start, 0)?;
        std::str::from_utf8(&new[start..end]).ok()?;
        let old_end = places[index].1;
        let following = places.get(index + 1).map_or(old.len(), |next| next.0);
        if !new[end..].starts_with(&old[old_end..following]) {
            return None;
        }
        found[index].1 = end;
        changed.push(index);
        (at_old, at_new) = (following, end + following - old_end);
    }
}
