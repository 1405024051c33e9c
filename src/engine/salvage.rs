//! Layer 6.8: a new store out of everything that still checks in a damaged one.
//!
//! Knows: which events are whole, and how to say which are not. Does not know: how the new log is
//! written (`log/build.rs`). The damaged store is only read; the new one is none until it is whole.

use std::collections::HashMap;

use uuid::Uuid;

use super::fold::{FoldLimit, Folded, fold_segment};
use super::follow::{limit_of_damaged, limit_of_severed};
use super::heads::Carried;
use super::saved::{Checkpoint, Snapshot};
use super::sidecars::Opening;
use crate::disk::{Access, Disk, PatientDisk};
use crate::format::{
    FileName, LOST_RANGE_MOST, LostRange, LostReason, Purpose, RECORD_HEAD_BYTES, Record,
    RecordHead, SettingsRecord, Source, decode_event, name_of,
};
use crate::index::{SegmentLookup, SettingsEntry, TailIndex};
use crate::log::{
    AFTER_OPENING, KeyedFile, LogBuilder, NewLog, Past, Records, SegmentInfo, Survey, TailEnd,
    TrimBase, survey,
};
use crate::segment::{EndVerdict, FileSource, SegmentBytes, source_of};
use crate::sync::Arc;
use crate::types::{Damage, Error, ErrorKind, Position, Result, Salvaged, Settings, Version};

/// More positions than this are not lost at one place, whatever a header says.
const LOST_TOGETHER: u64 = 1 << 32;

/// So many settings of streams are written in one batch.
const SETTINGS_TOGETHER: usize = 256;

/// Copies what checks in `from` into a new log in `to`, which must be empty or hold what an
/// interrupted salvage left.
pub(crate) fn salvage(
    from: Arc<dyn Disk>,
    to: &Arc<dyn Disk>,
    (settings, now): (&Settings, u64),
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Salvaged> {
    let patient = PatientDisk::new(from);
    let from: Arc<dyn Disk> = Arc::new(patient.clone());
    let Some(mut found) = survey(&*from)? else {
        let text = format!("there is no store in {}", from.location());
        return Err(Error::new(ErrorKind::NotFound, text));
    };
    found.read_behind_openings(&*from)?;
    let log = NewLog {
        id_scope: found.head.id_scope,
        encrypts: found.head.encrypts,
        capacity: settings.segment_bytes,
        now,
    };
    // What is half known of trimmed events is not known: then their positions are lost.
    let base = found.base.as_deref().filter(|base| base.check_ids().is_ok());
    let builder = LogBuilder::new(to, log, past_of(&found, &*from, base))?;
    let store = builder.store();
    let snapshots =
        KeyedFile::load(from.clone(), found.head.store, FileName::Snapshots, Purpose::Snapshots)?;
    let mut salvaging = Salvaging {
        opening: Opening { disk: &from, settings, read_only: true },
        next: builder.next_position(),
        builder,
        batch: Records::default(),
        carried: base.map_or_else(Carried::default, Carried::of),
        wanted: wanted_snapshots(&snapshots, base),
        out: Salvaged::of(found.head.store, store),
    };
    salvaging.out.damage.extend(found.damage.iter().cloned());
    salvaging.out.notes.extend(found.notes.iter().cloned());
    if base.is_none() && found.head.first_segment > 1 {
        salvaging.lose_what_was_trimmed(&found)?;
    }
    salvaging.all(&found, progress)?;
    for unread in patient.unread() {
        let text = format!("{} bytes at {} could not be read", unread.bytes, unread.offset);
        salvaging.out.notes.push(format!("{}: {text}", unread.file));
    }
    salvaging.finish(&**to, (&found, &snapshots))
}

/// What comes before the first segment of the new log.
fn past_of<'a>(found: &Survey, from: &'a dyn Disk, base: Option<&'a TrimBase>) -> Past<'a> {
    let Some(base) = base else { return Past::default() };
    let trimmed = base.end().first_segment - 1;
    let first = found.segments.first().filter(|info| info.number == trimmed + 1);
    Past {
        base: Some((from, base)),
        // Nobody goes there any more.
        end: first.map_or(AFTER_OPENING, |info| info.predecessor_end().offset),
        ancestors: found.head.ancestors_through(trimmed),
    }
}

/// A snapshot that goes along if its event does, or was trimmed.
struct WantedSnapshot {
    key: Vec<u8>,
    version: Version,
    id: Uuid,
    there: bool,
}

fn wanted_snapshots(
    file: &KeyedFile,
    base: Option<&TrimBase>,
) -> HashMap<String, Vec<WantedSnapshot>> {
    let mut wanted: HashMap<String, Vec<WantedSnapshot>> = HashMap::new();
    for key in file.keys() {
        let Ok(Some(value)) = file.get(key) else { continue };
        let found = Snapshot::stream_of(key).zip(Snapshot::decode(&value));
        let Some((stream, Snapshot { version, id, .. })) = found else { continue };
        let trimmed = base.and_then(|base| base.known().stream(stream));
        let there = trimmed.is_some_and(|trimmed| version.get() <= trimmed.version);
        let snapshot = WantedSnapshot { key: key.to_vec(), version, id, there };
        wanted.entry(stream.to_owned()).or_default().push(snapshot);
    }
    wanted
}

struct Salvaging<'a> {
    opening: Opening<'a>,
    builder: LogBuilder<'a>,
    /// The next position to be said something of.
    next: u64,
    /// Records at the positions before it that are not written yet.
    batch: Records,
    carried: Carried,
    wanted: HashMap<String, Vec<WantedSnapshot>>,
    out: Salvaged,
}

/// Where lost events were, and why they are lost.
struct Cause {
    file: String,
    offset: u64,
    what: String,
    reason: LostReason,
}

impl Cause {
    fn missing(number: u64) -> Self {
        let what = "the segment is not there".to_owned();
        let file = name_of(FileName::Segment(number));
        Self { file, offset: 0, what, reason: LostReason::Missing }
    }
}

impl Salvaging<'_> {
    fn all(&mut self, found: &Survey, progress: &mut dyn FnMut(u64, u64)) -> Result<()> {
        let total = found.segments.len() as u64;
        for (at, info) in found.segments.iter().enumerate() {
            progress(at as u64, total);
            if info.first_position() > self.next {
                // Whatever held them is not there: the segment before this one, or its end.
                self.lose(info.first_position(), &Cause::missing(info.number - 1))?;
            }
            let next = found.segments.get(at + 1);
            let until = next.map_or(u64::MAX, SegmentInfo::first_position);
            match (next, info.end) {
                (None, _) => self.tail(found, info)?,
                (Some(_), Some(end)) => {
                    let limit = FoldLimit::named(end, true);
                    self.segment(info, limit, until)?;
                }
                (Some(_), None) => {
                    let limit = limit_of_severed(&self.opening, info)?;
                    self.segment(info, limit, until)?;
                }
            }
        }
        self.lose_the_end(found)?;
        progress(total, total);
        Ok(())
    }

    /// Nothing says any more what was trimmed, so that its positions are as good as lost.
    fn lose_what_was_trimmed(&mut self, found: &Survey) -> Result<()> {
        let Some(first) = found.segments.first() else { return Ok(()) };
        let file = name_of(FileName::Base(found.head.base));
        let what = "it was trimmed, and what was kept of it does not check".to_owned();
        let reason = LostReason::Missing;
        self.lose(first.first_position(), &Cause { file, offset: 0, what, reason })
    }

    /// What a recovery would take of the newest segment, or what is left of it.
    fn tail(&mut self, found: &Survey, info: &SegmentInfo) -> Result<()> {
        let (name, disk) = (info.name(), self.opening.disk);
        let file = disk.open(&name, Access::Read);
        let file = file.map_err(|error| Error::io(format!("cannot open {name}"), error))?;
        let end = found.judge_tail(&file, &**disk)?;
        match end.verdict {
            EndVerdict::Unsupported => {
                let what = "the log contains a frame of a newer format";
                Err(Error::new(ErrorKind::Unsupported, what).in_file(name, end.walk.stop))
            }
            EndVerdict::Damaged => self.damaged_tail(found, info, &end),
            EndVerdict::Clean | EndVerdict::Rescue | EndVerdict::Torn => {
                let (offset, next_position) =
                    (end.walk.good.offset, end.walk.good.expected.position);
                let frame = u64::MAX;
                let limit = FoldLimit { offset, frame, chain: None, next_position, tolerant: true };
                self.segment(info, limit, u64::MAX)?;
                Ok(())
            }
        }
    }

    fn damaged_tail(&mut self, found: &Survey, info: &SegmentInfo, end: &TailEnd) -> Result<()> {
        let limit = limit_of_damaged(&self.opening, found, info, end)?;
        let before = self.out.damage.len();
        let open = self.segment(info, FoldLimit { tolerant: true, ..limit }, u64::MAX)?;
        if self.out.damage.len() == before {
            self.out.damage.push(Damage {
                file: info.name(),
                offset: end.walk.stop,
                first_position: None,
                last_position: None,
                what: "certified frames are missing".into(),
            });
        }
        if found.live.is_none() || open {
            let text = "how far the damaged end went is not known: \
                        events after the last one here may be lost that nothing tells of";
            self.out.notes.push(text.into());
        }
        Ok(())
    }

    /// Segments after the last one there are lost, up to where the log is certified to go.
    fn lose_the_end(&mut self, found: &Survey) -> Result<()> {
        let number = found.segments.last().map_or(0, |segment| segment.number);
        let Some(mark) = found.live.filter(|mark| mark.segment > number) else { return Ok(()) };
        self.lose(mark.next_position, &Cause::missing(number + 1))
    }

    /// Takes in a segment: what checks, and word of what does not. Answers whether the batch at its
    /// end is unfinished.
    fn segment(&mut self, info: &SegmentInfo, limit: FoldLimit, until: u64) -> Result<bool> {
        let (name, disk) = (info.name(), self.opening.disk);
        let file = disk.open(&name, Access::Read);
        let file = file.map_err(|error| Error::io(format!("cannot open {name}"), error))?;
        let bytes = SegmentBytes::File(file.clone());
        let folded = fold_segment(&mut *source_of(&bytes, limit.offset), info, limit)?;
        let (index, open) = (&folded.index, folded.walker.open.is_some());
        index.for_each_checkpoint(&mut |entry| self.carried.take_checkpoint(entry.clone()));
        index.for_each_settings(&mut |entry| self.carried.take_settings(entry.clone()));
        let end = info.first_position() + u64::from(index.events());
        let end = end.min(until);
        let mut source = FileSource::new(file, limit.offset);
        let mut ends = folded.batch_ends.iter().copied().peekable();
        while self.next < end {
            let distance = self.next - info.first_position();
            let ordinal = u32::try_from(distance).unwrap_or(u32::MAX);
            let position = self.next;
            if self.take(&mut source, info, index, ordinal)? {
                while ends.next_if(|end| *end <= position).is_some() {}
                if ends.peek() == Some(&self.next) {
                    self.write()?;
                }
                continue;
            }
            let (through, cause) = cause_at(&folded, (info, ordinal));
            self.lose(through.min(end), &cause)?;
        }
        self.write()?;
        let text = "checkpoints and settings of streams in damaged bytes are lost as well";
        if !folded.damage.is_empty() && !self.out.notes.iter().any(|note| note == text) {
            self.out.notes.push(text.into());
        }
        self.out.damage.extend(folded.damage);
        Ok(open)
    }

    /// Takes the record of the next event, if it is there and checks.
    fn take(
        &mut self,
        source: &mut FileSource,
        info: &SegmentInfo,
        index: &TailIndex,
        ordinal: u32,
    ) -> Result<bool> {
        let Some(offset) = index.offset(ordinal) else { return Ok(false) };
        let unread = |error| Error::io(format!("cannot read {}", info.name()), error);
        let head = source.bytes(offset.into(), RECORD_HEAD_BYTES).map_err(unread)?;
        let Some(head) = RecordHead::decode(head, info.seed) else { return Ok(false) };
        let length = head.record_bytes();
        let bytes = source.bytes(offset.into(), length).map_err(unread)?;
        let record = Record::decode(bytes, info.seed);
        let Some(record) = record.filter(|record| record.head.position == self.next) else {
            return Ok(false);
        };
        if let Some(event) = decode_event(&record).filter(|_| !self.wanted.is_empty())
            && let Some(snapshots) = self.wanted.get_mut(event.stream())
        {
            let (version, id) = (event.version(), event.id());
            let mine =
                snapshots.iter_mut().filter(|wanted| (wanted.version, wanted.id) == (version, id));
            mine.for_each(|wanted| wanted.there = true);
        }
        self.batch.push(bytes.get(..length).unwrap_or_default());
        self.next += 1;
        self.out.events += 1;
        Ok(true)
    }

    /// Writes the records taken so far, as one batch.
    fn write(&mut self) -> Result<()> {
        let batch = std::mem::take(&mut self.batch);
        if batch.is_empty() { Ok(()) } else { self.builder.batch(&batch) }
    }

    /// Says of the positions up to `until` that they are lost.
    fn lose(&mut self, until: u64, cause: &Cause) -> Result<()> {
        self.write()?;
        if until <= self.next {
            return Ok(());
        }
        let first = self.next;
        if until - first > LOST_TOGETHER {
            let text = format!("{} positions cannot be missing in one place", until - first);
            return Err(Error::damaged(&*cause.file, cause.offset, text).at(Position::new(first)));
        }
        let segment = match FileName::parse(&cause.file) {
            Some(FileName::Segment(number)) => number,
            _ => 0,
        };
        while self.next < until {
            let most = (until - self.next).min(LOST_RANGE_MOST.into());
            let positions = u32::try_from(most).unwrap_or(LOST_RANGE_MOST);
            let (reason, offset) = (cause.reason, cause.offset);
            self.builder.lost(LostRange { positions, reason, segment, offset })?;
            self.next += most;
        }
        if planted!(LossNotListed) {
            return Ok(());
        }
        self.out.missing.push(Damage {
            file: cause.file.clone(),
            offset: cause.offset,
            first_position: Some(Position::new(first)),
            last_position: Some(Position::new(until - 1)),
            what: cause.what.clone(),
        });
        Ok(())
    }

    /// What is kept beside the log, and then the head.
    fn finish(self, to: &dyn Disk, (found, snapshots): (&Survey, &KeyedFile)) -> Result<Salvaged> {
        let Self { opening, mut builder, carried, wanted, mut out, .. } = self;
        let disk = opening.disk.clone();
        let file = (FileName::Checkpoints, Purpose::Checkpoints);
        let saved = KeyedFile::load(disk, found.head.store, file.0, file.1)?;
        for (keyed, name) in [(&saved, "checkpoints"), (snapshots, "snapshots")] {
            if let Err(error) = keyed.refuse_damage() {
                let offset = error.offset().unwrap_or_default();
                out.notes
                    .push(format!("{name}: entries from {offset} on that do not check are left"));
            }
        }
        let last = Position::new(builder.next_position() - 1);
        let kept = keep_checkpoints((&saved, &carried), last, &mut out);
        write_settings(&mut builder, carried)?;
        let (there, left): (Vec<_>, Vec<_>) =
            wanted.into_values().flatten().partition(|wanted| wanted.there);
        out.snapshots = there.len() as u64;
        out.snapshots_left = left.len() as u64;
        out.segments = builder.segments();
        builder.finish(|durable| {
            let entries = kept.into_iter().map(|(name, checkpoint)| {
                (name.into_bytes(), Checkpoint { frame: durable, ..checkpoint }.encode())
            });
            KeyedFile::make(to, out.store, file, entries)?;
            let mut keys: Vec<_> = there.into_iter().map(|wanted| wanted.key).collect();
            keys.sort();
            let entries = keys.into_iter().filter_map(|key| {
                let value = snapshots.get(&key).ok()??;
                Some((key, value))
            });
            KeyedFile::make(to, out.store, (FileName::Snapshots, Purpose::Snapshots), entries)
        })?;
        Ok(out)
    }
}

/// What is set of streams, as it was said last.
fn write_settings(builder: &mut LogBuilder<'_>, carried: Carried) -> Result<()> {
    let mut all: Vec<_> = carried.settings.into_values().collect();
    all.sort_by(|a, b| a.stream.cmp(&b.stream));
    for some in all.chunks(SETTINGS_TOGETHER) {
        let mut records = Vec::new();
        for SettingsEntry { stream, lifecycle, .. } in some {
            SettingsRecord { stream, lifecycle: *lifecycle }.push(&mut records);
        }
        builder.control(&records)?;
    }
    Ok(())
}

/// The checkpoints whose event is there, sorted by name; the others are told.
fn keep_checkpoints(
    (saved, carried): (&KeyedFile, &Carried),
    last: Position,
    out: &mut Salvaged,
) -> Vec<(String, Checkpoint)> {
    let mut names: Vec<String> =
        saved.keys().map(|key| String::from_utf8_lossy(key).into_owned()).collect();
    names.extend(carried.checkpoints.keys().cloned());
    names.sort();
    names.dedup();
    let mut kept = Vec::new();
    for name in names {
        let value = saved.get(name.as_bytes()).ok().flatten();
        let found = value.and_then(|value| Checkpoint::decode(&value));
        let carried = carried.checkpoints.get(&name).map(Checkpoint::of_log);
        let Some(checkpoint) = Checkpoint::later(found, carried) else { continue };
        let position = checkpoint.position;
        match position <= last && !out.lacks(position) {
            true => kept.push((name, checkpoint)),
            false => out.checkpoints_left.push((name, position)),
        }
    }
    out.checkpoints = kept.len() as u64;
    kept
}

/// Why the event with this ordinal cannot be read, and the position up to which that is why.
fn cause_at(folded: &Folded, (info, ordinal): (&SegmentInfo, u32)) -> (u64, Cause) {
    let (index, first) = (&folded.index, info.first_position());
    let position = first + u64::from(ordinal);
    let run = (ordinal..index.events()).take_while(|at| index.offset(*at).is_none()).count();
    // One that has an offset and still cannot be taken is a run by itself.
    let through = position + (run as u64).max(1);
    let earlier = |at: u64| {
        let at = u32::try_from(at - first).unwrap_or(u32::MAX);
        index.lost().binary_search(&at).is_ok()
    };
    let file = info.name();
    if earlier(position) {
        let same = (position..through).take_while(|at| earlier(*at)).count();
        let what = "it was lost by an earlier salvage".to_owned();
        let cause = Cause { file, offset: 0, what, reason: LostReason::Earlier };
        return (position + same as u64, cause);
    }
    let holds = |damage: &&Damage| {
        let from = damage.first_position.map_or(u64::MAX, Position::get);
        from <= position && damage.last_position.is_some_and(|last| last.get() >= position)
    };
    let damage = folded.damage.iter().rfind(holds);
    let last =
        damage.and_then(|damage| damage.last_position).map_or(through, |last| last.get() + 1);
    let until = (position + 1..last.min(through)).find(|at| earlier(*at));
    let offset = damage.map_or(0, |damage| damage.offset);
    let what = damage.map_or("it does not check", |damage| &*damage.what).to_owned();
    let reason = LostReason::Damaged;
    (until.unwrap_or(last.min(through)), Cause { file, offset, what, reason })
}
