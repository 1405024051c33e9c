//! Layer 6.2: every stream's head out of the segments, and the file that keeps them.
//!
//! Knows: how heads follow from segment indexes, and when the file is worth writing again. Does not
//! know: the catalog. The file is never believed blindly: it counts when it checks and names the
//! end of a segment of this log; without it the same heads come out of the sidecars.

use std::collections::HashMap;

use super::segment::Segment;
use crate::disk::{Access, Disk};
use crate::format::{FileName, Purpose, name_of};
use crate::index::{Binding, CheckpointEntry, Head, Heads, HeadsFile, StreamState, encode_heads};
use crate::log::replace_file;
use crate::sync::Arc;
use crate::types::{Result, Version};

/// The file is written again after so many segments, however few streams they touch: so many
/// sidecars are read at an opening at most.
const SEGMENTS_MAX: u64 = 8;

pub(super) type Checkpoints = HashMap<String, CheckpointEntry>;

/// Takes in everything a segment's index knows of streams and checkpoints; answers how many
/// streams it lists.
pub(super) fn take_in(segment: &Segment, heads: &mut Heads, checkpoints: &mut Checkpoints) -> u64 {
    segment.ask(|index| {
        let (first, mut listed) = (index.first_position(), 0);
        index.for_each_stream(&mut |part| {
            let next = part.first_version.get() + u64::from(part.count);
            let version = Version::new(next.saturating_sub(1));
            let last_position = first.plus(part.last_ordinal.into());
            let _held =
                heads.set(part.name, Head { version, last_position, state: StreamState::Live });
            listed += 1;
        });
        index.for_each_checkpoint(&mut |entry| take_checkpoint(checkpoints, entry.clone()));
        listed
    })
}

/// The one from the later frame counts.
pub(super) fn take_checkpoint(checkpoints: &mut Checkpoints, entry: CheckpointEntry) {
    let known = checkpoints.get(&entry.name);
    if known.is_none_or(|known| known.frame <= entry.frame) {
        checkpoints.insert(entry.name.clone(), entry);
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
    /// the segments after it. `None` when that cannot be done; the sidecars then do without it.
    pub(super) fn renew(
        &mut self,
        disk: &dyn Disk,
        segments: &[Arc<Segment>],
        binding: &Binding,
    ) -> Option<()> {
        let upto = self.upto.take();
        let old = upto.and_then(|upto| read_heads(disk, |found| *found == upto).ok());
        let from = old.as_ref().map_or(0, |file| file.binding.segment);
        let (mut heads, mut checkpoints) = (Heads::default(), Checkpoints::new());
        if let Some(file) = old {
            heads = file.heads;
            file.checkpoints.into_iter().for_each(|entry| take_checkpoint(&mut checkpoints, entry));
        }
        let mut next = from + 1;
        for segment in segments.iter().filter(|segment| segment.number > from) {
            if segment.number > binding.segment {
                break;
            }
            // Heads out of a log with holes would be written down as if they were whole.
            let whole = segment.number == next && segment.ask(|index| index.damaged().is_empty());
            whole.then_some(())?;
            take_in(segment, &mut heads, &mut checkpoints);
            next += 1;
        }
        (next == binding.segment + 1).then_some(())?;
        write_heads(disk, binding, &heads, &checkpoints).ok()?;
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
) -> Result<HeadsFile, String> {
    let file = match disk.open(&name_of(FileName::Heads), Access::Read) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err("it is missing".into());
        }
        Err(error) => return Err(format!("it cannot be opened: {error}")),
    };
    let unread = |error| format!("it cannot be read: {error}");
    let size = file.size().map_err(unread)?;
    HeadsFile::decode(&file.map(size).map_err(unread)?, is_end)
}

pub(super) fn write_heads(
    disk: &dyn Disk,
    binding: &Binding,
    heads: &Heads,
    checkpoints: &Checkpoints,
) -> Result<()> {
    let bytes = encode_heads(binding, heads, checkpoints.values());
    replace_file(disk, Purpose::Heads, &name_of(FileName::Heads), &[&bytes])
}
