//! Layer 0.3: a new id for an event whose owner gives none.
//!
//! Knows: UUID version 7, and that the system is asked for random numbers once per thread and
//! millisecond. Does not know: who uses it. Within a millisecond a thread counts on by random
//! steps, so that its ids ascend. A forked child begins with numbers of its own.

use std::cell::Cell;

use uuid::{Builder, NoContext, Timestamp, Uuid};

/// 74 bits of a UUID v7 are free; the highest stays clear at first, so that there is room to count.
const START_BITS: u32 = 73;
const STEP_BITS: u32 = 32;

#[derive(Clone, Copy)]
struct Source {
    process: u32,
    millis: u64,
    last: u128,
    step: u128,
}

thread_local! {
    static SOURCE: Cell<Source> =
        const { Cell::new(Source { process: 0, millis: 0, last: 0, step: 0 }) };
}

/// An id that nobody has had.
pub(super) fn fresh_id() -> Uuid {
    let (seconds, nanos) = Timestamp::now(NoContext).to_unix();
    let millis = seconds.saturating_mul(1000).saturating_add(u64::from(nanos / 1_000_000));
    let process = std::process::id();
    let mut source = SOURCE.get();
    if (source.process, source.millis) == (process, millis) {
        source.last = source.last.wrapping_add(source.step);
    } else {
        let low = |bits: u32| (1 << bits) - 1;
        let (start, step) = (random(), random() & low(STEP_BITS) | 1);
        source = Source { process, millis, last: start & low(START_BITS), step };
    }
    SOURCE.set(source);
    // Twelve bits stand before the variant, which takes two, and 62 behind it.
    let free = ((source.last >> 62) << 64) | (source.last & ((1 << 62) - 1));
    let [_, _, _, _, _, _, random @ ..] = free.to_be_bytes();
    Builder::from_unix_timestamp_millis(millis, &random).into_uuid()
}

/// 80 random bits of the system's.
fn random() -> u128 {
    let bytes = Uuid::new_v4().as_u128();
    // The version and the variant are not random: 48 bits before them, 62 behind.
    ((bytes >> 80) << 32) | (bytes & ((1 << 32) - 1))
}

/// So many bytes of chance, for keys; `None` when the system has none.
#[cfg(feature = "forget")]
pub(crate) fn random_bytes<const N: usize>() -> Option<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).ok().map(|()| bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_version_7_and_ascend_within_a_thread() {
        let ids: Vec<Uuid> = (0..10_000).map(|_| fresh_id()).collect();
        assert!(ids.iter().all(|id| id.get_version_num() == 7));
        assert!(ids.iter().all(|id| id.get_variant() == uuid::Variant::RFC4122));
        assert!(ids.is_sorted(), "an id is before an older one");
        assert!(ids.windows(2).all(|pair| pair[0] != pair[1]));
    }

    #[test]
    fn threads_share_no_ids() {
        let make = || (0..10_000).map(|_| fresh_id()).collect::<Vec<_>>();
        let threads: Vec<_> = (0..4).map(|_| std::thread::spawn(make)).collect();
        let mut ids: Vec<Uuid> =
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), 40_000);
    }

    #[test]
    fn the_time_is_now() {
        let made = fresh_id().get_timestamp().unwrap().to_unix().0;
        let now = Timestamp::now(NoContext).to_unix().0;
        assert!(now - made <= 1);
    }
}
