//! What a store ought to be: a list of events, three maps, and the rules read off the design page.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use std::time::Duration;

use factlog::{
    ErrorKind, Expect, HiddenReason, NewEvent, Position, Query, QueryItem, Retention, Uuid, Version,
};

/// An event as it was given.
#[derive(Debug, Clone, PartialEq)]
pub struct Fact {
    pub id: Uuid,
    pub event_type: &'static str,
    pub tags: Vec<&'static str>,
    pub correlation: Option<&'static str>,
    pub data: Vec<u8>,
}

impl Fact {
    pub fn event(&self) -> NewEvent {
        let event = NewEvent::binary(self.event_type, self.data.clone()).id(self.id);
        let event = event.tags(self.tags.iter().copied());
        match self.correlation {
            Some(id) => event.correlation(id),
            None => event,
        }
    }
}

/// An event as it is stored.
#[derive(Debug, Clone)]
pub struct Row {
    pub fact: Fact,
    pub stream: String,
    pub version: u64,
    pub position: u64,
    pub recorded_at: u64,
}

impl Row {
    pub fn category(&self) -> Option<&str> {
        self.stream.split_once('-').map(|(category, _)| category).filter(|c| !c.is_empty())
    }
}

/// A query that can be looked into.
#[derive(Debug, Clone, Default)]
pub struct Ask(pub Vec<Item>);

#[derive(Debug, Clone, Default)]
pub struct Item {
    pub types: Vec<&'static str>,
    pub tags: Vec<&'static str>,
    pub correlation: Option<&'static str>,
}

impl Ask {
    pub fn query(&self) -> Query {
        let mut query = Query::default();
        for item in &self.0 {
            let mut made = QueryItem::new().of_types(item.types.iter().copied());
            for tag in &item.tags {
                made = made.tag(*tag);
            }
            if let Some(id) = item.correlation {
                made = made.correlation(id);
            }
            query = query.or(made);
        }
        query
    }

    pub fn matches(&self, fact: &Fact) -> bool {
        self.0.iter().any(|item| {
            (item.types.is_empty() || item.types.contains(&fact.event_type))
                && item.tags.iter().all(|tag| fact.tags.contains(tag))
                && (item.correlation.is_none() || item.correlation == fact.correlation)
        })
    }
}

/// One call on the batch builder.
#[derive(Debug, Clone)]
pub enum Part {
    Append(&'static str, Expect, Vec<Fact>),
    Check(&'static str, Expect),
    Condition(Ask, u64),
    FailsIfExists(Ask),
    Checkpoint(&'static str, u64),
    Change(&'static str, Expect, Change),
}

/// What is done to a stream's life: of a retention, truncate before, keep last, max age; 0 is none.
#[derive(Debug, Clone, Copy)]
pub enum Change {
    Delete,
    Tombstone,
    Retain(u64, u64, u64),
}

/// A stream's settings.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Life {
    pub deleted_at: u64,
    pub tombstoned: bool,
    /// Truncate before, keep last, max age; 0 is none.
    pub retention: (u64, u64, u64),
}

impl Life {
    pub fn retention(&self) -> Retention {
        let (before, last, age) = self.retention;
        let mut all = Retention::default();
        if before > 0 {
            all = all.truncate_before(Version::new(before));
        }
        if last > 0 {
            all = all.keep_last(last);
        }
        if age > 0 {
            all = all.max_age(Duration::from_micros(age));
        }
        all
    }
}

impl Part {
    fn stream(&self) -> Option<&'static str> {
        match self {
            Self::Append(stream, ..) | Self::Check(stream, _) | Self::Change(stream, ..) => {
                Some(stream)
            }
            _ => None,
        }
    }
}

/// What an append answers, in plain numbers: already, first, last, and per stream first and last.
pub type Answer = (bool, u64, u64, Vec<(String, u64, u64)>);

/// What it refuses with: the kind, and the values the error must name.
#[derive(Debug, PartialEq)]
pub struct Refusal {
    pub kind: ErrorKind,
    pub position: Option<u64>,
    pub conflicts: Vec<(String, Expect, u64)>,
}

fn refuse(kind: ErrorKind, position: Option<u64>) -> Refusal {
    Refusal { kind, position, conflicts: Vec::new() }
}

/// The whole store.
#[derive(Debug, Default)]
pub struct Plain {
    pub rows: Vec<Row>,
    pub ids_per_stream: bool,
    pub checkpoints: BTreeMap<String, u64>,
    pub snapshots: HashMap<(String, String), (u64, u16, Vec<u8>)>,
    /// How many events from the beginning were trimmed.
    pub trimmed: u64,
    /// The latest stamp given, to an event or to a frame without events.
    pub stamped: u64,
    pub lives: BTreeMap<String, Life>,
    /// The time of whoever reads.
    pub clock: u64,
}

impl Plain {
    pub fn last(&self) -> u64 {
        self.rows.len() as u64
    }

    /// The events that can be read.
    pub fn retained(&self) -> impl DoubleEndedIterator<Item = &Row> {
        self.rows.iter().skip(self.trimmed as usize)
    }

    /// The last version of a stream that was trimmed, 0 without any.
    pub fn trimmed_version(&self, stream: &str) -> u64 {
        let gone = self.rows.iter().take(self.trimmed as usize);
        gone.filter(|row| row.stream == stream).count() as u64
    }

    /// The first version shown of a stream, by all but its age.
    pub fn first_shown(&self, stream: &str) -> u64 {
        let (life, last) = (self.life(stream), self.version(stream));
        let (before, keep, _) = life.retention;
        let kept = if keep > 0 { last.saturating_sub(keep) + 1 } else { 0 };
        before.max(kept).max(life.deleted_at + 1)
    }

    /// Whether who has seen everything up to here would miss an event.
    pub fn is_behind(&self, position: u64) -> bool {
        position > 0 && position < self.trimmed
    }

    pub fn version(&self, stream: &str) -> u64 {
        self.rows.iter().filter(|row| row.stream == stream).count() as u64
    }

    pub fn life(&self, stream: &str) -> Life {
        self.lives.get(stream).copied().unwrap_or_default()
    }

    /// N never existed, E exists, S soft-deleted, T tombstoned.
    pub fn state(&self, stream: &str) -> char {
        let (life, last) = (self.life(stream), self.version(stream));
        match last {
            _ if life.tombstoned => 'T',
            0 => 'N',
            last if last == life.deleted_at => 'S',
            _ => 'E',
        }
    }

    /// Why an event is hidden, if it is.
    pub fn hidden(&self, row: &Row) -> Option<HiddenReason> {
        let life = self.life(&row.stream);
        let (before, kept, age) = life.retention;
        let last = self.version(&row.stream);
        let reasons = [
            (life.tombstoned, HiddenReason::Tombstoned),
            (row.version <= life.deleted_at, HiddenReason::Deleted),
            (row.version < before, HiddenReason::Truncated),
            (kept > 0 && last - row.version >= kept, HiddenReason::BeyondKeepLast),
            (age > 0 && row.recorded_at + age < self.clock, HiddenReason::Expired),
        ];
        reasons.into_iter().find(|(holds, _)| *holds).map(|(_, reason)| reason)
    }

    /// What a batch changes of the streams' lives, after its events.
    fn changed(&self, parts: &[Part]) -> Result<Vec<(String, Life)>, Refusal> {
        let mut all: Vec<(String, Life)> = Vec::new();
        for part in parts {
            let Part::Change(stream, _, change) = part else { continue };
            let added = parts.iter().map(|part| match part {
                Part::Append(name, _, facts) if name == stream => facts.len() as u64,
                _ => 0,
            });
            let last = self.version(stream) + added.sum::<u64>();
            let known = all.iter().rev().find(|(name, _)| name == stream);
            let mut life = known.map_or(self.life(stream), |(_, life)| *life);
            match change {
                Change::Delete if last == 0 => return Err(refuse(ErrorKind::NotFound, None)),
                Change::Delete => life.deleted_at = last,
                Change::Tombstone => life.tombstoned = true,
                Change::Retain(before, ..) if *before > last + 1 => {
                    return Err(refuse(ErrorKind::Invalid, None));
                }
                Change::Retain(before, kept, age) => life.retention = (*before, *kept, *age),
            }
            all.push(((*stream).to_owned(), life));
        }
        Ok(all)
    }

    /// The streams of a batch that are tombstoned: refused if one of them is written.
    fn check_tombstones(&self, parts: &[Part], all: bool) -> Result<(), Refusal> {
        let mut written = false;
        let mut refused = false;
        let streams: BTreeSet<&str> = parts.iter().filter_map(Part::stream).collect();
        for stream in streams.into_iter().filter(|stream| self.state(stream) == 'T') {
            let own = || parts.iter().filter(|part| part.stream() == Some(stream));
            let writes = |part: &Part| match part {
                Part::Append(..) => true,
                Part::Change(_, _, change) => !matches!(change, Change::Tombstone),
                _ => false,
            };
            let touched = own().any(|part| matches!(part, Part::Change(..) | Part::Append(..)));
            let buried = own().any(|part| matches!(part, Part::Change(..)));
            let expect = self.expected(parts, stream);
            written |= own().any(writes);
            refused |= match expect {
                Expect::NoStream => own().any(writes),
                Expect::Any if touched && buried => own().any(writes),
                _ => true,
            };
        }
        match refused && (written || all) {
            true => Err(refuse(ErrorKind::Deleted, None)),
            false => Ok(()),
        }
    }

    /// What a batch expects of a stream, wherever it says so.
    fn expected(&self, parts: &[Part], stream: &str) -> Expect {
        let said = parts.iter().filter_map(|part| match part {
            Part::Append(name, expect, _)
            | Part::Check(name, expect)
            | Part::Change(name, expect, _) => (*name == stream).then_some(*expect),
            _ => None,
        });
        said.into_iter().find(|expect| *expect != Expect::Any).unwrap_or(Expect::Any)
    }

    fn stored(&self, id: Uuid, stream: &str) -> Option<&Row> {
        let here = |row: &&Row| !self.ids_per_stream || row.stream == stream;
        self.rows.iter().filter(here).find(|row| row.fact.id == id)
    }

    /// Judges a batch and, if it goes through, applies it at the clock's time.
    pub fn commit(&mut self, parts: &[Part], clock: u64) -> Result<Answer, Refusal> {
        let events: Vec<(&'static str, &Fact)> = parts
            .iter()
            .filter_map(|part| match part {
                Part::Append(stream, _, facts) => Some(facts.iter().map(|f| (*stream, f))),
                _ => None,
            })
            .flatten()
            .collect();
        self.check_validity(parts, &events)?;
        self.check_tombstones(parts, false)?;
        let checkpoint = parts.iter().find_map(|part| match part {
            Part::Checkpoint(name, position) => Some((*name, *position)),
            _ => None,
        });
        let stored = self.replay(&events);
        if let Ok(Some(answer)) = stored {
            self.check_checkpoint(checkpoint)?;
            self.move_checkpoint(checkpoint, clock);
            return Ok(answer);
        }
        self.check_tombstones(parts, true)?;
        stored?;
        if let Some((name, position)) = checkpoint
            && let Some(saved) = self.checkpoints.get(name).filter(|saved| position < **saved)
        {
            return Err(refuse(ErrorKind::Invalid, Some(*saved)));
        }
        self.check_expectations(parts)?;
        self.check_conditions(parts)?;
        let changed = self.changed(parts)?;
        self.check_checkpoint(checkpoint)?;
        let answer = self.apply(&events, clock);
        self.move_checkpoint(checkpoint, clock);
        for (stream, life) in changed {
            if life != self.life(&stream) {
                self.stamped = self.stamped.max(clock);
                self.lives.insert(stream, life);
            }
        }
        Ok(answer)
    }

    /// One that moves must be at an event whose id is known.
    fn check_checkpoint(&self, checkpoint: Option<(&'static str, u64)>) -> Result<(), Refusal> {
        let Some((name, position)) = checkpoint else { return Ok(()) };
        let moves = self.checkpoints.get(name).is_none_or(|saved| position > *saved);
        match moves && self.is_behind(position) {
            true => Err(refuse(ErrorKind::Trimmed, Some(self.trimmed + 1))),
            false => Ok(()),
        }
    }

    fn check_validity(&self, parts: &[Part], events: &[(&str, &Fact)]) -> Result<(), Refusal> {
        let mut seen = BTreeSet::new();
        for (stream, fact) in events {
            if !seen.insert((fact.id, if self.ids_per_stream { stream } else { "" })) {
                return Err(refuse(ErrorKind::DuplicateIdInBatch, None));
            }
        }
        let beyond = |position: &u64| *position > self.last();
        for part in parts {
            match part {
                Part::Condition(_, after) if beyond(after) => {
                    return Err(refuse(ErrorKind::Invalid, Some(*after)));
                }
                _ => {}
            }
        }
        for part in parts {
            match part {
                Part::Checkpoint(_, position) if beyond(position) => {
                    return Err(refuse(ErrorKind::Invalid, Some(*position)));
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn replay(&self, events: &[(&'static str, &Fact)]) -> Result<Option<Answer>, Refusal> {
        let found: Vec<Option<&Row>> =
            events.iter().map(|(stream, fact)| self.stored(fact.id, stream)).collect();
        if found.iter().all(Option::is_none) {
            return Ok(None);
        }
        let conflict = || refuse(ErrorKind::IdConflict, None);
        let mut streams: Vec<(String, u64, u64)> = Vec::new();
        for ((stream, _), row) in events.iter().zip(&found) {
            let row = row.ok_or_else(conflict)?;
            if row.stream != *stream {
                return Err(conflict());
            }
            match streams.iter_mut().find(|(name, ..)| name == stream) {
                None => streams.push(((*stream).into(), row.version, row.version)),
                Some((_, _, last)) if *last + 1 == row.version => *last += 1,
                Some(_) => return Err(conflict()),
            }
        }
        let positions = || found.iter().flatten().map(|row| row.position);
        let (first, last) = (positions().min(), positions().max());
        Ok(Some((true, first.unwrap_or(0), last.unwrap_or(0), streams)))
    }

    fn check_expectations(&self, parts: &[Part]) -> Result<(), Refusal> {
        let (mut conflicts, mut conflict) = (Vec::new(), false);
        let mut known = BTreeSet::new();
        for stream in parts.iter().filter_map(Part::stream).filter(|name| known.insert(*name)) {
            let (expect, actual) = (self.expected(parts, stream), self.version(stream));
            let state = self.state(stream);
            let holds = match expect {
                Expect::Any => true,
                _ if state == 'T' => true,
                Expect::NoStream => state != 'E',
                Expect::StreamExists => state == 'E',
                Expect::Version(expected) => expected.get() == actual,
            };
            if !holds {
                conflict |= !(state == 'S' && expect == Expect::StreamExists);
                conflicts.push((stream.to_owned(), expect, actual));
            }
        }
        match (conflicts.is_empty(), conflict) {
            (true, _) => Ok(()),
            (false, true) => Err(Refusal { kind: ErrorKind::Conflict, position: None, conflicts }),
            (false, false) => Err(refuse(ErrorKind::Deleted, None)),
        }
    }

    fn check_conditions(&self, parts: &[Part]) -> Result<(), Refusal> {
        let first = |ask: &Ask, after: u64| {
            let mut above = self.retained().filter(|row| row.position > after);
            above.find(|row| ask.matches(&row.fact)).map(|row| row.position)
        };
        let conflict = parts.iter().filter_map(|part| match part {
            Part::Condition(ask, after) => first(ask, *after),
            _ => None,
        });
        if let Some(position) = conflict.min() {
            return Err(refuse(ErrorKind::Conflict, Some(position)));
        }
        let exists = parts.iter().filter_map(|part| match part {
            Part::FailsIfExists(ask) => first(ask, 0),
            _ => None,
        });
        match exists.min() {
            Some(position) => Err(refuse(ErrorKind::AlreadyExists, Some(position))),
            None => Ok(()),
        }
    }

    fn apply(&mut self, events: &[(&'static str, &Fact)], clock: u64) -> Answer {
        if events.is_empty() {
            return (false, 0, 0, Vec::new());
        }
        self.stamped = self.stamped.max(clock);
        let first = self.last() + 1;
        let mut streams: Vec<(String, u64, u64)> = Vec::new();
        for (stream, fact) in events {
            let version = self.version(stream) + 1;
            match streams.iter_mut().find(|(name, ..)| name == stream) {
                None => streams.push(((*stream).into(), version, version)),
                Some((_, _, last)) => *last = version,
            }
            self.rows.push(Row {
                fact: (*fact).clone(),
                stream: (*stream).to_owned(),
                version,
                position: self.last() + 1,
                recorded_at: self.stamped,
            });
        }
        (false, first, self.last(), streams)
    }

    fn move_checkpoint(&mut self, checkpoint: Option<(&'static str, u64)>, clock: u64) {
        let Some((name, position)) = checkpoint else { return };
        if self.checkpoints.get(name).is_none_or(|saved| position > *saved) {
            self.checkpoints.insert(name.to_owned(), position);
            self.stamped = self.stamped.max(clock);
        }
    }

    /// Saves a checkpoint on its own.
    pub fn save(&mut self, name: &str, position: u64, reset: bool) -> Result<(), ErrorKind> {
        let saved = self.checkpoints.get(name).copied().unwrap_or(0);
        if position > self.last() {
            return Err(ErrorKind::Invalid);
        }
        if self.is_behind(position) {
            return Err(ErrorKind::Trimmed);
        }
        if position < saved && !reset {
            return Err(ErrorKind::Invalid);
        }
        self.checkpoints.insert(name.to_owned(), position);
        Ok(())
    }
}

/// For a table: an error in plain values.
pub fn refusal(error: &factlog::Error) -> Refusal {
    let conflicts = error.conflicts().iter();
    Refusal {
        kind: error.kind(),
        // An id conflict names whichever id it met first; the table is about the others.
        position: match error.kind() {
            ErrorKind::IdConflict => None,
            _ => error.position().map(Position::get),
        },
        conflicts: conflicts.map(|c| (c.stream.clone(), c.expected, c.actual.get())).collect(),
    }
}

pub fn answer(appended: &factlog::Appended) -> Answer {
    let streams = appended.streams.iter();
    let streams = streams.map(|s| (s.stream.as_str().to_owned(), s.first.get(), s.last.get()));
    (appended.already, appended.first.get(), appended.last.get(), streams.collect())
}

pub fn exactly(version: u64) -> Expect {
    Expect::Version(Version::new(version))
}
