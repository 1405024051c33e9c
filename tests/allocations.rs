//! How often an operation asks for memory, counted on the thread that does it.
//!
//! Knows: an allocator that counts. Does not know: what the memory is for. What a bound allows for
//! is said beside it; a bound above what `docs/PERFORMANCE.md` aims at is named there as a gap.
#![allow(unsafe_code, reason = "an allocator cannot be written without")]
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "a test")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::ops::ControlFlow;

use factlog::{Delivery, Durability, Expect, NewEvent, Source, Start, Store};

struct Counting;

thread_local! {
    static COUNT: Cell<u64> = const { Cell::new(0) };
}

fn count_one() {
    // While a thread ends there is nothing left to count with.
    let _ = COUNT.try_with(|count| count.set(count.get() + 1));
}

// SAFETY: every call is handed to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count_one();
        // SAFETY: the caller keeps `alloc`'s contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: `block` came from `System` with this layout.
        unsafe { System.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count_one();
        // SAFETY: `block` came from `System` with this layout.
        unsafe { System.realloc(block, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn counted(act: impl FnOnce()) -> u64 {
    let before = COUNT.get();
    act();
    COUNT.get() - before
}

fn event() -> NewEvent {
    NewEvent::binary("OrderPlaced", vec![7; 256]).metadata(r#"{"by":"user-00017"}"#)
}

/// A store over a few segments, the last one still written; streams have been used before.
fn store(folder: &std::path::Path, events: usize) -> Store {
    let options = Store::options().durability(Durability::Os).segment_bytes(1 << 20);
    let store = options.open(folder).unwrap();
    for number in 0..events {
        store.append(stream(number).as_str(), Expect::Any, [event()]).unwrap();
    }
    store
}

fn stream(number: usize) -> String {
    format!("Order-{:03}", number % 100)
}

#[test]
fn the_allocator_counts() {
    assert_eq!(counted(|| drop(std::hint::black_box(vec![1, 2, 3]))), 1);
}

/// One append, over a thousand of them; what the index and its tables grow by is shared by many.
/// Making the event is its owner's affair. The aim is 3 (the records, the batch with its slot, the
/// answer). The difference: a slot is apart from its batch, because who keeps the ticket of a
/// committed batch must not keep the batch's bytes.
#[test]
fn an_append_of_one_event_allocates_a_small_constant() {
    const APPENDS: u64 = 1_000;
    const EACH: u64 = 4;
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path(), 1_000);
    let mut events: Vec<(String, NewEvent)> =
        (0..APPENDS as usize).map(|number| (stream(number), event())).collect();
    let count = counted(|| {
        for (stream, event) in events.drain(..) {
            let appended = store.append(stream.as_str(), Expect::StreamExists, [event]);
            std::hint::black_box(appended.unwrap());
        }
    });
    let growth = APPENDS / 5;
    assert!(count <= EACH * APPENDS + growth, "{count} allocations for {APPENDS} appends");
}

/// Events of whatever size and number: a scan asks for its windows, never for an event.
#[test]
fn a_scan_allocates_nothing_per_event() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path(), 10_000);
    let mut bytes = 0;
    let scan = |limit| {
        counted(|| {
            let visit = |event: factlog::EventRef<'_>| {
                bytes += event.data().len();
                ControlFlow::Continue(())
            };
            store.read_all().limit(limit).for_each(visit).unwrap();
        })
    };
    let [few, many] = [10, 10_000].map(scan);
    assert!(many <= few + 20, "{few} allocations for 10 events, {many} for 10000");
    assert_eq!(bytes, 10_010 * 256);
}

/// A subscription hands out events of their own: one allocation each holds all of an event's bytes.
/// Beside that it may begin a read for every time it catches up, but none per event.
#[test]
fn a_subscription_allocates_an_event_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path(), 10_000);
    store.sync().unwrap();
    let mut subscription = store.subscribe(Source::All).start(Start::Beginning).unwrap();
    let mut take = |events: u64| {
        counted(|| {
            for _ in 0..events {
                let delivery = subscription.next().unwrap();
                assert!(matches!(std::hint::black_box(delivery), Delivery::Event(_)));
            }
        })
    };
    let [few, many] = [10, 9_990].map(&mut take);
    assert!(many <= 9_990 + 20, "{few} allocations for 10 events, {many} for 9990");
}
