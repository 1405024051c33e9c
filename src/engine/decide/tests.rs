//! Layer 6.3: what the store promises of an append, as tables: one behaviour per test.

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;
use crate::engine::batch::BatchEvent;
use crate::format::{Record, decode_event, encode_event};
use crate::sync::Arc;
use crate::types::{Limits, NewEvent, QueryItem, RecordedEvent, Retention};

mod lifecycle;

/// What is known, as a plain list.
#[derive(Debug, Clone, Default)]
struct Ledger {
    events: Vec<RecordedEvent>,
    lives: HashMap<String, Lifecycle>,
    checkpoints: HashMap<String, Position>,
    ids_per_stream: bool,
    trimmed: u64,
    broken: bool,
}

impl Ledger {
    fn apply(&mut self, batch: &Batch, decision: &Decision) {
        let checkpoint = match decision {
            Decision::Accept(accepted) => {
                let numbers = (accepted.first_position.get()..).zip(&accepted.versions);
                for (start, (position, version)) in batch.starts.iter().zip(numbers) {
                    let place = (position, *version, 0);
                    let record = Record::unplaced(&batch.records[*start..], place).unwrap();
                    let event = decode_event(&record).unwrap().to_owned();
                    self.events.push(event);
                }
                for write in &accepted.settings {
                    self.lives.insert(write.stream.as_str().into(), write.lifecycle);
                }
                &accepted.checkpoint
            }
            Decision::Replay(_, checkpoint) => checkpoint,
            Decision::Refuse(_) => &None,
        };
        if let Some(write) = checkpoint {
            let at = write.position.get().checked_sub(1);
            let id = at.map_or(Uuid::nil(), |at| self.events[usize::try_from(at).unwrap()].id());
            assert_eq!(write.id, id, "the checkpoint has the id of its event");
            self.checkpoints.insert(write.name.clone(), write.position);
        }
    }
}

impl Ledger {
    fn delete(&mut self, stream: &str) {
        let (last, now) = self.stream(stream);
        self.lives.insert(stream.into(), Lifecycle { deleted_at: last, ..now });
    }

    fn bury(&mut self, stream: &str) {
        let (_, now) = self.stream(stream);
        self.lives.insert(stream.into(), Lifecycle { tombstoned: true, ..now });
    }
}

impl Knowledge for Ledger {
    fn stream(&self, name: &str) -> (Version, Lifecycle) {
        let last = self.events.iter().rev().find(|event| event.stream() == name);
        let last = last.map(RecordedEvent::version).unwrap_or_default();
        (last, self.lives.get(name).copied().unwrap_or_default())
    }

    fn event_with_id(&self, id: &Uuid, stream: &str) -> Result<Option<StoredEvent>> {
        if self.broken {
            return Err(Error::damaged("1.ids", 8, "block does not check"));
        }
        let here = |event: &&RecordedEvent| !self.ids_per_stream || event.stream() == stream;
        let found = self.events.iter().filter(here).find(|event| event.id() == *id);
        Ok(found.map(|event| StoredEvent {
            stream: event.stream().into(),
            version: event.version(),
            position: event.position(),
        }))
    }

    fn first_match(&self, query: &Query, after: Position) -> Result<Option<Position>> {
        let mut above = self.events.iter().filter(|event| event.position() > after);
        Ok(above.find(|event| query.matches(&event.as_ref())).map(RecordedEvent::position))
    }

    fn id_at(&self, position: Position) -> Result<Option<Uuid>> {
        let mut kept = self.events.iter().filter(|event| event.position().get() > self.trimmed);
        Ok(kept.find(|event| event.position() == position).map(RecordedEvent::id))
    }

    fn last_position(&self) -> Position {
        self.events.last().map(RecordedEvent::position).unwrap_or_default()
    }

    fn checkpoint(&self, name: &str) -> Result<Option<Position>> {
        Ok(self.checkpoints.get(name).copied())
    }

    fn ids_per_stream(&self) -> bool {
        self.ids_per_stream
    }
}

/// A batch in the making.
#[derive(Default)]
struct Ask(Batch);

fn write(stream: &str, expect: Expect, ids: &[u128]) -> Ask {
    Ask::default().write(stream, expect, ids)
}

fn check(stream: &str, expect: Expect) -> Ask {
    Ask::default().check(stream, expect)
}

impl Ask {
    fn events(mut self, stream: &str, expect: Expect, events: &[NewEvent]) -> Self {
        let name = StreamName::new(stream).unwrap();
        let index = self.0.streams.len();
        for event in events {
            let part = encode_event(&mut self.0.records, &name, event, &Limits::default()).unwrap();
            self.0.starts.push(part.start);
            self.0.events.push(BatchEvent { id: part.id, stream: index });
        }
        let events = events.len() as u64;
        self.0.streams.push(BatchStream { name, expect, events });
        self
    }

    fn write(self, stream: &str, expect: Expect, ids: &[u128]) -> Self {
        self.events(stream, expect, &ids.iter().map(|id| plain(*id)).collect::<Vec<_>>())
    }

    fn check(self, stream: &str, expect: Expect) -> Self {
        self.events(stream, expect, &[])
    }

    fn condition(mut self, query: Query, after: u64) -> Self {
        self.0.conditions.push((query, Position::new(after)));
        self
    }

    fn none(mut self, query: Query) -> Self {
        self.0.none_exist.push(query);
        self
    }

    fn checkpoint(mut self, name: &str, position: u64) -> Self {
        self.0.checkpoint = Some((name.into(), Position::new(position)));
        self
    }
}

fn plain(id: u128) -> NewEvent {
    NewEvent::binary("T", vec![]).id(Uuid::from_u128(id))
}

fn tagged(id: u128, tag: &str) -> NewEvent {
    plain(id).tag(tag)
}

fn version(number: u64) -> Expect {
    Expect::Version(Version::new(number))
}

/// A ledger with a group on top of it.
struct World {
    known: Ledger,
    staged: Staged,
}

impl World {
    fn new(known: Ledger) -> Self {
        Self { staged: Staged::new(&known), known }
    }

    /// With batches that are committed one by one.
    fn with(asks: impl IntoIterator<Item = Ask>) -> Self {
        let mut world = Self::new(Ledger::default());
        asks.into_iter().for_each(|ask| world.commit(ask));
        world
    }

    fn judge(&self, ask: Ask) -> Judged {
        decide(&self.known, &self.staged, &ask.0)
    }

    fn say(&self, ask: Ask) -> String {
        say(&self.judge(ask).decision)
    }

    fn error(&self, ask: Ask) -> Error {
        match self.judge(ask).decision {
            Decision::Refuse(error) => error,
            other => panic!("{other:?}"),
        }
    }

    fn commit(&mut self, ask: Ask) {
        let judged = decide(&self.known, &Staged::new(&self.known), &ask.0);
        assert!(!matches!(judged.decision, Decision::Refuse(_)), "{judged:?}");
        self.known.apply(&ask.0, &judged.decision);
        self.staged = Staged::new(&self.known);
    }

    fn stage(&mut self, ask: Ask) -> String {
        let batch = Arc::new(ask.0);
        let decision = decide(&self.known, &self.staged, &batch).decision;
        stage(&mut self.staged, &batch, &decision);
        say(&decision)
    }
}

fn stage(staged: &mut Staged, batch: &Arc<Batch>, decision: &Decision) {
    match decision {
        Decision::Accept(accepted) => staged.accept(batch, accepted),
        Decision::Replay(_, Some(write)) => staged.set_checkpoint(write),
        _ => {}
    }
}

/// `ok A:4-5 @7-8 c=3`, `replay A:1-2 @1-2`, `Conflict`, `Conflict @7`.
fn say(decision: &Decision) -> String {
    let (verb, answer, checkpoint) = match decision {
        Decision::Accept(accepted) => {
            assert!(!accepted.answer.already);
            let versions = accepted.versions.len() as u64;
            assert!(versions == 0 || accepted.answer.first == accepted.first_position);
            assert!(
                versions == 0 || accepted.answer.first.plus(versions - 1) == accepted.answer.last
            );
            ("ok", &accepted.answer, &accepted.checkpoint)
        }
        Decision::Replay(answer, checkpoint) => {
            assert!(answer.already);
            ("replay", answer, checkpoint)
        }
        Decision::Refuse(error) => {
            let at = error.position().map(|position| format!(" @{position}")).unwrap_or_default();
            return format!("{:?}{at}", error.kind());
        }
    };
    let mut text = verb.to_owned();
    for part in &answer.streams {
        text.push_str(&format!(" {}:{}-{}", part.stream, part.first, part.last));
    }
    if answer.last > Position::START {
        text.push_str(&format!(" @{}-{}", answer.first, answer.last));
    }
    if let Some(write) = checkpoint {
        text.push_str(&format!(" c={}", write.position));
    }
    text
}

/// Streams N (never), E (live), S (soft-deleted), T (tombstoned), the last three with 3 events.
fn states() -> World {
    let ask = |name: &str, n| write(name, Expect::Any, &[n, n + 1, n + 2]);
    let mut world = World::with([ask("E", 1), ask("S", 4), ask("T", 7)]);
    world.known.delete("S");
    world.known.bury("T");
    world
}

/// What is expected; then what a write to N, E, S and T gives: the version it goes on from, the
/// actual version of a conflict (negative; -9 for 0), or `D` for deleted.
const EXPECTATIONS: [(Expect, [i64; 4]); 7] = [
    (Expect::Any, [1, 4, 4, D]),
    (Expect::NoStream, [1, -3, 4, D]),
    (Expect::StreamExists, [C0, 4, D, D]),
    (Expect::Version(Version::new(0)), [1, -3, -3, D]),
    (Expect::Version(Version::new(2)), [C0, -3, -3, D]),
    (Expect::Version(Version::new(3)), [C0, 4, 4, D]),
    (Expect::Version(Version::new(4)), [C0, -3, -3, D]),
];
const D: i64 = 99;
const C0: i64 = -9;

#[test]
fn a_write_is_judged_by_the_table() {
    let world = states();
    for (expect, row) in EXPECTATIONS {
        for (stream, result) in ["N", "E", "S", "T"].into_iter().zip(row) {
            let judged = world.judge(write(stream, expect, &[20, 21]));
            let said = say(&judged.decision);
            let wanted = match result {
                D => "Deleted".to_owned(),
                ..0 => "Conflict".to_owned(),
                first => format!("ok {stream}:{first}-{} @10-11", first + 1),
            };
            assert_eq!(said, wanted, "{expect} on {stream}");
            if let (..0, Decision::Refuse(error)) = (result, judged.decision) {
                let actual = if result == C0 { 0 } else { result.unsigned_abs() };
                let actual = Version::new(actual);
                let conflict = Conflict { stream: stream.into(), expected: expect, actual };
                assert_eq!(error.conflicts(), [conflict]);
            }
        }
    }
}

#[test]
fn a_check_follows_the_same_table_except_that_no_stream_holds_on_a_tombstone() {
    let world = states();
    for (expect, row) in EXPECTATIONS.into_iter().skip(1) {
        for (stream, result) in ["N", "E", "S", "T"].into_iter().zip(row) {
            let wanted = match result {
                D if (expect, stream) == (Expect::NoStream, "T") => "ok",
                D => "Deleted",
                ..0 => "Conflict",
                _ => "ok",
            };
            assert_eq!(world.say(check(stream, expect)), wanted, "{expect} on {stream}");
        }
    }
}

#[test]
fn a_check_does_not_revive_a_soft_deleted_stream() {
    let mut world = states();
    assert_eq!(world.stage(check("S", version(3))), "ok");
    assert_eq!(world.say(check("S", Expect::StreamExists)), "Deleted");
}

#[test]
fn a_write_revives_a_soft_deleted_stream() {
    let mut world = states();
    assert_eq!(world.stage(write("S", Expect::NoStream, &[20])), "ok S:4-4 @10-10");
    assert_eq!(world.say(check("S", Expect::StreamExists)), "ok");
    assert_eq!(world.say(write("S", Expect::NoStream, &[21])), "Conflict");
    assert_eq!(world.say(write("S", version(4), &[21])), "ok S:5-5 @11-11");
}

#[test]
fn all_violated_expectations_are_reported_and_a_conflict_wins_over_deleted() {
    let world = states();
    let ask = check("S", Expect::StreamExists).check("N", version(2)).check("E", version(3));
    let error = world.error(ask.write("F", Expect::StreamExists, &[20]));
    assert_eq!(error.kind(), ErrorKind::Conflict);
    let streams: Vec<_> = error.conflicts().iter().map(|conflict| &*conflict.stream).collect();
    assert_eq!(streams, ["S", "N", "F"]);
}

#[test]
fn a_deleted_error_names_the_streams_and_where_they_ended() {
    let world = states();
    let error = world.error(check("S", Expect::StreamExists));
    assert_eq!((error.stream(), error.version()), (Some("S"), Some(Version::new(3))));
    assert_eq!(error.message(), "stream \"S\" was deleted (it ended at version 3)");
    let error = world.error(write("T", Expect::Any, &[20]));
    assert_eq!((error.stream(), error.version()), (Some("T"), Some(Version::new(3))));
    assert!(error.message().contains("\"T\" can never be written again"), "{error}");
}

/// A has events 1, 2, 3 at positions 1, 2, 5; B has 4, 5 at 3, 4.
fn two_streams() -> World {
    let world = World::with([
        write("A", Expect::Any, &[1, 2]),
        write("B", Expect::Any, &[4, 5]),
        write("A", Expect::Any, &[3]),
    ]);
    assert_eq!(world.known.events.len(), 5);
    world
}

#[test]
fn a_replay_of_stored_ids_is_judged_by_the_table() {
    let world = two_streams();
    let table: [(&[u128], &str, Option<u128>); 15] = [
        (&[9], "ok A:4-4 @6-6", None),
        (&[9, 8], "ok A:4-5 @6-7", None),
        (&[1, 2], "replay A:1-2 @1-2", None),
        (&[1], "replay A:1-1 @1-1", None),
        (&[2], "replay A:2-2 @2-2", None),
        (&[1, 2, 3], "replay A:1-3 @1-5", None),
        (&[2, 3], "replay A:2-3 @2-5", None),
        (&[2, 1], "IdConflict @1", Some(1)),
        (&[1, 3], "IdConflict @5", Some(3)),
        (&[1, 9], "IdConflict @1", Some(1)),
        (&[9, 2], "IdConflict @2", Some(2)),
        (&[1, 2, 9], "IdConflict @1", Some(1)),
        (&[4], "IdConflict @3", Some(4)),
        (&[1, 4], "IdConflict @3", Some(4)),
        (&[9, 5], "IdConflict @4", Some(5)),
    ];
    for (ids, wanted, offending) in table {
        let judged = world.judge(write("A", Expect::Any, ids)).decision;
        assert_eq!(say(&judged), wanted, "{ids:?}");
        if let Decision::Refuse(error) = judged {
            assert_eq!(error.event_id(), offending.map(Uuid::from_u128), "{ids:?}");
        }
    }
}

#[test]
fn an_id_conflict_names_the_id_its_stream_version_and_position() {
    let error = two_streams().error(write("A", Expect::Any, &[1, 5]));
    assert_eq!(error.event_id(), Some(Uuid::from_u128(5)));
    assert_eq!((error.stream(), error.version()), (Some("B"), Some(Version::new(2))));
    assert_eq!(error.position(), Some(Position::new(4)));
    let id = Uuid::from_u128(5);
    let wanted = format!(
        "event id {id} is stored at version 2 of stream \"B\", but the batch has it in stream \"A\""
    );
    assert_eq!(error.message(), wanted);
}

#[test]
fn a_replay_is_answered_whatever_is_expected() {
    let world = two_streams();
    for (expect, _) in EXPECTATIONS {
        assert_eq!(world.say(write("A", expect, &[1, 2])), "replay A:1-2 @1-2", "{expect}");
    }
}

#[test]
fn every_kind_of_retry_is_judged_by_the_table() {
    let starts: [(Expect, &str); 9] = [
        (Expect::Any, "N"),
        (Expect::Any, "E"),
        (Expect::Any, "S"),
        (Expect::StreamExists, "E"),
        (Expect::NoStream, "N"),
        (Expect::NoStream, "S"),
        (version(0), "N"),
        (version(3), "E"),
        (version(3), "S"),
    ];
    for (expect, stream) in starts {
        let mut world = states();
        let first = if stream == "N" { 1 } else { 4 };
        world.commit(write(stream, expect, &[20, 21]));
        let original = format!("replay {stream}:{first}-{} @10-11", first + 1);
        let full = || write(stream, expect, &[20, 21]);
        let said = |ask| world.say(ask);
        assert_eq!(said(full()), original, "full, {expect} on {stream}");
        assert_eq!(said(full().check("other", Expect::StreamExists)), original, "failing check");
        assert_eq!(said(full().check("other", Expect::NoStream)), original, "passing check");
        assert_eq!(said(full().condition(Query::types(["T"]), 0)), original, "failing condition");
        assert_eq!(said(full().none(Query::types(["T"]))), original, "failing condition");
        let ask = write(stream, expect, &[20, 22]);
        assert_eq!(said(ask), "IdConflict @10", "partial, {expect} on {stream}");
        world.commit(write(stream, Expect::Any, &[30, 31]));
        assert_eq!(world.say(full()), original, "more since, {expect} on {stream}");
        world.known.delete(stream);
        assert_eq!(world.say(full()), original, "deleted since, {expect} on {stream}");
        world.known.bury(stream);
        assert_eq!(world.say(full()), "Deleted", "tombstoned since, {expect} on {stream}");
    }
}

#[test]
fn a_batch_over_streams_is_a_replay_when_every_part_is() {
    let world = two_streams();
    let two = |a: &[u128], b: &[u128]| write("A", version(7), a).write("B", version(7), b);
    let table: [(&[u128], &[u128], &str); 7] = [
        (&[1, 2], &[4, 5], "replay A:1-2 B:1-2 @1-4"),
        (&[3], &[4], "replay A:3-3 B:1-1 @3-5"),
        (&[1, 2], &[9], "IdConflict @1"),
        (&[9], &[4, 5], "IdConflict @3"),
        (&[1, 2], &[5, 4], "IdConflict @3"),
        (&[4], &[1], "IdConflict @3"),
        (&[8], &[9], "Conflict"),
    ];
    for (a, b, wanted) in table {
        assert_eq!(world.say(two(a, b)), wanted, "{a:?} {b:?}");
    }
}

#[test]
fn a_replay_is_answered_even_when_a_stream_that_is_only_checked_is_tombstoned() {
    let world = states();
    let ask = || write("E", Expect::Any, &[1, 2]).check("T", Expect::StreamExists);
    assert_eq!(world.say(ask()), "replay E:1-2 @1-2");
    assert_eq!(world.say(ask().write("N", Expect::Any, &[20])), "Deleted");
}

#[test]
fn events_of_several_streams_are_numbered_in_the_order_of_the_batch() {
    let world = states();
    let mut ask = write("E", Expect::Any, &[20, 21]).write("N", Expect::Any, &[22, 23]);
    ask.0.events.swap(1, 2);
    ask.0.starts.swap(1, 2);
    let Decision::Accept(accepted) = world.judge(ask.check("S", version(3))).decision else {
        panic!("refused");
    };
    assert_eq!(accepted.versions[..], [4, 1, 5, 2]);
    assert_eq!(say(&Decision::Accept(accepted)), "ok E:4-5 N:1-2 @10-13");
}

#[test]
fn a_batch_without_events_is_accepted_with_nothing_to_write() {
    let world = states();
    let ask = check("E", version(3)).condition(Query::types(["T"]), 9);
    let Decision::Accept(accepted) = world.judge(ask).decision else { panic!("refused") };
    assert!(accepted.versions.is_empty() && accepted.checkpoint.is_none());
    assert_eq!((accepted.answer.first, accepted.answer.last), (Position::START, Position::START));
    assert!(accepted.answer.streams.is_empty());
}

#[test]
fn a_malformed_batch_is_refused_with_its_reason() {
    let query = || Query::types(["T"]);
    let incomplete = || Query::from(QueryItem::new());
    let table = [
        (Ask::default(), "no events, checks, conditions or checkpoint"),
        (check("A", Expect::Any), "\"A\" gets no events and its check expects any state"),
        (Ask::default().condition(Query::default(), 0), "query has no items"),
        (Ask::default().none(Query::default()), "query has no items"),
        (Ask::default().condition(query().or(incomplete()), 0), "neither type nor tag"),
        (Ask::default().none(incomplete()), "neither type nor tag"),
    ];
    for (ask, message) in table {
        let error = check_shape(&ask.0, false).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.message().contains(message), "{error} instead of {message}");
    }
    let whole = [
        check("A", Expect::NoStream),
        write("A", Expect::Any, &[1]),
        Ask::default().condition(query(), 0),
        Ask::default().none(query()),
        Ask::default().checkpoint("c", 0),
    ];
    whole.iter().for_each(|ask| check_shape(&ask.0, false).unwrap());
}

#[test]
fn an_id_twice_in_a_batch_is_refused_within_the_scope_of_ids() {
    let many: Vec<u128> = (1..=40).collect();
    let same = || write("A", Expect::Any, &[1, 2, 3, 2, 1]);
    let other = || write("A", Expect::Any, &[1, 2]).write("B", Expect::Any, &[2, 3]);
    let table = [
        (same(), Some(2), Some(2)),
        (same().write("B", Expect::Any, &many[9..]), Some(2), Some(2)),
        (other(), Some(2), None),
        (write("A", Expect::Any, &many).write("B", Expect::Any, &[7]), Some(7), None),
        (write("A", Expect::Any, &many), None, None),
    ];
    for (ask, in_store, in_stream) in table {
        for (per_stream, wanted) in [(false, in_store), (true, in_stream)] {
            let error = check_shape(&ask.0, per_stream).err();
            let id = error.as_ref().and_then(Error::event_id);
            assert_eq!(id, wanted.map(Uuid::from_u128));
            assert!(error.is_none_or(|error| error.kind() == ErrorKind::DuplicateIdInBatch));
        }
    }
}

#[test]
fn ids_unique_per_stream_may_be_stored_once_in_each_stream() {
    for staged in [false, true] {
        let mut world = World::new(Ledger { ids_per_stream: true, ..Ledger::default() });
        let asks = [write("A", Expect::Any, &[1, 2]), write("B", Expect::Any, &[2, 1])];
        for ask in asks {
            if staged { drop(world.stage(ask)) } else { world.commit(ask) }
        }
        let table: [(&str, &[u128], &str); 5] = [
            ("A", &[1, 2], "replay A:1-2 @1-2"),
            ("B", &[2, 1], "replay B:1-2 @3-4"),
            ("B", &[1, 2], "IdConflict @3"),
            ("C", &[1, 2], "ok C:1-2 @5-6"),
            ("A", &[1, 3], "IdConflict @1"),
        ];
        for (stream, ids, wanted) in table {
            assert_eq!(world.say(write(stream, Expect::Any, ids)), wanted, "{stream} {ids:?}");
        }
    }
}

/// Events at positions 1 to 4: `x`, `y`, `x` and `z`, the last two by one conversation.
fn labelled() -> [Ask; 4] {
    let event =
        |id, tag| NewEvent::binary(format!("T{id}"), vec![]).id(Uuid::from_u128(id)).tag(tag);
    let write = |event| Ask::default().events("L", Expect::Any, &[event]);
    [
        write(event(1, "x").tag("a")),
        write(event(2, "y").tag("a")),
        write(event(3, "x").correlation("talk")),
        write(event(4, "z").correlation("talk")),
    ]
}

#[test]
fn a_condition_is_judged_by_the_table_committed_or_staged() {
    let tag = |tag: &str| Query::tags([tag]);
    let table = [
        (tag("none"), 0, "ok"),
        (tag("y"), 0, "Conflict @2"),
        (tag("y"), 1, "Conflict @2"),
        (tag("y"), 2, "ok"),
        (tag("y"), 3, "ok"),
        (tag("x"), 0, "Conflict @1"),
        (tag("x"), 1, "Conflict @3"),
        (tag("x").tag("a"), 0, "Conflict @1"),
        (tag("x").tag("a"), 1, "ok"),
        (tag("z").or(tag("y")), 0, "Conflict @2"),
        (Query::types(["T4", "T3"]), 0, "Conflict @3"),
        (Query::types(["T4", "T3"]), 4, "ok"),
        (Query::types(["T2"]).tag("x"), 0, "ok"),
        (Query::types(["T3"]).tag("x"), 0, "Conflict @3"),
        (Query::correlation("talk"), 0, "Conflict @3"),
        (Query::correlation("talk").tag("z"), 0, "Conflict @4"),
        (Query::correlation("silence"), 0, "ok"),
    ];
    for committed in 0..=4 {
        let mut world = World::new(Ledger::default());
        for (index, ask) in labelled().into_iter().enumerate() {
            if index < committed { world.commit(ask) } else { drop(world.stage(ask)) }
        }
        for (query, after, wanted) in table.clone() {
            if after <= committed as u64 {
                let said = world.say(Ask::default().condition(query.clone(), after));
                assert_eq!(said, wanted, "{query:?} after {after}, {committed} committed");
            }
        }
    }
}

#[test]
fn a_query_that_must_find_nothing_has_its_own_error() {
    let world = World::with(labelled());
    let error = world.error(Ask::default().none(Query::tags(["y"])));
    assert_eq!(
        (error.kind(), error.position()),
        (ErrorKind::AlreadyExists, Some(Position::new(2)))
    );
    assert_eq!(world.say(Ask::default().none(Query::tags(["w"]))), "ok");
}

#[test]
fn the_lowest_conflicting_position_is_reported_and_every_condition_in_words() {
    let world = World::with(labelled());
    let ask = Ask::default()
        .condition(Query::tags(["z"]), 1)
        .condition(Query::tags(["none"]), 0)
        .condition(Query::tags(["y"]), 0);
    let error = world.error(ask);
    assert_eq!((error.position(), error.conflicts()), (Some(Position::new(2)), [].as_slice()));
    assert_eq!(
        error.message(),
        "the event at position 4 matches condition 1, which allows none after 1; \
         the event at position 2 matches condition 3, which allows none after 0"
    );
}

#[test]
fn a_condition_after_a_position_that_nobody_can_have_seen_is_invalid() {
    let mut world = World::with(labelled());
    world.stage(write("A", Expect::Any, &[10]));
    let query = || Query::tags(["none"]);
    assert_eq!(world.say(Ask::default().condition(query(), 4)), "ok");
    assert_eq!(world.say(Ask::default().condition(query(), 5)), "Invalid @5");
}

#[test]
fn a_condition_does_not_see_the_events_of_its_own_batch() {
    let world = World::with([]);
    let ask = Ask::default().events("A", Expect::Any, &[tagged(1, "x")]);
    assert_eq!(world.say(ask.condition(Query::tags(["x"]), 0)), "ok A:1-1 @1-1");
}

#[test]
fn of_two_uniqueness_guards_in_one_group_exactly_one_wins() {
    let mut world = World::with([]);
    let name = || Query::types(["T"]).tag("name:ada");
    let ask = |id, stream: &str| {
        Ask::default().events(stream, Expect::NoStream, &[tagged(id, "name:ada")]).none(name())
    };
    assert_eq!(world.stage(ask(1, "U-1")), "ok U-1:1-1 @1-1");
    let judged = world.judge(ask(2, "U-2"));
    assert_eq!((&*say(&judged.decision), judged.depends_on_staged), ("AlreadyExists @1", true));
}

#[test]
fn batches_of_a_group_that_do_not_touch_do_not_conflict() {
    let mut world = World::with([]);
    for n in 1..=50_u128 {
        let (stream, tag) = (format!("U-{n}"), format!("name:{n}"));
        let ask = Ask::default().events(&stream, Expect::NoStream, &[tagged(n, &tag)]);
        let ask = ask.condition(Query::types(["T"]).tag(&tag), 0).none(Query::tags([tag]));
        assert_eq!(world.stage(ask), format!("ok {stream}:1-1 @{n}-{n}"));
    }
}

#[test]
fn batches_of_a_group_follow_each_other_in_one_stream() {
    let mut world = states();
    assert_eq!(world.stage(write("E", version(3), &[20, 21])), "ok E:4-5 @10-11");
    assert_eq!(world.stage(write("E", version(3), &[22])), "Conflict");
    assert_eq!(world.stage(write("E", version(5), &[22])), "ok E:6-6 @12-12");
    assert_eq!(world.error(check("E", version(3))).conflicts()[0].actual, Version::new(6));
}

#[test]
fn a_staged_batch_is_replayed_like_a_committed_one() {
    let mut world = states();
    world.stage(write("E", version(3), &[20, 21]));
    let judged = world.judge(write("E", version(3), &[20, 21]));
    assert_eq!((&*say(&judged.decision), judged.depends_on_staged), ("replay E:4-5 @10-11", true));
    assert_eq!(world.say(write("E", Expect::Any, &[3, 20])), "replay E:3-4 @3-10");
    assert_eq!(world.say(write("N", Expect::Any, &[20])), "IdConflict @10");
}

#[test]
fn a_verdict_says_whether_it_rests_on_staged_batches() {
    let mut world = states();
    world.stage(Ask::default().events("A", Expect::Any, &[tagged(20, "x")]).checkpoint("c", 5));
    let table = [
        (check("A", Expect::StreamExists), true),
        (check("A", Expect::NoStream), true),
        (check("E", version(2)), false),
        (write("E", Expect::Any, &[1]), false),
        (write("E", Expect::Any, &[20]), true),
        (write("E", Expect::Any, &[30]), false),
        (Ask::default().none(Query::tags(["x"])), true),
        (Ask::default().none(Query::types(["T"])), false),
        (Ask::default().checkpoint("c", 5), true),
        (Ask::default().checkpoint("d", 5), false),
        (Ask::default().checkpoint("d", 10), true),
    ];
    for (index, (ask, wanted)) in table.into_iter().enumerate() {
        assert_eq!(world.judge(ask).depends_on_staged, wanted, "row {index}");
    }
}

#[test]
fn a_checkpoint_is_judged_by_the_table_committed_or_staged() {
    let table = [
        ("c", 3, "Invalid @4"),
        ("c", 4, "ok"),
        ("c", 5, "ok c=5"),
        ("c", 9, "ok c=9"),
        ("c", 10, "Invalid @10"),
        ("new", 0, "ok c=0"),
        ("new", 3, "ok c=3"),
        ("zero", 0, "ok"),
    ];
    for staged in [false, true] {
        let mut world = states();
        for ask in [Ask::default().checkpoint("c", 4), Ask::default().checkpoint("zero", 0)] {
            if staged { drop(world.stage(ask)) } else { world.commit(ask) }
        }
        for (name, position, wanted) in table {
            assert_eq!(
                world.say(Ask::default().checkpoint(name, position)),
                wanted,
                "{name} {position}"
            );
        }
    }
}

#[test]
fn a_checkpoint_carries_the_id_of_the_event_at_its_position() {
    let mut world = states();
    world.stage(write("A", Expect::Any, &[20, 21]));
    for (position, id) in [(0, 0), (2, 2), (9, 9), (10, 20), (11, 21)] {
        let ask = write("B", Expect::Any, &[30]).checkpoint("c", position);
        let Decision::Accept(accepted) = world.judge(ask).decision else { panic!("refused") };
        assert_eq!(accepted.checkpoint.unwrap().id, Uuid::from_u128(id), "{position}");
    }
}

#[test]
fn a_checkpoint_cannot_name_an_event_of_its_own_batch() {
    let ask = write("N", Expect::Any, &[20]).checkpoint("c", 10);
    assert_eq!(states().say(ask), "Invalid @10");
}

#[test]
fn a_replay_moves_its_checkpoint_forward_only() {
    let mut world = states();
    world.commit(Ask::default().checkpoint("c", 4));
    let ask = |position| write("E", Expect::Any, &[1]).checkpoint("c", position);
    let table = [(3, ""), (4, ""), (6, " c=6"), (10, "Invalid @10")];
    for (position, wanted) in table {
        let said = world.say(ask(position));
        assert_eq!(said.strip_prefix("replay E:1-1 @1-1").unwrap_or(&said), wanted, "{position}");
    }
    assert_eq!(world.stage(ask(7)), "replay E:1-1 @1-1 c=7");
    assert_eq!(world.stage(ask(6)), "replay E:1-1 @1-1");
    assert_eq!(world.stage(Ask::default().checkpoint("c", 6)), "Invalid @7");
}

#[test]
fn a_checkpoint_at_a_trimmed_position_is_refused() {
    let mut world = states();
    world.known.trimmed = 4;
    assert_eq!(world.say(Ask::default().checkpoint("c", 4)), "Trimmed @4");
    assert_eq!(world.say(Ask::default().checkpoint("c", 5)), "ok c=5");
}

#[test]
fn an_error_of_the_index_refuses_the_batch() {
    let mut world = states();
    world.known.broken = true;
    assert_eq!(world.say(write("N", Expect::Any, &[20])), "Damaged");
    assert_eq!(world.say(check("E", version(3))), "ok", "no id was to be looked up");
}

#[test]
fn of_two_classes_that_fail_the_earlier_decides() {
    type Spoil = fn(Ask) -> Ask;
    let classes: [(&str, Spoil); 7] = [
        ("Invalid", |ask| ask.condition(Query::tags(["none"]), 99)),
        ("Deleted", |ask| ask.write("T", Expect::Any, &[20])),
        ("IdConflict", |ask| ask.write("new", Expect::Any, &[1])),
        ("Invalid", |ask| ask.checkpoint("c", 1)),
        ("Conflict", |ask| ask.check("E", version(9))),
        ("Conflict", |ask| ask.condition(Query::types(["T"]), 3)),
        ("AlreadyExists", |ask| ask.none(Query::types(["T"]))),
    ];
    let mut world = states();
    world.commit(Ask::default().checkpoint("c", 4));
    let named = |error: &Error| (error.kind(), error.position(), error.conflicts().len());
    for (first, (kind, spoil)) in classes.iter().enumerate() {
        let alone = world.error(spoil(Ask::default()));
        assert_eq!(format!("{:?}", alone.kind()), *kind);
        for (other, spoil_too) in classes.iter().skip(first + 1) {
            let both = world.error(spoil_too(spoil(Ask::default())));
            assert_eq!(named(&both), named(&alone), "{kind} before {other}");
            let both = world.error(spoil(spoil_too(Ask::default())));
            assert_eq!(named(&both), named(&alone), "{kind} before {other}");
        }
    }
}

/// Events: an id, and a number that type and tags are made from.
type Labels = Vec<(u8, u8)>;

/// What a random batch is made of; small numbers so that much collides.
#[derive(Debug, Clone)]
struct Plan {
    /// Streams with what is expected of them and their events.
    parts: Vec<(u8, u8, Labels)>,
    conditions: Vec<(u8, u8)>,
    none: Option<u8>,
    checkpoint: Option<u8>,
    /// Which of the streams is changed, and how.
    changes: Vec<(usize, u8)>,
}

impl Plan {
    fn ask(&self, after_max: u64) -> Ask {
        let mut ask = Ask::default();
        let mut parts = self.parts.clone();
        parts.sort_by_key(|(stream, ..)| *stream);
        parts.dedup_by_key(|(stream, ..)| *stream);
        for (stream, expect, events) in &parts {
            let expect = match expect {
                0..4 => Expect::Any,
                4 => Expect::NoStream,
                5 => Expect::StreamExists,
                more => version(u64::from(more - 6)),
            };
            let event = |(id, label): &(u8, u8)| {
                NewEvent::binary(format!("T{}", label % 3), vec![])
                    .id(Uuid::from_u128(u128::from(*id)))
                    .tag(format!("t{}", label / 3))
                    .tag(format!("u{}", label % 4))
                    .correlation(label / 6)
            };
            let events: Vec<_> = events.iter().map(event).collect();
            ask = ask.events(&format!("S-{stream}"), expect, &events);
        }
        for (which, after) in &self.conditions {
            ask = ask.condition(query(*which), u64::from(*after).min(after_max));
        }
        if let Some(which) = self.none {
            ask = ask.none(query(which));
        }
        if let Some(position) = self.checkpoint {
            ask = ask.checkpoint("c", position.into());
        }
        for (at, how) in self.changes.iter().filter(|(at, _)| *at < parts.len()) {
            let all = Retention::default();
            let change = match how {
                0 => StreamChange::Tombstone,
                1..=5 => StreamChange::Delete,
                more if more % 2 == 0 => StreamChange::Retain(all.keep_last(u64::from(*more))),
                more => {
                    StreamChange::Retain(all.truncate_before(Version::new(u64::from(*more - 5))))
                }
            };
            ask.0.changes.push((*at, change));
        }
        ask
    }
}

fn query(which: u8) -> Query {
    let (a, b) = (which % 4, which / 4 % 4);
    match which % 5 {
        0 => Query::types([format!("T{a}"), format!("T{b}")]),
        1 => Query::tags([format!("t{a}")]),
        2 => Query::tags([format!("t{a}"), format!("u{b}")]),
        3 => Query::types([format!("T{a}")]).tag(format!("t{b}")).or(QueryItem::new().tag("u3")),
        _ => Query::correlation(a).or(Query::types([format!("T{b}")]).tag("u0")),
    }
}

fn plan() -> impl Strategy<Value = Plan> {
    let events = proptest::collection::vec((0..40_u8, 0..12_u8), 0..4);
    let parts = proptest::collection::vec((0..4_u8, 0..10_u8, events), 0..3);
    let conditions = proptest::collection::vec((0..40_u8, 0..12_u8), 0..2);
    let none = proptest::option::weighted(0.1, 0..40_u8);
    let checkpoint = proptest::option::weighted(0.3, 0..12_u8);
    let changes = proptest::collection::vec((0..3_usize, 0..12_u8), 0..2);
    let all = (parts, conditions, none, checkpoint, changes);
    all.prop_map(|(parts, conditions, none, checkpoint, changes)| Plan {
        parts,
        conditions,
        none,
        checkpoint,
        changes,
    })
}

/// Everything about a decision that can be told.
fn whole(decision: &Decision) -> String {
    match decision {
        Decision::Refuse(error) => format!("{error:?} {:?}", error.conflicts()),
        other => format!("{other:?}"),
    }
}

/// The same without what depends on which batches came before.
fn without_positions(decision: &Decision) -> String {
    match decision {
        Decision::Accept(accepted) => {
            format!(
                "{:?} {:?} {:?} {:?}",
                accepted.versions, accepted.answer.streams, accepted.checkpoint, accepted.settings
            )
        }
        other => whole(other),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn a_group_is_decided_like_its_batches_one_by_one(
        plans in proptest::collection::vec(plan(), 1..14),
        before in 0..6_usize,
        ids_per_stream: bool,
        deleted in 0..3_u8,
    ) {
        let mut one_by_one = Ledger { ids_per_stream, ..Ledger::default() };
        let mut group: Option<World> = None;
        for (index, plan) in plans.iter().enumerate() {
            if index == before.min(plans.len() / 2) {
                match deleted {
                    1 => one_by_one.delete("S-0"),
                    2 => one_by_one.bury("S-0"),
                    _ => {}
                }
                group = Some(World::new(one_by_one.clone()));
            }
            let known = group.as_ref().map_or(one_by_one.last_position(), |group| {
                group.known.last_position()
            });
            let batch = Arc::new(plan.ask(known.get()).0);
            if check_shape(&batch, ids_per_stream).is_err() {
                continue;
            }
            let alone = decide(&one_by_one, &Staged::new(&one_by_one), &batch);
            prop_assert!(!alone.depends_on_staged);
            one_by_one.apply(&batch, &alone.decision);
            if let Some(World { known, staged }) = &mut group {
                let judged = decide(known, staged, &batch);
                prop_assert_eq!(whole(&judged.decision), whole(&alone.decision));
                if !judged.depends_on_staged {
                    let without = decide(known, &Staged::new(known), &batch).decision;
                    let with = without_positions(&judged.decision);
                    prop_assert_eq!(with, without_positions(&without));
                }
                stage(staged, &batch, &judged.decision);
            }
        }
    }
}
