//! State frames that are like the one before, as `server/frames/similar_states.py` splits them.

use crate::delta::common_head;
use crate::json;

/// Where the values of a frame stand, in their order.
pub type Places = Vec<(usize, usize)>;

/// Bytes that both frames have: where they begin in the last one and in the new one, and how many they are.
pub struct Same {
    pub old: usize,
    pub new: usize,
    pub size: usize,
}

impl Same {
    /// Where they end in the new frame.
    pub fn new_end(&self) -> usize {
        self.new + self.size
    }

    /// The place in the last frame of one of them, whose place in the new one is this; None for a place before them.
    pub fn old_place(&self, new: usize) -> Option<usize> {
        Some(new.checked_sub(self.new)? + self.old)
    }
}

/// A frame like the last one.
pub struct Next {
    pub places: Places,
    /// The indexes of the values that differ.
    pub changed: Vec<usize>,
    /// What does not, in its order.
    pub same: Vec<Same>,
}

/// What a frame has in common with the last one, if it differs from that in some of its values; None if it differs in more
/// than values, or if only a parser can tell. may_differ: whether the value of an index may; None if another one does.
pub fn next(
    old: &[u8],
    places: &[(usize, usize)],
    new: &[u8],
    may_differ: impl Fn(usize) -> bool,
) -> Option<Next> {
    let mut found = Vec::with_capacity(places.len());
    let (mut changed, mut same) = (Vec::new(), Vec::new());
    let (mut at_old, mut at_new) = (0, 0);
    loop {
        let (rest_old, rest_new) = (old.get(at_old..)?, new.get(at_new..)?);
        let shorter = rest_old.len().min(rest_new.len());
        let size = common_head(&rest_old[..shorter], &rest_new[..shorter]);
        same.push(Same {
            old: at_old,
            new: at_new,
            size,
        });
        let is_over = size == rest_old.len() && size == rest_new.len();
        let differs_at = at_old + size;
        // The values up to the one that differs. There is none if what stands between two values does.
        let mut last = None;
        while let Some(&(start, end)) = places.get(found.len()) {
            if !is_over && start > differs_at {
                break;
            }
            last = Some(found.len());
            found.push((start - at_old + at_new, end - at_old + at_new));
        }
        if is_over {
            return Some(Next {
                places: found,
                changed,
                same,
            });
        }
        let index = last.filter(|&index| may_differ(index))?;
        let start = found[index].0;
        let end = json::value(new, start, 0)?;
        std::str::from_utf8(&new[start..end]).ok()?;
        found[index].1 = end;
        changed.push(index);
        (at_old, at_new) = (places[index].1, end);
    }
}

/// A text file as most come: its content, and when it was created and modified.
#[derive(Default)]
pub struct TextFile {
    pub content: Vec<u8>,
    pub created_at: Option<Vec<u8>>,
    pub modified_at: Option<Vec<u8>>,
}

/// The file of an entry's JSON text: a text, its lines, or an object with one of these and known members, as `read_file` of
/// `server/frames/file_maps.py` reads it. None for another entry, which may be a file, too.
pub fn text_file(entry: &[u8]) -> Option<TextFile> {
    std::str::from_utf8(entry).ok()?;
    let mut file = TextFile::default();
    if *entry.first()? != b'{' {
        return (content(entry, 0, &mut file.content)? == entry.len()).then_some(file);
    }
    let mut seen: Vec<&[u8]> = Vec::with_capacity(4);
    let mut at = 1;
    loop {
        at = json::space(entry, at);
        let name_at = at.checked_add(1).filter(|_| entry.get(at) == Some(&b'"'))?;
        let size = entry[name_at..].iter().position(|&b| b == b'"')?;
        let name = &entry[name_at..name_at + size];
        if seen.contains(&name) {
            return None;
        }
        seen.push(name);
        at = json::space(entry, name_at + size + 1);
        if *entry.get(at)? != b':' {
            return None;
        }
        at = json::space(entry, at + 1);
        at = match name {
            b"content" => content(entry, at, &mut file.content)?,
            b"encoding" => {
                let (text, end) = string(entry, at)?;
                (text == b"utf-8").then_some(end)?
            }
            b"created_at" => {
                let (text, end) = string(entry, at)?;
                file.created_at = Some(text);
                end
            }
            b"modified_at" => {
                let (text, end) = string(entry, at)?;
                file.modified_at = Some(text);
                end
            }
            _ => return None,
        };
        at = json::space(entry, at);
        match *entry.get(at)? {
            b',' => at += 1,
            b'}' if at + 1 == entry.len() && seen.contains(&b"content".as_slice()) => {
                return Some(file);
            }
            _ => return None,
        }
    }
}

/// Reads a text, or lines, which line feeds join. Returns the place after it.
fn content(entry: &[u8], at: usize, out: &mut Vec<u8>) -> Option<usize> {
    if entry.get(at) == Some(&b'"') {
        return json::json_string(entry, at + 1, out);
    }
    let mut at = (*entry.get(at)? == b'[').then_some(json::space(entry, at + 1))?;
    if *entry.get(at)? == b']' {
        return Some(at + 1);
    }
    loop {
        at = (*entry.get(at)? == b'"').then_some(at + 1)?;
        at = json::space(entry, json::json_string(entry, at, out)?);
        match *entry.get(at)? {
            b',' => out.push(b'\n'),
            b']' => return Some(at + 1),
            _ => return None,
        }
        at = json::space(entry, at + 1);
    }
}

/// The string at a place, and the place after it.
fn string(entry: &[u8], at: usize) -> Option<(Vec<u8>, usize)> {
    let mut text = Vec::new();
    let at = (*entry.get(at)? == b'"').then_some(at + 1)?;
    let end = json::json_string(entry, at, &mut text)?;
    Some((text, end))
}
