//! Random programs: which verbs are called, with what, from one number.

use factlog::{Expect, Uuid};

use super::plain::{Ask, Change, Fact, Item, Part, Plain, exactly};

pub const LONG: &str = concat!(
    "A-0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567",
    "890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567",
    "890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567"
);
pub const STREAMS: &[&str] =
    &["A-1", "A-2", "A", "B-1", "B-2-x", "plain", "-dash", "C-", "É-1", LONG];
pub const CHECKPOINTS: &[&str] = &["mail", "ledger", "a name with spaces and é", "$own"];
pub const SNAPSHOTS: &[&str] = &["state", "other"];
const TYPES: &[&str] = &["Opened", "Moved", "Closed"];
const TAGS: &[&str] = &["red", "green", "user:1", "user:2"];
const TALKS: &[&str] = &["talk-1", "talk-2"];

/// A seeded source of choices (splitmix64).
#[derive(Debug, Clone)]
pub struct Dice(pub u64);

impl Dice {
    pub fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.roll() % bound
    }

    /// True once in so many times.
    pub fn chance(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    pub fn pick<T: Clone>(&mut self, all: &[T]) -> T {
        all[self.below(all.len() as u64) as usize].clone()
    }

    /// Mostly within 0 to a little above `last`, at times far out.
    pub fn around(&mut self, last: u64) -> u64 {
        match self.below(12) {
            0 => 0,
            1 => last,
            2 => last + 1,
            3 => u64::MAX,
            4 => u64::MAX - 1,
            _ => self.below(last + 2),
        }
    }

    fn some<T: Copy>(&mut self, all: &[T], most: u64) -> Vec<T> {
        let count = self.below(most + 1);
        (0..count).map(|_| self.pick(all)).collect()
    }

    fn uuid(&mut self) -> Uuid {
        Uuid::from_u64_pair(self.roll(), self.roll())
    }

    fn fact(&mut self) -> Fact {
        let length = match self.below(40) {
            0 => 40_000,
            1..=4 => 4_000,
            _ => self.below(60),
        };
        let mut tags = self.some(TAGS, 3);
        tags.dedup();
        Fact {
            id: self.uuid(),
            event_type: self.pick(TYPES),
            tags,
            correlation: self.chance(3).then(|| self.pick(TALKS)),
            data: vec![self.roll() as u8; length as usize],
        }
    }

    fn facts(&mut self) -> Vec<Fact> {
        let count = 1 + self.below(4) * self.below(4);
        (0..count).map(|_| self.fact()).collect()
    }

    fn expect(&mut self, version: u64) -> Expect {
        match self.below(8) {
            0 => Expect::NoStream,
            1 => Expect::StreamExists,
            2 => exactly(version + 1),
            3 => exactly(version.saturating_sub(1)),
            4 | 5 => exactly(version),
            _ => Expect::Any,
        }
    }
}

/// A query: one to three items, each with something in it, at times with what no event has.
pub fn ask(dice: &mut Dice) -> Ask {
    let count = 1 + dice.below(3) * dice.below(2);
    let items = (0..count).map(|_| {
        let types = dice.some(TYPES, 2);
        let tags = dice.some(TAGS, 2);
        let correlation = dice.chance(4).then(|| dice.pick(&["talk-1", "talk-2", "nobody"]));
        match types.is_empty() && tags.is_empty() && correlation.is_none() {
            true => Item { types: vec!["Unheard"], ..Item::default() },
            false => Item { types, tags, correlation },
        }
    });
    Ask(items.collect())
}

/// What is done next.
#[derive(Debug, Clone)]
pub enum Step {
    Batch(Vec<Part>),
    /// The same batch as one of those before, or one made of its events.
    Save(&'static str, u64, bool),
    Snapshot(&'static str, &'static str, u64, u16, Vec<u8>),
    /// Control frames without events, enough of them to fill a small segment.
    Checkpoints(&'static str, u64),
    Clock(u64),
    /// Keep so many events, and whether what checkpoints have not come to goes too.
    Trim(u64, bool),
    Reopen(Reopen),
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Reopen {
    pub close: bool,
    pub map: bool,
    pub rebuild: bool,
    pub lose_sidecars: bool,
}

/// The next step, given what is stored and which batches were sent.
pub fn step(dice: &mut Dice, plain: &Plain, sent: &[Vec<Part>]) -> Step {
    match dice.below(100) {
        0..50 => Step::Batch(batch(dice, plain)),
        50..72 => Step::Batch(again(dice, plain, sent)),
        72..80 => {
            let position = dice.around(plain.last()).min(plain.last() + 3);
            Step::Save(dice.pick(CHECKPOINTS), position, dice.chance(4))
        }
        80..86 => {
            let stream = dice.pick(STREAMS);
            let version = dice.below(plain.version(stream) + 2);
            let data = vec![dice.roll() as u8; dice.below(200) as usize];
            Step::Snapshot(stream, dice.pick(SNAPSHOTS), version, dice.below(9) as u16, data)
        }
        86 => Step::Checkpoints(dice.pick(CHECKPOINTS), 1 + dice.below(150)),
        87..93 => Step::Clock(1_000 + dice.below(5_000)),
        93..95 => Step::Trim(dice.below(plain.last() + 2), dice.chance(2)),
        _ => Step::Reopen(Reopen {
            close: dice.chance(2),
            map: dice.chance(2),
            rebuild: dice.chance(4),
            lose_sidecars: dice.chance(3),
        }),
    }
}

fn batch(dice: &mut Dice, plain: &Plain) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut free: Vec<&'static str> = STREAMS.to_vec();
    let mut take = |dice: &mut Dice| free.swap_remove(dice.below(free.len() as u64) as usize);
    let streams = if dice.chance(12) { 0 } else { 1 + dice.below(3) * dice.below(2) };
    for _ in 0..streams {
        let stream = take(dice);
        parts.push(Part::Append(stream, dice.expect(plain.version(stream)), dice.facts()));
    }
    if streams > 1 && dice.chance(2) {
        let Part::Append(stream, ..) = parts[0] else { unreachable!() };
        parts.push(Part::Append(stream, Expect::Any, dice.facts()));
    }
    if dice.chance(4) {
        let stream = take(dice);
        let expect = match dice.expect(plain.version(stream)) {
            Expect::Any => Expect::StreamExists,
            expect => expect,
        };
        parts.push(Part::Check(stream, expect));
    }
    if dice.chance(5) {
        let change = change(dice);
        let named = parts.iter().find_map(|part| match part {
            Part::Append(stream, ..) => Some(*stream),
            _ => None,
        });
        let (stream, expect) = match named.filter(|_| dice.chance(2)) {
            Some(stream) => (stream, Expect::Any),
            None => {
                let stream = take(dice);
                (stream, dice.expect(plain.version(stream)))
            }
        };
        let expect = if matches!(change, Change::Retain(..)) { Expect::Any } else { expect };
        parts.push(Part::Change(stream, expect, change));
    }
    for _ in 0..dice.below(2) * dice.below(3) {
        let after = plain.last().saturating_sub(dice.below(4));
        parts.push(Part::Condition(ask(dice), if dice.chance(9) { after + 4 } else { after }));
    }
    if dice.chance(8) {
        parts.push(Part::FailsIfExists(ask(dice)));
    }
    if dice.chance(5) || parts.is_empty() {
        let position = dice.around(plain.last()).min(plain.last() + 2);
        parts.push(Part::Checkpoint(dice.pick(CHECKPOINTS), position));
    }
    parts
}

fn change(dice: &mut Dice) -> Change {
    let mut rarely = |most: u64| if dice.chance(2) { 0 } else { dice.below(most) };
    let (before, kept, age) = (rarely(9), rarely(5), rarely(4_000));
    match dice.below(20) {
        0 => Change::Tombstone,
        1..9 => Change::Delete,
        _ => Change::Retain(before, kept, age),
    }
}

/// Something made of the events of an earlier batch.
fn again(dice: &mut Dice, plain: &Plain, sent: &[Vec<Part>]) -> Vec<Part> {
    if sent.is_empty() {
        return batch(dice, plain);
    }
    let mut parts = dice.pick(sent);
    let last = plain.last();
    match dice.below(8) {
        // As it was, or with other expectations.
        0..3 => {}
        3 => parts.iter_mut().for_each(|part| {
            if let Part::Append(_, expect, _) = part
                && *expect != Expect::Any
            {
                *expect = dice.expect(0);
            }
        }),
        shape => {
            let Some(Part::Append(stream, _, facts)) =
                parts.iter_mut().find(|part| matches!(part, Part::Append(..)))
            else {
                return parts;
            };
            match shape {
                4 => facts.truncate(1 + facts.len() / 2),
                5 => facts.reverse(),
                6 => *stream = "elsewhere-1",
                _ if dice.chance(2) => facts.insert(0, dice.fact()),
                _ => facts.push(if dice.chance(2) { facts[0].clone() } else { dice.fact() }),
            }
        }
    }
    if dice.chance(3) {
        parts.retain(|part| !matches!(part, Part::Checkpoint(..)));
        parts.push(Part::Checkpoint(dice.pick(CHECKPOINTS), dice.below(last + 1)));
    }
    parts
}
