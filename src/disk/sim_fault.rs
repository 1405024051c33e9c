//! Layer 2.0: faults to come, and what a failing call leaves behind.
//!
//! Knows: which call fails, when and how. Does not know: what the calls do.

use std::io;

/// `EIO`: the device failed.
const INPUT_OUTPUT: i32 = 5;

/// A failure to come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// Which calls count.
    pub call: FaultCall,
    /// How many of them still succeed.
    pub nth: u64,
    /// How the next one fails.
    pub kind: FaultKind,
    /// Whether all later ones fail too, like a disk that stays full.
    pub sticky: bool,
}

/// A kind of call to a disk or a file. `Lock` counts as `Create` when it has to make its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names are those of the calls")]
pub enum FaultCall {
    Create,
    Link,
    Open,
    Rename,
    Remove,
    SyncDir,
    Write,
    Allocate,
    SetSize,
    Sync,
    /// `read_at` and `map`.
    Read,
    List,
    /// All of these.
    Any,
}

/// How a call fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultKind {
    /// Nothing happens and this kind of error is reported.
    Error(io::ErrorKind),
    /// Nothing happens and this error of the operating system is reported, such as 28 for a full
    /// disk.
    Os(i32),
    /// Part of the bytes are written (perhaps none, perhaps all) before the error of the operating
    /// system is reported. For other calls than `Write` like [`FaultKind::Os`].
    ShortWrite(i32),
    /// `Sync` or `SyncDir` reports `EIO`, and what it should have made durable never will be; but
    /// reads show it, and later syncs answer success. Linux does this. For other calls like
    /// `Os(5)`.
    FailedSyncDropsPages,
    /// A `Write` succeeds, but then the system fails to write out what is pending of the file, as
    /// it may at any time: none of it will ever be durable, though reads show it. Every file open
    /// now reports `EIO` at its next sync, once; so one of two syncs that share an open file
    /// answers success. Linux does this. For other calls like `Os(5)`.
    FailedWriteback,
}

impl Fault {
    /// Fails call number `nth` of its kind from now on, counted from 0, and no other.
    #[must_use]
    pub fn once(call: FaultCall, nth: u64, kind: FaultKind) -> Self {
        Self { call, nth, kind, sticky: false }
    }

    /// Fails call number `nth` of its kind from now on, counted from 0, and all after it.
    #[must_use]
    pub fn from(call: FaultCall, nth: u64, kind: FaultKind) -> Self {
        Self { call, nth, kind, sticky: true }
    }
}

impl FaultCall {
    fn covers(self, call: Self) -> bool {
        self == Self::Any || self == call
    }

    /// Whether the call can change what a power cut leaves.
    pub(super) fn matters_to_disk(self) -> bool {
        !matches!(self, Self::Open | Self::Read | Self::List)
    }
}

pub(super) fn input_output() -> io::Error {
    io::Error::from_raw_os_error(INPUT_OUTPUT)
}

/// Why a call fails, and what it does all the same.
#[derive(Debug)]
pub(super) struct Stop {
    pub(super) error: io::Error,
    pub(super) remains: Remains,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Remains {
    Nothing,
    /// Some first part of a write.
    Prefix,
    /// The opposite of a sync: what is pending never becomes durable.
    DroppedPages,
    /// All of a write, which never becomes durable.
    LostWrite,
}

impl From<FaultKind> for Stop {
    fn from(kind: FaultKind) -> Self {
        let (error, remains) = match kind {
            FaultKind::Error(kind) => (kind.into(), Remains::Nothing),
            FaultKind::Os(code) => (io::Error::from_raw_os_error(code), Remains::Nothing),
            FaultKind::ShortWrite(code) => (io::Error::from_raw_os_error(code), Remains::Prefix),
            FaultKind::FailedSyncDropsPages => (input_output(), Remains::DroppedPages),
            FaultKind::FailedWriteback => (input_output(), Remains::LostWrite),
        };
        Self { error, remains }
    }
}

impl From<Stop> for io::Error {
    fn from(stop: Stop) -> Self {
        stop.error
    }
}

/// Counts this call against all faults to come; answers the first that is due.
pub(super) fn due(faults: &mut Vec<Fault>, call: FaultCall) -> Option<FaultKind> {
    let mut due = None;
    faults.retain_mut(|fault| {
        if !fault.call.covers(call) {
            return true;
        }
        if fault.nth > 0 {
            fault.nth -= 1;
            return true;
        }
        due.get_or_insert(fault.kind);
        fault.sticky
    });
    due
}

#[cfg(test)]
mod tests {
    use super::*;

    const FULL: FaultKind = FaultKind::Os(28);

    #[test]
    fn only_the_nth_call_fails() {
        let mut faults = vec![Fault::once(FaultCall::Write, 1, FULL)];
        assert_eq!(due(&mut faults, FaultCall::Write), None);
        assert_eq!(due(&mut faults, FaultCall::Sync), None);
        assert_eq!(due(&mut faults, FaultCall::Write), Some(FULL));
        assert_eq!(due(&mut faults, FaultCall::Write), None);
    }

    #[test]
    fn a_sticky_fault_stays() {
        let mut faults = vec![Fault::from(FaultCall::Any, 0, FULL)];
        assert_eq!(due(&mut faults, FaultCall::Write), Some(FULL));
        assert_eq!(due(&mut faults, FaultCall::Read), Some(FULL));
    }
}
