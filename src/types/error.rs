//! Layer 0.3: the one error: a kind that says what to do, the place, the values, the source.
//!
//! Knows: plain values. Does not know: payload bytes (they never enter a message), files, threads.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::sync::Arc;

use uuid::Uuid;

use super::expect::Expect;
use super::position::{Position, Version};

/// The result of everything that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What to do about an [`Error`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// An expectation or condition did not hold: read again, decide again.
    Conflict,
    /// Some of the batch's event ids are stored already, elsewhere or in another order: a bug in
    /// the caller's ids.
    IdConflict,
    /// The same event id twice in one batch.
    DuplicateIdInBatch,
    /// An event that must not exist anywhere does (`fails_if_exists`).
    AlreadyExists,
    /// The stream is deleted.
    Deleted,
    /// The call is wrong: a limit, an empty batch, a setting.
    Invalid,
    /// The append queue is full: try again later, or wait with `submit`.
    QueueFull,
    /// The disk is full; nothing was written, free space and try again.
    DiskFull,
    /// Somebody else has the store open for writing.
    Locked,
    /// Bytes that were acknowledged no longer check: run `factlog verify`, restore from a copy, or
    /// read on with `open_read_only`.
    Damaged,
    /// A newer format, or something this build cannot read; not damage.
    Unsupported,
    /// An earlier write or sync failed: close and open again to recover; reads go on.
    Poisoned,
    /// Whether the batch is stored is not known: open again and retry with the same event ids.
    InDoubt,
    /// The store was closed.
    Closed,
    /// There is no such event, stream or store.
    NotFound,
    /// The event was trimmed; the error's position is the first that is still there.
    Trimmed,
    /// The event's data was forgotten with its subject, on purpose and for ever: go on without it.
    Forgotten,
    /// Stored bytes do not decode into the type asked for.
    Decode,
    /// A handler of the application's failed; its reason is the source.
    Failed,
    /// The operating system said no.
    Io,
}

/// One violated expectation.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Conflict {
    /// The stream.
    pub stream: String,
    /// What the caller believed.
    pub expected: Expect,
    /// How many events it really has.
    pub actual: Version,
}

/// What went wrong, where, and what to do: see [`Error::kind`]. Cheap to clone, one word wide.
/// Shown with `{}` it ends with the next step of a program that uses this library, with `{:#}`
/// without.
///
/// ```
/// use factlog::{ErrorKind, Expect, NewEvent, Store, Version};
/// let store = Store::in_memory()?;
/// let expect = Expect::Version(Version::new(3));
/// let error = store.append("Order-1", expect, [NewEvent::binary("Paid", "")]).unwrap_err();
/// match error.kind() {
///     ErrorKind::Conflict => assert_eq!(error.conflicts()[0].actual, Version::NONE),
///     _ => return Err(error),
/// }
/// # Ok::<(), factlog::Error>(())
/// ```
#[derive(Clone)]
pub struct Error(Arc<Inner>);

#[derive(Debug, Clone, Default)]
struct Inner {
    kind: Option<ErrorKind>,
    message: String,
    stream: Option<String>,
    version: Option<Version>,
    position: Option<Position>,
    last_position: Option<Position>,
    id: Option<Uuid>,
    file: Option<String>,
    offset: Option<u64>,
    conflicts: Vec<Conflict>,
    source: Option<Arc<dyn StdError + Send + Sync>>,
}

impl Error {
    /// An error of this kind, said in one sentence without its next step.
    #[must_use]
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self(Arc::new(Inner { kind: Some(kind), message: message.into(), ..Inner::default() }))
    }

    /// `what` failed in the operating system. A full disk has its own kind.
    #[must_use]
    pub fn io(what: impl Into<String>, source: io::Error) -> Self {
        let full =
            matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
        let kind = if full { ErrorKind::DiskFull } else { ErrorKind::Io };
        Self::new(kind, what).because(source)
    }

    /// A refused input: the field, what was given and what is allowed.
    #[must_use]
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Invalid, message)
    }

    /// Acknowledged bytes at `offset` of `file` that no longer check.
    #[must_use]
    pub fn damaged(file: impl Into<String>, offset: u64, message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Damaged, message).in_file(file, offset)
    }

    pub(crate) fn conflict(conflicts: Vec<Conflict>) -> Self {
        let mut message = String::new();
        for conflict in &conflicts {
            if !message.is_empty() {
                message.push_str("; ");
            }
            message.push_str(&format!(
                "stream {:?} is at version {}, expected {}",
                conflict.stream, conflict.actual, conflict.expected
            ));
        }
        let stream = conflicts.first().map(|conflict| conflict.stream.clone());
        Self::new(ErrorKind::Conflict, message).with(|inner| {
            inner.stream = stream;
            inner.conflicts = conflicts;
        })
    }

    fn with(mut self, change: impl FnOnce(&mut Inner)) -> Self {
        change(Arc::make_mut(&mut self.0));
        self
    }

    pub(crate) fn because(self, source: impl StdError + Send + Sync + 'static) -> Self {
        self.with(|inner| inner.source = Some(Arc::new(source)))
    }

    #[cfg(feature = "model")]
    pub(crate) fn because_of(self, source: Box<dyn StdError + Send + Sync>) -> Self {
        self.with(|inner| inner.source = Some(Arc::from(source)))
    }

    pub(crate) fn in_stream(self, stream: impl Into<String>) -> Self {
        let stream = stream.into();
        self.with(|inner| inner.stream = Some(stream))
    }

    pub(crate) fn at_version(self, version: Version) -> Self {
        self.with(|inner| inner.version = Some(version))
    }

    pub(crate) fn at(self, position: Position) -> Self {
        self.with(|inner| inner.position = Some(position))
    }

    pub(crate) fn through(self, last: Position) -> Self {
        self.with(|inner| inner.last_position = Some(last))
    }

    pub(crate) fn of_event(self, id: Uuid) -> Self {
        self.with(|inner| inner.id = Some(id))
    }

    pub(crate) fn in_file(self, file: impl Into<String>, offset: u64) -> Self {
        let file = file.into();
        self.with(|inner| {
            inner.file = Some(file);
            inner.offset = Some(offset);
        })
    }

    /// What to do about it.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind.unwrap_or(ErrorKind::Io)
    }

    /// The sentence alone, without place and next step.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The stream it is about.
    #[must_use]
    pub fn stream(&self) -> Option<&str> {
        self.0.stream.as_deref()
    }

    /// The version within that stream.
    #[must_use]
    pub fn version(&self) -> Option<Version> {
        self.0.version
    }

    /// The position it is about: the first conflicting or damaged one; when something was trimmed,
    /// the first that is still there.
    #[must_use]
    pub fn position(&self) -> Option<Position> {
        self.0.position
    }

    /// The last position it is about, where it is about several.
    #[must_use]
    pub fn last_position(&self) -> Option<Position> {
        self.0.last_position
    }

    /// The event id it is about.
    #[must_use]
    pub fn event_id(&self) -> Option<Uuid> {
        self.0.id
    }

    /// The file within the store's directory.
    #[must_use]
    pub fn file(&self) -> Option<&str> {
        self.0.file.as_deref()
    }

    /// The byte offset within that file.
    #[must_use]
    pub fn offset(&self) -> Option<u64> {
        self.0.offset
    }

    /// Every violated expectation of a [`ErrorKind::Conflict`]; empty when a condition failed.
    #[must_use]
    pub fn conflicts(&self) -> &[Conflict] {
        &self.0.conflicts
    }

    /// Whether reading again and deciding again may succeed.
    #[must_use]
    pub fn is_conflict(&self) -> bool {
        self.kind() == ErrorKind::Conflict
    }

    /// Whether the same call may succeed later without changing it.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self.kind(), ErrorKind::QueueFull | ErrorKind::DiskFull | ErrorKind::Locked)
    }

    fn next_step(&self) -> &'static str {
        match self.kind() {
            ErrorKind::Conflict => "read again and decide again",
            ErrorKind::IdConflict | ErrorKind::DuplicateIdInBatch => "give every event its own id",
            ErrorKind::QueueFull => "wait for earlier appends",
            ErrorKind::DiskFull => "free space and try again",
            ErrorKind::Locked => "close the other writer or open read-only",
            ErrorKind::Damaged => "run `factlog verify`; what is undamaged opens read-only",
            ErrorKind::Unsupported => "use a newer factlog",
            ErrorKind::Poisoned => "close the store and open it again",
            ErrorKind::InDoubt => "open the store again and retry with the same event ids",
            _ => "",
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)?;
        if let (Some(file), Some(offset)) = (&self.0.file, self.0.offset) {
            write!(f, " ({file}")?;
            if offset > 0 {
                // Else it is the file as a whole, or a file that is not there.
                write!(f, " at byte {offset}")?;
            }
            match (self.0.position, self.0.last_position) {
                (Some(first), Some(last)) => write!(f, ", positions {first} to {last})")?,
                (Some(first), None) => write!(f, ", position {first})")?,
                _ => f.write_str(")")?,
            }
        }
        if let Some(source) = &self.0.source {
            write!(f, ": {source}")?;
        }
        match self.next_step() {
            "" => Ok(()),
            _ if f.alternate() => Ok(()),
            step => write!(f, "; {step}"),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {self}", self.kind())
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match &self.0.source {
            Some(source) => Some(source.as_ref()),
            None => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_one_word_wide() {
        assert_eq!(size_of::<Error>(), size_of::<usize>());
    }

    #[test]
    fn a_damaged_error_names_file_offset_and_positions() {
        let error = Error::damaged("1.seg", 4096, "frame 7 does not check")
            .at(Position::new(3))
            .through(Position::new(5));
        let text = error.to_string();
        assert!(text.starts_with("frame 7 does not check (1.seg at byte 4096, positions 3 to 5)"));
    }

    #[test]
    fn a_file_that_is_not_there_has_no_byte_and_the_next_step_can_be_left_out() {
        let error = Error::damaged("1.seg", 0, "segment is missing");
        assert_eq!(format!("{error:#}"), "segment is missing (1.seg)");
        assert!(error.to_string().starts_with("segment is missing (1.seg); run"));
    }

    #[test]
    fn a_full_disk_has_its_own_kind() {
        let error = Error::io("cannot write", io::Error::from(io::ErrorKind::StorageFull));
        assert_eq!(error.kind(), ErrorKind::DiskFull);
    }
}
