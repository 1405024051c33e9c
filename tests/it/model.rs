//! Random programs over a store and over a plain list; every answer and every read must agree.

#[path = "model/compare.rs"]
mod compare;
#[path = "model/plain.rs"]
mod plain;
#[path = "model/program.rs"]
mod program;

use std::sync::Arc;

use factlog::disk::{Disk, MemDisk, RealDisk};
use factlog::{
    Appended, ErrorKind, IdScope, ManualClock, Options, Position, Result, Store, Trim, Version,
};

use plain::{Change, Life, Part, Plain, answer, refusal};
use program::{Dice, Reopen, Step};

/// Where the store of a case lives.
struct Place {
    disk: Arc<dyn Disk>,
    clock: Arc<ManualClock>,
    scope: IdScope,
    background: bool,
    _held: Option<tempfile::TempDir>,
}

impl Place {
    fn of(dice: &mut Dice) -> Self {
        let held = dice.chance(2).then(|| tempfile::tempdir().unwrap());
        let disk: Arc<dyn Disk> = match &held {
            Some(dir) => Arc::new(RealDisk::new(dir.path())),
            None => Arc::new(MemDisk::new()),
        };
        let scope = if dice.chance(3) { IdScope::Stream } else { IdScope::Store };
        let clock = Arc::new(ManualClock::at(1_000));
        Self { disk, clock, scope, background: !dice.chance(3), _held: held }
    }

    fn options(&self) -> Options {
        Store::options()
            .segment_bytes(16 << 10)
            .id_scope(self.scope)
            .background_threads(self.background)
            .clock(self.clock.clone())
    }

    fn open(&self, how: Reopen) -> Store {
        let options = self.options().map_segments(how.map).rebuild_index(how.rebuild);
        options.open_on(self.disk.clone()).unwrap()
    }

    fn lose_sidecars(&self) {
        for name in self.disk.list().unwrap().iter().filter(|name| name.ends_with(".idx")) {
            self.disk.remove(name).unwrap();
        }
    }
}

fn commit(store: &Store, parts: &[Part]) -> Result<Appended> {
    let mut batch = store.batch();
    for part in parts {
        batch = match part {
            Part::Append(stream, expect, facts) => {
                batch.append(*stream, *expect, facts.iter().map(plain::Fact::event))
            }
            Part::Check(stream, expect) => batch.check(*stream, *expect),
            Part::Condition(ask, after) => batch.condition(ask.query(), Position::new(*after)),
            Part::FailsIfExists(ask) => batch.fails_if_exists(ask.query()),
            Part::Checkpoint(name, position) => batch.checkpoint(*name, Position::new(*position)),
            Part::Change(stream, expect, Change::Delete) => batch.delete(*stream, *expect),
            Part::Change(stream, expect, Change::Tombstone) => batch.tombstone(*stream, *expect),
            Part::Change(stream, _, Change::Retain(before, last, age)) => {
                let life = Life { retention: (*before, *last, *age), ..Life::default() };
                batch.retain(*stream, life.retention())
            }
        };
    }
    batch.commit()
}

/// A store and the list it is compared with.
struct Case {
    dice: Dice,
    place: Place,
    clock: u64,
    store: Option<Store>,
    plain: Plain,
    sent: Vec<Vec<Part>>,
}

impl Case {
    fn new(seed: u64) -> Self {
        let mut dice = Dice(seed);
        let place = Place::of(&mut dice);
        let how = Reopen { close: true, map: dice.chance(2), rebuild: false, lose_sidecars: false };
        let store = Some(place.open(how));
        let ids_per_stream = place.scope == IdScope::Stream;
        let plain = Plain { ids_per_stream, clock: 1_000, ..Plain::default() };
        Self { dice, place, clock: 1_000, store, plain, sent: Vec::new() }
    }

    fn store(&self) -> &Store {
        self.store.as_ref().unwrap()
    }

    fn run(&mut self, steps: usize) {
        for _ in 0..steps {
            let step = program::step(&mut self.dice, &self.plain, &self.sent);
            self.take(step);
            let store = self.store.as_ref().unwrap();
            compare::probe(&mut self.dice, store, &self.plain, 2);
        }
        self.compare();
        let report = self.store().verify().unwrap();
        assert!(report.clean, "{report:?}");
        let follower = self.place.options().open_read_only_on(self.place.disk.clone()).unwrap();
        compare::everything(&mut self.dice, &follower, &self.plain);
    }

    fn compare(&mut self) {
        let store = self.store.as_ref().unwrap();
        compare::everything(&mut self.dice, store, &self.plain);
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Batch(parts) => self.batch(parts),
            Step::Save(name, position, reset) => self.save(name, position, reset),
            Step::Snapshot(stream, name, version, schema, data) => {
                let known = (1..=self.plain.version(stream)).contains(&version);
                let given = (Version::new(version), schema);
                let saved = self.store().save_snapshot(stream, name, given, data.clone());
                let gone = known && version <= self.plain.trimmed_version(stream);
                let wanted = match (known, gone) {
                    (false, _) => Some(ErrorKind::Invalid),
                    (_, true) => Some(ErrorKind::Trimmed),
                    _ => None,
                };
                assert_eq!(saved.map_err(|e| e.kind()).err(), wanted);
                if wanted.is_none() {
                    let key = (stream.to_owned(), name.to_owned());
                    self.plain.snapshots.insert(key, (version, schema, data));
                }
            }
            Step::Checkpoints(name, count) => {
                for _ in 0..count {
                    let saved = self.plain.checkpoints.get(name).copied();
                    let next = saved.map_or(0, |saved| saved + 1);
                    if next > self.plain.last() {
                        self.save(name, 0, true);
                    }
                    self.batch(vec![Part::Checkpoint(name, next.min(self.plain.last()))]);
                }
            }
            Step::Clock(micros) => {
                self.clock = micros;
                self.plain.clock = micros;
                self.place.clock.set(micros);
            }
            Step::Trim(keep, past) => self.trim(keep, past),
            Step::Reopen(how) => self.reopen(how),
        }
    }

    fn trim(&mut self, keep: u64, past: bool) {
        let trim = Trim::keep_events(keep);
        let trim = if past { trim.past_checkpoints() } else { trim };
        let told = self.store().trim(trim).unwrap();
        let first = told.first_position.get();
        assert_eq!(told.events, first - 1 - self.plain.trimmed, "{told:?}");
        assert!(told.events == 0 || self.plain.last() + 1 - first >= keep, "{told:?}");
        let held = self.plain.checkpoints.values().any(|saved| saved + 1 < first);
        assert!(told.events == 0 || past || !held, "{told:?} goes past a checkpoint");
        self.plain.trimmed = first - 1;
        self.compare();
    }

    fn batch(&mut self, parts: Vec<Part>) {
        let wanted = self.plain.commit(&parts, self.clock);
        let found = commit(self.store(), &parts);
        let found = found.as_ref().map(answer).map_err(refusal);
        assert_eq!(found, wanted, "{parts:?}");
        if let Ok((already, first, ..)) = wanted {
            if !already && first > 0 {
                self.take_time(first);
            }
            self.sent.push(parts);
        }
    }

    /// A frame without events is stamped too, but a reopened store need not know of that: then
    /// what follows is stamped no lower than the last event.
    fn take_time(&mut self, first: u64) {
        let stored = self.store().event_at(Position::new(first)).unwrap().unwrap();
        let (before, new) = self.plain.rows.split_at_mut(first as usize - 1);
        let least = before.last().map_or(0, |row| row.recorded_at).max(self.clock);
        let given = stored.recorded_at().micros();
        assert!((least..=self.plain.stamped).contains(&given), "{given} is outside {least}..");
        new.iter_mut().for_each(|row| row.recorded_at = given);
    }

    fn save(&mut self, name: &'static str, position: u64, reset: bool) {
        let wanted = self.plain.save(name, position, reset);
        let to = Position::new(position);
        let found = match reset {
            true => self.store().reset_checkpoint(name, to),
            false => self.store().save_checkpoint(name, to),
        };
        assert_eq!(found.map_err(|error| error.kind()), wanted, "{name} to {position} {reset}");
    }

    fn reopen(&mut self, how: Reopen) {
        let store = self.store.take().unwrap();
        match how.close {
            true => store.close().unwrap(),
            false => drop(store),
        }
        if how.lose_sidecars {
            self.place.lose_sidecars();
        }
        self.store = Some(self.place.open(how));
        self.compare();
    }
}

fn case(seed: u64, steps: usize) {
    let run = std::panic::catch_unwind(|| Case::new(seed).run(steps));
    if let Err(panic) = run {
        println!("the case is `case({seed}, {steps})`");
        std::panic::resume_unwind(panic);
    }
}

#[test]
fn a_store_answers_as_a_plain_list_does() {
    for seed in 0..12 {
        case(seed, 50);
    }
}

/// `FACTLOG_CASES=5000 cargo test --release --test it campaign_model -- --nocapture`
#[test]
fn campaign_model() {
    let cases = std::env::var("FACTLOG_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(4);
    for seed in 0..cases {
        case(1_000_000 + seed, 120);
    }
}
