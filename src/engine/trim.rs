//! Layer 6.5: trimming: which segments may go, what must be known of them, and their going.
//!
//! Knows: the order, which makes every step one that may crash: the base is durable, then the head
//! names it, then readers see it, then files go. Does not know: the bytes of a base.

use std::collections::BTreeMap;

use uuid::Uuid;

use super::heads::Carried;
use super::segment::{EventReader, Segment};
use super::shared::Engine;
use crate::disk::Access;
use crate::format::{
    BaseCheckpoint, BaseEnd, BaseId, BaseParts, BaseStream, FileName, SettingsRecord, name_of,
};
use crate::log::{SegmentInfo, TrimBase, Trimmable, clear_trimmed, find_segment, has_trimmed};
use crate::sync::{Arc, Ordering};
use crate::types::{Error, Position, Result, Trim, Trimmed};

/// One sealed segment, as far as it matters to whether it may go.
struct Candidate {
    number: u64,
    bytes: u64,
    events: u64,
    /// The first position after it.
    next: Position,
    /// Of its newest event, 0 without any.
    last_recorded_at: u64,
}

/// What is to go.
struct Plan {
    /// The segment that will be the first.
    first_segment: u64,
    told: Trimmed,
}

impl Engine {
    /// What [`Self::trim`] would do now.
    pub(crate) fn plan_trim(&self, trim: &Trim) -> Result<Trimmed> {
        Ok(self.plan(trim)?.told)
    }

    /// Removes the old segments that `trim` allows.
    pub(crate) fn trim(&self, trim: &Trim) -> Result<Trimmed> {
        self.refuse_writing()?;
        // Closing waits for it: the lock is given back when nobody writes any more.
        let _one_at_a_time = self.trim_lock.lock();
        self.refuse_writing()?;
        // Not while a segment is locked: whoever rolls has the tail, and waits for that lock.
        let head = match &*self.tail.lock() {
            Some(tail) => tail.head_file(),
            None => return Err(super::queue::closed()),
        };
        // Nor while a segment gets its sidecar or is written anew.
        let _at_rest = self.sealing.lock();
        // An earlier trim that failed is not to come about after this one was answered.
        head.settle()?;
        let plan = self.plan(trim)?;
        if plan.told.segments > 0 {
            let base = self.mark(&plan, &head)?;
            self.catalog.write().trim(Arc::new(base));
        }
        if has_trimmed(&*self.disk, &head.get())? {
            // Now both generations say where the log begins: none lists what goes now.
            if !planted!(OneHeadMarked) {
                head.update(|_| ())?;
            }
            clear_trimmed(&*self.disk, &head.get())?;
        }
        Ok(plan.told)
    }

    /// Makes durable what is known of the segments that go, and that the log begins behind them.
    fn mark(&self, plan: &Plan, head: &crate::log::HeadFile) -> Result<TrimBase> {
        let view = self.view()?;
        let now = head.get();
        let first = find_segment(&*self.disk, &now, plan.first_segment)?.ok_or_else(|| {
            let name = name_of(FileName::Segment(plan.first_segment));
            Error::damaged(name, 0, "segment does not check")
        })?;
        let mut gathered = Gathered::of(view.base.as_deref());
        let mut carried = Carried::of_base(view.base.as_ref());
        for segment in view.segments.iter().filter(|s| s.number < plan.first_segment) {
            gathered.add(segment)?;
            segment.ask(|index| {
                index.for_each_checkpoint(&mut |entry| carried.take_checkpoint(entry.clone()));
                index.for_each_settings(&mut |entry| carried.take_settings(entry.clone()));
            });
        }
        // The store of the last segment that goes: whatever goes on from here descends from it.
        let origin = now.origin_of(plan.first_segment - 1);
        let end = base_end(origin, &first, gathered.last_id);
        let durable = self.durable_frame.load(Ordering::Acquire).max(first.opening.number);
        let mut settings: Vec<(u64, SettingsRecord<'_>)> = carried
            .settings
            .values()
            .map(|e| (e.frame, SettingsRecord { stream: &e.stream, lifecycle: e.lifecycle }))
            .collect();
        settings.sort_unstable_by_key(|(_, record)| record.stream);
        gathered.write(&carried, |streams, checkpoints, ids| {
            let parts = BaseParts { end, streams, checkpoints, ids, settings: &settings };
            Trimmable { disk: &*self.disk, head, durable, parts }.mark()
        })
    }

    fn plan(&self, trim: &Trim) -> Result<Plan> {
        let view = self.view()?;
        let tail = view.segments.last().map_or(0, |segment| segment.number);
        let sealed = self.candidates(&view.segments, tail)?;
        let lowest = match trim.past_checkpoints || planted!(CheckpointsForgotten) {
            true => None,
            false => {
                self.refuse_torn_checkpoints()?;
                let all = self.checkpoints()?.into_iter();
                all.map(|(name, saved)| (name, saved.position)).min_by_key(|(_, at)| *at)
            }
        };
        let mut plan = Plan {
            first_segment: view.segments.first().map_or(0, |segment| segment.number),
            told: Trimmed {
                segments: 0,
                events: 0,
                bytes: 0,
                first_position: view.first_position(),
                held_by: None,
            },
        };
        let mut left = self.left(&view.segments, &sealed, tail)?;
        let now = self.clock.now();
        for segment in &sealed {
            left = (left.0 - segment.bytes.min(left.0), left.1 - segment.events.min(left.1));
            if !allows(trim, segment, left, now) {
                break;
            }
            if let Some((name, at)) = lowest.as_ref().filter(|(_, at)| at.next() < segment.next) {
                plan.told.held_by = Some((name.clone(), *at));
                break;
            }
            plan.first_segment = segment.number + 1;
            plan.told.segments += 1;
            plan.told.events += segment.events;
            plan.told.bytes += segment.bytes;
            plan.told.first_position = segment.next;
        }
        Ok(plan)
    }

    /// The sealed segments in order; parts of one that was opened so count as one.
    fn candidates(&self, segments: &[Arc<Segment>], tail: u64) -> Result<Vec<Candidate>> {
        let mut all: Vec<Candidate> = Vec::new();
        for segment in segments.iter().filter(|segment| segment.number < tail) {
            let events = u64::from(segment.events());
            let (next, last_recorded_at) =
                (segment.first_position.plus(events), segment.last_recorded_at().micros());
            match all.last_mut().filter(|last| last.number == segment.number) {
                Some(last) => {
                    last.events += events;
                    last.next = next;
                    last.last_recorded_at = last.last_recorded_at.max(last_recorded_at);
                }
                None => all.push(Candidate {
                    number: segment.number,
                    bytes: self.size_of(&segment.name)?,
                    events,
                    next,
                    last_recorded_at,
                }),
            }
        }
        Ok(all)
    }

    /// Bytes and events of the whole log.
    fn left(
        &self,
        segments: &[Arc<Segment>],
        sealed: &[Candidate],
        tail: u64,
    ) -> Result<(u64, u64)> {
        let mut newest = segments.iter().filter(|segment| segment.number == tail);
        let mut left = (0, newest.clone().map(|segment| u64::from(segment.events())).sum());
        if let Some(segment) = newest.next_back() {
            // Space that is only prepared is none that is kept.
            left.0 = segment.readable.load(Ordering::Acquire);
        }
        for segment in sealed {
            left = (left.0 + segment.bytes, left.1 + segment.events);
        }
        Ok(left)
    }

    fn size_of(&self, name: &str) -> Result<u64> {
        let file = self.disk.open(name, Access::Read);
        let size = file.and_then(|file| file.size());
        size.map_err(|error| Error::io(format!("cannot read {name}"), error))
    }
}

/// Whether every bound allows that the segment goes, with so many bytes and events left then.
fn allows(trim: &Trim, segment: &Candidate, left: (u64, u64), now: u64) -> bool {
    let age = |age: std::time::Duration| u64::try_from(age.as_micros()).unwrap_or(u64::MAX);
    let old = |limit| segment.last_recorded_at < now.saturating_sub(age(limit));
    trim.before.is_none_or(|before| segment.next <= before)
        && trim.older_than.is_none_or(old)
        && trim.keep_bytes.is_none_or(|keep| left.0 >= keep)
        && trim.keep_events.is_none_or(|keep| left.1 >= keep)
}

fn base_end(store: Uuid, first: &SegmentInfo, last_id: Uuid) -> BaseEnd {
    let before = first.opened.predecessor;
    BaseEnd {
        store,
        number: 0,
        first_segment: first.number,
        frame: before.frame,
        chain: before.chain,
        first_position: first.first_position(),
        last_recorded_at: first.opened.last_recorded_at,
        last_id,
    }
}

/// A stream with trimmed events.
#[derive(Debug, Clone, Copy)]
struct Known {
    version: u64,
    last_position: u64,
    /// Given in the order of being met; a base numbers streams by name.
    number: u32,
}

/// What is known of everything trimmed, on its way into a base.
struct Gathered<'a> {
    old: Option<&'a TrimBase>,
    streams: BTreeMap<String, Known>,
    /// Of the segments that go now, with the numbers given here.
    ids: Vec<BaseId>,
    last_id: Uuid,
}

impl<'a> Gathered<'a> {
    fn of(old: Option<&'a TrimBase>) -> Self {
        let known = old.iter().flat_map(|base| base.known().streams());
        let streams = (0..).zip(known).map(|(number, stream)| {
            let BaseStream { name, version, last_position } = stream;
            (name.to_owned(), Known { version, last_position, number })
        });
        let last_id = old.map_or(Uuid::nil(), |base| base.end().last_id);
        Self { old, streams: streams.collect(), ids: Vec::new(), last_id }
    }

    /// Reads every event of a segment: one that does not check is not trimmed in silence.
    fn add(&mut self, segment: &Segment) -> Result<()> {
        let mut reader = EventReader::in_order();
        for ordinal in 0..segment.events() {
            let event = reader.read(segment, ordinal)?;
            let (version, last_position) = (event.version().get(), event.position().get());
            let next = u32::try_from(self.streams.len());
            let next = next.map_err(|_| Error::invalid("there are too many streams for a base"))?;
            let number = match self.streams.get_mut(event.stream()) {
                Some(known) => {
                    *known = Known { version, last_position, number: known.number };
                    known.number
                }
                None => {
                    let known = Known { version, last_position, number: next };
                    self.streams.insert(event.stream().to_owned(), known);
                    next
                }
            };
            let id = event.id();
            self.last_id = id;
            self.ids.push(BaseId { id, position: last_position, version, stream: number });
        }
        Ok(())
    }

    /// Hands everything over in the order of a base.
    fn write<R>(
        mut self,
        carried: &Carried,
        write: impl FnOnce(&[BaseStream<'_>], &[BaseCheckpoint<'_>], Ids<'_>) -> Result<R>,
    ) -> Result<R> {
        // From the numbers given here to those by name.
        let mut by_name = vec![0; self.streams.len()];
        let mut streams = Vec::with_capacity(self.streams.len());
        for (at, (name, known)) in (0_u32..).zip(&self.streams) {
            let Known { version, last_position, number } = *known;
            if let Some(to) = by_name.get_mut(number as usize) {
                *to = at;
            }
            streams.push(BaseStream { name, version, last_position });
        }
        let mut saved: Vec<BaseCheckpoint<'_>> = carried
            .checkpoints
            .values()
            .map(|entry| BaseCheckpoint {
                name: &entry.name,
                position: entry.position.get(),
                id: entry.id,
                frame: entry.frame,
            })
            .collect();
        saved.sort_unstable_by_key(|entry| entry.name);
        self.ids.sort_unstable();
        if let Some(old) = self.old {
            old.check_ids()?;
        }
        let old: Box<dyn Iterator<Item = BaseId> + '_> = match self.old {
            Some(old) => Box::new(old.known().ids()),
            None => Box::new(std::iter::empty()),
        };
        let (mut old, mut new) = (old.peekable(), self.ids.into_iter().peekable());
        let merged = std::iter::from_fn(move || {
            let older = match (old.peek(), new.peek()) {
                (Some(one), Some(other)) => one < other,
                (one, _) => one.is_some(),
            };
            let next = if older { old.next() } else { new.next() }?;
            let stream = by_name.get(next.stream as usize).copied().unwrap_or(next.stream);
            Some(BaseId { stream, ..next })
        });
        write(&streams, &saved, Box::new(merged))
    }
}

type Ids<'a> = Box<dyn Iterator<Item = BaseId> + 'a>;
