//! Layer 7.7: operations, faults and crash points against a model of what a store promises.
//!
//! Knows: the model, a list of batches and what was answered to each. Does not know: how a store
//! keeps them. One thread and no background work, so that an input always does the same.

use uuid::Uuid;

use super::input::Input;
use crate::api::{Options, Store};
use crate::clock::ManualClock;
use crate::disk::{Disk, Fault, FaultCall, FaultKind, SimDisk};
use crate::engine::Appended;
use crate::sync::Arc;
use crate::types::{Error, ErrorKind, Expect, NewEvent, Position, Result, Version};

const STREAMS: [&str; 3] = ["Order-1", "Order-2", "Cart-1"];
const CHECKPOINT: &str = "reader";
const STEPS_MAX: u32 = 64;
const FULL: i32 = 28;
const BROKEN: i32 = 5;
const CALLS: [FaultCall; 7] = [
    FaultCall::Sync,
    FaultCall::Write,
    FaultCall::SyncDir,
    FaultCall::Create,
    FaultCall::Rename,
    FaultCall::SetSize,
    FaultCall::Allocate,
];
const KINDS: [FaultKind; 5] = [
    FaultKind::FailedSyncDropsPages,
    FaultKind::Os(FULL),
    FaultKind::ShortWrite(FULL),
    FaultKind::Os(BROKEN),
    FaultKind::ShortWrite(BROKEN),
];

#[derive(Debug, Clone)]
struct Fact {
    stream: &'static str,
    number: u64,
    size: usize,
}

impl Fact {
    fn event(&self) -> NewEvent {
        let data = vec![self.number.to_le_bytes()[0]; self.size];
        NewEvent::binary("Noted", data).id(Uuid::from_u128(u128::from(self.number)))
    }
}

/// What the caller knows.
#[derive(Debug, Default)]
struct Model {
    /// In the log, in order; acknowledged, or found when the store was opened.
    stored: Vec<Vec<Fact>>,
    /// Sent after those and answered `InDoubt`, or never: each may be in the log if all before are.
    doubtful: Vec<Vec<Fact>>,
    /// What the checkpoint may be.
    checkpoint: Vec<Option<u64>>,
    numbers: u64,
}

impl Model {
    fn events(&self) -> u64 {
        self.stored.iter().map(|batch| batch.len() as u64).sum()
    }

    fn version(&self, stream: &str) -> u64 {
        let facts = self.stored.iter().flatten();
        facts.filter(|fact| fact.stream == stream).count() as u64
    }

    fn draw(&mut self, input: &mut Input<'_>, stream: &'static str) -> Vec<Fact> {
        let shape = input.byte();
        let size = match shape >> 4 {
            0 => 3_000,
            1 => 9_000,
            size => usize::from(size) * 16,
        };
        let mut fact = || {
            self.numbers += 1;
            Fact { stream, number: self.numbers, size }
        };
        (0..=shape & 3).map(|_| fact()).collect()
    }
}

/// One run: the disk, the open store if there is one, and what must hold.
struct Run {
    disk: SimDisk,
    options: Options,
    store: Option<Store>,
    model: Model,
    /// Saved checkpoints share sectors, whatever the options say.
    aligned: bool,
    /// The directory may lose names that the cache still shows, and never says so again. No program
    /// can help that; only a power cut shows what there is.
    hidden: bool,
}

/// A program of appends, retries, checkpoints, reopenings, faults, kills and power cuts. Input: two
/// bytes about the disk, then one step after another. After each end the store opens, and what it
/// then holds is what the model allows: everything acknowledged, in order, each batch whole, and
/// nothing else.
pub fn program(bytes: &[u8]) {
    let mut input = Input(bytes);
    let aligned = input.byte() & 1 != 0;
    let disk = SimDisk::new(input.byte().into());
    disk.set_shared_sector_damage(aligned);
    let options = Store::options()
        .background_threads(false)
        .segment_bytes(16 << 10)
        .align_commit(aligned)
        .clock(Arc::new(ManualClock::at(1_000)));
    let model = Model { checkpoint: vec![None], ..Model::default() };
    let mut run = Run { disk, options, store: None, model, aligned, hidden: false };
    run.open();
    for _ in 0..STEPS_MAX {
        if input.is_empty() {
            break;
        }
        run.step(&mut input);
    }
    run.end(&mut input);
}

impl Run {
    fn step(&mut self, input: &mut Input<'_>) {
        match input.below(16) {
            0..5 => {
                let facts = self.facts(input);
                self.append(facts, input.below(4), None);
            }
            5 => {
                let (mut facts, more) = (self.facts(input), self.facts(input));
                facts.extend(more);
                let carried = (!self.aligned).then(|| self.model.events());
                self.append(facts, 0, carried);
            }
            6 => self.again(input),
            7 => self.save(input),
            8..11 if self.hidden => self.power_cut(input.number16().into()),
            8 => self.reopen(true),
            9 => self.reopen(false),
            10 => self.kill(),
            11 => self.power_cut(input.number16().into()),
            12 => {
                let when = self.disk.operations() + u64::from(input.below(48));
                self.disk.crash_at(when);
            }
            _ => {
                let call = input.pick(&CALLS).copied().unwrap_or(FaultCall::Sync);
                let kind = input.pick(&KINDS).copied().unwrap_or(FaultKind::Os(BROKEN));
                let dropped = kind == FaultKind::FailedSyncDropsPages;
                self.hidden |= call == FaultCall::SyncDir && dropped;
                let how = input.byte();
                let nth = u64::from(how >> 1) % 24;
                self.disk.inject(match how & 1 {
                    0 => Fault::once(call, nth, kind),
                    _ => Fault::from(call, nth, kind),
                });
            }
        }
    }

    fn facts(&mut self, input: &mut Input<'_>) -> Vec<Fact> {
        let stream = input.pick(&STREAMS).copied().unwrap_or("Order-1");
        self.model.draw(input, stream)
    }

    fn append(&mut self, facts: Vec<Fact>, expect: u8, carried: Option<u64>) {
        let Some(store) = &self.store else { return };
        let stream = facts.first().map_or("Order-1", |fact| fact.stream);
        let version = self.model.version(stream);
        let (expect, holds) = match expect {
            1 => (Expect::Version(Version::new(version)), true),
            2 => (Expect::Version(Version::new(version + 1)), false),
            3 => (Expect::NoStream, version == 0),
            _ => (Expect::Any, true),
        };
        let answer = commit(store, &facts, expect, carried);
        match &answer {
            Ok(appended) => {
                assert!(holds && !appended.already, "{expect:?} at version {version}");
                assert_eq!(appended.first.get(), self.model.events() + 1, "no gap, no overtaking");
                assert!(self.model.doubtful.is_empty(), "appended behind what is in doubt");
                self.model.stored.push(facts);
                if carried.is_some() {
                    self.model.checkpoint = vec![carried];
                }
            }
            Err(error) => self.refused(error, Some(facts), carried),
        }
        if answer.is_err_and(|error| error.kind() == ErrorKind::Conflict) {
            assert!(!holds, "a conflict where there is none");
        }
        self.look();
    }

    fn refused(&mut self, error: &Error, facts: Option<Vec<Fact>>, checkpoint: Option<u64>) {
        let kind = error.kind();
        if kind == ErrorKind::InDoubt {
            self.model.doubtful.extend(facts);
            if checkpoint.is_some() {
                self.model.checkpoint.push(checkpoint);
            }
            return;
        }
        // Also a disk without power, or a keyed file that could not be opened.
        let refusals =
            [ErrorKind::Conflict, ErrorKind::DiskFull, ErrorKind::Poisoned, ErrorKind::Io];
        assert!(refusals.contains(&kind), "refused as {kind:?}: {error:?}");
    }

    /// A batch sent again is answered as it was, or, if it was in doubt, stored now at the latest.
    fn again(&mut self, input: &mut Input<'_>) {
        let Some(store) = &self.store else { return };
        let Some(facts) = input.pick(&self.model.stored).cloned() else { return };
        match commit(store, &facts, Expect::Any, None) {
            Ok(appended) => {
                assert!(appended.already, "stored twice");
                let before = self.model.stored.iter().flatten();
                let wanted = facts.first().map(|fact| fact.number);
                let place = before.take_while(|fact| Some(fact.number) != wanted).count() as u64;
                assert_eq!(appended.first.get(), place + 1, "another answer than before");
            }
            Err(error) => self.refused(&error, None, None),
        }
    }

    fn save(&mut self, input: &mut Input<'_>) {
        let Some(store) = self.store.as_ref().filter(|_| !self.aligned) else { return };
        let to = u64::from(input.byte()).min(store.last_position().get());
        match store.reset_checkpoint(CHECKPOINT, Position::new(to)) {
            Ok(()) => self.model.checkpoint = vec![Some(to)],
            Err(error) => self.refused(&error, None, Some(to)),
        }
    }

    /// Reads show what is stored and nothing that is in doubt.
    fn look(&self) {
        let Some(store) = &self.store else { return };
        assert_eq!(store.last_position().get(), self.model.events(), "seen before it is durable");
    }

    fn reopen(&mut self, close: bool) {
        let Some(store) = self.store.take() else { return self.open() };
        if close {
            let _ = store.close();
        } else {
            drop(store);
        }
        self.open();
    }

    fn kill(&mut self) {
        let left = self.disk.after_kill();
        self.leave(left);
    }

    fn power_cut(&mut self, seed: u64) {
        let left = self.disk.after_power_cut(seed);
        self.leave(left);
    }

    fn leave(&mut self, left: SimDisk) {
        drop(self.store.take());
        self.disk = left;
        self.hidden = false;
        self.disk.set_shared_sector_damage(self.aligned);
        self.open();
    }

    /// Opening may fail while the disk does; then nothing is known to have changed.
    fn open(&mut self) {
        match self.options.clone().open_on(Arc::new(self.disk.clone()) as Arc<dyn Disk>) {
            Ok(store) => {
                self.model.take(&store);
                self.store = Some(store);
            }
            Err(error) => {
                let excused = !matches!(error.kind(), ErrorKind::Damaged | ErrorKind::Unsupported);
                assert!(excused, "nothing was damaged: {error:?}");
            }
        }
    }

    /// A last power cut, and a disk that works again: now it must open, and go on.
    fn end(mut self, input: &mut Input<'_>) {
        self.power_cut(input.number16().into());
        self.disk.clear_faults();
        self.reopen(true);
        assert!(self.store.is_some(), "a sound disk, and the store does not open");
        let facts = self.facts(input);
        let before = self.model.stored.len();
        self.append(facts, 0, None);
        assert_eq!(self.model.stored.len(), before + 1, "a sound disk, and no append");
        let clean = self.store.as_ref().and_then(|store| store.verify().ok());
        assert!(clean.is_some_and(|report| report.damage.is_empty()), "damaged by itself");
    }
}

impl Model {
    /// What was found when the store was opened settles what was in doubt.
    fn take(&mut self, store: &Store) {
        let found = store.read_all().to_vec();
        let found = match found {
            Ok(found) => found,
            Err(error) => {
                assert!(error.kind() == ErrorKind::Io, "{error:?}");
                return;
            }
        };
        let mut rest = found.as_slice();
        let sent = self.stored.len();
        let mut kept = Vec::new();
        for (at, batch) in self.stored.drain(..).chain(self.doubtful.drain(..)).enumerate() {
            let Some((part, behind)) = rest.split_at_checked(batch.len()) else {
                assert!(at >= sent, "an acknowledged batch is gone");
                assert!(rest.is_empty(), "half a batch");
                break;
            };
            let same = part.iter().zip(&batch).all(|(event, fact)| {
                let wanted = fact.event();
                event.id() == wanted.id
                    && event.data() == wanted.data
                    && event.stream() == fact.stream
            });
            assert!(same, "another batch stands in its place");
            rest = behind;
            kept.push(batch);
        }
        assert!(rest.is_empty(), "events from nowhere: {:?}", rest.first());
        self.stored = kept;
        if let Ok(now) = store.checkpoint(CHECKPOINT) {
            let now = now.map(Position::get);
            assert!(self.checkpoint.contains(&now), "{now:?} of {:?}", self.checkpoint);
            self.checkpoint = vec![now];
        }
    }
}

fn commit(store: &Store, facts: &[Fact], expect: Expect, carried: Option<u64>) -> Result<Appended> {
    let mut batch = store.batch();
    let mut expect = Some(expect);
    let mut first = None;
    for fact in facts {
        // The first stream of the batch is expected something of, once.
        let same = *first.get_or_insert(fact.stream) == fact.stream;
        let expect = expect.take_if(|_| same).unwrap_or(Expect::Any);
        batch = batch.append(fact.stream, expect, [fact.event()]);
    }
    if let Some(position) = carried {
        batch = batch.checkpoint(CHECKPOINT, Position::new(position));
    }
    batch.commit()
}
