//! Backups, what is restored from them, and forks: that each is what it says and no more.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use factlog::disk::SimDisk;
use factlog::{
    BackupOptions, BackupReport, BranchOptions, BranchReport, ErrorKind, Expect, NewEvent,
    Position, RecordedEvent, RestoreTo, Result, Store, Timestamp, Version, restore_on,
};

use crate::rig::{NOW, SEGMENT, answers, event, id, open, options, read_only, sample};
use crate::support::tick;

pub fn backup(store: &Store, to: &SimDisk) -> Result<BackupReport> {
    store.backup_on(Arc::new(to.clone()), BackupOptions::default())
}

pub fn restore(from: &SimDisk, to: &SimDisk, what: RestoreTo) -> Result<BranchReport> {
    restore_on(Arc::new(from.clone()), Arc::new(to.clone()), what, BranchOptions::default())
}

pub fn fork(store: &Store, at: u64, to: &SimDisk) -> Result<BranchReport> {
    store.fork_on(Position::new(at), Arc::new(to.clone()), BranchOptions::default())
}

/// The batches of the rig's sample end at these positions.
const BATCHES: [u64; 11] = [1, 2, 3, 7, 8, 9, 10, 11, 12, 13, 16];

fn events(store: &Store) -> Vec<RecordedEvent> {
    store.read_all().into_iter().collect::<Result<_>>().unwrap()
}

#[test]
fn a_backup_is_the_store_and_nobody_appends_to_it() {
    let disk = SimDisk::new(1);
    let store = sample(&disk);
    let to = disk.directory("backup");
    let report = backup(&store, &to).unwrap();
    let said = (report.position.get(), report.segments, report.segments_copied);
    assert_eq!((said, report.checkpoints, report.snapshots), ((16, 3, 3), 1, 1));
    assert_eq!(report.last_recorded_at, Some(Timestamp::from_micros(NOW)));
    let copy = read_only(&to).unwrap();
    assert_eq!(answers(&copy).unwrap(), answers(&store).unwrap());
    assert!(copy.verify().unwrap().clean);
    drop(copy);
    let refused = open(&to).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Invalid);
    assert!(refused.to_string().contains("is a backup"), "{refused}");
    assert_eq!(to.file_names().iter().filter(|name| name.ends_with(".tmp")).count(), 0);
}

#[test]
fn a_second_backup_copies_what_is_new_alone() {
    let disk = SimDisk::new(1);
    let store = sample(&disk);
    let to = disk.directory("backup");
    backup(&store, &to).unwrap();
    let again = backup(&store, &to).unwrap();
    assert_eq!((again.segments_copied, again.bytes_copied, again.segments), (0, 0, 3));
    // The newest segment goes on, and others follow.
    for number in 20..40 {
        store.append("E-1", Expect::Any, [event(number, 2000)]).unwrap();
    }
    store.save_checkpoint("reader", Position::new(30)).unwrap();
    let segments = store.stats().segments;
    let planned =
        store.backup_on(Arc::new(to.clone()), BackupOptions::default().dry_run(true)).unwrap();
    assert_eq!(read_only(&to).unwrap().last_position().get(), 16, "a dry run writes nothing");
    let mut heard = Vec::new();
    let options = BackupOptions::default().progress(|done, all| heard.push((done, all)));
    let report = store.backup_on(Arc::new(to.clone()), options).unwrap();
    assert_eq!((report.segments, report.segments_copied), (segments, segments - 2));
    assert_eq!(planned.segments_copied, report.segments_copied);
    assert_eq!(planned.bytes_copied, report.bytes_copied);
    assert_eq!(heard.len() as u64, segments);
    assert_eq!(heard.last(), Some(&(report.bytes, report.bytes)));
    let copy = read_only(&to).unwrap();
    assert_eq!(answers(&copy).unwrap(), answers(&store).unwrap());
}

#[test]
fn a_backup_of_a_store_that_somebody_else_writes() {
    let disk = SimDisk::new(1);
    let store = sample(&disk);
    let reader = read_only(&disk).unwrap();
    let to = disk.directory("backup");
    assert_eq!(backup(&reader, &to).unwrap().position.get(), 16);
    store.append("E-1", Expect::Any, [event(20, 5)]).unwrap();
    // The reader has not looked since, but the directory has the event.
    assert_eq!(backup(&reader, &to).unwrap().position.get(), 17);
    assert_eq!(answers(&read_only(&to).unwrap()).unwrap(), answers(&store).unwrap());
}

#[test]
fn a_backup_of_nothing_is_a_backup() {
    let disk = SimDisk::new(1);
    let to = disk.directory("backup");
    let store = open(&disk).unwrap();
    let report = backup(&store, &to).unwrap();
    assert_eq!((report.position, report.last_recorded_at), (Position::START, None));
    assert_eq!(read_only(&to).unwrap().last_position(), Position::START);
    let restored = disk.directory("restored");
    restore(&to, &restored, RestoreTo::End).unwrap();
    open(&restored).unwrap().append("A", Expect::NoStream, [tick(1)]).unwrap();
    store.append("A", Expect::NoStream, [tick(2)]).unwrap();
    assert_eq!(backup(&store, &to).unwrap().position.get(), 1);
}

#[test]
fn a_backup_goes_nowhere_else_and_never_back() {
    let disk = SimDisk::new(1);
    let store = sample(&disk);
    let to = disk.directory("backup");
    backup(&store, &to).unwrap();
    let through = |position| {
        let options = BackupOptions::default().through(Position::new(position));
        store.backup_on(Arc::new(to.clone()), options)
    };
    for position in [9, 17] {
        let refused = through(position).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Invalid, "{refused}");
    }
    assert_eq!(through(16).unwrap().position.get(), 16);
    let other = disk.directory("other");
    let stranger = open(&other).unwrap();
    stranger.append("A-1", Expect::Any, [event(1, 5)]).unwrap();
    let refused = backup(&stranger, &to).unwrap_err();
    assert!(refused.to_string().contains("backup of store"), "{refused}");
    let refused = backup(&store, &other).unwrap_err();
    assert!(refused.to_string().contains("not a backup"), "{refused}");
    let foreign = disk.directory("foreign");
    foreign.write_file("notes.txt", b"mine".to_vec());
    let refused = backup(&store, &foreign).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Invalid, "{refused}");
    assert_eq!(foreign.file_names(), ["notes.txt"]);
    assert_eq!(answers(&read_only(&to).unwrap()).unwrap(), answers(&store).unwrap());
}

/// A store that was rolled back with its disk, and went on otherwise, has the same name: its backup
/// may be the only place where what was lost still is.
#[test]
fn a_backup_of_another_history_is_not_carried_on() {
    let disk = SimDisk::new(1);
    let store = sample(&disk);
    store.close().unwrap();
    let earlier = disk.copy();
    let store = open(&disk).unwrap();
    store.append("E-1", Expect::Any, [event(20, 5)]).unwrap();
    let to = disk.directory("backup");
    backup(&store, &to).unwrap();
    // The same files, as they were before, beside the backup as it is now.
    drop(store);
    for name in disk.file_names() {
        disk.remove_file(&name);
    }
    for name in earlier.file_names() {
        disk.write_file(&name, earlier.read_file(&name).unwrap());
    }
    let store = open(&disk).unwrap();
    let refused = backup(&store, &to).unwrap_err();
    assert!(refused.to_string().contains("up to position 17"), "{refused}");
    for number in 30..33 {
        store.append("E-1", Expect::Any, [event(number, 5)]).unwrap();
    }
    let refused = backup(&store, &to).unwrap_err();
    assert!(refused.to_string().contains("another history"), "{refused}");
    assert_eq!(read_only(&to).unwrap().event_at(Position::new(17)).unwrap().unwrap().id(), id(20));
}

#[test]
fn what_rots_in_a_backup_is_copied_again() {
    let disk = SimDisk::new(1);
    let store = sample(&disk);
    let whole = disk.directory("backup");
    backup(&store, &whole).unwrap();
    let segments: Vec<String> =
        whole.file_names().into_iter().filter(|name| name.ends_with(".seg")).collect();
    for name in &segments {
        for place in [20, 4096 + 20, 4096 + 200, 5000] {
            whole.flip_bit(name, place, 3);
            let report = backup(&store, &whole).unwrap();
            assert_eq!(report.segments_copied, 1, "{name} at {place}");
            assert!(read_only(&whole).unwrap().verify().unwrap().clean, "{name} at {place}");
        }
        whole.remove_file(name);
        assert!(backup(&store, &whole).unwrap().segments_copied >= 1);
        assert_eq!(answers(&read_only(&whole).unwrap()).unwrap(), answers(&store).unwrap());
    }
}

#[test]
fn a_damaged_store_is_not_backed_up_over_a_sound_backup() {
    let disk = SimDisk::new(1);
    let store = sample(&disk);
    let to = disk.directory("backup");
    backup(&store, &to).unwrap();
    let before = answers(&store).unwrap();
    let first = disk.file_names().into_iter().find(|name| name.ends_with(".seg")).unwrap();
    let fresh = disk.directory("fresh");
    disk.flip_bit(&first, 4096 + 200, 1);
    // What is sealed is not read again where the backup has it.
    let refused = backup(&store, &fresh).unwrap_err();
    assert_eq!((refused.kind(), refused.file()), (ErrorKind::Damaged, Some(first.as_str())));
    assert_eq!(read_only(&fresh).unwrap_err().kind(), ErrorKind::NotFound);
    backup(&store, &to).unwrap();
    assert_eq!(answers(&read_only(&to).unwrap()).unwrap(), before);
}

/// After a power cut that took the live marks, recovery copies batches that a backup has already
/// into the next segment, under other frame numbers; the backup follows.
#[test]
fn a_backup_follows_a_log_whose_end_a_recovery_has_moved() {
    let disk = SimDisk::new(1);
    let store = sample(&disk);
    let to = disk.directory("backup");
    for number in 20..24 {
        store.append("E-1", Expect::Any, [event(number, 50)]).unwrap();
    }
    backup(&store, &to).unwrap();
    // Everything acknowledged was synced, and nothing else survives.
    let disk = disk.after_power_cut_exact(0);
    let to = disk.directory("backup");
    let store = open(&disk).unwrap();
    assert!(store.open_report().frames_rescued > 0, "{:?}", store.open_report());
    let report = backup(&store, &to).unwrap();
    assert_eq!(report.position.get(), 20);
    assert_eq!(answers(&read_only(&to).unwrap()).unwrap(), answers(&store).unwrap());
    store.append("E-1", Expect::Any, [event(30, 50)]).unwrap();
    backup(&store, &to).unwrap();
    assert_eq!(answers(&read_only(&to).unwrap()).unwrap(), answers(&store).unwrap());
    assert!(read_only(&to).unwrap().verify().unwrap().clean);
}

#[test]
fn every_position_is_rounded_down_to_a_whole_batch() {
    let disk = SimDisk::new(1);
    let store = sample(&disk);
    let all = events(&store);
    let full = disk.directory("backup");
    backup(&store, &full).unwrap();
    for asked in 0..=16 {
        let ends = BATCHES.into_iter().filter(|end| *end <= asked).max().unwrap_or(0);
        let wanted = &all[..ends as usize];
        let made = disk.directory(&format!("fork-{asked}"));
        let report = fork(&store, asked, &made).unwrap();
        assert_eq!((report.position.get(), report.origin), (ends, all_of(&store)), "{asked}");
        let (forked, restored) = (open(&made).unwrap(), disk.directory(&format!("back-{asked}")));
        assert_eq!(answers(&forked).unwrap().all, wanted, "fork at {asked}");
        assert!(forked.verify().unwrap().clean);
        let to = RestoreTo::Position(Position::new(asked));
        let report = restore(&full, &restored, to).unwrap();
        assert_eq!((report.position.get(), report.segments_linked), (ends, 0));
        assert_eq!(answers(&open(&restored).unwrap()).unwrap().all, wanted, "restored to {asked}");
        let partial = disk.directory(&format!("backup-{asked}"));
        let options = BackupOptions::default().through(Position::new(asked));
        let report = store.backup_on(Arc::new(partial.clone()), options).unwrap();
        assert_eq!(report.position.get(), ends);
        let copy = read_only(&partial).unwrap();
        assert_eq!(answers(&copy).unwrap().all, wanted, "backup through {asked}");
        drop(copy);
        // And it goes on to the end from there.
        assert_eq!(backup(&store, &partial).unwrap().position.get(), 16, "from {asked}");
        let copy = read_only(&partial).unwrap();
        assert_eq!(answers(&copy).unwrap(), answers(&store).unwrap(), "from {asked}");
    }
}

fn all_of(store: &Store) -> factlog::Uuid {
    let disk = Arc::new(SimDisk::new(9));
    store.backup_on(disk, BackupOptions::default().dry_run(true)).unwrap().store
}

#[test]
fn a_time_is_that_of_the_last_event() {
    let clock = Arc::new(factlog::ManualClock::at(NOW));
    let disk = SimDisk::new(1);
    let how = options().clock(clock.clone());
    let store = how.open_on(Arc::new(disk.clone())).unwrap();
    for number in 1..=5 {
        clock.set(NOW + number * 1000);
        store.append("A-1", Expect::Any, [tick(number)]).unwrap();
    }
    let to = disk.directory("backup");
    backup(&store, &to).unwrap();
    for (time, last) in [(0, 0), (1000, 1), (3999, 3), (4000, 4), (9000, 5)] {
        let restored = disk.directory(&format!("at-{time}"));
        let time = Timestamp::from_micros(NOW + time);
        let report = restore(&to, &restored, RestoreTo::Time(time)).unwrap();
        assert_eq!(report.position.get(), last);
        assert!(report.last_recorded_at.is_none_or(|at| at <= time));
        assert_eq!(report.last_recorded_at.is_some(), last > 0);
        assert_eq!(open(&restored).unwrap().last_position().get(), last);
    }
}

#[test]
fn what_is_made_needs_a_directory_of_its_own() {
    let disk = SimDisk::new(1);
    let store = sample(&disk);
    let refused = fork(&store, 5, &disk).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Invalid, "{refused}");
    let refused = fork(&store, 17, &disk.directory("fork")).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Invalid, "{refused}");
    let to = disk.directory("backup");
    backup(&store, &to).unwrap();
    for taken in [&disk, &to] {
        assert_eq!(restore(&to, taken, RestoreTo::End).unwrap_err().kind(), ErrorKind::Invalid);
    }
    let nothing = disk.directory("nothing");
    let refused = restore(&nothing, &disk.directory("made"), RestoreTo::End).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::NotFound, "{refused}");
    assert_eq!(answers(&store).unwrap().all.len(), 16);
}

#[test]
fn sealed_segments_are_shared_and_the_newest_is_not() {
    let root = tempfile::tempdir().unwrap();
    let (ours, theirs) = (root.path().join("ours"), root.path().join("theirs"));
    let store = options().open(&ours).unwrap();
    for number in 0..30 {
        store.append("A-1", Expect::Any, [event(number, 2000)]).unwrap();
    }
    let report = store.fork_at(store.last_position(), &theirs).unwrap();
    assert_eq!(report.segments_linked + 1, report.segments);
    assert!(report.segments_linked >= 3 && report.bytes_copied < SEGMENT);
    let links = |path: &std::path::Path| {
        let mut all = Vec::new();
        for entry in std::fs::read_dir(path).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            if name.ends_with(".seg") {
                use std::os::unix::fs::MetadataExt;
                all.push((name, entry.metadata().unwrap().nlink()));
            }
        }
        all.sort();
        all.into_iter().map(|(_, links)| links).collect::<Vec<_>>()
    };
    let shared = links(&theirs);
    let own = shared.len() - report.segments_linked as usize;
    assert_eq!(own, 2, "a copy of the newest, and the fork's own: {shared:?}");
    assert!(shared[..shared.len() - 2].iter().all(|links| *links == 2), "{shared:?}");
    let fork = options().open(&theirs).unwrap();
    assert!(fork.open_report().sidecars_rebuilt.len() <= 2, "{:?}", fork.open_report());
    assert_eq!(events(&fork), events(&store));
}

#[test]
fn two_branches_know_nothing_of_each_other() {
    let disk = SimDisk::new(1);
    let store = sample(&disk);
    let made = disk.directory("fork");
    fork(&store, 12, &made).unwrap();
    let branch = open(&made).unwrap();
    let begun = events(&store);
    for number in 50..60 {
        store.append("A-1", Expect::Any, [event(number, 3000)]).unwrap();
        branch.append("A-1", Expect::Any, [event(100 + number, 3000)]).unwrap();
    }
    // The same ids are free in the other one.
    branch.append("F-1", Expect::NoStream, [event(50, 5)]).unwrap();
    let ids = |store: &Store| events(store).iter().map(RecordedEvent::id).collect::<Vec<_>>();
    let mut ours: Vec<_> = begun.iter().map(RecordedEvent::id).collect();
    let mut theirs = ours[..12].to_vec();
    ours.extend((50..60).map(id));
    theirs.extend((150..160).map(id));
    theirs.push(id(50));
    for round in 0..3 {
        let (store, branch) = (open(&disk.after_kill()), open(&made.after_kill()));
        let (store, branch) = (store.unwrap(), branch.unwrap());
        assert_eq!((ids(&store), ids(&branch)), (ours.clone(), theirs.clone()), "round {round}");
        answers(&store).unwrap();
        answers(&branch).unwrap();
    }
    store.close().unwrap();
    branch.close().unwrap();
    let (store, branch) = (open(&disk).unwrap(), open(&made).unwrap());
    assert!(store.open_report().clean && branch.open_report().clean);
    assert_eq!((ids(&store), ids(&branch)), (ours, theirs));
    // A fork of a fork, behind and before the first fork.
    for at in [5, 12, 14, 23] {
        let grandchild = disk.directory(&format!("grandchild-{at}"));
        fork(&branch, at, &grandchild).unwrap();
        let grandchild = open(&grandchild).unwrap();
        let begun = ids(&grandchild);
        assert!(begun.len() as u64 >= at.min(7) - 4 && ids(&branch).starts_with(&begun), "{at}");
        grandchild.append("G", Expect::NoStream, [event(200, 5)]).unwrap();
        assert!(grandchild.verify().unwrap().clean);
        answers(&grandchild).unwrap();
    }
}

/// The end of one branch is cut off by a recovery, and the other one does not even see it.
#[test]
fn torn_ends_of_two_branches_are_recovered_apart() {
    let disk = SimDisk::new(1);
    let store = sample(&disk);
    let made = disk.directory("fork");
    fork(&store, 16, &made).unwrap();
    let branch = open(&made).unwrap();
    let (ours, theirs) = (answers(&store).unwrap(), answers(&branch).unwrap());
    assert_eq!(ours, theirs);
    // Both write at once, and the power goes before anything of it is synced.
    for seed in 0..30 {
        let run = disk.after_kill();
        let (store, branch) = (open(&run).unwrap(), open(&run.directory("fork")).unwrap());
        run.crash_at(run.operations() + 1);
        for store in [&store, &branch] {
            let _ = store.append("T-1", Expect::Any, [event(70, 300)]);
        }
        let left = run.after_power_cut(seed);
        let (store, branch) = (open(&left).unwrap(), open(&left.directory("fork")).unwrap());
        for (store, all) in [(&store, &ours.all), (&branch, &theirs.all)] {
            assert_eq!(&events(store)[..16], &all[..]);
            store.append("Z", Expect::NoStream, [event(80, 5)]).unwrap();
            answers(store).unwrap();
            assert!(store.verify().unwrap().damage.is_empty());
        }
    }
}

/// The fork's own copy of the newest segment: the other store's recovery may cut that file before
/// an end that the fork names, when the marks that certified it are lost.
#[test]
fn a_recovery_of_the_origin_takes_nothing_from_a_fork() {
    let disk = SimDisk::new(1);
    let store = sample(&disk);
    for number in 20..24 {
        store.append("E-1", Expect::Any, [event(number, 50)]).unwrap();
    }
    let made = disk.directory("fork");
    fork(&store, 20, &made).unwrap();
    let all = events(&store);
    let left = disk.after_power_cut_exact(0);
    let store = open(&left).unwrap();
    assert!(store.open_report().frames_rescued > 0, "{:?}", store.open_report());
    let branch = open(&left.directory("fork")).unwrap();
    assert_eq!((events(&store), events(&branch)), (all.clone(), all));
    assert!(branch.verify().unwrap().clean);
    answers(&branch).unwrap();
}

#[test]
fn checkpoints_and_snapshots_go_along_as_far_as_they_belong() {
    let disk = SimDisk::new(1);
    let store = open(&disk).unwrap();
    for number in 0..10 {
        store.append("A-1", Expect::Any, [event(number, 5)]).unwrap();
        if number == 4 {
            store.batch().checkpoint("carried", Position::new(3)).commit().unwrap();
            store.save_checkpoint("carried", Position::new(4)).unwrap();
        }
    }
    store.batch().checkpoint("carried", Position::new(9)).commit().unwrap();
    store.save_checkpoint("behind", Position::new(2)).unwrap();
    store.save_checkpoint("ahead", Position::new(8)).unwrap();
    store.save_checkpoint("carried", Position::new(10)).unwrap();
    for (name, version) in [("old", 3), ("new", 8)] {
        store.save_snapshot("A-1", name, (Version::new(version), 1), name).unwrap();
    }
    let made = disk.directory("fork");
    let report = fork(&store, 6, &made).unwrap();
    assert_eq!((report.checkpoints, report.snapshots), (3, 1));
    let branch = open(&made).unwrap();
    let at = |store: &Store, name: &str| store.checkpoint(name).unwrap().map(Position::get);
    // Whoever has done more than there is has done all of it; what batches carry is as it was then.
    assert_eq!(at(&branch, "behind"), Some(2));
    assert_eq!(at(&branch, "ahead"), Some(6));
    assert_eq!(at(&branch, "carried"), Some(4));
    for name in ["behind", "ahead", "carried"] {
        let source = factlog::Source::All;
        branch.subscribe(source).start(factlog::Start::Checkpoint(name.into())).unwrap();
    }
    assert_eq!(branch.snapshot("A-1", "old").unwrap().unwrap().data, b"old");
    assert!(branch.snapshot("A-1", "new").unwrap().is_none());
    // Also when the fork has such a version by now.
    for number in 30..36 {
        branch.append("A-1", Expect::Any, [event(number, 5)]).unwrap();
    }
    assert!(branch.snapshot("A-1", "new").unwrap().is_none());
    branch.batch().checkpoint("ahead", Position::new(9)).commit().unwrap();
    assert_eq!(at(&branch, "ahead"), Some(9));
    // The whole goes along as it is.
    let to = disk.directory("backup");
    backup(&store, &to).unwrap();
    let copy = read_only(&to).unwrap();
    assert_eq!(answers(&copy).unwrap(), answers(&store).unwrap());
    assert_eq!((at(&copy, "ahead"), at(&copy, "carried")), (Some(8), Some(10)));
}

#[test]
fn neither_keys_nor_foreign_files_nor_what_was_set_aside_goes_along() {
    let disk = SimDisk::new(1);
    let store = sample(&disk);
    let aside = "00000000000000000001-0000004096-0000000001.torn";
    for name in ["keyring", "notes.txt", aside] {
        disk.write_file(name, b"secret".to_vec());
    }
    let (to, made) = (disk.directory("backup"), disk.directory("fork"));
    backup(&store, &to).unwrap();
    fork(&store, 16, &made).unwrap();
    for there in [&to, &made] {
        let names = there.file_names();
        assert!(!names.iter().any(|name| ["keyring", "notes.txt", aside].contains(&&**name)));
        assert!(names.iter().any(|name| name.ends_with(".idx")), "{names:?}");
    }
}

#[test]
fn a_fork_on_a_disk_that_shares_nothing_is_a_copy() {
    let disk = SimDisk::new(1);
    let store = sample(&disk);
    let elsewhere = SimDisk::new(2);
    let report = fork(&store, 16, &elsewhere).unwrap();
    assert_eq!(report.segments_linked, 0);
    assert!(report.bytes_copied > SEGMENT);
    assert_eq!(answers(&open(&elsewhere).unwrap()).unwrap(), answers(&store).unwrap());
}

#[test]
fn a_backup_beside_a_writer_that_appends_is_one_moment_of_it() {
    let root = tempfile::tempdir().unwrap();
    let path = |name: &str| root.path().join(name);
    let store = Store::options().segment_bytes(SEGMENT).open(path("ours")).unwrap();
    let reader = Store::open_read_only(path("ours")).unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut number = 0;
            while !done.load(Ordering::Acquire) {
                let some = (0..1 + number % 5).map(|part| event(number * 10 + part, 200));
                store.append("A-1", Expect::Any, some).unwrap();
                if number % 7 == 0 {
                    store.save_checkpoint("reader", store.last_position()).unwrap();
                }
                number += 1;
            }
        });
        let mut last = 0;
        for round in 0..12 {
            let from = if round % 2 == 0 { &store } else { &reader };
            let report = from.backup(path("backup"), BackupOptions::default()).unwrap();
            assert!(report.position.get() >= last);
            last = report.position.get();
            let copy = options().open_read_only(path("backup")).unwrap();
            let found = answers(&copy).unwrap();
            assert_eq!(found.all.len() as u64, last);
            assert!(found.checkpoints.unwrap().iter().all(|(_, at)| *at <= last));
            assert!(factlog::verify(path("backup"), &mut |_, _| ()).unwrap().clean);
            let at = store.synced_position();
            let fork = path(&format!("fork-{round}"));
            let report = from.fork_at(report.position, &fork).unwrap();
            assert!(report.position <= at && report.position.get() == last);
            let fork = options().open(&fork).unwrap();
            assert_eq!(answers(&fork).unwrap().all, found.all);
            fork.append("A-1", Expect::Any, [NewEvent::binary("Own", "")]).unwrap();
        }
        done.store(true, Ordering::Release);
    });
    let all = events(&store);
    let copy = Store::open_read_only(path("backup")).unwrap();
    let copied = events(&copy);
    assert_eq!(copied[..], all[..copied.len()]);
}

/// In the weaker modes nothing goes along that a power cut may still take from the store.
#[test]
fn a_backup_ends_at_what_is_synced() {
    let disk = SimDisk::new(1);
    let how = options().durability(factlog::Durability::Os);
    let store = how.open_on(Arc::new(disk.clone())).unwrap();
    store.append("A-1", Expect::Any, [tick(1)]).unwrap();
    store.sync().unwrap();
    store.append("A-1", Expect::Any, [tick(2)]).unwrap();
    let to = disk.directory("backup");
    assert_eq!(backup(&store, &to).unwrap().position.get(), 1);
    assert_eq!(fork(&store, 2, &disk.directory("fork")).unwrap_err().kind(), ErrorKind::Invalid);
    store.sync().unwrap();
    assert_eq!(backup(&store, &to).unwrap().position.get(), 2);
}

/// A half-made backup or fork is told apart from one whose head has rotted.
#[test]
fn what_is_unfinished_is_no_store_and_what_has_lost_a_head_is_one() {
    for (name, more) in [("fork", 6), ("fork", 9), ("backup", 9), ("backup", 12)] {
        let disk = SimDisk::new(1);
        let store = sample(&disk);
        let make = |store: &Store, disk: &SimDisk| match name {
            "fork" => fork(store, 16, &disk.directory(name)).map(drop),
            _ => backup(store, &disk.directory(name)).map(drop),
        };
        disk.crash_at(disk.operations() + more);
        make(&store, &disk).unwrap_err();
        let disk = disk.after_kill();
        let made = disk.directory(name);
        let refused = read_only(&made).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::NotFound, "{name}: {refused}");
        assert!(refused.to_string().contains("begun and not finished"), "{refused}");
        assert_eq!(open(&made).unwrap_err().kind(), ErrorKind::NotFound, "{name}");
        let dir = tempfile::tempdir().unwrap();
        for file in made.file_names() {
            std::fs::write(dir.path().join(&file), made.read_file(&file).unwrap()).unwrap();
        }
        assert!(crate::verifier::judged(dir.path()).is_none_or(|code| code == 4), "{name}");
        make(&open(&disk).unwrap(), &disk).unwrap();
        for head in ["head-0", "head-1"] {
            let left = made.copy();
            left.flip_bit(head, 20, 1);
            let copy = read_only(&left).unwrap_or_else(|error| panic!("{name}, {head}: {error}"));
            assert_eq!(answers(&copy).unwrap().all.len(), 16);
        }
    }
}

/// What was reclaimed goes from an earlier backup with its next run, and a branch may end anywhere
/// in a rewritten segment.
#[test]
fn what_was_reclaimed_goes_from_a_backup_too() {
    let disk = SimDisk::new(1);
    let store = sample(&disk);
    let to = disk.directory("backup");
    backup(&store, &to).unwrap();
    let rewritten = store.reclaim().unwrap().rewritten.len() as u64;
    assert!(rewritten > 0, "a stream of the sample is deleted");
    let again = backup(&store, &to).unwrap();
    assert_eq!((again.segments_copied, again.segments), (rewritten, 3));
    let copy = read_only(&to).unwrap();
    assert_eq!(events(&copy), events(&store));
    assert!(copy.verify().unwrap().clean, "{:?}", copy.verify());
    assert!(copy.open_report().sidecars_rebuilt.is_empty(), "{:?}", copy.open_report());
    for at in BATCHES {
        let fork_to = disk.directory(&format!("fork-{at}"));
        assert_eq!(fork(&store, at, &fork_to).unwrap().position.get(), at);
        let fork = open(&fork_to).unwrap();
        let known = events(&store).into_iter().filter(|event| event.position().get() <= at);
        assert_eq!(events(&fork), known.collect::<Vec<_>>(), "at {at}");
        fork.append("New", Expect::Any, [event(99, 5)]).unwrap();
        assert!(fork.verify().unwrap().clean, "at {at}");
        drop(fork);
        open(&fork_to).unwrap();
    }
}
