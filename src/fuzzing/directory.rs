//! Layer 7.7: whole directories: a small sound store, its files damaged or forged, then opened.
//!
//! Knows: what the sound store held, and so what may be served. Does not know: what is damaged.

use uuid::Uuid;

use super::input::Input;
use super::repair::{self, Depth};
use crate::api::Store;
use crate::disk::{Disk, SimDisk};
use crate::format::{FileName, Take, name_of, segment_seed};
use crate::sync::{Arc, OnceLock};
use crate::types::{ErrorKind, Expect, NewEvent, Position, RecordedEvent, Version};

const EVENTS: u8 = 40;
/// Stands for "endless": no read of this store yields more.
const ITEMS_MAX: usize = 4 * EVENTS as usize;

/// The same files at two times, and every event.
struct Sound {
    early: SimDisk,
    late: SimDisk,
    names: Vec<String>,
    events: Vec<RecordedEvent>,
}

pub(super) fn open(disk: &SimDisk, read_only: bool) -> crate::types::Result<Store> {
    let options = Store::options().background_threads(false).segment_bytes(16 << 10);
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    match read_only {
        true => options.open_read_only_on(disk),
        false => options.open_on(disk),
    }
}

fn fill(disk: &SimDisk, numbers: std::ops::Range<u8>) {
    let Ok(store) = open(disk, false) else { return };
    for number in numbers {
        let event = NewEvent::binary("Placed", vec![number; 400]).tag(format!("n:{number}"));
        let event = event.id(Uuid::from_u128(u128::from(number) + 1));
        let _ = store.append(format!("Order-{}", number % 3), Expect::Any, [event]);
    }
    let _ = store.save_checkpoint("view", Position::new(7));
    let _ = store.save_snapshot("Order-1", "state", (Version::new(2), 1), "state");
    let _ = store.close();
}

/// A store of three segments with checkpoints and a snapshot, and an older copy of it.
fn sound() -> &'static Sound {
    static SOUND: OnceLock<Sound> = OnceLock::new();
    SOUND.get_or_init(|| {
        let late = SimDisk::new(1);
        fill(&late, 0..EVENTS / 2);
        let early = late.copy();
        fill(&late, EVENTS / 2..EVENTS);
        let mut names = late.file_names();
        names.retain(|name| *name != name_of(FileName::Lock));
        names.sort();
        let store = open(&late.copy(), true);
        let events = store.and_then(|store| store.read_all().to_vec()).unwrap_or_default();
        Sound { early, late, names, events }
    })
}

/// The files of the sound store and what it holds: for seeds and for tests.
#[cfg(test)]
pub(super) fn sound_store() -> (SimDisk, Vec<RecordedEvent>) {
    (sound().late.copy(), sound().events.clone())
}

/// What was done to the files.
#[derive(Debug, Default)]
struct Harm {
    /// How many changes.
    changes: u32,
    /// Checksums were made true, or bytes chosen freely: then anything may be in the log.
    forged: bool,
}

/// A directory damaged as the input says, opened for reading and then for writing. Input: pieces of
/// what is done u8, file u8, offset u16, and more by kind.
pub fn directory(bytes: &[u8]) {
    let disk = sound().late.copy();
    let harm = damage(&disk, Input(bytes));
    if let Ok(store) = open(&disk, true) {
        check(&store, &harm, true);
        let verified = store.verify();
        let clean = verified.is_ok_and(|report| report.clean);
        let read = store.read_all().to_vec();
        assert!(harm.forged || !clean || read.is_ok(), "what verifies does not read");
    }
    match open(&disk, false) {
        Ok(store) => {
            check(&store, &harm, false);
            let last = store.last_position();
            let lost = last.get() < EVENTS.into() && harm.changes == 1 && !harm.forged;
            assert!(!lost, "one change, and acknowledged events went unnoticed");
            go_on(&disk, store, &harm);
        }
        Err(error) => assert!(
            matches!(
                error.kind(),
                ErrorKind::Damaged | ErrorKind::Unsupported | ErrorKind::Invalid
            ) || harm.forged,
            "{error:?}"
        ),
    }
}

/// What was served is served again after one more append and a reopening.
fn go_on(disk: &SimDisk, store: Store, harm: &Harm) {
    let before: Vec<_> = store.read_all().into_iter().filter_map(Result::ok).collect();
    let event = NewEvent::binary("Late", "late").id(Uuid::max());
    let appended = store.append("Late-1", Expect::Any, [event]);
    let closed = store.close();
    let (Ok(appended), Ok(())) = (appended, closed) else { return };
    let again = match open(disk, false) {
        Ok(again) => again,
        Err(error) => {
            assert!(harm.forged, "a store that was written to does not open: {error:?}");
            return;
        }
    };
    assert!(harm.forged || again.last_position() == appended.last, "an append got lost");
    for event in before {
        let found = again.event_at(event.position());
        assert!(found.is_ok_and(|found| found.as_ref() == Some(&event)), "served, then gone");
    }
}

/// Whatever is served is what was stored, in its place; what is not served is an error.
fn check(store: &Store, harm: &Harm, read_only: bool) {
    let sound = sound();
    let last = store.last_position();
    let mut before = Position::START;
    let mut items = 0;
    for event in store.read_all() {
        items += 1;
        assert!(items < ITEMS_MAX || harm.forged, "a read without end");
        if items > 1 << 16 {
            break;
        }
        let Ok(event) = event else { continue };
        let in_line = event.position() > before && event.position() <= last;
        // Whoever forges a segment can let it claim the positions of another.
        assert!(harm.forged || in_line, "positions ascend");
        before = event.position();
        check_event(&event, harm);
    }
    for stream in ["Order-0", "Order-1", "Order-2"] {
        let mut version = Version::NONE;
        for event in store.read_stream(stream).into_iter().take(ITEMS_MAX).flatten() {
            assert!(harm.forged || event.version() > version, "versions ascend");
            assert_eq!(event.stream(), stream);
            version = event.version();
            check_event(&event, harm);
        }
        let _ = store.head(stream);
    }
    for wanted in &sound.events {
        let by_place = store.event_at(wanted.position());
        let by_id = store.event(wanted.id());
        for found in [&by_place, &by_id].into_iter().flatten().flatten() {
            check_event(found, harm);
        }
        let gone = matches!(by_place, Ok(None)) || matches!(by_id, Ok(None));
        let kept = wanted.position() <= last && !harm.forged;
        assert!(!(kept && gone), "an event is neither served nor an error ({read_only})");
    }
    let _ = (store.checkpoints(), store.snapshot("Order-1", "state"), store.streams(""));
    let _ = (store.categories(""), store.stats(), store.open_report());
}

fn check_event(event: &RecordedEvent, harm: &Harm) {
    let known = event.position().get().checked_sub(1);
    let known = known.and_then(|at| sound().events.get(usize::try_from(at).ok()?));
    assert!(harm.forged || known == Some(event), "served what was not stored: {event:?}");
}

fn damage(disk: &SimDisk, mut input: Input<'_>) -> Harm {
    let mut harm = Harm::default();
    let sound = sound();
    while !input.is_empty() {
        let (what, file) = (input.byte(), input.pick(&sound.names));
        let Some(name) = file else { return harm };
        let at = usize::from(input.number16());
        let before = disk.read_file(name);
        let mut bytes = before.clone().unwrap_or_default();
        match what % 8 {
            0 => {
                let bit = input.below(8);
                bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= 1 << bit);
            }
            1 => {
                let length = usize::from(input.byte()) * 8;
                bytes.iter_mut().skip(at).take(length).for_each(|byte| *byte = 0);
            }
            2 => bytes.truncate(at),
            3 => {
                disk.remove_file(name);
                harm.changes += u32::from(before.is_some());
                continue;
            }
            4 => {
                let from = input.pick(&sound.names);
                bytes = from.and_then(|from| sound.late.read_file(from)).unwrap_or_default();
            }
            5 => match sound.early.read_file(name) {
                Some(early) => bytes = early,
                None => continue,
            },
            6 => {
                let length = usize::from(input.byte());
                bytes.resize(bytes.len() + length, 0xA5);
            }
            _ => {
                forge(name, &mut bytes, at, &mut input);
                harm.forged = true;
            }
        }
        if before.as_ref() != Some(&bytes) {
            harm.changes += 1;
            disk.write_file(name, bytes);
        }
    }
    harm
}

/// Bytes of the input in place of the file's, and its checksums made true.
fn forge(name: &str, bytes: &mut [u8], at: usize, input: &mut Input<'_>) {
    for (place, byte) in bytes.iter_mut().skip(at).zip(input.bytes()) {
        *place = *byte;
    }
    let head = sound().late.read_file(&name_of(FileName::Head(0))).unwrap_or_default();
    let store = head.get(16..).and_then(|bytes| Take(bytes).uuid()).unwrap_or_default();
    match FileName::parse(name) {
        Some(FileName::Segment(number)) => {
            repair::segment_header(bytes);
            if let Some((_, body)) = bytes.split_at_mut_checked(4096) {
                repair::frames(body, 4096, segment_seed(store, number), Depth::ALL);
            }
        }
        Some(FileName::Sidecar(_)) => repair::sidecar(bytes),
        Some(FileName::Live) => repair::live(bytes),
        Some(FileName::Checkpoints) => repair::keyed(bytes, store, 1),
        Some(FileName::Snapshots) => repair::keyed(bytes, store, 2),
        _ => repair::whole(bytes),
    }
}
