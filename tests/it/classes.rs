//! Classes of faults that have no better home: payloads that look like a log, other histories,
//! clocks, limits of the process, backups. `docs/TESTING.md` lists all classes.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use factlog::disk::{Fault, FaultCall, FaultKind, MemDisk, SimDisk};
use factlog::{
    Delivery, Durability, ErrorKind, Expect, ManualClock, NewEvent, Position, Source, Start, Store,
};

use crate::rig::{NOW, answers, event, open, options, read_only, sample, save_snapshot};
use crate::support::block_on;

const FIRST: &str = "00000000000000000001.seg";

/// Where frames begin, or seem to.
fn magics(bytes: &[u8]) -> Vec<usize> {
    (0..bytes.len()).filter(|at| bytes[*at..].starts_with(b"FLFR")).collect()
}

#[test]
fn a_payload_that_holds_frames_is_never_read_as_frames() {
    let disk = SimDisk::new(1);
    let large = || options().segment_bytes(64 << 20);
    let store = large().open_on(Arc::new(disk.clone())).unwrap();
    for number in 0..3 {
        store.append("A-1", Expect::Any, [event(number, 50)]).unwrap();
    }
    // Frames of a life that went on further: their numbers are yet to come here.
    let further = disk.after_kill();
    let other = large().open_on(Arc::new(further.clone())).unwrap();
    for number in 100..120 {
        other.append("A-1", Expect::Any, [event(number, 50)]).unwrap();
    }
    let mut frames = further.read_file(FIRST).unwrap();
    let used = frames.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    frames.truncate(used.next_multiple_of(8));
    for shift in 0..8 {
        let data = [vec![0; shift], frames[4096..].to_vec()].concat();
        store.append("A-1", Expect::Any, [NewEvent::binary("Copied", data)]).unwrap();
    }
    store.append("A-1", Expect::Any, [event(9, 50)]).unwrap();
    let all = answers(&store).unwrap().all;
    for at in magics(&disk.read_file(FIRST).unwrap()) {
        // Also where only a payload says so: then it is just one event that does not check.
        let hit = disk.copy();
        hit.flip_bit(FIRST, at as u64 + 20, 3);
        let reader = large().open_read_only_on(Arc::new(hit)).unwrap();
        let read: Vec<_> = reader.read_all().into_iter().collect();
        assert_eq!(read.len(), all.len(), "a header at {at} does not check");
        for (read, known) in read.iter().zip(&all) {
            assert!(read.as_ref().is_ok_and(|read| read == known) || read.is_err(), "{read:?}");
        }
        let lost = read.iter().filter(|read| read.is_err()).count();
        assert!(lost <= 1, "{lost} events are lost by one header at {at}");
    }
}

#[test]
fn a_frame_of_another_history_of_the_store_is_never_served() {
    let disk = SimDisk::new(1);
    open(&disk).unwrap().append("A-1", Expect::Any, [event(0, 50)]).unwrap();
    // Two lives from one beginning, with the same sizes, epochs, numbers and times.
    let [ours, theirs] = [1, 13].map(|first| {
        let life = disk.copy();
        let store = open(&life).unwrap();
        for number in first..first + 3 {
            store
                .append("A-1", Expect::Any, [event(number, 60 - number.to_string().len())])
                .unwrap();
        }
        let known = answers(&store).unwrap().all;
        (life, known)
    });
    let name = ours.0.file_names().into_iter().rfind(|name| name.ends_with(".seg")).unwrap();
    let (good, other) = (ours.0.read_file(&name).unwrap(), theirs.0.read_file(&name).unwrap());
    let places = magics(&good);
    assert_eq!(places, magics(&other), "the same layout");
    let last = places.len() - 1;
    for pair in places[last - 2..].windows(2) {
        let mut mixed = good.clone();
        mixed[pair[0]..pair[1]].copy_from_slice(&other[pair[0]..pair[1]]);
        let mixed_disk = ours.0.copy();
        mixed_disk.write_file(&name, mixed);
        if let Ok(store) = open(&mixed_disk.copy()) {
            // Behind a sidecar an opening does not walk the frames.
            assert!(!store.verify().unwrap().damage.is_empty());
        }
        for index in mixed_disk.file_names().into_iter().filter(|name| name.ends_with(".idx")) {
            mixed_disk.remove_file(&index);
        }
        let error = open(&mixed_disk.copy()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Damaged);
        let reader = read_only(&mixed_disk).unwrap();
        for (read, known) in reader.read_all().into_iter().zip(&ours.1) {
            assert!(read.as_ref().is_ok_and(|read| read == known) || read.is_err(), "{read:?}");
        }
    }
}

#[test]
fn a_clock_that_jumps_changes_no_order() {
    let disk = SimDisk::new(1);
    let clock = Arc::new(ManualClock::at(NOW));
    let how = || options().clock(clock.clone());
    let store = how().open_on(Arc::new(disk.clone())).unwrap();
    for (number, now) in [NOW, 0, NOW + 10, NOW - 4_000_000_000, NOW + 5].into_iter().enumerate() {
        clock.set(now);
        store.append("A-1", Expect::Any, [event(number as u64, 5)]).unwrap();
    }
    store.close().unwrap();
    clock.set(0);
    let store = how().rebuild_index(true).open_on(Arc::new(disk)).unwrap();
    assert!(!store.open_report().notes.is_empty(), "a clock far behind is noted");
    store.append("A-1", Expect::Any, [event(5, 5)]).unwrap();
    let times: Vec<u64> =
        answers(&store).unwrap().all.iter().map(|event| event.recorded_at().micros()).collect();
    assert_eq!(times, [NOW, NOW, NOW + 10, NOW + 10, NOW + 10, NOW + 10]);
}

#[test]
fn a_snapshot_of_another_history_is_ignored() {
    let disk = SimDisk::new(1);
    let store = open(&disk).unwrap();
    let put = |store: &Store, number| {
        store.append("A-1", Expect::Any, [event(number, 5)]).unwrap();
    };
    (0..3).for_each(|number| put(&store, number));
    store.close().unwrap();
    let backup = disk.copy();
    let store = open(&disk).unwrap();
    (3..5).for_each(|number| put(&store, number));
    save_snapshot(&store, "A-1", 4);
    store.close().unwrap();
    backup.write_file("snapshots", disk.read_file("snapshots").unwrap());
    let store = open(&backup).unwrap();
    assert!(store.snapshot("A-1", "state").unwrap().is_none(), "there is no version 4 yet");
    (10..13).for_each(|number| put(&store, number));
    assert!(store.snapshot("A-1", "state").unwrap().is_none(), "version 4 is another event");
}

#[test]
fn a_reader_beside_a_weak_writer_stops_at_what_is_synced() {
    let disk = SimDisk::new(1);
    let weak = options().durability(Durability::Os);
    let store = weak.open_on(Arc::new(disk.clone())).unwrap();
    store.append("A-1", Expect::Any, [event(0, 5)]).unwrap();
    let synced = store.batch().append("A-1", Expect::Any, [event(1, 5)]);
    synced.durability(Durability::Sync).commit().unwrap();
    store.append("A-1", Expect::Any, [event(2, 5), event(3, 5)]).unwrap();
    assert_eq!(store.last_position().get(), 4);
    let served = answers(&read_only(&disk).unwrap()).unwrap().all;
    assert_eq!(served.len(), 2);
    for seed in 0..20 {
        let left = answers(&open(&disk.after_power_cut(seed)).unwrap()).unwrap().all;
        assert!(left.starts_with(&served), "cut {seed}: what was served is gone");
    }
}

/// A group whose write met a full disk half-way: its first batch was written whole.
#[test]
fn a_refused_group_never_turns_up_though_its_first_batch_was_written() {
    let disk = SimDisk::new(1);
    let store = open(&disk).unwrap();
    store.append("A-1", Expect::Any, [event(0, 5)]).unwrap();
    let submit = |number, size| {
        store.batch().append("A-1", Expect::Any, [event(number, size)]).submit().unwrap()
    };
    let group = [submit(1, 5), submit(2, 3000)];
    disk.inject(Fault::once(FaultCall::Write, 0, FaultKind::ShortWrite(28)));
    for ticket in group {
        assert_eq!(ticket.wait().unwrap_err().kind(), ErrorKind::DiskFull);
    }
    for seed in 0..30 {
        let left = answers(&open(&disk.after_power_cut(seed)).unwrap()).unwrap().all;
        assert_eq!(left.len(), 1, "cut {seed}: what was refused is stored");
    }
    let killed = answers(&open(&disk.after_kill()).unwrap()).unwrap().all;
    assert_eq!(killed.len(), 1, "killed: what was refused is stored");
    store.append("A-1", Expect::Any, [event(3, 5)]).unwrap();
    assert_eq!(answers(&store).unwrap().all[1].id(), event(3, 5).event_id());
}

#[test]
fn what_was_set_aside_survives_a_power_cut() {
    let mut found = 0;
    for seed in 0..60 {
        let disk = SimDisk::new(seed);
        let store = open(&disk).unwrap();
        store.append("A-1", Expect::Any, [event(0, 5)]).unwrap();
        // The write of this one is done, its sync is not.
        disk.crash_at(disk.operations() + 1);
        store.append("A-1", Expect::Any, [event(1, 3000)]).unwrap_err();
        let left = disk.after_power_cut(seed);
        let opened = open(&left).unwrap();
        for aside in &opened.open_report().set_aside {
            let kept = left.read_file(&aside.kept_in).unwrap();
            assert_eq!(kept.len() as u64, aside.bytes);
            for again in 0..5 {
                let later = left.after_power_cut(again).read_file(&aside.kept_in);
                assert_eq!(later.as_ref(), Some(&kept), "seed {seed}, cut {again}");
            }
            found += 1;
        }
    }
    assert!(found > 10, "{found} torn ends");
}

/// Longer than any wake-up takes, shorter than anybody's patience.
const SOON: Duration = Duration::from_secs(8);

/// The next event is appended only when the one before it has arrived, so nothing wakes a task
/// that missed its own.
#[test]
fn no_wake_up_of_a_task_is_lost() {
    const EVENTS: u64 = 20_000;
    let store = Store::options().background_threads(false).open_on(Arc::new(MemDisk::new()));
    let store = store.unwrap();
    let mut subscription = store.subscribe(Source::All).start(Start::Beginning).unwrap();
    let (arrived, arrivals) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut next = || block_on(std::future::poll_fn(|task| subscription.poll_next(task)));
        while let Ok(delivery) = next() {
            if let Delivery::Event(event) = delivery {
                let position = event.position().get();
                arrived.send(position).unwrap();
                // Sooner or later, so that the next append comes at every moment of the next poll.
                (0..position * 7919 % 256).for_each(|_| std::hint::spin_loop());
            }
        }
    });
    for position in 1..=EVENTS {
        store.append("A-1", Expect::Any, [NewEvent::binary("T", "")]).unwrap();
        assert_eq!(arrivals.recv_timeout(SOON), Ok(position), "a wake-up was lost");
    }
    store.close().unwrap();
}

#[test]
fn one_append_wakes_everybody_who_waits() {
    let store = Store::in_memory().unwrap();
    let waiters: Vec<_> = (0..4)
        .map(|_| {
            let mut subscription = store.subscribe(Source::All).start(Start::End).unwrap();
            std::thread::spawn(move || {
                while !matches!(subscription.try_next().unwrap(), Some(Delivery::CaughtUp(_))) {}
                let begun = Instant::now();
                let delivery = subscription.next_timeout(SOON).unwrap();
                (delivery.is_some(), begun.elapsed())
            })
        })
        .collect();
    std::thread::sleep(Duration::from_millis(300));
    store.append("A-1", Expect::Any, [event(0, 5)]).unwrap();
    for waiter in waiters {
        let (delivered, took) = waiter.join().unwrap();
        assert!(delivered && took < SOON, "woken after {took:?}");
    }
}

/// The writer epoch of the newest mark in the live file.
fn epoch(disk: &SimDisk) -> u32 {
    let live = disk.read_file("live").unwrap();
    let field = |at: usize| u64::from_le_bytes(live[at..at + 8].try_into().unwrap());
    let newest = [0, 4096].into_iter().max_by_key(|slot| field(slot + 24)).unwrap();
    u32::from_le_bytes(live[newest + 4..newest + 8].try_into().unwrap())
}

#[test]
fn every_opening_has_a_writer_epoch_of_its_own() {
    let mut disk = SimDisk::new(1);
    let mut last = 0;
    for round in 0..12 {
        let store = open(&disk).unwrap();
        store.append("A-1", Expect::Any, [event(round, 5)]).unwrap();
        assert!(epoch(&disk) > last, "opening {round}");
        last = epoch(&disk);
        disk = match round % 3 {
            0 => {
                store.close().unwrap();
                disk
            }
            1 => disk.after_kill(),
            _ => disk.after_power_cut(round),
        };
    }
}

/// `EAGAIN`, `EACCES`, `EROFS`, `EMFILE`, `ENFILE`, `ENOMEM`, `EINTR`.
const ERRORS: [i32; 7] = [11, 13, 30, 24, 23, 12, 4];

#[test]
fn what_the_system_refuses_is_a_typed_error_and_costs_nothing() {
    for code in ERRORS {
        for nth in 0.. {
            let disk = SimDisk::new(1);
            let store = open(&disk).unwrap();
            store.append("A-1", Expect::Any, [event(0, 9000)]).unwrap();
            disk.inject(Fault::once(FaultCall::Any, nth, FaultKind::Os(code)));
            let rolled = store.append("A-1", Expect::Any, [event(1, 9000)]);
            let read = answers(&store);
            drop(store);
            let opened = open(&disk);
            let kinds = [ErrorKind::Io, ErrorKind::InDoubt, ErrorKind::Poisoned];
            let mut outcomes = [rolled.as_ref().err(), read.as_ref().err(), opened.as_ref().err()];
            let failed = outcomes.iter_mut().flatten().inspect(|error| {
                assert!(kinds.contains(&error.kind()), "error {code} at call {nth}: {error:?}");
            });
            let failed = failed.count();
            disk.clear_faults();
            drop(opened);
            let stored = answers(&open(&disk).unwrap()).unwrap().all.len();
            assert!(stored > usize::from(rolled.is_ok()), "error {code} at call {nth}");
            if failed == 0 && nth > 200 {
                break;
            }
        }
    }
}

#[test]
fn a_read_only_file_system_serves_readers_and_refuses_a_writer_cleanly() {
    const EROFS: i32 = 30;
    let disk = SimDisk::new(1);
    sample(&disk).close().unwrap();
    let before = answers(&open(&disk.copy()).unwrap()).unwrap();
    let bytes = |disk: &SimDisk| {
        let names = disk.file_names();
        names.into_iter().map(|name| (disk.read_file(&name), name)).collect::<Vec<_>>()
    };
    let (calls, files) = (disk.operations(), bytes(&disk));
    for call in [
        FaultCall::Create,
        FaultCall::Rename,
        FaultCall::Remove,
        FaultCall::SyncDir,
        FaultCall::Write,
        FaultCall::Allocate,
        FaultCall::SetSize,
        FaultCall::Sync,
    ] {
        disk.inject(Fault::from(call, 0, FaultKind::Os(EROFS)));
    }
    assert_eq!(answers(&read_only(&disk).unwrap()).unwrap().all, before.all);
    assert_eq!(disk.operations(), calls, "a reader made a call that changes something");
    let refused = open(&disk).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Io);
    assert_eq!(bytes(&disk), files, "nothing was touched");
}

#[test]
fn no_name_of_a_caller_reaches_a_path() {
    let disk = SimDisk::new(1);
    let store = open(&disk).unwrap();
    store.append("A-1", Expect::Any, [event(0, 5)]).unwrap();
    store.save_checkpoint("plain", Position::new(1)).unwrap();
    save_snapshot(&store, "A-1", 1);
    let names = disk.file_names();
    for name in ["../up", "/etc/passwd", "a/b", "..", "head-0", "live", "nul\\x", "é.seg"] {
        store.append(name, Expect::Any, [NewEvent::binary(name, "").tag(name)]).unwrap();
        store.save_checkpoint(name, Position::new(1)).unwrap();
        save_snapshot(&store, name, 1);
        assert_eq!(store.checkpoint(name).unwrap(), Some(Position::new(1)));
        assert_eq!(disk.file_names(), names, "{name}");
    }
}

#[test]
fn files_copied_one_by_one_beside_a_writer_are_a_prefix_or_refused() {
    let (mut opened, mut refused) = (0, 0);
    for seed in 0..40_u64 {
        let disk = SimDisk::new(seed);
        let store = sample(&disk);
        let copy = SimDisk::new(seed);
        drop(open(&copy).unwrap());
        copy.file_names().iter().for_each(|name| copy.remove_file(name));
        let mut names = disk.file_names();
        let turn = seed as usize % names.len();
        names.rotate_left(turn);
        for (at, name) in names.iter().enumerate() {
            copy.write_file(name, disk.read_file(name).unwrap());
            let number = 100 + at as u64;
            store.append("Late", Expect::Any, [event(number, 100 + 37 * turn)]).unwrap();
        }
        let all = answers(&store).unwrap().all;
        match open(&copy) {
            Ok(store) => {
                let found = answers(&store).unwrap().all;
                assert!(all.starts_with(&found), "copy {seed} is no prefix");
                opened += 1;
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Damaged, "copy {seed}: {error:?}");
                refused += 1;
            }
        }
    }
    assert!(opened > 0 && refused > 0, "{opened} opened, {refused} refused");
}

#[test]
fn a_sealed_segment_cut_under_an_open_store_is_damage_with_positioned_reads() {
    let dir = tempfile::tempdir().unwrap();
    let how = Store::options().segment_bytes(16 << 10).map_segments(false);
    let store = how.open(dir.path()).unwrap();
    for number in 0..40 {
        store.append("A-1", Expect::Any, [event(number, 900)]).unwrap();
    }
    assert!(store.stats().segments > 2);
    let sealed = std::fs::OpenOptions::new().write(true).open(dir.path().join(FIRST)).unwrap();
    sealed.set_len(6000).unwrap();
    let read: Vec<_> = store.read_all().into_iter().collect();
    assert_eq!(read.len(), 40);
    let lost = read.iter().filter_map(|read| read.as_ref().err());
    let lost: Vec<_> = lost.map(|error| (error.kind(), error.file() == Some(FIRST))).collect();
    assert!(lost.len() > 2 && lost.iter().all(|lost| *lost == (ErrorKind::Damaged, true)));
}

#[cfg(target_os = "linux")]
#[test]
fn no_program_started_meanwhile_inherits_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    store.append("A-1", Expect::Any, [event(0, 5)]).unwrap();
    store.save_checkpoint("reader", Position::new(1)).unwrap();
    let own = std::fs::read_dir("/proc/self/fd").unwrap();
    let ours = own.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
    let ours = ours.filter(|target| target.starts_with(dir.path())).count();
    assert!(ours >= 3, "the store holds {ours} files open");
    let told = Command::new("ls").args(["-l", "/proc/self/fd"]).output().unwrap().stdout;
    let told = String::from_utf8_lossy(&told).into_owned();
    assert!(told.contains("->") && !told.contains(dir.path().to_str().unwrap()), "{told}");
}

/// A process over its limit of file sizes is killed by the system: to the store that is a crash.
#[cfg(target_os = "linux")]
#[test]
fn a_limit_of_file_sizes_is_a_crash_and_loses_nothing() {
    const TASK: &str = "FACTLOG_TEST_LIMITED";
    if let Ok(dir) = std::env::var(TASK) {
        let store = Store::options().background_threads(false).open(dir).unwrap();
        for number in 0..2000 {
            let answer = store.append("A-1", Expect::Any, [event(number, 900)]).unwrap();
            println!("\nstored {}", answer.last);
        }
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let exe = std::env::current_exe().unwrap();
    let name = "classes::a_limit_of_file_sizes_is_a_crash_and_loses_nothing";
    let mut child = Command::new("sh")
        .args(["-c", "ulimit -f 700 && exec \"$0\" --exact \"$1\" --nocapture"])
        .args([exe.as_os_str(), name.as_ref()])
        .env(TASK, dir.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let told = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    let stored = told.filter_map(|line| line.strip_prefix("stored ")?.parse::<u64>().ok()).last();
    let stored = stored.unwrap();
    assert!(!child.wait().unwrap().success(), "{stored} were stored and nothing stopped it");
    let store = Store::open(dir.path()).unwrap();
    let found = answers(&store).unwrap().all;
    assert!(stored > 100 && found.len() as u64 >= stored, "{stored}, {} found", found.len());
}
