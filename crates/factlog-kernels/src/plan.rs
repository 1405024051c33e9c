//! Layer 0.1: what a run does to its store, all of it from a seed.
//!
//! Knows: batches, their events, the steps between them. Does not know: how far a run came.

use factlog::{Expect, NewEvent, Options, Store, Uuid};

/// Splitmix: every value is a function of the seed and of how many were drawn.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// Two values make a seed, so that each thing drawn for has a sequence of its own.
    pub fn new(seed: u64, what: u64) -> Self {
        let mut random = Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ what.rotate_left(32));
        random.next();
        random
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// Below `bound`, which is not zero.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }
}

/// One thing the script does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    Append,
    AppendWithCheckpoint,
    /// Several batches at once, which share a write and a sync.
    AppendGroup,
    SaveCheckpoint,
    SaveSnapshot,
    Reopen,
}

/// An event as it is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fact {
    pub stream: String,
    pub id: Uuid,
    pub data: Vec<u8>,
}

/// Everything about a run but its directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    pub seed: u64,
    pub steps: u64,
}

/// The smallest there are, so that little is written before a roll.
const SEGMENT_BYTES: u64 = 16 << 10;

impl Plan {
    /// Without threads of the store's own, the same calls are made every time.
    pub fn has_threads(self) -> bool {
        self.seed % 2 == 1
    }

    pub fn options(self) -> Options {
        let aligned = self.seed % 8 >= 6;
        let segment = if aligned { 2 * SEGMENT_BYTES } else { SEGMENT_BYTES };
        Store::options()
            .segment_bytes(segment)
            .background_threads(self.has_threads())
            .align_commit(aligned)
    }

    /// The steps of the `round`-th process on the same store.
    pub fn steps_of(self, round: u64) -> Vec<Step> {
        let mut random = Random::new(self.seed, 1 << 32 | round);
        let steps = (0..self.steps).map(|_| match random.below(12) {
            0 => Step::Reopen,
            1 => Step::SaveCheckpoint,
            2 => Step::SaveSnapshot,
            3 => Step::AppendWithCheckpoint,
            4 | 5 => Step::AppendGroup,
            _ => Step::Append,
        });
        steps.collect()
    }

    /// The events of a batch, in order.
    pub fn events(self, batch: u64) -> Vec<Fact> {
        let mut random = Random::new(self.seed, batch);
        let count = 1 + random.below(4);
        let size_most = match random.below(24) {
            0 => 24_000, // a segment of its own
            1..=4 => 4_000,
            _ => 300,
        };
        let mut stream = self.stream(random.below(5));
        let event = |part: u64| {
            if random.below(3) == 0 {
                stream = self.stream(random.below(5));
            }
            let size = random.below(if part == 0 { size_most } else { size_most.min(4_000) });
            let id = Uuid::from_u64_pair(self.seed, batch << 8 | part);
            Fact { stream: stream.clone(), id, data: fill(batch, part, size) }
        };
        (0..count).map(event).collect()
    }

    fn stream(self, number: u64) -> String {
        let names = ["Order-1", "Order-2", "Invoice-1", "Invoice-2"];
        let name = usize::try_from(number).ok().and_then(|number| names.get(number));
        (*name.unwrap_or(&"Solo")).to_owned()
    }

    /// The batch, ready to be committed.
    pub fn batch(self, store: &Store, batch: u64) -> factlog::BatchBuilder<'_> {
        let tag = format!("batch:{}", batch % 5);
        self.events(batch).into_iter().fold(store.batch(), |building, fact| {
            let event = NewEvent::binary("Noted", fact.data).id(fact.id).tag(&*tag);
            building.append(&*fact.stream, Expect::Any, [event])
        })
    }
}

/// Bytes that tell from which event they are, wherever they are cut.
pub fn fill(batch: u64, part: u64, size: u64) -> Vec<u8> {
    let mut random = Random::new(batch, part);
    let mut bytes = format!("{batch}.{part}:").into_bytes();
    while (bytes.len() as u64) < size {
        bytes.extend(random.next().to_le_bytes());
    }
    bytes
}

/// What a snapshot holds.
pub fn snapshot_data(stream: &str, version: u64) -> String {
    format!("{stream} folded up to {version}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_says_the_same_every_time_and_each_seed_something_else() {
        let plan = Plan { seed: 4, steps: 50 };
        assert_eq!(plan.events(3), plan.events(3));
        assert_ne!(plan.events(3), Plan { seed: 5, ..plan }.events(3));
        assert_eq!(plan.steps_of(1), plan.steps_of(1));
        assert_ne!(plan.steps_of(1), plan.steps_of(2));
        for step in [Step::Append, Step::Reopen, Step::SaveSnapshot, Step::SaveCheckpoint] {
            assert!(plan.steps_of(0).contains(&step), "{step:?}");
        }
    }
}
