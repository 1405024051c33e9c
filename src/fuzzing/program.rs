//! Layer 7.8: operations, faults and crash points against a model of what a store promises.
//!
//! Knows: which steps there are, and what each may answer. Does not know: what a store must then
//! hold (`model.rs`). One thread and no background work, so that an input always does the same.

use super::copies::{self, Copy};
use super::input::Input;
use super::model::{CHECKPOINT, Fact, Model, STREAMS};
use super::removal;
use crate::api::{Options, Store};
use crate::clock::ManualClock;
use crate::disk::{Disk, Fault, FaultCall, FaultKind, SimDisk};
use crate::engine::Appended;
use crate::sync::Arc;
use crate::types::{Error, ErrorKind, Expect, Position, Result, Version};

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
    /// Whether the program also takes away, and copies.
    removes: bool,
    copies: Vec<Copy>,
}

/// A program of appends, retries, checkpoints, reopenings, faults, kills and power cuts, and, if
/// the first byte says so, of all that takes away or copies: trims, deleted and truncated streams,
/// reclamations, forgotten subjects, backups, forks. Input: two bytes about the disk, then one step
/// after another. After each end the store opens, and what it then holds is what the model allows:
/// everything acknowledged, in order, each batch whole, and nothing else; what was taken away stays
/// away. A copy that was made is there and right, and one that was not is no store.
pub fn program(bytes: &[u8]) {
    let mut input = Input(bytes);
    let how = input.byte();
    let (aligned, removes) = (how & 1 != 0, how & 2 != 0);
    let disk = SimDisk::new(input.byte().into());
    disk.set_shared_sector_damage(aligned);
    let options = Store::options()
        .background_threads(false)
        .segment_bytes(16 << 10)
        .align_commit(aligned)
        .clock(Arc::new(ManualClock::at(1_000)));
    // Keys share sectors, as checkpoints do.
    let options = if removes && !aligned { removal::with_keys(options) } else { options };
    let (model, copies) = (Model::new(removes && !aligned), Vec::new());
    let mut run =
        Run { disk, options, store: None, model, aligned, hidden: false, removes, copies };
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
        match input.below(if self.removes { 24 } else { 16 }) {
            16.. => self.remove(input),
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

    /// Takes something away, or copies what there is.
    fn remove(&mut self, input: &mut Input<'_>) {
        let Some(store) = &self.store else { return };
        let model = &mut self.model;
        let done = match input.below(8) {
            0 => removal::trim(store, model, input),
            1 | 2 => removal::truncate(store, model, input),
            3 => removal::delete(store, model, input),
            4 | 5 => removal::reclaim(store, model),
            6 => removal::forget(store, model),
            _ => copies::copy(&self.disk, store, (model, &mut self.copies), input),
        };
        if let Err(error) = done {
            self.refused(&error, None, None);
        }
        self.look();
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
            3 => (Expect::NoStream, version == 0 || self.model.is_deleted(stream)),
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
        if to > 0 && to + 1 < store.first_position().get() {
            return;
        }
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
        self.copies.iter().for_each(|copy| copy.check(&self.disk, &self.model));
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
        self.copies.iter().for_each(|copy| copy.check(&self.disk, &self.model));
        assert!(self.store.is_some(), "a sound disk, and the store does not open");
        let facts = self.facts(input);
        let before = self.model.stored.len();
        self.append(facts, 0, None);
        assert_eq!(self.model.stored.len(), before + 1, "a sound disk, and no append");
        let clean = self.store.as_ref().and_then(|store| store.verify().ok());
        assert!(clean.is_some_and(|report| report.damage.is_empty()), "damaged by itself");
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
