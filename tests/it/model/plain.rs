//! What a store ought to be: a list of events, two maps, and the rules read off the design page.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use factlog::{ErrorKind, Expect, NewEvent, Position, Query, QueryItem, Uuid, Version};

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

    /// Whether who has seen everything up to here would miss an event.
    pub fn is_behind(&self, position: u64) -> bool {
        position > 0 && position < self.trimmed
    }

    pub fn version(&self, stream: &str) -> u64 {
        self.rows.iter().filter(|row| row.stream == stream).count() as u64
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
        let checkpoint = parts.iter().find_map(|part| match part {
            Part::Checkpoint(name, position) => Some((*name, *position)),
            _ => None,
        });
        if let Some(answer) = self.replay(&events)? {
            self.check_checkpoint(checkpoint)?;
            self.move_checkpoint(checkpoint, clock);
            return Ok(answer);
        }
        if let Some((name, position)) = checkpoint
            && let Some(saved) = self.checkpoints.get(name).filter(|saved| position < **saved)
        {
            return Err(refuse(ErrorKind::Invalid, Some(*saved)));
        }
        self.check_expectations(parts)?;
        self.check_conditions(parts)?;
        self.check_checkpoint(checkpoint)?;
        let answer = self.apply(&events, clock);
        self.move_checkpoint(checkpoint, clock);
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
        let mut conflicts = Vec::new();
        for part in parts {
            let (Part::Append(stream, expect, _) | Part::Check(stream, expect)) = part else {
                continue;
            };
            let actual = self.version(stream);
            let holds = match expect {
                Expect::Any => true,
                Expect::NoStream => actual == 0,
                Expect::StreamExists => actual > 0,
                Expect::Version(expected) => expected.get() == actual,
            };
            if !holds {
                conflicts.push(((*stream).to_owned(), *expect, actual));
            }
        }
        match conflicts.is_empty() {
            true => Ok(()),
            false => Err(Refusal { kind: ErrorKind::Conflict, position: None, conflicts }),
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
