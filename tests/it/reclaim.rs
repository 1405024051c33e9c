//! Segments written anew without the data of some of their events: what is left answers as
//! before, what was taken away says so, and a crash or a failure at any step leaves the old or the
//! new file.

use std::collections::BTreeSet;
use std::fs;
use std::sync::Arc;

use factlog::disk::{Fault, FaultCall, FaultKind, SimDisk};
use factlog::{
    Durability, ErrorKind, EventRef, Expect, Hidden, HiddenReason, NewEvent, Position, Query,
    RecordedEvent, Retention, Source, Start, Store, StreamState, Version,
};

use crate::rig::{cases, event, id, open, options, read_only, save_snapshot};

/// Five segments; every kind of frame and record is in those that can be rewritten.
fn filled(disk: &SimDisk) -> Store {
    let store = open(disk).unwrap();
    for number in 0..52 {
        let stream = ["A-1", "A-2", "B-1"][number as usize % 3];
        let size = [900, 40, 2_000][number as usize / 3 % 3];
        store.append(stream, Expect::Any, [event(number, size)]).unwrap();
        if number == 9 {
            let batch = store.batch().append("A-1", Expect::Any, [event(100, 300), event(101, 5)]);
            let batch = batch.append("Solo", Expect::Any, [event(102, 5)]);
            batch.checkpoint("carried", Position::new(4)).commit().unwrap();
            save_snapshot(&store, "A-1", 2);
        }
    }
    assert!(store.stats().segments >= 4, "{:?}", store.stats());
    store
}

/// The stores that are rewritten below: closed once, so that there is a closed frame within.
fn before() -> (SimDisk, Vec<RecordedEvent>) {
    let disk = SimDisk::new(3);
    filled(&disk).close().unwrap();
    let store = open(&disk).unwrap();
    for number in 60..70 {
        store.append("B-1", Expect::Any, [event(number, 1_500)]).unwrap();
    }
    let all = store.read_all().to_vec().unwrap();
    store.close().unwrap();
    (disk, all)
}

/// What goes: a stream up to a version, and some of another.
fn verdict(event: &EventRef<'_>) -> Option<HiddenReason> {
    match event.stream() {
        "A-1" if event.version() <= Version::new(14) => Some(HiddenReason::Truncated),
        "B-1" if event.version().get().is_multiple_of(3) => Some(HiddenReason::Expired),
        "Solo" => Some(HiddenReason::Tombstoned),
        _ => None,
    }
}

fn positions(read: factlog::Read) -> Vec<u64> {
    read.into_iter().map(|event| event.unwrap().position().get()).collect()
}

/// Every answer of the store is that of before, but for events whose data is gone, and those are
/// ones that may be. Answers which: they are those that the log says.
fn check(store: &Store, before: &[RecordedEvent], what: &str) -> BTreeSet<u64> {
    let gone = check_served(store, before, what);
    assert_eq!(store.verify().unwrap().reclaimed, gone.len() as u64, "{what}");
    gone
}

/// The same of a store that may still read what it has written anew.
fn check_served(store: &Store, before: &[RecordedEvent], what: &str) -> BTreeSet<u64> {
    let mut gone = BTreeSet::new();
    assert_eq!(store.last_position().get(), before.len() as u64, "{what}");
    for event in before {
        let asked = [
            store.event_at(event.position()),
            store.event(event.id()),
            store.stream_event(event.stream(), event.version()),
        ];
        let kept = asked.iter().filter(|found| matches!(found, Ok(Some(e)) if e == event)).count();
        if kept == asked.len() {
            continue;
        }
        let why = verdict(&event.as_ref());
        assert!(why.is_some(), "{what}: {event:?} was to stay: {asked:?}");
        for error in asked.map(|found| found.unwrap_err()) {
            assert_eq!(error.kind(), ErrorKind::Deleted, "{what}: {error:?}");
            assert_eq!(error.stream(), Some(event.stream()));
            assert_eq!(error.version(), Some(event.version()));
            assert_eq!(error.position(), Some(event.position()));
            assert_eq!(error.event_id(), Some(event.id()));
            assert!(error.message().contains("reclaimed"), "{error}");
        }
        gone.insert(event.position().get());
    }
    let kept = |wanted: &dyn Fn(&RecordedEvent) -> bool| -> Vec<u64> {
        let kept = before.iter().filter(|event| wanted(event));
        kept.map(|e| e.position().get()).filter(|position| !gone.contains(position)).collect()
    };
    assert_eq!(positions(store.read_all()), kept(&|_| true), "{what}");
    let mut backward = positions(store.read_all().backward());
    backward.reverse();
    assert_eq!(backward, kept(&|_| true), "{what}");
    for stream in ["A-1", "A-2", "B-1", "Solo"] {
        let of_stream = |event: &RecordedEvent| event.stream() == stream;
        assert_eq!(positions(store.read_stream(stream)), kept(&of_stream), "{what}: {stream}");
        let last = before.iter().rfind(|event| of_stream(event)).unwrap();
        let head = store.head(stream).unwrap().unwrap();
        assert_eq!((head.version, head.last_position), (last.version(), last.position()), "{what}");
    }
    let in_a = |event: &RecordedEvent| event.category() == Some("A");
    assert_eq!(positions(store.read_category("A")), kept(&in_a), "{what}");
    let tagged = |event: &RecordedEvent| event.tags().any(|tag| tag == "mod:1");
    assert_eq!(positions(store.read(Query::tags(["mod:1"]))), kept(&tagged), "{what}");
    let paid = |event: &RecordedEvent| event.event_type() == "Paid";
    assert_eq!(positions(store.read(Query::types(["Paid"]))), kept(&paid), "{what}");
    let flow = |event: &RecordedEvent| event.correlation() == Some("flow-1");
    assert_eq!(positions(store.read(Query::correlation("flow-1"))), kept(&flow), "{what}");
    assert_eq!(store.checkpoint("carried").unwrap(), Some(Position::new(4)), "{what}");
    assert!(store.snapshot("A-1", "state").unwrap().is_some(), "{what}: its event keeps its id");
    let report = store.verify().unwrap();
    assert!(report.damage.is_empty() && report.torn.is_none(), "{what}: {report:?}");
    assert_eq!(report.events, before.len() as u64, "{what}");
    assert!(report.reclaimed >= gone.len() as u64, "{what}: {report:?}");
    gone
}

/// What a whole reclamation takes: everything it may, but in the newest segment.
fn all_of_it(before: &[RecordedEvent], from: u64) -> BTreeSet<u64> {
    let going = before.iter().filter(|event| verdict(&event.as_ref()).is_some());
    going.map(|event| event.position().get()).filter(|position| *position < from).collect()
}

/// The first position of the segment that is written.
fn newest(disk: &SimDisk) -> u64 {
    let names = disk.file_names().into_iter().filter(|name| name.ends_with(".seg"));
    let mut used =
        names.filter_map(|name| disk.read_file(&name)).filter(|b| b.get(4096) == Some(&b'F'));
    u64::from_le_bytes(used.next_back().unwrap()[4096 + 16..4096 + 24].try_into().unwrap())
}

#[test]
fn what_is_reclaimed_is_gone_and_everything_else_as_before() {
    let (disk, before) = before();
    let store = open(&disk).unwrap();
    let report = store.reclaim_where(verdict).unwrap();
    let gone = check(&store, &before, "reclaimed");
    assert_eq!(gone, all_of_it(&before, newest(&disk)));
    assert_eq!(report.events, gone.len() as u64);
    assert!(report.rewritten.len() >= 3 && report.left == 0, "{report:?}");
    assert!(report.rewritten.iter().all(|segment| segment.bytes_after < segment.bytes_before));
    // Nothing of the data is in any file of the log.
    for event in before.iter().filter(|event| gone.contains(&event.position().get())) {
        for name in disk.file_names() {
            let bytes = disk.read_file(&name).unwrap();
            let data = event.data();
            assert!(!bytes.windows(data.len()).any(|part| part == data), "{event:?} in {name}");
        }
    }
    // There is nothing more to take.
    let again = store.reclaim_where(verdict).unwrap();
    assert_eq!((again.events, again.rewritten.len()), (0, 0));
    // An id that was stored is known for ever.
    let first = &before[0];
    let retry = store.append(first.stream(), Expect::NoStream, [event(0, 900)]).unwrap();
    assert!(retry.already);
    assert_eq!(retry.last, first.position());
    store.append("A-1", Expect::Any, [event(900, 5)]).unwrap();
    drop(store);
    let before = { before.into_iter().chain([last(&disk)]).collect::<Vec<_>>() };
    for how in [options(), options().rebuild_index(true), options().map_segments(false)] {
        let store = how.open_on(Arc::new(disk.copy())).unwrap();
        assert_eq!(check(&store, &before, "opened again"), gone);
    }
    assert_eq!(check(&read_only(&disk.copy()).unwrap(), &before, "read-only"), gone);
}

fn last(disk: &SimDisk) -> RecordedEvent {
    let store = open(&disk.copy()).unwrap();
    store.read_all().backward().limit(1).to_vec().unwrap().remove(0)
}

/// Whoever has a view goes on reading what it showed.
#[test]
fn a_reader_that_began_before_reads_on() {
    for map in [true, false] {
        let (disk, before) = before();
        let store = options().map_segments(map).open_on(Arc::new(disk)).unwrap();
        let mut read = store.read_all().into_iter();
        let first = read.next().unwrap().unwrap();
        assert!(store.reclaim_where(verdict).unwrap().events > 0);
        let rest: Vec<_> = read.map(Result::unwrap).collect();
        assert_eq!(rest, before[1..]);
        assert_eq!(first, before[0]);
    }
}

/// Conditions look at contents, and what is left has none: a boundary decides on what can be read.
#[test]
fn a_condition_does_not_match_what_is_left() {
    let (disk, _) = before();
    let store = open(&disk).unwrap();
    let solo = || Query::types(["Placed"]).tag("mod:2");
    let refused = store.batch().fails_if_exists(Query::correlation("flow-0"));
    let refused = refused.append("New-1", Expect::Any, [event(800, 5)]).commit().unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::AlreadyExists);
    store.reclaim_where(|_| Some(HiddenReason::Deleted)).unwrap();
    let left = store.read(solo()).count().unwrap();
    let batch = store.batch().fails_if_exists(solo());
    let done = batch.append("New-1", Expect::Any, [event(801, 5)]).commit();
    assert_eq!(done.is_ok(), left == 0, "{done:?}");
    // By type alone the stubs are candidates, and still no match.
    let newest = newest(&disk);
    let types = || Query::types(["Placed", "Paid", "Sent"]);
    let seen = store.read(types()).to_vec().unwrap();
    assert!(seen.iter().all(|event| event.position().get() >= newest));
    let first = seen[0].position();
    let error = store.batch().condition(types(), Position::START);
    let error = error.append("New-1", Expect::Any, [event(802, 5)]).commit().unwrap_err();
    assert_eq!(error.position(), Some(first));
}

/// A subscription passes over what is gone, and checkpoints at it go on.
#[test]
fn subscriptions_go_past_what_is_gone() {
    let (disk, before) = before();
    let store = open(&disk).unwrap();
    store.save_checkpoint("reader", before[0].position()).unwrap();
    let gone_all = |_: &EventRef<'_>| Some(HiddenReason::BeyondKeepLast);
    store.reclaim_where(gone_all).unwrap();
    let start = Start::Checkpoint("reader".into());
    let mut all = store.subscribe(Source::All).start(start).unwrap();
    let mut seen = Vec::new();
    while let Some(delivery) = all.try_next().unwrap() {
        if let factlog::Delivery::Event(event) = delivery {
            seen.push(event.position().get());
        }
    }
    assert_eq!(seen, (newest(&disk)..=before.len() as u64).collect::<Vec<_>>());
    assert_eq!(all.position(), store.last_position());
}

/// What is left of an event is never larger than the event was; without contents it stays.
#[test]
fn small_events_do_not_make_a_segment_grow() {
    let disk = SimDisk::new(1);
    let store = open(&disk).unwrap();
    for number in 0..200 {
        let data = vec![b'x'; number as usize % 5];
        let small = NewEvent::binary("T", data).id(id(number));
        store.append("S", Expect::Any, [small]).unwrap();
    }
    let upto = newest(&disk);
    assert!(upto > 90, "{upto}");
    let report = store.reclaim_where(|_| Some(HiddenReason::Expired)).unwrap();
    assert_eq!(report.events, (1..upto).filter(|p| (p - 1) % 5 != 0).count() as u64);
    assert!(report.rewritten.iter().all(|s| s.bytes_after <= s.bytes_before), "{report:?}");
    assert!(store.verify().unwrap().clean || store.verify().unwrap().damage.is_empty());
    let bare = store.event_at(Position::new(1)).unwrap().unwrap();
    assert_eq!((bare.data(), bare.reclaimed()), (b"".as_slice(), None));
}

/// A rewrite gives back what alignment filled up, too; the chain goes on through emptied fillers.
#[test]
fn fillers_are_emptied() {
    let disk = SimDisk::new(1);
    let how = options().align_commit(true).segment_bytes(64 << 10);
    let store = how.clone().open_on(Arc::new(disk.clone())).unwrap();
    for number in 0..40 {
        store.append("A-1", Expect::Any, [event(number, 50)]).unwrap();
    }
    let before = store.read_all().to_vec().unwrap();
    let report =
        store.reclaim_where(|e| (e.position().get() == 2).then_some(HiddenReason::Expired));
    let report = report.unwrap();
    assert_eq!(report.events, 1);
    assert!(report.rewritten[0].bytes_after < 16 << 10, "{report:?}");
    assert!(store.verify().unwrap().damage.is_empty());
    store.close().unwrap();
    let store = how.open_on(Arc::new(disk)).unwrap();
    let now = store.read_all().to_vec().unwrap();
    assert_eq!(now.len(), 39);
    assert_eq!((&now[0], &now[1..]), (&before[0], &before[2..]));
}

/// The stores that are cut and broken below.
fn crashed_and_left(disk: &SimDisk, seeds: u64) -> Vec<(String, SimDisk)> {
    let cuts = (0..seeds).map(|seed| (format!("cut with {seed}"), disk.after_power_cut(seed)));
    let killed = [
        ("killed".to_owned(), disk.after_kill()),
        ("killed, then cut".to_owned(), disk.after_kill().after_power_cut(1)),
    ];
    cuts.chain(killed).collect()
}

/// Opened after a crash: every event is there or reclaimed, none is damaged, whatever index
/// answers; the same reclamation comes to its end.
fn survives(left: &SimDisk, before: &[RecordedEvent], what: &str) {
    let one = open(&left.copy()).unwrap_or_else(|error| panic!("{what}: {error:?}"));
    let gone = check(&one, before, what);
    drop(one);
    let from_log = options().rebuild_index(true).open_on(Arc::new(left.copy())).unwrap();
    assert_eq!(check(&from_log, before, what), gone, "{what}: from the log alone");
    drop(from_log);
    assert_eq!(check(&read_only(&left.copy()).unwrap(), before, what), gone, "{what}: read-only");
    let store = open(left).unwrap();
    store.reclaim_where(verdict).unwrap();
    let whole = all_of_it(before, newest(left));
    assert_eq!(check(&store, before, &format!("{what}, and again")), whole);
    store.append("A-2", Expect::Any, [event(950, 20)]).unwrap();
    store.close().unwrap();
    assert!(open(left).unwrap().open_report().clean, "{what}");
}

#[test]
fn a_crash_at_any_operation_leaves_the_old_or_the_new_file() {
    let (base, before) = before();
    let mut operations = 0;
    loop {
        let disk = base.copy();
        let store = open(&disk).unwrap();
        disk.crash_at(disk.operations() + operations);
        let outcome = store.reclaim_where(verdict);
        if !disk.crashed() {
            outcome.unwrap();
            break;
        }
        assert_eq!(store.read_all().to_vec().map(|all| all.is_empty()).ok(), Some(false));
        for (how, left) in crashed_and_left(&disk, 4) {
            survives(&left, &before, &format!("operation {operations}, {how}"));
        }
        operations += 1;
    }
    // Per segment: make, write, set the size, sync, rename, sync the directory; and the sidecar.
    assert!(operations >= 3 * 9, "{operations} operations");
    println!("{operations} operations");
}

/// Every way in which a power cut may leave a rewrite that is under way, as far as they can be
/// counted: the rename without the bytes, the bytes without the rename, the new segment beside the
/// old sidecar.
#[test]
fn every_subset_of_what_is_pending_is_the_old_or_the_new_file() {
    let (base, before) = before();
    let mut states = 0;
    for operations in 0..12 {
        let disk = base.copy();
        let store = open(&disk).unwrap();
        disk.crash_at(disk.operations() + operations);
        let _ = store.reclaim_where(verdict);
        for subset in 0..disk.crash_states().unwrap_or(32).min(32) {
            let left = disk.after_power_cut_exact(subset);
            survives(&left, &before, &format!("operation {operations}, subset {subset}"));
            states += 1;
        }
    }
    assert!(states > 40, "{states}");
    println!("{states} states");
}

#[test]
fn any_call_may_fail_once_or_for_good() {
    let (base, before) = before();
    let kinds = [
        FaultKind::Os(5),
        FaultKind::Os(28),
        FaultKind::ShortWrite(28),
        FaultKind::FailedSyncDropsPages,
        FaultKind::FailedWriteback,
    ];
    // Every call in a campaign; every thirteenth, from another one on for each kind, without.
    let every = if cases(1) > 1 { 1 } else { 13 };
    let mut failures = 0;
    for (kind, from) in kinds.into_iter().zip(1..) {
        for nth in (from % every..).step_by(every as usize) {
            let disk = base.copy();
            let store = open(&disk).unwrap();
            disk.inject(Fault::once(FaultCall::Any, nth, kind));
            let faults = disk.faults();
            let told = store.reclaim_where(verdict).map_err(|error| error.kind()).err();
            let fired = disk.faults() < faults;
            one_failure(&disk, &store, (told, kind), &before, &format!("{kind:?}, call {nth}"));
            drop(store);
            if !fired {
                break;
            }
            failures += 1;
            let disk = base.copy();
            let store = open(&disk).unwrap();
            disk.inject(Fault::from(FaultCall::Any, nth, kind));
            let told = store.reclaim_where(verdict).map_err(|error| error.kind()).err();
            one_failure(&disk, &store, (told, kind), &before, &format!("{kind:?} from {nth} on"));
        }
    }
    assert!(failures > 1_000 / every, "{failures}");
    println!("{failures} failing calls, each once and for good");
}

fn one_failure(
    disk: &SimDisk,
    store: &Store,
    (told, kind): (Option<ErrorKind>, FaultKind),
    before: &[RecordedEvent],
    what: &str,
) {
    disk.clear_faults();
    let full = matches!(kind, FaultKind::Os(28) | FaultKind::ShortWrite(28));
    let fine = match told {
        None | Some(ErrorKind::Io | ErrorKind::InDoubt) => true,
        Some(ErrorKind::DiskFull) => full,
        Some(_) => false,
    };
    assert!(fine, "{what}: {told:?}");
    // Reading goes on, over the old file or the new; and so does writing, but for a store that is
    // not certain which of them has the name.
    check_served(store, before, what);
    let next = store.reclaim_where(verdict).map_err(|error| error.kind()).err();
    let poisoned = told == Some(ErrorKind::InDoubt);
    assert_eq!(next, poisoned.then_some(ErrorKind::Poisoned), "{what}");
    let hidden = [FaultKind::FailedSyncDropsPages, FaultKind::FailedWriteback].contains(&kind);
    for (how, left) in crashed_and_left(disk, 2) {
        // A directory that has lost names and does not say so again is beyond any program's help.
        if !(hidden && how.starts_with("killed")) {
            survives(&left, before, &format!("{what}, {how}"));
        }
    }
}

/// One flipped bit anywhere in what is left of a rewritten segment's log is damage, and told.
#[test]
fn every_flipped_bit_of_a_rewritten_segment_is_noticed() {
    let (disk, before) = before();
    let store = open(&disk).unwrap();
    let report = store.reclaim_where(verdict).unwrap();
    let gone = check(&store, &before, "reclaimed");
    store.close().unwrap();
    let segment = &report.rewritten[1];
    for at in 0..segment.bytes_after {
        let flipped = disk.copy();
        flipped.flip_bit(&segment.file, at, u32::try_from(at % 8).unwrap());
        let store = read_only(&flipped).unwrap();
        let found = store.verify();
        let damaged = found.as_ref().map_or(true, |report| !report.damage.is_empty());
        assert!(damaged, "byte {at}: {found:?}");
        if at % 16 != 0 {
            continue;
        }
        for event in &before {
            match store.event_at(event.position()) {
                Ok(found) => assert_eq!(found.as_ref(), Some(event), "byte {at}"),
                Err(error) if error.kind() == ErrorKind::Deleted => {
                    assert!(gone.contains(&event.position().get()), "byte {at}: {error:?}");
                }
                Err(error) => assert_eq!(error.kind(), ErrorKind::Damaged, "byte {at}"),
            }
        }
    }
    // What stands behind is dead, as behind every end.
    let dead = disk.copy();
    dead.flip_bit(&segment.file, segment.bytes_before - 1, 3);
    assert!(open(&dead).unwrap().verify().unwrap().damage.is_empty());
}

/// The segment before the tail is rewritten, and then the tail's end is torn, or a recovery makes
/// the tail again: its opening frame names an end that the file before it no longer has.
#[test]
fn recovery_goes_on_behind_a_rewritten_segment() {
    let (base, before) = before();
    for k in 0.. {
        let disk = base.copy();
        let store = open(&disk).unwrap();
        store.reclaim_where(verdict).unwrap();
        disk.crash_at(disk.operations() + k);
        let append = |number| store.append("A-2", Expect::Any, [event(number, 6_000)]);
        let stored = (300..304).take_while(|number| append(*number).is_ok()).count();
        let crashed = disk.crashed();
        for (how, left) in crashed_and_left(&disk, 3) {
            let store = open(&left).unwrap_or_else(|e| panic!("append {k}, {how}: {e:?}"));
            let now = store.read_all().to_vec().unwrap();
            let kept = before.iter().filter(|event| now.contains(event)).count();
            let gone = store.verify().unwrap().reclaimed;
            assert_eq!(kept as u64 + gone, before.len() as u64, "append {k}, {how}");
            for number in (300..304).take(stored) {
                assert!(now.iter().any(|event| event.id() == id(number)), "{number}, {k}, {how}");
            }
            assert!(store.verify().unwrap().damage.is_empty(), "append {k}, {how}");
            store.reclaim_where(verdict).unwrap();
            assert!(store.verify().unwrap().damage.is_empty(), "append {k}, {how}");
        }
        if !crashed {
            assert!(k > 10);
            break;
        }
    }
}

/// A copy on a real file system: both judge it alike, and the space is given back.
#[test]
fn the_independent_verifier_agrees_and_the_space_is_given_back() {
    let dir = tempfile::tempdir().unwrap();
    let store = options().segment_bytes(1 << 20).open(dir.path()).unwrap();
    for number in 0..40 {
        store.append("A-1", Expect::Any, [event(number, 70_000)]).unwrap();
    }
    let report = store.reclaim_where(|_| Some(HiddenReason::Deleted)).unwrap();
    assert!(report.events >= 20, "{report:?}");
    #[cfg(target_os = "linux")]
    assert!(report.allocated_after * 4 < report.allocated_before, "{report:?}");
    assert!(report.bytes > 20 * 70_000, "{report:?}");
    drop(store);
    let code = crate::verifier::judged(dir.path());
    assert!(code.is_none_or(|code| code == 0), "{code:?}");
    // A segment that is rewritten has the length that its successor names, so that whoever maps it
    // reads no further than the file goes.
    for segment in &report.rewritten {
        let length = fs::metadata(dir.path().join(&segment.file)).unwrap().len();
        assert!(length >= segment.bytes_before, "{segment:?}");
    }
}

/// Beside readers and appenders, in a store with threads of its own.
#[test]
fn a_reclamation_beside_appends_and_readers() {
    let dir = tempfile::tempdir().unwrap();
    let how = || Store::options().segment_bytes(64 << 10);
    let store = how().open(dir.path()).unwrap();
    let reader = how().open_read_only(dir.path()).unwrap();
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for number in 0..1_500_u64 {
                store.append("A-1", Expect::Any, [event(number, 700)]).unwrap();
            }
        });
        let follower = scope.spawn(|| {
            let mut all = reader.subscribe(Source::All).start(Start::Beginning).unwrap();
            let mut seen = 0;
            while seen < 1_500 {
                let patience = std::time::Duration::from_secs(20);
                match all.next_timeout(patience).unwrap() {
                    Some(factlog::Delivery::Event(event)) => {
                        // What was reclaimed before it was seen is passed over, and nothing else.
                        let position = event.position().get();
                        assert!((seen + 1..=position).all(|p| p == position || p % 2 == 0));
                        seen = position;
                    }
                    Some(_) => {}
                    None => panic!("nothing for {patience:?} after {seen}"),
                }
                if seen >= 1_499 {
                    break;
                }
            }
        });
        let even = |e: &EventRef<'_>| e.position().get().is_multiple_of(2);
        while !writer.is_finished() {
            store.reclaim_where(|e| even(e).then_some(HiddenReason::Expired)).unwrap();
            for event in store.read_all() {
                event.unwrap();
            }
        }
        writer.join().unwrap();
        follower.join().unwrap();
    });
    let report = store.verify().unwrap();
    assert!(report.damage.is_empty() && report.reclaimed > 100, "{report:?}");
    drop(store);
    let store = how().open(dir.path()).unwrap();
    // A sidecar may not have been made before the close; one that is there is the right one.
    let rebuilt = store.open_report().sidecars_rebuilt;
    assert!(rebuilt.iter().all(|sidecar| !sidecar.why.contains("other bytes")), "{rebuilt:?}");
    let read = store.read_all().count().unwrap();
    assert_eq!(read + report.reclaimed, 1_500);
}

/// One who only reads lets go of the old files, so that their space is given back, and their data
/// is gone for him too.
#[test]
fn a_follower_takes_up_what_was_rewritten() {
    let dir = tempfile::tempdir().unwrap();
    let how = || Store::options().segment_bytes(16 << 10);
    let store = how().open(dir.path()).unwrap();
    let reader = how().open_read_only(dir.path()).unwrap();
    for number in 0..30 {
        store.append("A-1", Expect::Any, [event(number, 2_000)]).unwrap();
    }
    let last = store.last_position();
    let patience = std::time::Instant::now();
    let waits = || {
        assert!(patience.elapsed().as_secs() < 60, "the reader does not see it");
        std::thread::sleep(std::time::Duration::from_millis(20));
    };
    while reader.last_position() < last {
        waits();
    }
    assert_eq!(reader.read_all().count().unwrap(), last.get());
    while store.reclaim_where(|_| Some(HiddenReason::Expired)).unwrap().left > 0 {
        waits();
    }
    let left = store.read_all().count().unwrap();
    assert!(left < 15, "{left}");
    while reader.read_all().count().unwrap() > left {
        waits();
    }
    let error = reader.event_at(Position::new(1)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Deleted);
    // It goes on with the newest segment, whose file is as it was.
    store.append("A-1", Expect::Any, [event(99, 10)]).unwrap();
    while reader.event(id(99)).unwrap().is_none() {
        waits();
    }
}

/// A store that is closed while somebody still asks what to reclaim is written no more: whoever has
/// it then, has it alone.
#[test]
fn a_store_that_was_closed_meanwhile_is_not_rewritten() {
    let (disk, before) = before();
    let store = open(&disk).unwrap();
    let mut closing = Some(store.clone());
    let ended = store.reclaim_where(|event| {
        if let Some(store) = closing.take() {
            store.close().unwrap();
        }
        verdict(event)
    });
    assert_eq!(ended.unwrap_err().kind(), ErrorKind::Closed);
    let names = disk.file_names();
    assert!(!names.iter().any(|name| name.ends_with(".tmp")), "{names:?}");
    let store = open(&disk).unwrap();
    assert!(check(&store, &before, "nothing was done").is_empty());
}

/// What streams' settings hide is what goes, for the reason that hides it; reads that mark what is
/// hidden still tell of it.
#[test]
fn what_settings_hide_is_what_is_reclaimed() {
    let (disk, before) = before();
    let store = open(&disk).unwrap();
    let keeps = |version| Retention::default().truncate_before(Version::new(version));
    store.retain("A-1", keeps(10)).unwrap();
    store.retain("B-1", Retention::default().keep_last(3)).unwrap();
    store.delete_stream("A-2", Expect::Any).unwrap();
    store.tombstone_stream("Solo", Expect::Any).unwrap();
    let shown: Vec<_> = store.read_all().hidden(Hidden::Exclude).to_vec().unwrap();
    let upto = newest(&disk);
    let report = store.reclaim().unwrap();
    assert_eq!(store.read_all().hidden(Hidden::Exclude).to_vec().unwrap(), shown);
    assert!(store.read_stream("A-2").to_vec().unwrap().is_empty());
    assert_eq!(store.last_event("A-2").unwrap(), None);
    let all = store.read_all().to_vec().unwrap();
    assert_eq!(all.len() as u64 + report.events, before.len() as u64);
    // What is hidden in the newest segment is still there.
    let mut still = all.iter().filter(|event| !shown.contains(event));
    assert!(still.all(|event| event.position().get() >= upto));
    let marked = store.read_all().hidden(Hidden::Mark).to_vec().unwrap();
    assert_eq!(marked.len(), before.len(), "every position is told of");
    for (event, known) in marked.iter().zip(&before) {
        assert_eq!((event.position(), event.id()), (known.position(), known.id()));
        let why = match (event.stream(), event.version().get()) {
            ("A-1", ..10) => Some(HiddenReason::Truncated),
            ("B-1", version)
                if version + 3 <= store.head("B-1").unwrap().unwrap().version.get() =>
            {
                Some(HiddenReason::BeyondKeepLast)
            }
            ("A-2", _) => Some(HiddenReason::Deleted),
            ("Solo", _) => Some(HiddenReason::Tombstoned),
            _ => None,
        };
        assert_eq!(event.hidden(), why, "{event:?}");
        assert!(event.reclaimed().is_none() || event.reclaimed() == why, "{event:?}");
        assert_eq!(event.reclaimed().is_some(), why.is_some() && event.position().get() < upto);
    }
    // The stream lives again, and its versions go on.
    let again = store.append("A-2", Expect::NoStream, [event(960, 5)]).unwrap();
    let last = before.iter().rfind(|event| event.stream() == "A-2").unwrap();
    assert_eq!(again.streams[0].first, last.version().next());
    assert_eq!(store.read_stream("A-2").count().unwrap(), 1);
    drop(store);
    let store = options().rebuild_index(true).open_on(Arc::new(disk)).unwrap();
    assert_eq!(store.read_all().hidden(Hidden::Exclude).count().unwrap(), shown.len() as u64 + 1);
}

/// In the weaker modes what hides an event may be taken back by a power cut, and the event with it
/// would be lost: what verdicts rest on is synced first.
#[test]
fn nothing_is_taken_for_what_a_power_cut_may_take_back() {
    let disk = SimDisk::new(7);
    let how = || options().durability(Durability::Os);
    let store = how().open_on(Arc::new(disk.clone())).unwrap();
    for number in 0..20 {
        store.append("A-1", Expect::Any, [event(number, 2_000)]).unwrap();
    }
    let before = store.read_all().to_vec().unwrap();
    store.delete_stream("A-1", Expect::Any).unwrap();
    assert!(store.reclaim().unwrap().events > 10);
    for seed in 0..20 {
        let left = how().open_on(Arc::new(disk.after_power_cut(seed))).unwrap();
        let state = left.stream_state("A-1").unwrap();
        assert!(matches!(state, StreamState::SoftDeleted(_)), "{state:?}, cut {seed}");
        assert_eq!(left.last_position().get(), before.len() as u64);
    }
}
