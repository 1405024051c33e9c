//! Every read of a store, compared with the plain list.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use factlog::{
    ErrorKind, EventRef, Hidden, HiddenReason, Position, Read, RecordedEvent, Store, StreamState,
    Timestamp, Uuid, Version,
};

use super::plain::{Ask, Plain, Row};
use super::program::{CHECKPOINTS, Dice, SNAPSHOTS, STREAMS, ask};

/// What is compared of an event: all of it.
type Seen = (u64, u64, u64, Uuid, String, String, Vec<String>, Option<String>, Vec<u8>);

fn of_ref(event: &EventRef<'_>) -> Seen {
    (
        event.position().get(),
        event.version().get(),
        event.recorded_at().micros(),
        event.id(),
        event.stream().to_owned(),
        event.event_type().to_owned(),
        event.tags().map(str::to_owned).collect(),
        event.correlation().map(str::to_owned),
        event.data().to_vec(),
    )
}

fn of_event(event: &RecordedEvent) -> Seen {
    of_ref(&event.as_ref())
}

fn of_row(row: &Row) -> Seen {
    (
        row.position,
        row.version,
        row.recorded_at,
        row.fact.id,
        row.stream.clone(),
        row.fact.event_type.to_owned(),
        row.fact.tags.iter().map(|tag| (*tag).to_owned()).collect(),
        row.fact.correlation.map(str::to_owned),
        row.fact.data.clone(),
    )
}

/// A read and what it must find, built side by side.
struct Pair<'a> {
    read: Read,
    rows: Vec<&'a Row>,
    said: String,
    /// It names something that was trimmed.
    trimmed: bool,
    /// The version that the caller named to begin with.
    from: u64,
    /// Nothing is to be found but this error.
    refused: Option<ErrorKind>,
    /// Why each is hidden is to be said.
    marks: bool,
    plain: &'a Plain,
}

impl<'a> Pair<'a> {
    fn keep(&mut self, what: String, keep: impl Fn(&Row) -> bool) {
        self.rows.retain(|row| keep(row));
        self.said.push_str(&what);
    }

    /// A random source.
    fn of(dice: &mut Dice, store: &Store, plain: &'a Plain) -> Self {
        let every = || plain.retained().collect::<Vec<_>>();
        let mut pair = match dice.below(4) {
            0 => Self::plainly(plain, store.read_all(), every(), "all".into()),
            1 => {
                let stream = dice.pick(STREAMS);
                let rows = plain.retained().filter(|row| row.stream == stream).collect();
                let read = store.read_stream(stream);
                let said = format!("stream {stream:.20}");
                let mut pair = Self::plainly(plain, read, rows, said);
                let gone = plain.trimmed_version(stream);
                pair.versions(dice, (plain.version(stream), gone));
                let hides = pair.hidden(dice, plain.state(stream) == 'T', true);
                // Of what the stream hides nothing is missed.
                let first = if hides { plain.first_shown(stream) } else { 0 };
                pair.trimmed |= pair.from > 0 && pair.from.max(first) <= gone;
                return pair;
            }
            2 => {
                let category = dice.pick(&["A", "B", "É", "none", "A-1", ""]);
                let of = |row: &&Row| row.category() == Some(category);
                let rows = plain.retained().filter(of).collect();
                let said = format!("category {category}");
                Self::plainly(plain, store.read_category(category), rows, said)
            }
            _ => {
                let ask = ask(dice);
                let rows = plain.retained().filter(|row| ask.matches(&row.fact)).collect();
                Self::plainly(plain, store.read(ask.query()), rows, format!("{ask:?}"))
            }
        };
        pair.hidden(dice, false, false);
        pair
    }

    fn plainly(plain: &'a Plain, read: Read, rows: Vec<&'a Row>, said: String) -> Self {
        Self { read, rows, said, trimmed: false, from: 0, refused: None, marks: false, plain }
    }

    /// What is done with hidden events: as it is when nothing is said, or as one of three.
    /// Answers whether they are left out.
    fn hidden(&mut self, dice: &mut Dice, tombstoned: bool, of_stream: bool) -> bool {
        let how =
            dice.pick(&[None, Some(Hidden::Exclude), Some(Hidden::Include), Some(Hidden::Mark)]);
        if let Some(how) = how {
            self.read = self.read.clone().hidden(how);
            self.said.push_str(&format!(" {how:?}"));
        }
        self.marks = how == Some(Hidden::Mark);
        let hides = how == Some(Hidden::Exclude) || how.is_none() && of_stream;
        if hides {
            self.refused = tombstoned.then_some(ErrorKind::Deleted);
            let plain = self.plain;
            self.rows.retain(|row| plain.hidden(row).is_none());
        }
        hides
    }

    fn versions(&mut self, dice: &mut Dice, (last, gone): (u64, u64)) {
        if dice.chance(2) {
            let from = dice.around(last);
            self.read = self.read.clone().from(Version::new(from));
            self.from = from;
            self.keep(format!(" from {from}"), |row| row.version >= from);
        }
        if dice.chance(2) {
            let to = dice.around(last);
            self.read = self.read.clone().to(Version::new(to));
            self.trimmed |= (1..gone).contains(&to);
            self.keep(format!(" to {to}"), |row| row.version <= to);
        }
    }

    fn bounds(&mut self, dice: &mut Dice, plain: &Plain) {
        if dice.chance(3) {
            let after = dice.around(plain.last());
            self.read = self.read.clone().after(Position::new(after));
            self.trimmed |= plain.is_behind(after);
            self.keep(format!(" after {after}"), |row| row.position > after);
        }
        if dice.chance(3) {
            let through = dice.around(plain.last());
            self.read = self.read.clone().through(Position::new(through));
            self.trimmed |= plain.is_behind(through);
            self.keep(format!(" through {through}"), |row| row.position <= through);
        }
        if dice.chance(4) {
            let since = dice.around(plain.stamped);
            self.read = self.read.clone().since(Timestamp::from_micros(since));
            self.keep(format!(" since {since}"), |row| row.recorded_at >= since);
        }
        if dice.chance(4) {
            let until = dice.around(plain.stamped);
            self.read = self.read.clone().until(Timestamp::from_micros(until));
            self.keep(format!(" until {until}"), |row| row.recorded_at <= until);
        }
        if dice.chance(4) {
            let only: Ask = ask(dice);
            self.read = self.read.clone().only(only.query());
            self.keep(format!(" only {only:?}"), |row| only.matches(&row.fact));
        }
        if dice.chance(3) {
            self.read = self.read.clone().backward();
            self.rows.reverse();
            self.said.push_str(" backward");
        }
        if dice.chance(3) {
            let limit = dice.below(7);
            self.read = self.read.clone().limit(limit);
            self.rows.truncate(limit as usize);
            self.said.push_str(&format!(" limit {limit}"));
        }
    }

    fn check(self, visit: bool) {
        if self.trimmed && self.refused.is_none() {
            let first = self.read.clone().into_iter().next().unwrap();
            let visited = self.read.for_each(|_| ControlFlow::Continue(()));
            let kinds = [first.map(|_| ()), visited].map(|r| r.map_err(|error| error.kind()));
            assert_eq!(kinds, [Err(ErrorKind::Trimmed); 2], "{}", self.said);
            return;
        }
        let mut found = Vec::new();
        if let Some(kind) = self.refused {
            let read = self.read.count();
            assert_eq!(read.map_err(|error| error.kind()), Err(kind), "{}", self.said);
            return;
        }
        if visit {
            let visited = self.read.for_each(|event| {
                found.push((of_ref(&event), event.hidden()));
                ControlFlow::Continue(())
            });
            visited.unwrap();
        } else {
            found.extend(self.read.into_iter().map(|event| {
                let event = event.unwrap();
                (of_event(&event), event.hidden())
            }));
        }
        let (marks, plain) = (self.marks, self.plain);
        let reason = |row: &Row| plain.hidden(row).filter(|_| marks);
        let wanted: Vec<_> = self.rows.into_iter().map(|row| (of_row(row), reason(row))).collect();
        let brief = |all: &[(Seen, Option<HiddenReason>)]| {
            all.iter().map(|(seen, reason)| (seen.0, *reason)).collect::<Vec<_>>()
        };
        assert_eq!(brief(&found), brief(&wanted), "positions of {}", self.said);
        assert_eq!(found, wanted, "contents of {}", self.said);
    }
}

/// Some reads, drawn at random.
pub fn probe(dice: &mut Dice, store: &Store, plain: &Plain, reads: usize) {
    for _ in 0..reads {
        let mut pair = Pair::of(dice, store, plain);
        pair.bounds(dice, plain);
        pair.check(dice.chance(2));
    }
    point(store, plain, dice.below(plain.last() + 2));
}

/// One event, by each of its names.
fn point(store: &Store, plain: &Plain, position: u64) {
    let row = position.checked_sub(1).and_then(|at| plain.rows.get(at as usize));
    if let Some(row) = row.filter(|row| row.position <= plain.trimmed) {
        return gone(store, plain, row);
    }
    let wanted = row.map(of_row);
    let at = store.event_at(Position::new(position)).unwrap();
    assert_eq!(at.as_ref().map(of_event), wanted, "event at {position}");
    let Some(row) = row else { return };
    let by = store.stream_event(&row.stream, Version::new(row.version)).unwrap();
    let shown = wanted.filter(|_| plain.hidden(row).is_none());
    assert_eq!(by.as_ref().map(of_event), shown, "{} at version {}", row.stream, row.version);
    let newest = plain.rows.iter().rev().find(|other| other.fact.id == row.fact.id);
    let by = store.event(row.fact.id).unwrap();
    assert_eq!(by.as_ref().map(of_event), newest.map(of_row), "event by id at {position}");
}

/// A trimmed event, by each of its names.
fn gone(store: &Store, plain: &Plain, row: &Row) {
    let told = |outcome: factlog::Result<Option<RecordedEvent>>| {
        let error = outcome.unwrap_err();
        let first = error.position().map(Position::get);
        assert_eq!((error.kind(), first), (ErrorKind::Trimmed, Some(plain.trimmed + 1)));
    };
    told(store.event_at(Position::new(row.position)));
    told(store.stream_event(&row.stream, Version::new(row.version)));
    match plain.retained().rev().find(|other| other.fact.id == row.fact.id) {
        None => told(store.event(row.fact.id)),
        Some(newer) => {
            let found = store.event(row.fact.id).unwrap();
            assert_eq!(found.as_ref().map(of_event), Some(of_row(newer)));
        }
    }
}

/// Everything that can be asked.
pub fn everything(dice: &mut Dice, store: &Store, plain: &Plain) {
    assert_eq!(store.last_position().get(), plain.last());
    let rows = plain.retained().collect();
    Pair::plainly(plain, store.read_all(), rows, "all".into()).check(false);
    for stream in STREAMS {
        let rows = plain.retained().filter(|row| row.stream == *stream).collect();
        let said = format!("whole stream {stream:.20}");
        let read = store.read_stream(*stream).hidden(Hidden::Include);
        Pair::plainly(plain, read, rows, said).check(true);
        heads(store, plain, stream);
    }
    for position in 0..=plain.last() + 1 {
        point(store, plain, position);
    }
    assert_eq!(store.event(Uuid::from_u128(7)).unwrap(), None);
    lists(store, plain);
    saved(store, plain);
    probe(dice, store, plain, 40);
}

fn heads(store: &Store, plain: &Plain, stream: &str) {
    let newest = plain.rows.iter().rev().find(|row| row.stream == stream);
    let head = store.head(stream).unwrap();
    let wanted = newest.map(|row| (row.version, row.position));
    assert_eq!(head.map(|h| (h.version.get(), h.last_position.get())), wanted, "head {stream}");
    let last = store.last_event(stream).map_err(|error| error.kind());
    let wanted = match newest {
        Some(row) if row.position <= plain.trimmed => Err(ErrorKind::Trimmed),
        newest => Ok(newest.filter(|row| plain.hidden(row).is_none()).map(of_row)),
    };
    assert_eq!(last.map(|last| last.as_ref().map(of_event)), wanted, "last event of {stream}");
    let at = Version::new(plain.version(stream));
    let state = match plain.state(stream) {
        'N' => StreamState::Never,
        'S' => StreamState::SoftDeleted(at),
        'T' => StreamState::Tombstoned(at),
        _ => StreamState::Live(at),
    };
    assert_eq!(store.stream_state(stream).unwrap(), state, "state of {stream}");
    assert!(head.is_none_or(|head| head.state == state));
    assert_eq!(store.retention(stream).unwrap(), plain.life(stream).retention());
    let beyond = Version::new(plain.version(stream) + 1);
    for version in [Version::NONE, beyond, Version::new(u64::MAX)] {
        assert_eq!(store.stream_event(stream, version).unwrap(), None, "{stream} at {version}");
    }
}

fn lists(store: &Store, plain: &Plain) {
    let mut streams: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    let mut categories: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for row in &plain.rows {
        streams.insert(&row.stream, (row.version, row.position));
        if let Some(category) = row.category().filter(|_| plain.state(&row.stream) == 'E') {
            categories.entry(category).or_default().insert(&row.stream);
        }
    }
    for prefix in ["", "A", "A-", "B-2", "É", "pl", "nothing", "-"] {
        let found = store.streams(prefix).unwrap();
        let found: Vec<_> = found
            .iter()
            .map(|info| (info.name.as_str(), (info.version.get(), info.last_position.get())))
            .collect();
        let of = streams.iter().filter(|(name, _)| name.starts_with(prefix));
        let wanted: Vec<_> = of.map(|(name, numbers)| (*name, *numbers)).collect();
        assert_eq!(found, wanted, "streams {prefix:?}");
        let found = store.categories(prefix).unwrap();
        let found: Vec<_> = found.iter().map(|c| (c.name.as_str(), c.streams)).collect();
        let of = categories.iter().filter(|(name, _)| name.starts_with(prefix));
        let wanted: Vec<_> = of.map(|(name, all)| (*name, all.len() as u64)).collect();
        assert_eq!(found, wanted, "categories {prefix:?}");
    }
    let stats = store.stats();
    assert_eq!((stats.events, stats.streams), (plain.last() - plain.trimmed, streams.len() as u64));
}

fn saved(store: &Store, plain: &Plain) {
    for name in CHECKPOINTS {
        let found = store.checkpoint(name).unwrap().map(Position::get);
        assert_eq!(found, plain.checkpoints.get(*name).copied(), "checkpoint {name:.20}");
    }
    let listed = store.checkpoints().unwrap();
    let listed: Vec<_> = listed.into_iter().map(|c| (c.name, c.position.get())).collect();
    let wanted: Vec<_> = plain.checkpoints.iter().map(|(n, p)| (n.clone(), *p)).collect();
    assert_eq!(listed, wanted);
    for stream in STREAMS {
        for name in SNAPSHOTS {
            let found = store.snapshot(*stream, name).unwrap();
            let found = found.map(|s| (s.version.get(), s.schema_version, s.data));
            let key = ((*stream).to_owned(), (*name).to_owned());
            let life = plain.life(stream);
            let reaches = |version: u64| {
                !life.tombstoned && version > life.deleted_at && version + 1 >= life.retention.0
            };
            let saved = plain.snapshots.get(&key).filter(|saved| reaches(saved.0));
            assert_eq!(found, saved.cloned(), "snapshot {stream:.20} {name}");
        }
    }
}
