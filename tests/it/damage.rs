//! Read-only around damage: what is undamaged is served, what is lost is said.

use std::sync::Arc;

use factlog::disk::SimDisk;
use factlog::{ErrorKind, Expect, Options, Position, Recovery, Store, Version};

use crate::rig::{answers, event, open, options, read_only};

const HEADS: [&str; 2] = ["head-0", "head-1"];
/// Where the second frame of a segment begins.
const SECOND_FRAME: u64 = 4096 + 144;

fn segment(number: u64) -> String {
    format!("{number:020}.seg")
}

/// Three segments: streams A and B take turns, the last event is the only one of stream Z.
fn filled(how: &Options) -> SimDisk {
    let disk = SimDisk::new(1);
    let store = how.clone().open_on(Arc::new(disk.clone())).unwrap();
    for number in 0..24 {
        let stream = ["A-1", "B-1"][number as usize % 2];
        store.append(stream, Expect::Any, [event(number, 1100)]).unwrap();
    }
    store.append("B-1", Expect::Any, [event(24, 10)]).unwrap();
    store.append("Z-1", Expect::Any, [event(25, 10)]).unwrap();
    store.save_checkpoint("reader", Position::new(3)).unwrap();
    assert!(store.stats().segments >= 3, "{}", store.stats().segments);
    store.close().unwrap();
    disk
}

/// The newest segment that holds frames.
fn tail(disk: &SimDisk) -> String {
    let used = |name: &String| {
        let bytes = disk.read_file(name).unwrap();
        name.ends_with(".seg") && bytes[4096..].iter().any(|byte| *byte != 0)
    };
    disk.file_names().into_iter().rfind(used).unwrap()
}

fn spoil(disk: &SimDisk, names: &[&str]) {
    for name in names {
        disk.flip_bit(name, 33, 1);
    }
}

/// The positions a reader of everything is refused.
fn lost(store: &Store) -> Vec<u64> {
    let refused = |event: factlog::Result<factlog::RecordedEvent>| {
        let error = event.err()?;
        assert_eq!(error.kind(), ErrorKind::Damaged, "{error:?}");
        error.position().map(Position::get)
    };
    store.read_all().into_iter().filter_map(refused).collect()
}

#[test]
fn without_a_head_everything_is_served_read_only_and_the_loss_is_told() {
    let disk = filled(&options());
    let before = answers(&open(&disk.copy()).unwrap()).unwrap();
    for ruin in [
        |disk: &SimDisk| spoil(disk, &HEADS),
        |disk: &SimDisk| {
            HEADS.iter().for_each(|name| disk.remove_file(name));
        },
    ] {
        let disk = disk.copy();
        ruin(&disk);
        let reader = read_only(&disk).unwrap();
        assert_eq!(answers(&reader).unwrap(), before);
        let damage = &reader.open_report().damage;
        assert!(damage.len() == 1 && damage[0].file.starts_with("head-"), "{damage:?}");
        assert_eq!(open(&disk).unwrap_err().kind(), ErrorKind::Damaged, "writing is refused");
    }
}

#[test]
fn a_lost_head_is_made_anew_on_request() {
    let disk = filled(&options());
    let before = answers(&open(&disk.copy()).unwrap()).unwrap();
    spoil(&disk, &HEADS);
    let rebuild = options().recovery(Recovery::RebuildHead);
    let store = rebuild.open_on(Arc::new(disk.clone())).unwrap();
    assert!(store.open_report().notes.iter().any(|note| note.contains("not proved")));
    assert_eq!(answers(&store).unwrap(), before);
    store.append("A-1", Expect::Any, [event(100, 5000)]).unwrap();
    store.append("A-1", Expect::Any, [event(101, 9000)]).unwrap();
    store.close().unwrap();
    let store = open(&disk).unwrap();
    assert_eq!(store.last_position().get(), before.all.len() as u64 + 2);
    assert!(!store.append("A-1", Expect::Any, [event(102, 1)]).unwrap().already);
}

/// The epoch stood only in the lost head and in the frames: a new one must be above it, or frames
/// of the old writer that turn up later would be taken for the new one's.
#[test]
fn a_head_made_anew_begins_an_epoch_above_every_frame() {
    let disk = SimDisk::new(1);
    for number in 0..5 {
        let store = open(&disk).unwrap();
        store.append("A-1", Expect::Any, [event(number, 10)]).unwrap();
        store.close().unwrap();
    }
    disk.remove_file("live");
    spoil(&disk, &HEADS);
    let rebuild = || options().recovery(Recovery::RebuildHead);
    let store = rebuild().open_on(Arc::new(disk.clone())).unwrap();
    store.append("A-1", Expect::Any, [event(5, 10)]).unwrap();
    drop(store);
    let epochs = epochs(&disk.read_file(&segment(1)).unwrap());
    assert!(epochs.is_sorted() && epochs.last() > epochs.first(), "{epochs:?}");
    assert_eq!(open(&disk).unwrap().last_position().get(), 6);
}

/// Writer epochs of the frames of a segment, in order.
fn epochs(bytes: &[u8]) -> Vec<u32> {
    let number = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
    let (mut at, mut all) = (4096, Vec::new());
    while bytes.get(at..at + 4) == Some(b"FLFR") {
        all.push(number(at + 32));
        at += number(at + 4) as usize;
    }
    all
}

#[test]
fn rebuilding_the_head_is_refused_where_more_is_wrong() {
    let disk = filled(&options());
    spoil(&disk, &HEADS);
    disk.remove_file(&segment(2));
    let rebuild = options().recovery(Recovery::RebuildHead);
    let error = rebuild.open_on(Arc::new(disk)).unwrap_err();
    assert_eq!((error.kind(), error.file()), (ErrorKind::Damaged, Some(&*segment(2))));
}

#[test]
fn rebuilding_is_no_licence_where_the_head_is_sound() {
    let disk = filled(&options());
    disk.flip_bit(&tail(&disk), SECOND_FRAME + 20, 1);
    let rebuild = options().recovery(Recovery::RebuildHead);
    assert_eq!(rebuild.open_on(Arc::new(disk)).unwrap_err().kind(), ErrorKind::Damaged);
}

#[test]
fn a_foreign_segment_does_not_pass_for_the_store_without_a_head() {
    let (disk, other) = (filled(&options()), filled(&options()));
    disk.write_file(&segment(2), other.read_file(&segment(2)).unwrap());
    spoil(&disk, &HEADS);
    let reader = read_only(&disk).unwrap();
    let report = reader.open_report();
    assert!(report.damage.iter().any(|damage| damage.file == segment(2)), "{report:?}");
    assert!(!lost(&reader).is_empty());
}

#[test]
fn a_damaged_opening_frame_costs_a_reader_nothing_also_where_blocks_are_not_shared() {
    for how in [options(), options().align_commit(true)] {
        let disk = filled(&how);
        let before = answers(&open(&disk.copy()).unwrap()).unwrap();
        for number in 1..=3 {
            let disk = disk.copy();
            disk.flip_bit(&segment(number), 4096 + 70, 1);
            let reader = read_only(&disk).unwrap();
            assert_eq!(answers(&reader).unwrap(), before, "segment {number}");
            assert!(!reader.open_report().damage.is_empty());
        }
    }
}

#[test]
fn a_lost_first_sector_of_a_segment_costs_only_what_was_in_it() {
    for number in 1..=3 {
        let disk = filled(&options());
        let name = segment(number);
        let mut bytes = disk.read_file(&name).unwrap();
        bytes[4096..4096 + 512].fill(0);
        disk.write_file(&name, bytes);
        let reader = read_only(&disk).unwrap();
        let lost = lost(&reader);
        let served = reader.read_all().into_iter().filter(Result::is_ok).count();
        assert!((1..=2).contains(&lost.len()), "segment {number}: {lost:?}");
        assert_eq!(served + lost.len(), 26, "segment {number}");
    }
}

/// Recovery ended the segment before in its middle, and only the lost opening frame said where; the
/// frame behind it tells which frame was the last.
#[test]
fn a_segment_that_recovery_ended_is_served_whole_when_the_next_opening_frame_is_lost() {
    let disk = torn_after_three();
    let store = open(&disk).unwrap();
    store.append("A-1", Expect::Any, [event(3, 1500)]).unwrap();
    store.close().unwrap();
    let before = answers(&open(&disk.copy()).unwrap()).unwrap();
    disk.flip_bit(&segment(2), 4096 + 70, 1);
    assert_eq!(answers(&read_only(&disk).unwrap()).unwrap(), before);
}

/// Three events that were acknowledged, and a part of a batch that was not.
fn torn_after_three() -> SimDisk {
    let disk = SimDisk::new(1);
    let store = open(&disk).unwrap();
    for number in 0..3 {
        store.append("A-1", Expect::Any, [event(number, 10)]).unwrap();
    }
    disk.crash_at(disk.operations() + 1);
    store.append("A-1", Expect::Any, [event(90, 10), event(91, 10)]).unwrap_err();
    drop(store);
    let torn = disk.after_kill();
    let mut bytes = torn.read_file(&segment(1)).unwrap();
    let used = bytes.iter().rposition(|byte| *byte != 0).unwrap();
    bytes[used - 30..].fill(0);
    torn.write_file(&segment(1), bytes);
    torn
}

/// Recovery ends a segment before what was torn and uses those positions again. When the successor
/// is lost, nobody says so any more: the torn events were served in their place.
#[test]
fn torn_events_do_not_come_back_when_the_next_segment_is_lost() {
    let torn = torn_after_three();
    let whole = torn.read_file(&segment(1)).unwrap();
    let store = open(&torn).unwrap();
    for number in 3..20 {
        store.append("A-1", Expect::Any, [event(number, 1500)]).unwrap();
    }
    store.close().unwrap();
    let cut = torn.read_file(&segment(1)).unwrap().len();
    // The cut was lost in a power cut, and later the second segment.
    assert!(cut <= whole.len());
    torn.write_file(&segment(1), whole);
    torn.remove_file(&segment(2));
    let reader = read_only(&torn).unwrap();
    for served in reader.read_all().into_iter().flatten() {
        let number = u128::from(served.position().get()) - 1;
        assert_eq!(served.id().as_u128(), 0x5EED_0000 + number, "served at {number}");
    }
}

#[test]
fn a_head_that_may_be_higher_is_not_told_as_known() {
    let disk = filled(&options());
    // The frame of the last event of stream B.
    let name = tail(&disk);
    let bytes = disk.read_file(&name).unwrap();
    let at = bytes.windows(3).rposition(|window| window == b"B-1").unwrap();
    disk.flip_bit(&name, at as u64, 0);
    let reader = read_only(&disk).unwrap();
    let lost = lost(&reader);
    assert_eq!(lost.len(), 1);
    for stream in ["A-1", "B-1", "Never-1"] {
        for error in [
            reader.head(stream).map(drop).unwrap_err(),
            reader.last_event(stream).map(drop).unwrap_err(),
        ] {
            assert_eq!(error.kind(), ErrorKind::Damaged, "{stream}");
        }
    }
    let last = reader.head("Z-1").unwrap().unwrap();
    assert_eq!(last.version, Version::new(1), "nothing is lost behind it");
    assert!(last.last_position.get() > lost[0]);
}

#[test]
fn damage_that_cost_no_event_leaves_no_doubt() {
    let disk = filled(&options());
    disk.flip_bit(&segment(2), 20, 1);
    let reader = read_only(&disk).unwrap();
    assert!(!reader.open_report().damage.is_empty());
    assert_eq!(reader.head("Never-1").unwrap(), None);
    assert_eq!(reader.head("B-1").unwrap().unwrap().version, Version::new(13));
}

/// One head of a record says how long it is and so where the next begins.
#[test]
fn a_damaged_event_in_a_large_batch_costs_only_itself() {
    let disk = SimDisk::new(1);
    let store = open(&disk).unwrap();
    let events: Vec<_> = (0..6).map(|number| event(number, 100)).collect();
    store.append("A-1", Expect::Any, events).unwrap();
    store.append("A-1", Expect::Any, [event(6, 100)]).unwrap();
    store.close().unwrap();
    let bytes = disk.read_file(&segment(1)).unwrap();
    let number = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
    // Behind the mark of the opening stands the frame of the batch.
    let mut at = SECOND_FRAME as usize + 64 + 64;
    for position in 1..=6 {
        let hit = disk.copy();
        hit.flip_bit(&segment(1), at as u64 + 9, 2);
        assert_eq!(lost(&read_only(&hit).unwrap()), [position], "the record at {at}");
        at += 40 + number(at + 4).next_multiple_of(8);
    }
}

/// A store, and two histories that it goes on to, as a copied directory makes them.
fn two_histories() -> (SimDisk, [SimDisk; 2]) {
    let before = filled(&options());
    let histories = [100, 200].map(|first| {
        let disk = before.copy();
        let store = open(&disk).unwrap();
        for number in first..first + 30 {
            store.append("A-1", Expect::Any, [event(number, 1100)]).unwrap();
        }
        store.close().unwrap();
        disk
    });
    (before, histories)
}

/// Nothing else may pass for an empty directory, in which a store would be made.
#[test]
fn heads_that_do_not_check_and_nothing_else_are_no_empty_directory() {
    let disk = filled(&options());
    let whole = |name| disk.read_file(name).unwrap();
    for left in [&HEADS[..1], &HEADS[1..], &HEADS] {
        let alone = SimDisk::new(1);
        left.iter().for_each(|name| alone.write_file(name, whole(name)));
        spoil(&alone, left);
        let before = alone.file_names();
        for opened in [read_only(&alone), open(&alone)] {
            let error = opened.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Damaged, "{left:?}: {error}");
            assert!(error.file().is_some_and(|file| HEADS.contains(&file)), "{left:?}: {error}");
        }
        let kept = |name: &String| alone.file_names().contains(name);
        assert!(before.iter().all(kept), "{left:?}");
    }
}

/// One generation says that the store is still being made; the other, which may have said that it
/// is finished, is lost.
#[test]
fn an_unfinished_head_beside_a_damaged_one_is_damage() {
    let source = open(&filled(&options())).unwrap();
    let to = SimDisk::new(3);
    let mut ways = [0, 0];
    for nth in 0..60 {
        let disk = to.copy();
        disk.inject(factlog::disk::Fault::from(
            factlog::disk::FaultCall::Write,
            nth,
            factlog::disk::FaultKind::Os(5),
        ));
        let made = crate::branches::backup(&source, &disk);
        disk.clear_faults();
        if made.is_ok() {
            break;
        }
        let Some(head) = HEADS.into_iter().find(|name| disk.read_file(name).is_some()) else {
            continue;
        };
        let other = HEADS.into_iter().find(|name| *name != head).unwrap();
        let kind = |disk: &SimDisk| read_only(disk).err().map(|error| error.kind());
        if kind(&disk) != Some(ErrorKind::NotFound) {
            continue;
        }
        ways[0] += 1;
        disk.write_file(other, vec![7; 128]);
        ways[1] += u32::from(kind(&disk) == Some(ErrorKind::Damaged));
    }
    assert!(ways[0] > 0 && ways[0] == ways[1], "{ways:?}");
}

#[test]
fn a_base_of_another_history_is_not_taken_for_the_beginning_of_this_one() {
    let (_, [disk, other]) = two_histories();
    for disk in [&disk, &other] {
        let store = open(disk).unwrap();
        store.trim(factlog::Trim::keep_events(1).past_checkpoints()).unwrap();
        store.close().unwrap();
    }
    let bases = |disk: &SimDisk| {
        disk.file_names().into_iter().find(|name| name.ends_with(".base")).unwrap()
    };
    let base = bases(&disk);
    assert_eq!(bases(&other), base);
    disk.write_file(&base, other.read_file(&base).unwrap());
    let error = open(&disk).unwrap_err();
    assert_eq!((error.kind(), error.file()), (ErrorKind::Damaged, Some(&*tail(&disk))), "{error}");
    let report = read_only(&disk).unwrap();
    let damage = &report.open_report().damage;
    assert!(damage.iter().any(|damage| damage.what.contains("does not follow")), "{damage:?}");
}

#[test]
fn a_segment_of_another_history_is_not_read_as_the_next() {
    let (_, [disk, other]) = two_histories();
    let before = answers(&read_only(&disk).unwrap()).unwrap().all;
    let names: Vec<String> =
        disk.file_names().into_iter().filter(|name| name.ends_with(".seg")).collect();
    let mut exchanged = 0;
    for name in &names {
        let disk = disk.copy();
        let (ours, theirs) = (disk.read_file(name).unwrap(), other.read_file(name).unwrap());
        if ours == theirs || *name == tail(&disk) {
            // Of the newest nobody says how it ends.
            continue;
        }
        disk.write_file(name, theirs.clone());
        disk.remove_file(&name.replace(".seg", ".idx"));
        let told = open(&disk.copy()).unwrap_err();
        assert_eq!(told.kind(), ErrorKind::Damaged, "{name}: {told}");
        let store = read_only(&disk).unwrap();
        let read: Vec<_> = store.read_all().into_iter().collect();
        assert_eq!(read.len(), before.len(), "{name}");
        for event in read.iter().flatten() {
            assert_eq!(before[event.position().get() as usize - 1], *event, "{name}");
        }
        let found = store.verify().unwrap().damage;
        assert!(found.iter().any(|damage| damage.file == *name), "{found:?}");
        let position = |position: Option<Position>| position.unwrap().get();
        let spans = found
            .iter()
            .map(|damage| position(damage.first_position)..=position(damage.last_position));
        assert_eq!(spans.flatten().collect::<Vec<_>>(), lost(&store), "{name}");
        exchanged += 1;
    }
    assert!(exchanged >= 2, "{exchanged}");
}

/// A spare is empty; so is whatever lies after it, or it is no spare.
#[test]
fn something_behind_a_spare_segment_is_damage() {
    let (short, [disk, _]) = two_histories();
    let number: u64 = tail(&short)[..20].parse().unwrap();
    for (at, fill) in [(number + 1, 0), (number + 2, 0x55)] {
        let mut bytes = disk.read_file(&segment(at)).unwrap();
        bytes[4096..].fill(fill);
        short.write_file(&segment(at), bytes);
    }
    let error = open(&short).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Damaged);
    assert_eq!(error.file(), Some(&*segment(number + 2)), "{error}");
}

/// A newcomer's find: with the only segment cut behind its header, or zeros there, readers showed
/// an empty store and said nothing.
#[test]
fn the_only_segment_without_its_frames_is_no_empty_log() {
    let disk = SimDisk::new(1);
    let store = open(&disk).unwrap();
    for number in 0..5 {
        store.append("A-1", Expect::Any, [event(number, 100)]).unwrap();
    }
    store.close().unwrap();
    let whole = disk.read_file(&segment(1)).unwrap();
    let cut = |length: usize| whole[..length].to_vec();
    let zeros = [&whole[..4096], &vec![0; whole.len() - 4096]].concat();
    for left in [cut(4096), cut(4150), cut(4198), zeros] {
        for live in [true, false] {
            let disk = disk.copy();
            disk.write_file(&segment(1), left.clone());
            if !live {
                disk.remove_file("live");
            }
            let what = format!("{} bytes, live: {live}", left.len());
            assert_eq!(open(&disk.copy()).unwrap_err().kind(), ErrorKind::Damaged, "{what}");
            let store = read_only(&disk).unwrap();
            assert_eq!(store.open_report().damage.len(), 1, "{what}");
            // Without the live file nobody knows how many events there were.
            assert_eq!(lost(&store).len(), if live { 5 } else { 0 }, "{what}");
            let kind = |error: factlog::Error| error.kind();
            assert_eq!(store.head("A-1").map_err(kind), Err(ErrorKind::Damaged), "{what}");
        }
    }
}
