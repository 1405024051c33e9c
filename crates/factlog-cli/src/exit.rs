//! How the process ends: one failure type, one sentence on standard error, one exit code.
//!
//! Knows: the exit codes and which error has which. Does not know: how an error came about.

use std::io;
use std::io::Write;
use std::process::ExitCode;

use factlog::{Error, ErrorKind};

/// Something nobody foresaw.
pub const UNEXPECTED: u8 = 1;
/// The command line is wrong.
pub const USAGE: u8 = 2;
/// An expectation did not hold, or an id is stored already.
pub const CONFLICT: u8 = 3;
/// No such store, stream, category or file.
pub const NOT_FOUND: u8 = 4;
/// Another process has the store open for writing.
pub const LOCKED: u8 = 5;
/// An import refused lines and stored the rest; or a backup would have let go of events.
pub const REFUSED: u8 = 6;
/// Forgetting left something of the subject, which is stored in the clear.
pub const IN_CLEAR: u8 = 7;
/// An unfinished end that was never acknowledged, or something else that can be repaired.
pub const TORN: u8 = 10;
/// Acknowledged bytes no longer check.
pub const DAMAGED: u8 = 11;
/// Made by another format version.
pub const FORMAT: u8 = 12;
/// Ctrl-C.
pub const INTERRUPTED: u8 = 130;

/// Why a verb did not do what was asked.
#[derive(Debug)]
pub enum Failure {
    /// The store said no.
    Store(Error),
    /// The command line is wrong.
    Usage(String),
    /// There is no such thing.
    NotFound(String),
    /// It would lose something, and was not told to.
    Refused(String),
    /// A proof of the demo did not hold.
    Disproved(String),
    /// A file or pipe could not be read or written.
    Io { what: String, source: io::Error },
    /// Nobody reads standard output any more: a quiet success.
    Pipe,
    /// Everything is said already; only the code is left.
    Code(u8),
}

impl Failure {
    /// `what` failed in the operating system.
    pub fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }

    /// The code to end with.
    pub fn code(&self) -> u8 {
        match self {
            Self::Store(error) => code_of(error.kind()),
            Self::Usage(_) => USAGE,
            Self::NotFound(_) => NOT_FOUND,
            Self::Refused(_) => REFUSED,
            Self::Io { source, .. } if source.kind() == io::ErrorKind::NotFound => NOT_FOUND,
            Self::Io { .. } | Self::Disproved(_) => UNEXPECTED,
            Self::Pipe => 0,
            Self::Code(code) => *code,
        }
    }

    /// Whether there was no space left.
    pub fn is_disk_full(&self) -> bool {
        matches!(self, Self::Store(error) if error.kind() == ErrorKind::DiskFull)
    }

    fn sentence(&self) -> Option<String> {
        match self {
            Self::Store(error) => Some(match next_step(error.kind()) {
                "" => format!("{error:#}"),
                step => format!("{error:#}; {step}"),
            }),
            Self::Usage(text) => Some(format!("{text}; see `factlog --help`")),
            Self::NotFound(text) | Self::Refused(text) | Self::Disproved(text) => {
                Some(text.clone())
            }
            Self::Io { what, source } => Some(format!("{what}: {source}")),
            Self::Pipe | Self::Code(_) => None,
        }
    }
}

/// The exit code of a store's error.
pub fn code_of(kind: ErrorKind) -> u8 {
    match kind {
        ErrorKind::Conflict | ErrorKind::IdConflict | ErrorKind::AlreadyExists => CONFLICT,
        ErrorKind::Invalid | ErrorKind::DuplicateIdInBatch => USAGE,
        ErrorKind::NotFound | ErrorKind::Deleted | ErrorKind::Trimmed | ErrorKind::Forgotten => {
            NOT_FOUND
        }
        ErrorKind::Locked => LOCKED,
        ErrorKind::Damaged => DAMAGED,
        ErrorKind::Unsupported => FORMAT,
        _ => UNEXPECTED,
    }
}

/// What to do about it from a shell: the store's own errors speak to programs.
fn next_step(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::Conflict => "`factlog read` shows what came between",
        ErrorKind::IdConflict | ErrorKind::DuplicateIdInBatch => "give every event its own id",
        ErrorKind::DiskFull => "free space and run it again",
        ErrorKind::Locked => "end the process that writes, or wait for it; reading works meanwhile",
        ErrorKind::Damaged => {
            "`factlog verify` says what is damaged and `factlog repair` what can be mended; \
             whatever is sound can be read meanwhile"
        }
        ErrorKind::Unsupported => "use a newer factlog",
        ErrorKind::Poisoned => "run it again",
        ErrorKind::InDoubt => "run it again with the same event ids",
        _ => "",
    }
}

/// The name of an error's kind in JSON answers.
pub fn name_of(kind: ErrorKind) -> String {
    let mut name = String::new();
    for letter in format!("{kind:?}").chars() {
        if letter.is_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.extend(letter.to_lowercase());
    }
    name
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Store(error)
    }
}

/// Standard output could not be written.
impl From<io::Error> for Failure {
    fn from(source: io::Error) -> Self {
        if source.kind() == io::ErrorKind::BrokenPipe {
            return Self::Pipe;
        }
        Self::Io { what: "cannot write to standard output".into(), source }
    }
}

/// Says what went wrong, if anything did, and with which code to end.
pub fn end(result: Result<(), Failure>) -> ExitCode {
    let Err(failure) = result else { return ExitCode::SUCCESS };
    if let Some(sentence) = failure.sentence() {
        let _ = writeln!(io::stderr().lock(), "factlog: {sentence}");
    }
    ExitCode::from(failure.code())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_error_has_its_documented_code() {
        let table = [
            (ErrorKind::Conflict, 3),
            (ErrorKind::IdConflict, 3),
            (ErrorKind::Invalid, 2),
            (ErrorKind::NotFound, 4),
            (ErrorKind::Locked, 5),
            (ErrorKind::Damaged, 11),
            (ErrorKind::Unsupported, 12),
            (ErrorKind::Io, 1),
            (ErrorKind::DiskFull, 1),
        ];
        for (kind, code) in table {
            assert_eq!(Failure::Store(Error::new(kind, "x")).code(), code, "{kind:?}");
        }
    }

    #[test]
    fn a_broken_pipe_is_a_quiet_success() {
        let failure = Failure::from(io::Error::from(io::ErrorKind::BrokenPipe));
        assert_eq!((failure.code(), failure.sentence()), (0, None));
    }

    #[test]
    fn kinds_are_named_in_lower_case() {
        assert_eq!(name_of(ErrorKind::IdConflict), "id_conflict");
        assert_eq!(name_of(ErrorKind::Conflict), "conflict");
    }
}
