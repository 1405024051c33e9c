//! Layer 4.5: segments brought into another directory, by link or by copy, and checked there.
//!
//! Knows: when a file may be shared, and what makes a copy the one it should be. Does not know:
//! heads. Nothing gets its name before all of it is synced.

use uuid::Uuid;

use super::base::TrimBase;
use super::files::{
    COPY_BYTES, create_temporary, failed, is_ours, put_in_place, read_small, replace_file,
};
use super::head::read_heads;
use super::prefix::{Prefix, Span};
use super::survey::AFTER_OPENING;
use crate::disk::{Access, Disk, DiskFile, DiskLock};
use crate::format::{FileName, Head, Purpose, SEGMENT_HEADER_BYTES, SegmentHeader, Step, name_of};
use crate::segment::FileSource;
use crate::sync::Arc;
use crate::types::{Error, ErrorKind, IdScope, Result};

/// What it took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Brought {
    /// Segments that were there already.
    pub kept: u64,
    pub linked: u64,
    pub copied: u64,
    /// Bytes of those that were copied.
    pub bytes: u64,
}

/// Hears bytes done and bytes in all.
pub(crate) type Progress<'a> = &'a mut dyn FnMut(u64, u64);

/// The progress over the segments of a prefix.
pub(super) struct Steps<'a> {
    pub done: u64,
    pub all: u64,
    pub tell: Progress<'a>,
}

impl<'a> Steps<'a> {
    pub(super) fn of(prefix: &Prefix, tell: Progress<'a>) -> Self {
        Self { done: 0, all: prefix.bytes(), tell }
    }

    pub(super) fn step(&mut self, span: &Span) {
        self.done += span.end.offset;
        (self.tell)(self.done, self.all);
    }
}

/// Takes the lock of a directory that something is brought into.
pub(super) fn lock(to: &dyn Disk) -> Result<Box<dyn DiskLock>> {
    let place = to.location();
    to.create_root().map_err(|e| Error::io(format!("cannot make the directory {place}"), e))?;
    let lock = to.lock(&name_of(FileName::Lock));
    let lock = lock.map_err(|e| Error::io(format!("cannot lock {place}"), e))?;
    lock.ok_or_else(|| Error::new(ErrorKind::Locked, format!("{place} is in use elsewhere")))
}

/// The head of what a directory holds; `None` when something new may be made there.
///
/// # Errors
/// `Invalid` when other files are there; `Damaged` when the files of a store are, and no head.
pub(super) fn occupant(to: &dyn Disk) -> Result<Option<Head>> {
    let names = match to.list() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(|e| Error::io(format!("cannot list {}", to.location()), e))?,
    };
    let hidden = |name: &str| name.starts_with('.') || name == "lost+found";
    if let Some(name) = names.iter().find(|name| !is_ours(name) && !hidden(name)) {
        let text = format!("{} is not empty: it holds {name:?}", to.location());
        return Err(Error::invalid(text));
    }
    let heads = read_heads(to)?;
    if heads.newest.is_some() {
        return Ok(heads.newest);
    }
    let means = |name: &String| FileName::parse(name);
    let nothing = |file| matches!(file, None | Some(FileName::Lock | FileName::Temporary(_)));
    match names.iter().find(|name| !nothing(means(name))) {
        None => Ok(None),
        Some(name) => {
            Err(Error::damaged(&**name, 0, "there is this file, and no head that checks"))
        }
    }
}

/// The head of a store that is to be made: a new one, or that of an earlier try which did not come
/// to its end.
///
/// # Errors
/// As [`occupant`]; `Invalid` when the directory holds a store.
pub(crate) fn first_head(to: &dyn Disk, id_scope: IdScope) -> Result<Head> {
    let text = match occupant(to)? {
        None => return Ok(Head::first(Uuid::new_v4(), id_scope)),
        Some(Head { unfinished: true, backup: false, store, generation, .. }) => {
            return Ok(Head { generation, ..Head::first(store, id_scope) });
        }
        Some(_) => format!("{} holds a store already", to.location()),
    };
    Err(Error::invalid(text))
}

/// Removes the files of a kind, those with the highest names first.
pub(super) fn remove_all(to: &dyn Disk, which: impl Fn(FileName) -> bool) -> Result<()> {
    let names = to.list().map_err(|e| Error::io("cannot list the directory", e))?;
    let mut names: Vec<_> =
        names.into_iter().filter(|name| FileName::parse(name).is_some_and(&which)).collect();
    names.sort();
    for name in names.iter().rev() {
        to.remove(name).map_err(failed("remove", name))?;
        // One after the other: a power cut may leave the first and the last, and none between.
        to.sync_dir().map_err(failed("sync the directory of", &to.location()))?;
    }
    Ok(())
}

/// Gives a settled segment a second name; with `verify` it is read and checked before. False where
/// the two directories cannot share files; its name is durable with the next sync of the directory.
pub(super) fn link_span(from: &dyn Disk, span: &Span, to: &dyn Disk, verify: bool) -> Result<bool> {
    let name = span.info.name();
    let file = from.open(&name, Access::Read).map_err(failed("open", &name))?;
    if verify && !holds(&file, span)? {
        return Err(unsound(name));
    }
    // Whoever sealed it synced it; the process that asks may not be the one that did.
    file.sync().map_err(failed("sync", &name))?;
    match from.link(&name, to, &name) {
        Err(error) if cannot_share(error.kind()) => Ok(false),
        other => other.map_err(failed("link", &name)).map(|()| true),
    }
}

fn cannot_share(kind: std::io::ErrorKind) -> bool {
    use std::io::ErrorKind::{CrossesDevices, PermissionDenied, TooManyLinks, Unsupported};
    matches!(kind, CrossesDevices | PermissionDenied | TooManyLinks | Unsupported)
}

/// Copies a segment up to its end, in place of whatever has its name; with `verify` it is read back
/// and checked before it gets it.
pub(super) fn copy_span(from: &dyn Disk, span: &Span, to: &dyn Disk, verify: bool) -> Result<()> {
    let name = span.info.name();
    let temporary = name_of(FileName::Temporary(Purpose::Segment));
    let source = from.open(&name, Access::Read).map_err(failed("open", &name))?;
    let copy = create_temporary(to, &temporary)?;
    copy_bytes(&*source, &*copy, (&name, span.end.offset))?;
    if verify && !holds(&copy, span)? {
        if !holds(&source, span)? {
            return Err(unsound(name));
        }
        let text = format!("the copy of {name} in {} does not read back", to.location());
        return Err(Error::new(ErrorKind::Io, text));
    }
    put_in_place(to, &temporary, &name)
}

fn unsound(name: String) -> Error {
    Error::damaged(name, 0, "segment does not check up to its end")
}

/// Copies a file up to its end, and syncs what was copied.
fn copy_bytes(source: &dyn DiskFile, copy: &dyn DiskFile, (name, end): (&str, u64)) -> Result<()> {
    let mut at = 0;
    let mut piece = vec![0; COPY_BYTES.min(usize::try_from(end).unwrap_or(COPY_BYTES))];
    while at < end {
        let wanted = usize::try_from(end - at).unwrap_or(usize::MAX).min(piece.len());
        let into = piece.get_mut(..wanted).unwrap_or_default();
        let read = source.read_at(into, at).map_err(failed("read", name))?;
        if read == 0 {
            return Err(Error::damaged(name, at, "file is shorter than its end"));
        }
        let bytes = into.get(..read).unwrap_or_default();
        copy.write_at(bytes, at).map_err(failed("write the copy of", name))?;
        at += read as u64;
    }
    if !planted!(CopyNotSynced) {
        copy.sync().map_err(failed("sync the copy of", name))?;
    }
    Ok(())
}

/// Brings what is known of trimmed segments, unless it is there; with `verify`, that is read too.
pub(super) fn bring_base(
    from: &dyn Disk,
    base: &TrimBase,
    to: &dyn Disk,
    verify: bool,
) -> Result<()> {
    match TrimBase::open(to, base.end().number) {
        // A number is used again when a head that named it was lost.
        Ok(there) if there.end() == base.end() && (!verify || there.check_ids().is_ok()) => {
            return Ok(());
        }
        Err(error) if error.kind() != ErrorKind::Damaged => return Err(error),
        _ => {}
    }
    let (name, temporary) = (base.name(), name_of(FileName::Temporary(Purpose::Base)));
    base.check_ids()?;
    let source = from.open(name, Access::Read).map_err(failed("open", name))?;
    let size = source.size().map_err(failed("read", name))?;
    let copy = create_temporary(to, &temporary)?;
    copy_bytes(&*source, &*copy, (name, size))?;
    TrimBase::check_copy(&*copy, name)?;
    put_in_place(to, &temporary, name)
}

/// Whether every frame in the file checks up to the span's end, and the chain ends as it should. A
/// segment that says it was rewritten, perhaps a moment ago, ends behind the same frame earlier.
pub(super) fn holds(file: &Arc<dyn DiskFile>, span: &Span) -> Result<bool> {
    let name = span.info.name();
    let mut source = FileSource::new(file.clone(), span.end.offset);
    let mut walker = span.info.walker();
    while walker.offset < span.end.offset && walker.expected.number <= span.end.frame {
        match walker.step(&mut source).map_err(failed("read", &name))? {
            Step::Frame(_) => {}
            Step::Bad(_) => return Ok(false),
            Step::Unsupported => {
                let what = "segment contains a frame of a newer format";
                return Err(Error::new(ErrorKind::Unsupported, what).in_file(name, walker.offset));
            }
        }
    }
    let (expected, end) = (walker.expected, span.end);
    let mut block = vec![0; SEGMENT_HEADER_BYTES];
    file.read_at(&mut block, 0).map_err(failed("read", &name))?;
    let rewritten = SegmentHeader::decode(&block, &name).is_ok_and(|header| header.rewrite > 0);
    Ok((walker.offset == end.offset || rewritten)
        && walker.open.is_none()
        && (expected.number, expected.chain) == (end.frame + 1, end.chain))
}

/// The header block and the opening frame of a segment, byte for byte; empty when it is missing.
pub(super) fn beginning(disk: &dyn Disk, number: u64) -> Result<Vec<u8>> {
    let name = name_of(FileName::Segment(number));
    Ok(read_small(disk, &name, AFTER_OPENING)?.unwrap_or_default())
}

/// Whether the two begin in the same way, apart from how often each was rewritten.
pub(super) fn begin_alike(one: &[u8], other: &[u8]) -> bool {
    let parts = |bytes: &[u8]| {
        let (block, opening) = bytes.split_at_checked(SEGMENT_HEADER_BYTES)?;
        let header = SegmentHeader::decode(block, "").ok()?;
        Some((SegmentHeader { rewrite: 0, ..header }, opening.to_vec()))
    };
    one == other || parts(one).is_some_and(|one| Some(one) == parts(other))
}

/// Brings the sidecar of a settled segment along, if there is one, none is there yet and it can be
/// done: whoever opens the store makes what is missing or does not fit.
pub(super) fn bring_sidecar(from: &dyn Disk, span: &Span, to: &dyn Disk, link: bool) {
    let name = name_of(FileName::Sidecar(span.info.number));
    if span.settled && to.open(&name, Access::Read).is_err() {
        bring_index(from, (&name, Purpose::Sidecar), to, link);
    }
}

/// The same for the heads file, which says itself up to where it is good.
pub(super) fn bring_heads(from: &dyn Disk, to: &dyn Disk, link: bool) {
    bring_index(from, (&name_of(FileName::Heads), Purpose::Heads), to, link);
}

fn bring_index(from: &dyn Disk, (name, purpose): (&str, Purpose), to: &dyn Disk, link: bool) {
    if link && from.link(name, to, name).is_ok() {
        return;
    }
    if let Ok(Some(bytes)) = read_small(from, name, u64::MAX) {
        let _ = replace_file(to, purpose, name, &[&bytes]);
    }
}
