//! Layer 0.1: what a script tells of itself, a line each, so that it counts after its death.
//!
//! Knows: lines. Does not know: what follows from them.

use std::fmt;
use std::str::FromStr;

use factlog::ErrorKind;

/// One line. What begins is said before, what was answered after.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    Opens,
    Opened(String),
    Begins {
        batch: u64,
        carries: u64,
    },
    Answered {
        batch: u64,
        first: u64,
    },
    Refused {
        batch: u64,
        kind: String,
    },
    InDoubt {
        batch: u64,
    },
    SavesCheckpoint(u64),
    SavedCheckpoint,
    SavesSnapshot {
        stream: String,
        version: u64,
    },
    SavedSnapshot {
        stream: String,
    },
    /// A call other than an append failed.
    Failed {
        call: String,
        kind: String,
    },
    MadeRoom,
    Closed,
    GaveUp,
    Done,
}

impl Said {
    pub fn failed(call: &str, kind: ErrorKind) -> Self {
        Self::Failed { call: call.into(), kind: format!("{kind:?}") }
    }
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Opens => write!(f, "opens."),
            Self::Opened(verdict) => write!(f, "opened {verdict}."),
            Self::Begins { batch, carries } => write!(f, "begins {batch} {carries}."),
            Self::Answered { batch, first } => write!(f, "answered {batch} {first}."),
            Self::Refused { batch, kind } => write!(f, "refused {batch} {kind}."),
            Self::InDoubt { batch } => write!(f, "in-doubt {batch}."),
            Self::SavesCheckpoint(to) => write!(f, "saves-checkpoint {to}."),
            Self::SavedCheckpoint => write!(f, "saved-checkpoint."),
            Self::SavesSnapshot { stream, version } => {
                write!(f, "saves-snapshot {stream} {version}.")
            }
            Self::SavedSnapshot { stream } => write!(f, "saved-snapshot {stream}."),
            Self::Failed { call, kind } => write!(f, "failed {call} {kind}."),
            Self::MadeRoom => write!(f, "made-room."),
            Self::Closed => write!(f, "closed."),
            Self::GaveUp => write!(f, "gave-up."),
            Self::Done => write!(f, "done."),
        }
    }
}

impl FromStr for Said {
    type Err = ();

    /// A line that was cut short by a kill has lost its full stop.
    fn from_str(line: &str) -> Result<Self, ()> {
        let words: Vec<&str> = line.strip_suffix('.').ok_or(())?.split(' ').collect();
        let number = |word: &str| word.parse::<u64>().map_err(|_| ());
        Ok(match words.as_slice() {
            ["opens"] => Self::Opens,
            ["opened", verdict] => Self::Opened((*verdict).into()),
            ["begins", batch, carries] => {
                Self::Begins { batch: number(batch)?, carries: number(carries)? }
            }
            ["answered", batch, first] => {
                Self::Answered { batch: number(batch)?, first: number(first)? }
            }
            ["refused", batch, kind] => {
                Self::Refused { batch: number(batch)?, kind: (*kind).into() }
            }
            ["in-doubt", batch] => Self::InDoubt { batch: number(batch)? },
            ["saves-checkpoint", to] => Self::SavesCheckpoint(number(to)?),
            ["saved-checkpoint"] => Self::SavedCheckpoint,
            ["saves-snapshot", stream, version] => {
                Self::SavesSnapshot { stream: (*stream).into(), version: number(version)? }
            }
            ["saved-snapshot", stream] => Self::SavedSnapshot { stream: (*stream).into() },
            ["failed", call, kind] => Self::Failed { call: (*call).into(), kind: (*kind).into() },
            ["made-room"] => Self::MadeRoom,
            ["closed"] => Self::Closed,
            ["gave-up"] => Self::GaveUp,
            ["done"] => Self::Done,
            _ => return Err(()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_understood_and_half_a_line_is_not() {
        for said in [
            Said::Opens,
            Said::Opened("clean".into()),
            Said::Begins { batch: 3, carries: 0 },
            Said::Answered { batch: 3, first: 17 },
            Said::Refused { batch: 3, kind: "DiskFull".into() },
            Said::SavesSnapshot { stream: "Order-1".into(), version: 4 },
            Said::failed("open", ErrorKind::Io),
        ] {
            let line = said.to_string();
            assert_eq!(line.parse(), Ok(said));
            assert!((0..line.len()).all(|cut| line[..cut].parse::<Said>().is_err()));
        }
    }
}
