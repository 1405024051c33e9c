//! The contract, clause by clause: each has a checker of its own, and a broken one is a value.
//!
//! | clause | |
//! |---|---|
//! | C1 | what was acknowledged is there |
//! | C2 | the log is a prefix of what was submitted, each batch whole or absent |
//! | C3 | nothing is invented: every event is the one submitted for its position |
//! | C4 | no silent loss: damage is an error with its place, and what is sound stays readable |
//! | C5 | after a failed sync nothing more is written, reads go on, everybody is answered |
//! | C6 | what was shown stays |
//! | C7 | recovery may be interrupted and repeated, and comes to the same log |
//! | C8 | whatever stands in the files, the answer is a value: no panic, no hang |
//! | C9 | there is one writer |
//! | C10 | what is in doubt is stored whole or not at all, and sent again it is stored once |
//! | C11 | a read-only store writes nothing |
//! | C12 | the report says what was found and done |

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use factlog::disk::SimDisk;
use factlog::{
    Error, ErrorKind, Expect, Hidden, HiddenReason, NewEvent, Options, Position, RecordedEvent,
    Store, Version,
};

use super::program::{Ending, Planned, REMOVED, RETAINED, Record, snapshot_data};

/// A clause that does not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// `C1` to `C12`.
    pub clause: &'static str,
    pub what: String,
}

pub type Check<T = ()> = Result<T, Broken>;

/// What a store answers.
#[derive(Debug, Clone)]
pub struct Found {
    /// The position before the first that was not trimmed.
    pub before: u64,
    pub events: Vec<RecordedEvent>,
    pub checkpoint: Option<u64>,
    pub snapshots: BTreeMap<String, Option<u64>>,
    pub settings: Option<u64>,
    /// The version that a stream is truncated before.
    pub truncated: BTreeMap<String, Option<u64>>,
}

impl Found {
    /// The last position.
    pub fn last(&self) -> u64 {
        self.before + self.events.len() as u64
    }
}

fn hold(condition: bool, clause: &'static str, what: impl FnOnce() -> String) -> Check {
    if condition { Ok(()) } else { Err(Broken { clause, what: what() }) }
}

fn broken(clause: &'static str) -> impl FnOnce(Error) -> Broken {
    move |error| Broken { clause, what: format!("{error:?}") }
}

/// Asks for everything that was ever submitted. After a mere crash nothing may be unreadable.
pub fn found(store: &Store, record: &Record) -> Check<Found> {
    let events = store.read_all().hidden(Hidden::Mark).to_vec().map_err(broken("C4"))?;
    let (before, last) = (store.first_position().get() - 1, store.last_position().get());
    hold(last == before + events.len() as u64, "C6", || {
        format!("the watermark is {last}, {} events are read after {before}", events.len())
    })?;
    let allowed = record.beginnings();
    hold(allowed.contains(&(before + 1)), "C2", || {
        format!("the log begins at {}, allowed {allowed:?}", before + 1)
    })?;
    // A checkpoint beyond its events, or at another event, is an error here.
    let checkpoint = store.checkpoint("reader").map_err(broken("C6"))?.map(Position::get);
    let mut snapshots = BTreeMap::new();
    for stream in record.snapshots.keys() {
        let saved = store.snapshot(&**stream, "state").map_err(broken("C4"))?;
        if let Some(saved) = &saved {
            let wanted = snapshot_data(stream, saved.version.get());
            hold(saved.data == wanted.as_bytes(), "C3", || format!("{stream}: {saved:?}"))?;
        }
        snapshots.insert(stream.clone(), saved.map(|saved| saved.version.get()));
    }
    let settings = store.retention(RETAINED).map_err(broken("C4"))?.keep_last;
    let mut truncated = BTreeMap::new();
    for stream in record.truncated.keys() {
        let now = store.retention(&**stream).map_err(broken("C4"))?.truncate_before;
        truncated.insert(stream.clone(), now.map(Version::get));
    }
    Ok(Found { before, events, checkpoint, snapshots, settings, truncated })
}

/// C1, for batches, checkpoints and snapshots. `whole` batches were found.
pub fn c1_acknowledged_is_there(found: &Found, record: &Record, whole: usize) -> Check {
    let promised = record.promised();
    hold(whole >= promised, "C1", || format!("{promised} batches acknowledged, {whole} found"))?;
    let known = record.checkpoints_acknowledged;
    let allowed = record.checkpoints.get(known.saturating_sub(1)..).unwrap_or_default();
    let fine = match found.checkpoint {
        None => known == 0 || allowed.contains(&REMOVED),
        Some(now) => allowed.contains(&now),
    };
    let now = found.checkpoint;
    hold(fine, "C1", || format!("checkpoint {now:?}, allowed {allowed:?}, {known} acknowledged"))?;
    let known = record.settings_acknowledged;
    let allowed = record.settings.get(known.saturating_sub(1)..).unwrap_or_default();
    let now = found.settings;
    let fine = now.map_or(known == 0, |now| allowed.contains(&now));
    hold(fine, "C1", || format!("settings {now:?}, allowed {allowed:?}, {known} acknowledged"))?;
    for (stream, known) in &record.truncated {
        let now = found.truncated.get(stream).copied().flatten();
        let allowed = known.before.get(known.acknowledged.saturating_sub(1)..).unwrap_or_default();
        let fine = now.map_or(known.acknowledged == 0, |now| allowed.contains(&now));
        hold(fine, "C1", || format!("{stream} is truncated before {now:?}, known {known:?}"))?;
    }
    for (stream, (versions, known)) in &record.snapshots {
        let now = found.snapshots.get(stream).copied().flatten();
        let allowed = versions.get(known.saturating_sub(1)..).unwrap_or_default();
        let fine = now.map_or(*known == 0, |now| allowed.contains(&now));
        hold(fine, "C1", || format!("snapshot of {stream} {now:?}, allowed {allowed:?}"))?;
    }
    Ok(())
}

/// C2. Answers how many batches there are.
pub fn c2_prefix(found: &Found, record: &Record) -> Check<usize> {
    let (mut at, mut whole) = (0, 0);
    let before = found.before as usize;
    for submitted in &record.batches {
        let count = submitted.events.len();
        if at + count <= before {
            // Trimmed: whole segments go, and with them whole batches.
            at += count;
            whole += 1;
            continue;
        }
        hold(at >= before, "C2", || format!("batch {whole} is trimmed in part"))?;
        let part = found.events.get(at - before..).unwrap_or_default();
        if part.is_empty() {
            break;
        }
        hold(part.len() >= count, "C2", || {
            format!("batch {whole} has {} of {count} events", part.len())
        })?;
        if let Some(answer) = &submitted.answer {
            let first = part.first().map(RecordedEvent::position);
            hold(first == Some(answer.first), "C2", || {
                format!("batch {whole} is at {first:?}, was answered {answer:?}")
            })?;
        }
        at += count;
        whole += 1;
    }
    hold(at == before + found.events.len(), "C3", || {
        format!("{} events, {at} submitted ones", found.events.len())
    })?;
    Ok(whole)
}

/// C3, event by event, byte for byte.
pub fn c3_nothing_is_invented(found: &Found, record: &Record) -> Check {
    let planned = record.batches.iter().flat_map(|batch| batch.events.iter());
    let mut versions: BTreeMap<&str, u64> = BTreeMap::new();
    let trimmed = found.before as usize;
    let events = std::iter::repeat_n(None, trimmed).chain(found.events.iter().map(Some));
    for (at, (event, planned)) in events.zip(planned).enumerate() {
        let version = versions.entry(&planned.stream).or_default();
        *version += 1;
        let Some(event) = event else { continue };
        let position = Position::new(at as u64 + 1);
        let fine = event.position() == position
            && event.version() == Version::new(*version)
            && match event.reclaimed() {
                None => is_as_planned(event, planned),
                Some(_) => is_stub_of(event, planned),
            };
        hold(fine, "C3", || format!("at {position}, version {version}: {event:?}, {planned:?}"))?;
    }
    Ok(())
}

/// C1 and C4 for what is hidden: that is what the settings say; data is gone where they said so
/// once, and what was told to be gone stays gone.
pub fn c4_gone_where_hidden(found: &Found, record: &Record) -> Check {
    for event in &found.events {
        let (position, version) = (event.position().get(), event.version().get());
        let told = || format!("{event:?}, {:?}, known {:?}", event.hidden(), record.truncated);
        let known = record.truncated.get(event.stream());
        if event.reclaimed().is_some() {
            let asked = known.iter().flat_map(|known| &known.before).any(|b| version < *b);
            hold(asked || record.stubs.contains(&position), "C4", told)?;
            continue;
        }
        hold(!record.stubs.contains(&position), "C6", || format!("it came back: {}", told()))?;
        let before = found.truncated.get(event.stream()).copied().flatten();
        let hidden = before.is_some_and(|before| version < before);
        let why = hidden.then_some(HiddenReason::Truncated);
        hold(event.hidden() == why, "C1", told)?;
    }
    Ok(())
}

/// What is left of an event: its names, and nothing of what it said.
fn is_stub_of(event: &RecordedEvent, planned: &Planned) -> bool {
    event.stream() == planned.stream
        && event.id() == planned.id
        && event.event_type() == crate::rig::marks(planned.number).0
        && event.data().is_empty()
        && event.tags().next().is_none()
        && event.correlation().is_none()
}

fn is_as_planned(event: &RecordedEvent, planned: &Planned) -> bool {
    let (kind, tag, flow) = crate::rig::marks(planned.number);
    event.stream() == planned.stream
        && event.id() == planned.id
        && event.data() == planned.data
        && event.event_type() == kind
        && event.tags().eq([&*tag])
        && event.correlation() == Some(&*flow)
}

/// C4, for a store that was damaged after it held `before`: the error names its place, and the
/// rest reads on. Answers the positions that are not served.
pub fn c4_no_silent_loss(store: &Store, before: &[RecordedEvent]) -> Check<Vec<u64>> {
    let mut lost = Vec::new();
    for known in before {
        match store.event_at(known.position()) {
            Ok(found) => hold(found.as_ref() == Some(known), "C4", || {
                format!("{} answers {found:?}", known.position())
            })?,
            Err(error) => {
                c4_error_has_its_place(&error)?;
                lost.push(known.position().get());
            }
        }
    }
    let read: Vec<_> = store.read_all().into_iter().collect();
    hold(read.len() == before.len(), "C4", || {
        format!("{} of {} events are read, lost {lost:?}", read.len(), before.len())
    })?;
    for (found, known) in read.iter().zip(before) {
        let fine = match found {
            Ok(found) => found == known,
            Err(_) => lost.contains(&known.position().get()),
        };
        hold(fine, "C4", || format!("at {}: {found:?}", known.position()))?;
    }
    Ok(lost)
}

/// C4: damage is typed, and says where.
pub fn c4_error_has_its_place(error: &Error) -> Check {
    let typed = matches!(error.kind(), ErrorKind::Damaged | ErrorKind::Unsupported);
    let placed = error.file().is_some() && error.offset().is_some();
    hold(typed && placed, "C4", || format!("{error:?}"))
}

/// C5, for a store whose append failed with `InDoubt`.
pub fn c5_fail_stop(store: &Store) -> Check {
    let late = NewEvent::binary("Late", "");
    match store.append("Late", Expect::Any, [late]) {
        Ok(answer) => hold(false, "C5", || format!("an append after a failure: {answer:?}"))?,
        Err(error) => hold(error.kind() == ErrorKind::Poisoned, "C5", || format!("{error:?}"))?,
    }
    let read: Result<Vec<_>, _> = store.read_all().into_iter().collect();
    read.map(drop).map_err(broken("C5"))
}

/// C6: everything that anybody was shown is there.
pub fn c6_seen_stays(found: &Found, record: &Record) -> Check {
    // In the weaker modes only what followers were shown is durable.
    let seen = if record.weak { record.followed } else { record.seen.max(record.followed) };
    let now = found.last();
    hold(now >= seen, "C6", || format!("position {seen} was shown, the log ends at {now}"))
}

/// C7: a recovery that was interrupted comes to what an uninterrupted one came to.
pub fn c7_same_log(found: &Found, record: &Record) -> Check {
    let now = found.last();
    let fine = record.exactly.is_none_or(|wanted| wanted == now);
    hold(fine, "C7", || format!("recovery came to {:?} events before, now {now}", record.exactly))
}

/// C8: whatever it meets, it answers.
pub fn c8_answers<T>(run: impl FnOnce() -> Check<T>) -> Check<T> {
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string));
        Err(Broken { clause: "C8", what: text.unwrap_or_else(|| "a panic".to_owned()) })
    })
}

/// C9: while a store is open for writing on `disk`, nobody else gets it, and nothing is touched.
pub fn c9_one_writer(disk: &SimDisk, how: &Options) -> Check {
    let before = (disk.operations(), disk.fingerprint());
    let second = how.clone().open_on(Arc::new(disk.clone()));
    let kind = second.as_ref().map(drop).map_err(Error::kind);
    hold(kind == Err(ErrorKind::Locked), "C9", || format!("a second opening: {kind:?}"))?;
    let after = (disk.operations(), disk.fingerprint());
    hold(before == after, "C9", || "a second opening changed something".to_owned())
}

/// C10: sends every batch again; the stored ones are answered as before, the lost ones are stored
/// once.
pub fn c10_sent_again_is_stored_once(store: &Store, record: &mut Record, whole: usize) -> Check {
    let mut first = 1;
    for (at, submitted) in record.batches.iter_mut().enumerate() {
        // What a checkpoint said then is no longer to be sent.
        submitted.carried = None;
        let answer = submitted.commit(store).map_err(broken("C10"))?;
        let fine = answer.already == (at < whole) && answer.first.get() == first;
        hold(fine, "C10", || format!("batch {at} of {whole} sent again: {answer:?}"))?;
        first += submitted.events.len() as u64;
        submitted.answer = Some(answer);
    }
    let last = store.last_position().get();
    hold(last == first - 1, "C10", || format!("{last} events after {} were sent", first - 1))
}

/// C11: opening read-only, reading and closing change nothing. Answers what was shown, if there is
/// a store.
pub fn c11_read_only_writes_nothing(disk: &SimDisk, how: &Options) -> Check<Option<u64>> {
    let before = (disk.operations(), disk.fingerprint());
    let seen = match how.clone().open_read_only_on(Arc::new(disk.clone())) {
        Ok(store) => {
            let report = store.open_report();
            hold(report.damage.is_empty(), "C4", || format!("read-only: {:?}", report.damage))?;
            let read = store.read_all().hidden(Hidden::Mark).to_vec();
            let read = read.map_err(broken("C4"))?.len() as u64;
            Some(store.first_position().get() - 1 + read)
        }
        Err(error) => {
            // Before the first head has its name there is nothing to open.
            let none_yet = !disk.file_names().iter().any(|name| name.starts_with("head-"));
            hold(none_yet, "C4", || format!("read-only: {error:?}"))?;
            None
        }
    };
    let after = (disk.operations(), disk.fingerprint());
    hold(before == after, "C11", || "a read-only store changed something".to_owned())?;
    Ok(seen)
}

/// C12: the report agrees with the log, what is set aside is kept, and a clean end is one.
pub fn c12_report(store: &Store, disk: &SimDisk, found: &Found, record: &Record) -> Check {
    let report = store.open_report();
    let told = || format!("{report:?}");
    hold(report.events == found.events.len() as u64, "C12", told)?;
    hold(!report.verdict.is_empty() && report.segments > 0, "C12", told)?;
    hold(report.damage.is_empty(), "C4", told)?;
    for aside in &report.set_aside {
        let kept = disk.read_file(&aside.kept_in).map(|bytes| bytes.len() as u64);
        hold(kept == Some(aside.bytes), "C12", || format!("{kept:?}, {}", told()))?;
    }
    let nothing_lost = report.frames_set_aside == 0 || !report.set_aside.is_empty();
    hold(nothing_lost, "C12", told)?;
    match record.ending {
        _ if record.weak => Ok(()),
        Ending::Closed => hold(report.clean, "C12", told),
        Ending::Open => hold(!report.clean, "C12", told),
        Ending::Unknown => Ok(()),
    }
}

/// The clauses that can be checked by looking. After a power cut a store in a weaker mode keeps
/// only C2, C3, C4 and C12. Answers what there is, and how many batches that is.
pub fn look(store: &Store, disk: &SimDisk, record: &Record, power: bool) -> Check<(Found, usize)> {
    let found = found(store, record)?;
    let whole = c2_prefix(&found, record)?;
    c3_nothing_is_invented(&found, record)?;
    c4_gone_where_hidden(&found, record)?;
    if !(record.weak && power) {
        c1_acknowledged_is_there(&found, record, whole)?;
    }
    c6_seen_stays(&found, record)?;
    c7_same_log(&found, record)?;
    c12_report(store, disk, &found, record)?;
    Ok((found, whole))
}

/// Every clause that a store after a crash can be asked about; writes to it.
pub fn examine(
    store: &Store,
    disk: &SimDisk,
    how: &Options,
    (record, power): (&Record, bool),
) -> Check {
    let mut record = record.clone();
    let (found, whole) = look(store, disk, &record, power)?;
    c9_one_writer(disk, how)?;
    // Every way of asking agrees with every other.
    let answers = c8_answers(|| crate::rig::answers(store).map_err(broken("C4")))?;
    hold(answers.all == found.events, "C3", || "the answers differ from the log".to_owned())?;
    let damage = store.verify().map_err(broken("C4"))?.damage;
    hold(damage.is_empty(), "C4", || format!("verify: {damage:?}"))?;
    c10_sent_again_is_stored_once(store, &mut record, whole)?;
    let watched = disk.after_kill();
    let seen = c11_read_only_writes_nothing(&watched, how)?;
    let last = store.last_position().get();
    let fine = seen == Some(last) || (record.weak && seen < Some(last));
    hold(fine, "C6", || format!("a follower sees {seen:?} of {last}"))
}

/// After a mere crash every store opens.
pub fn unopened(error: &Error, record: &Record) -> Broken {
    let clause = if record.exactly.is_some() { "C7" } else { "C4" };
    Broken { clause, what: format!("it does not open: {error:?}") }
}

/// What was in doubt is stored or lost from now on, and what is there has been shown.
pub fn settle(store: &Store, record: &mut Record) -> Check {
    let found = found(store, record)?;
    let whole = c2_prefix(&found, record)?;
    c3_nothing_is_invented(&found, record)?;
    c4_gone_where_hidden(&found, record)?;
    if !record.weak {
        c1_acknowledged_is_there(&found, record, whole)?;
    }
    c6_seen_stays(&found, record)?;
    c7_same_log(&found, record)?;
    record.batches.truncate(whole);
    for submitted in &mut record.batches {
        // Sending it again is the way to learn what it was answered.
        if submitted.answer.is_none() {
            let carried = submitted.carried.take();
            submitted.answer = Some(submitted.commit(store).map_err(broken("C10"))?);
            submitted.carried = carried;
        }
    }
    // Recovery has synced what it serves, in every mode.
    record.seen = found.last();
    record.firsts = vec![found.before + 1];
    record.firsts_acknowledged = 1;
    record.followed = record.seen;
    record.checkpoints = found.checkpoint.into_iter().collect();
    record.checkpoints_acknowledged = record.checkpoints.len();
    record.settings = found.settings.into_iter().collect();
    record.settings_acknowledged = record.settings.len();
    for (stream, known) in &mut record.truncated {
        known.before = found.truncated.get(stream).copied().flatten().into_iter().collect();
        known.acknowledged = known.before.len();
    }
    let gone = found.events.iter().filter(|event| event.reclaimed().is_some());
    record.stubs = gone.map(|event| event.position().get()).collect();
    for (stream, (versions, known)) in &mut record.snapshots {
        *versions = found.snapshots.get(stream).copied().flatten().into_iter().collect();
        *known = versions.len();
    }
    record.exactly = None;
    Ok(())
}
