//! The steps of the hub that cost most. Of token frames of deepagents-runtime in their regular printed form, the whole way
//! from a frame's bytes to its event's and its delta's entries of the journal, and to its event's of state frames that differ
//! in text files alone; steps of reading other state frames and the runtime's WebSocket; legacy frames of tokens; and the same
//! bytes to many sockets. What is not regular is left to Python, which says what is right: the tests compare both.
#![forbid(unsafe_code)]

mod delta;
mod digest;
mod json;
mod legacy;
mod messages;
mod multicast;
mod printed;
mod socket;
mod states;
mod wire;

use std::ops::Range;
use std::sync::Arc;

use pyo3::exceptions::{PyIndexError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyDict, PyList, PySlice, PyString, PyTuple};

use crate::printed::Piece;
use crate::wire::{FileKeys, Keys};

/// Bytes of a frame, and of a text that replaces the one before: longer ones are left to Python.
const MAX_FRAME: usize = 16 << 10;
const MAX_TEXT: usize = 4096;
/// Frames that are hashed together, which takes a third of the time.
const TOGETHER: usize = 16;
/// What is around the printed piece in a frame.
const HEAD: &[u8] = br#"{"event_type":"on_llm_stream","data":{"raw_event":""#;
const TAIL: &[u8] = br#""}}"#;

/// The last frame without its text, and its token's fields before and after the text, if the next frame may differ from it
/// in the text alone.
struct Form {
    /// Bytes of the frame before and after the literal.
    prefix: usize,
    suffix: usize,
    before: Vec<u8>,
    after: Vec<u8>,
}

impl Form {
    /// Reads the text of a frame of this form; false for another frame.
    fn text(&self, last: &[u8], frame: &[u8], out: &mut Vec<u8>) -> bool {
        let (prefix, suffix) = (&last[..self.prefix], &last[last.len() - self.suffix..]);
        if frame.len() < self.prefix + self.suffix + 2
            || !frame.ends_with(suffix)
            || !frame.starts_with(prefix)
        {
            return false;
        }
        let raw = &frame[self.prefix..frame.len() - self.suffix];
        if raw.len() > MAX_TEXT || std::str::from_utf8(raw).is_err() {
            return false;
        }
        let inner = &raw[1..raw.len() - 1];
        let plain = |b: &u8| !matches!(*b, b'\'' | b'"' | b'\\' | 0..0x20);
        if raw[0] == b'\'' && raw[raw.len() - 1] == b'\'' && inner.iter().all(plain) {
            out.extend_from_slice(inner);
            return true;
        }
        let mut quoted = raw.to_vec();
        quoted.push(b'"');
        let mut value = Vec::new();
        json::json_string(&quoted, 0, &mut value) == Some(quoted.len())
            && printed::literal(&value, 0, out) == Some(value.len())
    }

    /// The form of a frame, if the literal of its text is where it is in the printed piece, since nothing around it is
    /// escaped. body: the token's fields, with those of the text from `before` to `after`.
    fn of(
        frame: &[u8],
        raw: &[u8],
        piece: &Piece,
        body: &[u8],
        before: usize,
        after: usize,
    ) -> Option<Self> {
        let (start, end) = piece.literal;
        let (prefix, suffix) = (HEAD.len() + start, raw.len() - end + TAIL.len());
        let plain = piece.chunks.is_empty()
            && !piece.last
            && frame.len() >= prefix + suffix
            && raw[end..] == frame[frame.len() - suffix..frame.len() - TAIL.len()]
            && frame[HEAD.len()..prefix] == raw[..start];
        plain.then(|| Form {
            prefix,
            suffix,
            before: body[..before].to_vec(),
            after: body[after..].to_vec(),
        })
    }
}

/// The printed piece in a frame for which `is_printed` holds, as bytes and as what it says; None if it is not regular.
fn read(frame: &[u8]) -> Option<(Vec<u8>, Piece)> {
    std::str::from_utf8(frame).ok()?;
    let mut raw = Vec::with_capacity(frame.len());
    if json::json_string(frame, HEAD.len(), &mut raw)? != frame.len() - 2 {
        return None;
    }
    let piece = printed::piece(&raw)?;
    Some((raw, piece))
}

/// The numbers of a piece's tool calls, from `CallIndexes.indexes` of `server/frames/call_indexes.py`.
fn numbers(indexes: &Bound<'_, PyAny>, piece: &Piece) -> PyResult<Vec<u64>> {
    if piece.chunks.is_empty() && !piece.last {
        return Ok(Vec::new());
    }
    let py = indexes.py();
    let calls = piece.chunks.iter().map(|chunk| {
        let id = PyString::from_bytes(py, chunk.id.as_deref().unwrap_or_default())?;
        let is_named = chunk.name.as_ref().is_some_and(|name| !name.is_empty());
        Ok((id, is_named, chunk.index))
    });
    let calls = calls.collect::<PyResult<Vec<_>>>()?;
    let last = PyDict::new(py);
    last.set_item("last", piece.last)?;
    let id = PyString::from_bytes(py, &piece.id)?;
    indexes.call((id, calls), Some(&last))?.extract()
}

/// Whether a frame is probably a printed piece: others are not worth hashing.
fn is_printed(frame: &[u8]) -> bool {
    frame.len() <= MAX_FRAME && frame.starts_with(HEAD) && frame.ends_with(TAIL)
}

/// A frame: an object of Python's, or a place in what was read of a socket.
enum Frame<'a, 'py> {
    Object(Bound<'py, PyBytes>),
    Place(&'a Place, &'a [u8]),
}

impl<'py> Frame<'_, 'py> {
    fn bytes(&self) -> &[u8] {
        match self {
            Frame::Object(object) => object.as_bytes(),
            Frame::Place(_, bytes) => bytes,
        }
    }

    fn object(self, py: Python<'py>) -> Bound<'py, PyBytes> {
        match self {
            Frame::Object(object) => object,
            Frame::Place(place, bytes) => place.object(py, bytes),
        }
    }
}

/// The frames of a range, up to the first that is probably no printed piece. read: if they are places in it.
fn group<'a, 'py>(
    frames: &Bound<'py, PyAny>,
    read: Option<(&'a Messages, &'a [u8])>,
    range: Range<usize>,
) -> PyResult<Vec<Frame<'a, 'py>>> {
    let mut found = Vec::with_capacity(range.len());
    for index in range {
        let frame = match read {
            Some((messages, read)) => messages.at(index).map(|place| place.of(read)),
            None => frames.get_item(index)?.cast_into().ok().map(Frame::Object),
        };
        match frame {
            Some(frame) if is_printed(frame.bytes()) => found.push(frame),
            _ => break,
        }
    }
    Ok(found)
}

/// A place in what was read, and the object of it once there is one: Python compares frames by identity.
struct Place {
    start: usize,
    end: usize,
    object: PyOnceLock<Py<PyBytes>>,
}

impl Place {
    /// The frame. read: what the place is in.
    fn of<'a, 'py>(&'a self, read: &'a [u8]) -> Frame<'a, 'py> {
        Frame::Place(self, &read[self.start..self.end])
    }

    /// The object. bytes: the frame's.
    fn object<'py>(&self, py: Python<'py>, bytes: &[u8]) -> Bound<'py, PyBytes> {
        let object = (self.object).get_or_init(py, || PyBytes::new(py, bytes).unbind());
        object.bind(py).clone()
    }
}

/// The messages that lie whole in what was read of a WebSocket: a sequence that makes an object of one when it is asked for.
#[pyclass(frozen, sequence)]
struct Messages {
    read: Py<PyBytes>,
    places: Arc<[Place]>,
    /// Which of the places they are.
    those: Range<usize>,
}

impl Messages {
    fn at(&self, index: usize) -> Option<&Place> {
        self.places[self.those.clone()].get(index)
    }
}

#[pymethods]
impl Messages {
    fn __len__(&self) -> usize {
        self.those.len()
    }

    /// One of them, or those of a slice without a step.
    fn __getitem__<'py>(
        &self,
        py: Python<'py>,
        key: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        if let Ok(slice) = key.cast::<PySlice>() {
            let indices = slice.indices(self.those.len().try_into()?)?;
            if indices.step != 1 {
                return Err(PyValueError::new_err("a slice of messages has no step"));
            }
            let start = self.those.start + usize::try_from(indices.start)?;
            let sliced = Messages {
                read: self.read.clone_ref(py),
                places: Arc::clone(&self.places),
                those: start..start + indices.slicelength,
            };
            return Ok(Bound::new(py, sliced)?.into_any());
        }
        let index: isize = key.extract()?;
        let from_end = if index < 0 { self.those.len() } else { 0 };
        let place = index
            .checked_add_unsigned(from_end)
            .and_then(|index| self.at(index.try_into().ok()?))
            .ok_or_else(|| PyIndexError::new_err("there is no such message"))?;
        let bytes = &self.read.as_bytes(py)[place.start..place.end];
        Ok(place.object(py, bytes).into_any())
    }

    /// Bytes of each.
    #[getter]
    fn sizes(&self) -> Vec<usize> {
        let places = &self.places[self.those.clone()];
        places.iter().map(|place| place.end - place.start).collect()
    }
}

/// How many frames were taken, the entries of their events and of their deltas, and their digests.
type Entries<'py> = (
    usize,
    Bound<'py, PyBytes>,
    Bound<'py, PyBytes>,
    Bound<'py, PyList>,
);
/// These, and the last frame.
type Taken<'py> = (Entries<'py>, Bound<'py, PyBytes>);

/// The reader of one run's token frames.
#[pyclass]
struct TokenFrames {
    keys: Py<PyDict>,
    of_contract: Keys,
    /// The last frame that it has read, to which the form belongs.
    last: Option<Py<PyBytes>>,
    form: Option<Form>,
}

#[pymethods]
impl TokenFrames {
    /// keys: those of the contract's fields by their names (`server/wire/token_encoder.py`). Raises KeyError.
    #[new]
    fn new(keys: Bound<'_, PyDict>) -> PyResult<Self> {
        Ok(TokenFrames {
            of_contract: Keys::of(&keys)?,
            keys: keys.unbind(),
            last: None,
            form: None,
        })
    }

    /// A reader that has read nothing: what it keeps only saves work.
    fn __deepcopy__(&self, py: Python<'_>, _memo: &Bound<'_, PyAny>) -> PyResult<Self> {
        Self::new(self.keys.bind(py).clone())
    }

    /// Bytes that it keeps besides the last frame.
    #[getter]
    fn size_bytes(&self) -> usize {
        self.form
            .as_ref()
            .map_or(0, |form| form.before.len() + form.after.len())
    }

    /// Drop what only saves work.
    fn forget(&mut self) {
        self.last = None;
        self.form = None;
    }

    /// Takes the frames from `start` on, as far as they are regular. None if the first is not.
    ///
    /// moment: the events' epoch, and their time in seconds since 1970 and nanoseconds. last: the token frame before.
    /// indexes: those of the run's `CallIndexes`.
    #[allow(clippy::too_many_arguments)]
    fn take<'py>(
        &mut self,
        py: Python<'py>,
        frames: &Bound<'py, PyAny>,
        start: usize,
        first_seq: u64,
        moment: wire::Moment,
        last: Bound<'py, PyBytes>,
        indexes: &Bound<'py, PyAny>,
    ) -> PyResult<Option<Taken<'py>>> {
        // Until the end: an error in between leaves a form without its frame.
        if !self.last.take().is_some_and(|mine| mine.is(&last)) {
            self.form = None;
        }
        let mut last = Frame::Object(last);
        let messages = frames.cast::<Messages>().ok().map(|found| found.get());
        let read_of_socket = messages.map(|messages| (messages, messages.read.as_bytes(py)));
        let size = frames.len()?;
        let count = size.saturating_sub(start);
        let (mut events, mut deltas) = (
            Vec::with_capacity(160 * count),
            Vec::with_capacity(48 * count),
        );
        let digests = PyList::empty(py);
        let shared = self.of_contract.shared(moment);
        let mut seq = first_seq;
        let (mut text, mut token, mut delta) = (Vec::new(), Vec::new(), Vec::new());
        'all: for at in (start..size).step_by(TOGETHER) {
            let group = group(frames, read_of_socket, at..size.min(at + TOGETHER))?;
            let ends_here = group.len() < TOGETHER;
            let hashed = digest::together::<8>(group.iter().map(Frame::bytes));
            for (frame_taken, digest) in group.into_iter().zip(hashed) {
                let (old, frame) = (last.bytes(), frame_taken.bytes());
                text.clear();
                token.clear();
                delta.clear();
                let keys = &self.of_contract;
                if let Some(form) = self
                    .form
                    .as_ref()
                    .filter(|form| form.text(old, frame, &mut text))
                {
                    token.extend_from_slice(&form.before);
                    keys.text(&mut token, &text);
                    token.extend_from_slice(&form.after);
                } else {
                    let Some((raw, piece)) = read(frame) else {
                        break 'all;
                    };
                    let numbers = numbers(indexes, &piece)?;
                    keys.before_text(&mut token, &piece);
                    let before = token.len();
                    keys.text(&mut token, &piece.text);
                    let after = token.len();
                    keys.after_text(&mut token, &piece, &numbers);
                    self.form = Form::of(frame, &raw, &piece, &token, before, after);
                }
                delta::write(&mut delta, &digest, old, frame);
                wire::varint(&mut deltas, delta.len() as u64);
                deltas.extend_from_slice(&delta);
                keys.event(&mut events, seq, &shared, &token);
                digests.append(PyBytes::new(py, &digest))?;
                seq += 1;
                last = frame_taken;
            }
            if ends_here {
                break;
            }
        }
        let last = last.object(py);
        self.last = Some(last.clone().unbind());
        if seq == first_seq {
            return Ok(None);
        }
        let entries = (
            (seq - first_seq) as usize,
            PyBytes::new(py, &events),
            PyBytes::new(py, &deltas),
            digests,
        );
        Ok(Some((entries, last)))
    }
}

/// Work on more bytes than this leaves Python's interpreter to others meanwhile.
const LONG: usize = 32 << 10;

fn beside<T: Send>(py: Python<'_>, bytes: usize, work: impl Send + FnOnce() -> T) -> T {
    if bytes > LONG {
        py.detach(work)
    } else {
        work()
    }
}

/// The difference from one text to another, as `encode_delta` of `server/encoding/frame_delta.py`.
#[pyfunction]
fn difference<'py>(py: Python<'py>, old: &[u8], new: &[u8]) -> Bound<'py, PyBytes> {
    let made = beside(py, old.len() + new.len(), || {
        let mut out = Vec::with_capacity(64);
        delta::difference(&mut out, old, new);
        out
    });
    PyBytes::new(py, &made)
}

/// The messages that lie whole in what was read of a WebSocket from `used` on, and the place after the last: as
/// `whole_messages` of `server/runtime/websocket.py`.
#[pyfunction]
fn whole_messages(
    ahead: Bound<'_, PyBytes>,
    used: usize,
    max_frame_bytes: usize,
) -> (Messages, usize) {
    let (places, end) = socket::messages(ahead.as_bytes(), used, max_frame_bytes);
    let places = places.into_iter().map(|(start, end)| Place {
        start,
        end,
        object: PyOnceLock::new(),
    });
    let places: Arc<[Place]> = places.collect();
    let those = 0..places.len();
    let read = ahead.unbind();
    (
        Messages {
            read,
            places,
            those,
        },
        end,
    )
}

/// The text of an item, and the message that it is.
type PrintedItem<'py> = (Bound<'py, PyString>, Option<Bound<'py, PyTuple>>);

/// The items of a printed list of messages, which begin at `start` in the JSON text, the characters of the list and its
/// marks (`server/frames/structure.py`). None if the list is not regular. A message that needs more than this is None.
#[pyfunction]
fn printed_messages<'py>(
    py: Python<'py>,
    raw: &[u8],
    start: usize,
) -> PyResult<Option<(Vec<PrintedItem<'py>>, usize, usize)>> {
    let Some(found) = beside(py, raw.len().saturating_sub(start), || {
        messages::list(raw, start)
    }) else {
        return Ok(None);
    };
    let items = found
        .items
        .iter()
        .map(|item| {
            let text = PyString::from_bytes(py, &found.text[item.start..item.end])?;
            Ok((
                text,
                item.message
                    .as_ref()
                    .map(|it| message(py, it))
                    .transpose()?,
            ))
        })
        .collect::<PyResult<Vec<_>>>()?;
    Ok(Some((items, found.chars(), found.marks())))
}

/// The class of a message, its id, text, calls, name, the id of the call that it answers, its status, and its usage.
fn message<'py>(py: Python<'py>, found: &messages::Message) -> PyResult<Bound<'py, PyTuple>> {
    let string = |bytes: &[u8]| PyString::from_bytes(py, bytes);
    let calls = found
        .calls
        .iter()
        .map(|call| {
            Ok((
                string(&call.id)?,
                string(&call.name)?,
                string(&call.arguments)?,
            ))
        })
        .collect::<PyResult<Vec<_>>>()?;
    (
        found.class,
        string(&found.id)?,
        string(&found.text)?,
        calls,
        string(&found.name)?,
        string(&found.tool_call_id)?,
        string(&found.status)?,
        found.usage.map(|[a, b, c, d, e]| (a, b, c, d, e)),
    )
        .into_pyobject(py)
}

/// The content of a text file, and when it was created and modified.
type ReadFile<'py> = (
    Bound<'py, PyBytes>,
    Option<Bound<'py, PyString>>,
    Option<Bound<'py, PyString>>,
);

/// The text file that an entry of a file map is, as `ReadTextFile` of `server/frames/run_files.py`. None if it needs more
/// than this.
#[pyfunction]
fn text_file<'py>(py: Python<'py>, entry: &[u8]) -> PyResult<Option<ReadFile<'py>>> {
    let Some(file) = beside(py, entry.len(), || states::text_file(entry)) else {
        return Ok(None);
    };
    let string = |bytes: &Option<Vec<u8>>| {
        let text = bytes.as_ref();
        text.map(|text| PyString::from_bytes(py, text)).transpose()
    };
    Ok(Some((
        PyBytes::new(py, &file.content),
        string(&file.created_at)?,
        string(&file.modified_at)?,
    )))
}

/// A state frame as its values and what is between them: as `Split` of `server/frames/similar_states.py`.
#[pyclass(frozen)]
struct StateSplit {
    frame: Py<PyBytes>,
    places: states::Places,
    pieces: digest::Pieces,
    digest: [u8; digest::DIGEST_BYTES],
}

/// A value that is not the last frame's: which one, and its text.
type Changed<'py> = (usize, Bound<'py, PyBytes>);

#[pymethods]
impl StateSplit {
    /// places: where each value begins and ends.
    #[new]
    fn new(frame: Bound<'_, PyBytes>, places: states::Places) -> PyResult<Self> {
        let mut at = 0;
        for &(start, end) in &places {
            if start < at || end < start {
                return Err(PyValueError::new_err(
                    "the values are not one after the other",
                ));
            }
            at = end;
        }
        if at > frame.as_bytes().len() {
            return Err(PyValueError::new_err("a value ends after the frame"));
        }
        let (pieces, digest) =
            digest::Pieces::of(frame.as_bytes(), &digest::Pieces::default(), &[]);
        let frame = frame.unbind();
        Ok(StateSplit {
            frame,
            places,
            pieces,
            digest,
        })
    }

    fn __deepcopy__<'py>(slf: Bound<'py, Self>, _memo: &Bound<'py, PyAny>) -> Bound<'py, Self> {
        slf
    }

    /// The next frame, and the values in which it differs; None if only a parser can tell.
    fn next<'py>(
        &self,
        py: Python<'py>,
        frame: Bound<'py, PyBytes>,
    ) -> Option<(StateSplit, Vec<Changed<'py>>)> {
        let (old, new) = (self.frame.bind(py).as_bytes(), frame.as_bytes());
        let states::Next {
            places,
            changed,
            same,
        } = states::next(old, &self.places, new, |_| true)?;
        let texts = changed.into_iter().map(|index| {
            let (start, end) = places[index];
            (index, PyBytes::new(py, &new[start..end]))
        });
        let texts = texts.collect();
        Some((self.after(frame, places, &same), texts))
    }

    /// The frame's digest.
    #[getter]
    fn digest<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.digest)
    }

    /// Bytes that are kept.
    #[getter]
    fn size_bytes(&self, py: Python<'_>) -> usize {
        let places = size_of::<(usize, usize)>() * self.places.len();
        self.frame.bind(py).as_bytes().len() + places + self.pieces.size()
    }
}

impl StateSplit {
    /// The next frame, with its values in these places. same: what both frames have.
    fn after(
        &self,
        frame: Bound<'_, PyBytes>,
        places: states::Places,
        same: &[states::Same],
    ) -> Self {
        let (pieces, digest) = digest::Pieces::of(frame.as_bytes(), &self.pieces, same);
        let frame = frame.unbind();
        StateSplit {
            frame,
            places,
            pieces,
            digest,
        }
    }
}

/// The most files, and bytes of their entries, in which a frame differs that `FileUpdates` takes.
const MAX_CHANGED_FILES: usize = 16;
const MAX_CHANGED_BYTES: usize = 64 << 10;

/// The path of a changed file, its entry of the file map, its content, when it was created and modified, and the content's
/// SHA-256 in hex.
type ChangedFile<'py> = (
    Bound<'py, PyString>,
    Bound<'py, PyBytes>,
    Bound<'py, PyBytes>,
    Option<Bound<'py, PyString>>,
    Option<Bound<'py, PyString>>,
    Bound<'py, PyString>,
);

/// The next frame, the entry of its event, its entries of the index of changed files, and the changed files.
type FilesTaken<'py> = (
    StateSplit,
    Bound<'py, PyBytes>,
    Bound<'py, PyBytes>,
    Vec<ChangedFile<'py>>,
);

/// State frames that differ from the last one in text files alone, with their entries of the journal.
#[pyclass(frozen)]
struct FileUpdates {
    keys: FileKeys,
    sha256: Py<PyAny>,
}

#[pymethods]
impl FileUpdates {
    /// keys: those of the contract's fields by their names (`server/wire/file_updates.py`). sha256: as of `hashlib`. Raises
    /// KeyError.
    #[new]
    fn new(keys: &Bound<'_, PyDict>, sha256: Py<PyAny>) -> PyResult<Self> {
        let keys = FileKeys::of(keys)?;
        Ok(FileUpdates { keys, sha256 })
    }

    /// The next frame if it differs from the last one in some text files alone; None for another one, and if only Python can
    /// tell.
    ///
    /// last: the last frame. names: of its values, each with whether it is a file. seq: of the event. moment: its epoch, and its
    /// time in seconds since 1970 and nanoseconds. message_count: of the update.
    #[allow(clippy::too_many_arguments)]
    fn next<'py>(
        &self,
        py: Python<'py>,
        last: &Bound<'py, StateSplit>,
        frame: Bound<'py, PyBytes>,
        names: &Bound<'py, PyAny>,
        seq: u64,
        moment: wire::Moment,
        message_count: u32,
    ) -> PyResult<Option<FilesTaken<'py>>> {
        let (last, new) = (last.get(), frame.as_bytes());
        let name = |index: usize| -> PyResult<(bool, Bound<'py, PyString>)> {
            names.get_item(index)?.extract()
        };
        let is_file = |index| name(index).is_ok_and(|(is_file, _)| is_file);
        let old = last.frame.bind(py).as_bytes();
        let Some(found) = states::next(old, &last.places, new, is_file) else {
            return Ok(None);
        };
        let entries = found.changed.iter().map(|&index| found.places[index]);
        let changed_bytes: usize = entries.map(|(start, end)| end - start).sum();
        if found.changed.len() > MAX_CHANGED_FILES || changed_bytes > MAX_CHANGED_BYTES {
            return Ok(None);
        }
        let mut files = Vec::with_capacity(found.changed.len());
        for &index in &found.changed {
            let (start, end) = found.places[index];
            let Some(file) = states::text_file(&new[start..end]) else {
                return Ok(None);
            };
            files.push((name(index)?.1, file));
        }
        let mut taken = Vec::with_capacity(files.len());
        let mut changes = Vec::with_capacity(files.len());
        for ((path, file), &index) in files.iter().zip(&found.changed) {
            // An empty time is left to Python.
            let no_time = |time: &Option<Vec<u8>>| time.as_ref().is_some_and(Vec::is_empty);
            let Ok(path_text) = path.to_str() else {
                return Ok(None);
            };
            if path_text.is_empty() || no_time(&file.created_at) || no_time(&file.modified_at) {
                return Ok(None);
            }
            let content = PyBytes::new(py, &file.content);
            let hash = self.sha256.bind(py).call1((&content,))?;
            let sha256: [u8; 32] = hash.call_method0(intern!(py, "digest"))?.extract()?;
            let string = |bytes: &Option<Vec<u8>>| {
                let text = bytes.as_ref();
                text.map(|text| PyString::from_bytes(py, text)).transpose()
            };
            let (start, end) = found.places[index];
            taken.push((
                path.clone(),
                PyBytes::new(py, &new[start..end]),
                content,
                string(&file.created_at)?,
                string(&file.modified_at)?,
                PyString::from_bytes(py, &wire::hex(&sha256))?,
            ));
            changes.push(wire::ChangedFile {
                path: path_text.as_bytes(),
                file,
                sha256,
            });
        }
        if changes.is_empty() {
            return Ok(None);
        }
        changes.sort_unstable_by_key(|change| change.path);
        let mut event = Vec::new();
        let place = wire::Place { seq, moment };
        (self.keys).event(&mut event, &place, message_count, &changes);
        let index = wire::index(&place, &changes);
        Ok(Some((
            last.after(frame.clone(), found.places, &found.same),
            PyBytes::new(py, &event),
            PyBytes::new(py, &index),
            taken,
        )))
    }
}

#[pymodule]
fn ide_orchestrator_compiled(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<TokenFrames>()?;
    module.add_class::<legacy::LegacyTokens>()?;
    module.add_class::<StateSplit>()?;
    module.add_class::<FileUpdates>()?;
    module.add_function(wrap_pyfunction!(difference, module)?)?;
    module.add_function(wrap_pyfunction!(whole_messages, module)?)?;
    module.add_function(wrap_pyfunction!(printed_messages, module)?)?;
    module.add_function(wrap_pyfunction!(text_file, module)?)?;
    module.add_function(wrap_pyfunction!(multicast::send_to_all, module)?)
}
