//! Layer 6.2: every stream's head: in a file, in sidecars after it, in memory, in the trim base.
//!
//! Knows: which of them is the newest, and when the file is worth writing again. Does not know: the
//! catalog. The file is never believed blindly: it counts when it checks and names the end of a
//! segment of this log; without it the same heads come out of the sidecars.

use std::collections::{BTreeMap, HashMap};

use super::segment::{Segment, SegmentIndex};
use crate::disk::{Access, Disk, Mapped};
use crate::format::{BaseStream, FileName, Purpose, SettingsRecord, name_of};
use crate::index::{
    Binding, CheckpointEntry, Head, HeadTable, HeadsFile, SettingsEntry, StreamPart, StreamRun,
    encode_heads,
};
use crate::log::{TrimBase, replace_file};
use crate::sync::Arc;
use crate::types::{Error, Lifecycle, Position, Result, StreamState, Version, category};

/// The file is written again after so many segments, however few streams they touch: so many
/// sidecars are read at an opening at most.
const SEGMENTS_MAX: u64 = 8;

/// So many sidecars are asked for a stream that nothing newer knows: those after the file, and the
/// parts of the tail. With more of them their streams are taken into memory.
const LAYERS_MAX: usize = 32;

/// What the log carries beside events, the newest by name: checkpoints, and settings of streams.
#[derive(Debug, Default)]
pub(crate) struct Carried {
    pub checkpoints: HashMap<String, CheckpointEntry>,
    pub settings: HashMap<String, SettingsEntry>,
}

/// Every stream's head. What is in files is asked where it lies: opening builds nothing of it.
#[derive(Debug, Default)]
pub(crate) struct Heads {
    file: Option<Arc<HeadsFile<Mapped>>>,
    /// Segments after the file, the newest last, with sidecars that check.
    layers: Vec<Arc<Segment>>,
    /// What is newer than all of these.
    table: HeadTable,
    /// What is older than all of these.
    base: Option<Arc<TrimBase>>,
    len: u32,
}

impl Heads {
    /// Those in the file, which has all of the base in it.
    pub(super) fn of_file(file: Arc<HeadsFile<Mapped>>) -> Self {
        Self { len: file.len(), file: Some(file), ..Self::default() }
    }

    /// Those behind what was trimmed, if anything was.
    pub(super) fn of_base(base: Option<Arc<TrimBase>>) -> Self {
        let len = base.as_ref().map_or(0, |base| base.known().len());
        Self { len: u32::try_from(len).unwrap_or(u32::MAX), base, ..Self::default() }
    }

    /// The same heads when segments were trimmed whose streams the base knows.
    pub(super) fn trim(&mut self, base: &Arc<TrimBase>) {
        let first = base.end().first_segment;
        self.layers.retain(|layer| layer.number >= first);
        // The base knows all that a file knows which ends before it, and knows more.
        self.file = self.file.take().filter(|file| file.binding().segment + 1 >= first);
        self.base = Some(base.clone());
    }

    pub(crate) fn get(&self, stream: &str) -> Option<Head> {
        self.table.get(stream).or_else(|| self.in_files(stream))
    }

    fn in_files(&self, stream: &str) -> Option<Head> {
        let mut layers = self.layers.iter().rev();
        let found = layers.find_map(|layer| {
            let index = layer.sealed_index()?;
            index.stream(stream).and_then(|run| head_of_run(index.first_position(), &run))
        });
        let found = found.or_else(|| self.file.as_ref()?.get(stream));
        found.or_else(|| Some(head_of_trimmed(&self.base.as_ref()?.known().stream(stream)?)))
    }

    /// Sets the head of a stream that got an event; false, and nothing is changed, when it cannot
    /// be held: see [`HeadTable::set`].
    #[must_use]
    pub(crate) fn set(&mut self, stream: &str, head: Head) -> bool {
        let before = self.table.len();
        let held = self.table.set(stream, head);
        if self.table.len() > before && self.in_files(stream).is_none() {
            self.len = self.len.saturating_add(1);
        }
        held
    }

    /// Takes in the streams of a segment after all that were taken in before; answers how many it
    /// lists.
    fn take_in(&mut self, segment: &Arc<Segment>) -> u64 {
        let sealed = matches!(segment.index, SegmentIndex::Sidecar(_));
        if self.layers.len() == LAYERS_MAX {
            // Their streams are counted already.
            let len = self.len;
            for layer in std::mem::take(&mut self.layers) {
                self.take_all(&layer);
            }
            self.len = len;
        }
        // What is in memory is newer than any layer.
        if !sealed || self.table.len() > 0 {
            return self.take_all(segment);
        }
        let (listed, new) = segment.ask(|index| index.stream_counts());
        self.len = self.len.saturating_add(new);
        self.layers.push(segment.clone());
        listed.into()
    }

    /// Lets go of the segment that this one stands for now: its file would stay on the disk.
    pub(super) fn replace(&mut self, segment: &Arc<Segment>) {
        if let SegmentIndex::Sidecar(_) = segment.index {
            let same = self.layers.iter_mut().filter(|layer| layer.number == segment.number);
            same.for_each(|layer| *layer = segment.clone());
        }
    }

    fn take_all(&mut self, segment: &Segment) -> u64 {
        segment.ask(|index| {
            let (first, mut listed) = (index.first_position(), 0);
            index.for_each_stream(&mut |part| {
                let _held = self.set(part.name, head_of(first, &part));
                listed += 1;
            });
            listed
        })
    }

    /// How many streams, deleted ones included.
    pub(crate) fn len(&self) -> u32 {
        self.len
    }

    /// Every stream whose name begins with `prefix`, sorted by the bytes of its name.
    pub(crate) fn all(&self, prefix: &str) -> Vec<(&str, Head)> {
        let mut all = Vec::new();
        let mut take = |name, head| {
            if str::starts_with(name, prefix) {
                all.push((name, head));
            }
        };
        // The newest first: sorting keeps that order among the heads of a stream.
        self.table.iter().for_each(|(name, head)| take(name, head));
        for index in self.layers.iter().rev().filter_map(|layer| layer.sealed_index()) {
            let first = index.first_position();
            index.for_each_stream(&mut |part| take(part.name, head_of(first, &part)));
        }
        if let Some(file) = &self.file {
            file.iter().for_each(|(name, head)| take(name, head));
        }
        if let Some(base) = &self.base {
            let known = base.known().streams();
            known.for_each(|stream| take(stream.name, head_of_trimmed(&stream)));
        }
        all.sort_by_key(|(name, _)| *name);
        all.dedup_by_key(|(name, _)| *name);
        all
    }

    /// Every category that begins with `prefix`, sorted, with how many live streams it has, if any.
    pub(crate) fn categories(&self, prefix: &str, carried: &Carried) -> Vec<(String, u64)> {
        let mut counts = BTreeMap::<&str, u64>::new();
        for (name, head) in self.all(prefix) {
            let live = || {
                let state = carried.lifecycle(name).state(head.version);
                matches!(state, StreamState::Live(_))
            };
            if let Some(category) = category(name).filter(|category| category.starts_with(prefix))
                && live()
            {
                *counts.entry(category).or_default() += 1;
            }
        }
        counts.into_iter().map(|(category, count)| (category.to_owned(), count)).collect()
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        size_of::<Self>() + self.table.memory_bytes()
    }
}

/// The head of a stream none of whose events are retained.
pub(super) fn head_of_trimmed(stream: &BaseStream<'_>) -> Head {
    let (version, last_position) = (stream.version, stream.last_position);
    Head { version: Version::new(version), last_position: Position::new(last_position) }
}

fn head_of_run(first: Position, run: &StreamRun<'_>) -> Option<Head> {
    let count = run.len();
    let last_ordinal = run.ordinal(count.checked_sub(1)?)?;
    Some(head_at(first, (run.first_version(), count, last_ordinal)))
}

pub(super) fn head_of(first: Position, part: &StreamPart<'_>) -> Head {
    head_at(first, (part.first_version, part.count, part.last_ordinal))
}

fn head_at(first: Position, (version, count, last_ordinal): (Version, u32, u32)) -> Head {
    let next = version.get().saturating_add(count.into());
    let version = Version::new(next.saturating_sub(1));
    Head { version, last_position: first.plus(last_ordinal.into()) }
}

/// Takes in everything a segment's index knows of streams and what is carried; answers how many
/// streams it lists.
pub(super) fn take_in(segment: &Arc<Segment>, heads: &mut Heads, carried: &mut Carried) -> u64 {
    segment.ask(|index| {
        index.for_each_checkpoint(&mut |entry| carried.take_checkpoint(entry.clone()));
        index.for_each_settings(&mut |entry| carried.take_settings(entry.clone()));
    });
    heads.take_in(segment)
}

/// Of two under one name the one from the later frame counts.
impl Carried {
    pub(super) fn of_file(file: &HeadsFile<Mapped>) -> Self {
        let mut carried = Self::default();
        carried.take_file(file);
        carried
    }

    pub(super) fn take_file(&mut self, file: &HeadsFile<Mapped>) {
        file.checkpoints().iter().for_each(|entry| self.take_checkpoint(entry.clone()));
        if !planted!(SettingsForgotten) {
            file.settings().iter().for_each(|entry| self.take_settings(entry.clone()));
        }
    }

    /// What trimmed segments carried.
    pub(super) fn of_base(base: Option<&Arc<TrimBase>>) -> Self {
        base.map_or_else(Self::default, |base| Self::of(base))
    }

    pub(super) fn of(base: &TrimBase) -> Self {
        let mut carried = Self::default();
        for found in base.known().checkpoints() {
            let (position, id, frame) = (Position::new(found.position), found.id, found.frame);
            let name = found.name.to_owned();
            carried.take_checkpoint(CheckpointEntry { name, position, id, frame });
        }
        for (frame, SettingsRecord { stream, lifecycle }) in base.known().settings() {
            let stream = stream.to_owned();
            carried.take_settings(SettingsEntry { stream, lifecycle, frame });
        }
        carried
    }

    pub(super) fn take_checkpoint(&mut self, entry: CheckpointEntry) {
        let known = self.checkpoints.get(&entry.name);
        if known.is_none_or(|known| known.frame <= entry.frame) {
            self.checkpoints.insert(entry.name.clone(), entry);
        }
    }

    pub(super) fn take_settings(&mut self, entry: SettingsEntry) {
        let known = self.settings.get(&entry.stream);
        if known.is_none_or(|known| known.frame <= entry.frame) {
            self.settings.insert(entry.stream.clone(), entry);
        }
    }

    /// The settings of a stream; of most there are none.
    pub(crate) fn lifecycle(&self, stream: &str) -> Lifecycle {
        self.settings.get(stream).map(|entry| entry.lifecycle).unwrap_or_default()
    }
}

/// What the heads file holds, and what came after it.
#[derive(Debug, Default)]
pub(super) struct HeadsMark {
    /// The end that it was made for; `None` when there is no file that counts.
    pub upto: Option<Binding>,
    /// Streams in it.
    streams: u64,
    /// Segments sealed after it, and the streams that their sidecars list.
    segments: u64,
    listed: u64,
}

impl HeadsMark {
    pub(super) fn at(binding: Binding, heads: &Heads) -> Self {
        Self { upto: Some(binding), streams: heads.len().into(), ..Self::default() }
    }

    pub(super) fn sealed(&mut self, listed: u64) {
        self.segments += 1;
        self.listed += listed;
    }

    /// The sidecars after it are deltas; it is written whole only when they outweigh it.
    pub(super) fn is_due(&self) -> bool {
        let outweighed = self.listed >= self.streams || self.segments >= SEGMENTS_MAX;
        self.segments > 0 && (self.upto.is_none() || outweighed)
    }

    /// Makes the file for the end that `binding` names, out of the file there is and the indexes of
    /// the segments after it, or out of the trim base where that says more. `None` when that cannot
    /// be done; the sidecars then do without it.
    pub(super) fn renew(
        &mut self,
        disk: &dyn Disk,
        (base, segments): (Option<&Arc<TrimBase>>, &[Arc<Segment>]),
        binding: &Binding,
    ) -> Option<()> {
        let upto = self.upto.take();
        let trimmed = base.map_or(0, |base| base.end().first_segment - 1);
        let upto = upto.filter(|upto| upto.segment >= trimmed);
        let old = upto.and_then(|upto| read_heads(disk, |found| *found == upto).ok());
        let from = old.as_ref().map_or(trimmed, |file| file.binding().segment);
        let (mut heads, mut carried) = (Heads::of_base(base.cloned()), Carried::of_base(base));
        if let Some(file) = old {
            carried = Carried::of_file(&file);
            heads = Heads::of_file(Arc::new(file));
        }
        let mut next = from + 1;
        for segment in segments.iter().filter(|segment| segment.number > from) {
            if segment.number > binding.segment {
                break;
            }
            // Heads out of a log with holes would be written down as if they were whole.
            let whole = segment.number == next && segment.ask(|index| index.damaged().is_empty());
            whole.then_some(())?;
            take_in(segment, &mut heads, &mut carried);
            next += 1;
        }
        (next == binding.segment + 1).then_some(())?;
        write_heads(disk, binding, &heads, &carried).ok()?;
        *self = Self::at(*binding, &heads);
        Some(())
    }
}

/// Reads the heads file, if `is_end` knows the end it was made for.
///
/// # Errors
/// Why it does not count.
pub(super) fn read_heads(
    disk: &dyn Disk,
    is_end: impl FnOnce(&Binding) -> bool,
) -> Result<HeadsFile<Mapped>, String> {
    HeadsFile::open(map_file(disk, &name_of(FileName::Heads))?, is_end)
}

/// The bytes of an index file.
pub(super) fn map_file(disk: &dyn Disk, name: &str) -> Result<Mapped, String> {
    let file = match disk.open(name, Access::Read) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err("it is missing".into());
        }
        Err(error) => return Err(format!("it cannot be opened: {error}")),
    };
    let unread = |error| format!("it cannot be read: {error}");
    let size = file.size().map_err(unread)?;
    file.map(size).map_err(unread)
}

pub(super) fn write_heads(
    disk: &dyn Disk,
    binding: &Binding,
    heads: &Heads,
    carried: &Carried,
) -> Result<()> {
    let Carried { checkpoints, settings } = carried;
    let bytes = encode_heads(binding, &heads.all(""), checkpoints.values(), settings.values());
    let bytes = bytes.ok_or_else(|| Error::invalid("there are too many streams for a file"))?;
    replace_file(disk, Purpose::Heads, &name_of(FileName::Heads), &[&bytes])
}
