//! Layer 9.2: competing consumers: which event is whose, without locks or threads.
//!
//! Knows: what is in flight, what waits, what was tried how often, and how far all is settled. Does
//! not know: time but as a number, the store, consumers. The rules are those of KurrentDB's
//! persistent subscriptions, except that nothing is ever passed over in silence.

use std::collections::{BTreeMap, HashSet};
use std::time::Instant;

use crate::types::Position;

/// An event on its way, by its position.
#[derive(Debug, Clone)]
pub(super) struct Entry<I> {
    pub item: I,
    /// How often it was handed out before.
    pub attempts: u32,
    /// Was parked before, and stays so until it is handled.
    pub replayed: bool,
    /// Events of one key are handed out one after the other.
    pub key: Option<u64>,
    /// It is not handed out again before.
    pub not_before: Option<Instant>,
}

#[derive(Debug)]
struct Flight<I> {
    entry: Entry<I>,
    deadline: Option<Instant>,
    /// Tells this hand-out from a later one of the same event.
    ticket: u64,
}

/// Everything handed to the group and not settled.
#[derive(Debug)]
pub(super) struct Group<I> {
    waiting: BTreeMap<Position, Entry<I>>,
    in_flight: BTreeMap<Position, Flight<I>>,
    tickets: u64,
}

impl<I: Clone> Group<I> {
    pub(super) fn new() -> Self {
        Self { waiting: BTreeMap::new(), in_flight: BTreeMap::new(), tickets: 0 }
    }

    /// How many events are neither settled nor parked.
    pub(super) fn outstanding(&self) -> usize {
        self.waiting.len() + self.in_flight.len()
    }

    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// Whether parked events are being handed out again.
    pub(super) fn replays(&self) -> bool {
        let flights = self.in_flight.values().map(|flight| &flight.entry);
        self.waiting.values().chain(flights).any(|entry| entry.replayed)
    }

    pub(super) fn add(&mut self, position: Position, entry: Entry<I>) {
        self.waiting.insert(position, entry);
    }

    /// The next event to be handed out: the lowest whose time has come, so that repetitions go
    /// before what is new; none whose key is with somebody, or waits further ahead.
    pub(super) fn next(&self, now: Instant) -> Option<Position> {
        let flights = self.in_flight.values().filter_map(|flight| flight.entry.key);
        let mut busy: HashSet<u64> = flights.collect();
        let free = |(_, entry): &(&Position, &Entry<I>)| {
            let first = entry.key.is_none_or(|key| busy.insert(key));
            first && entry.not_before.is_none_or(|at| at <= now)
        };
        let mut waiting = self.waiting.iter();
        waiting.find(free).map(|(position, _)| *position)
    }

    /// Hands it out, and with it the ticket to settle it by.
    pub(super) fn hand_out(
        &mut self,
        position: Position,
        deadline: Option<Instant>,
    ) -> Option<(Entry<I>, u64)> {
        let mut entry = self.waiting.remove(&position)?;
        entry.attempts += 1;
        self.tickets += 1;
        let ticket = self.tickets;
        self.in_flight.insert(position, Flight { entry: entry.clone(), deadline, ticket });
        Some((entry, ticket))
    }

    /// Takes an event back from whom it was handed to; `None` when it is his no longer.
    pub(super) fn take_back(&mut self, position: Position, ticket: u64) -> Option<Entry<I>> {
        let flight = self.in_flight.get(&position)?;
        if flight.ticket != ticket {
            return None;
        }
        self.in_flight.remove(&position).map(|flight| flight.entry)
    }

    /// Takes back one event that was handed out for too long.
    pub(super) fn expired(&mut self, now: Instant) -> Option<(Position, Entry<I>)> {
        let late = |flight: &Flight<I>| flight.deadline.is_some_and(|at| at <= now);
        let (position, _) = self.in_flight.iter().find(|(_, flight)| late(flight))?;
        let position = *position;
        self.in_flight.remove(&position).map(|flight| (position, flight.entry))
    }

    /// When the next event will have been handed out for too long, or may be handed out again.
    pub(super) fn next_deadline(&self, now: Instant) -> Option<Instant> {
        let flights = self.in_flight.values().filter_map(|flight| flight.deadline);
        let waiting = self.waiting.values().filter_map(|entry| entry.not_before);
        flights.chain(waiting).filter(|at| *at > now).min()
    }

    /// Up to here everything is settled or parked, given how far was read.
    pub(super) fn settled(&self, read: Position) -> Position {
        let own = |entry: &Entry<I>| !entry.replayed;
        let waiting = self.waiting.iter().find(|(_, entry)| own(entry)).map(|(at, _)| *at);
        let mut flights = self.in_flight.iter();
        let flight = flights.find(|(_, flight)| own(&flight.entry)).map(|(at, _)| *at);
        let lowest = waiting.into_iter().chain(flight).min();
        lowest.map_or(read, |at| Position::new(at.get() - 1))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock::monotonic;

    fn at(position: u64) -> Position {
        Position::new(position)
    }

    fn entry(key: Option<u64>, replayed: bool) -> Entry<()> {
        Entry { item: (), attempts: 0, replayed, key, not_before: None }
    }

    fn group(keys: &[Option<u64>]) -> Group<()> {
        let mut group = Group::new();
        for (position, key) in (1..).zip(keys) {
            group.add(at(position), entry(*key, false));
        }
        group
    }

    fn hand_out(group: &mut Group<()>) -> (Position, u64) {
        let position = group.next(monotonic()).unwrap();
        (position, group.hand_out(position, None).unwrap().1)
    }

    #[test]
    fn what_was_given_back_goes_before_what_is_new() {
        let mut group = group(&[None; 3]);
        let (first, ticket) = hand_out(&mut group);
        assert_eq!(hand_out(&mut group).0, at(2));
        let back = group.take_back(first, ticket).unwrap();
        assert_eq!(back.attempts, 1);
        group.add(first, back);
        assert_eq!(hand_out(&mut group).0, at(1));
        assert_eq!(group.take_back(first, ticket).map(|e| e.attempts), None, "an old ticket");
    }

    #[test]
    fn events_of_one_key_are_handed_out_one_after_the_other() {
        let mut group = group(&[Some(1), Some(1), Some(2), Some(1), None]);
        let (first, ticket) = hand_out(&mut group);
        assert_eq!(first, at(1));
        assert_eq!(hand_out(&mut group).0, at(3));
        assert_eq!(hand_out(&mut group).0, at(5));
        assert_eq!(group.next(monotonic()), None);
        // Given back, it keeps its place ahead of the others of its key.
        let back = group.take_back(first, ticket).unwrap();
        group.add(first, back);
        let (again, ticket) = hand_out(&mut group);
        assert_eq!(again, at(1));
        group.take_back(again, ticket).unwrap();
        assert_eq!(hand_out(&mut group).0, at(2));
        assert_eq!(group.next(monotonic()), None);
    }

    #[test]
    fn what_waits_for_its_time_lets_others_by_but_none_of_its_key() {
        let mut group = group(&[Some(1), Some(1), Some(2)]);
        let (first, ticket) = hand_out(&mut group);
        let mut back = group.take_back(first, ticket).unwrap();
        let now = monotonic();
        let later = now + Duration::from_secs(1);
        back.not_before = Some(later);
        group.add(first, back);
        assert_eq!(group.next(now), Some(at(3)));
        assert_eq!(group.next_deadline(now), Some(later));
        assert_eq!(group.next(later), Some(at(1)));
        assert_eq!(group.next_deadline(later), None, "what is due is no reason to wait");
    }

    #[test]
    fn what_is_settled_never_passes_what_is_outstanding() {
        let mut group = group(&[None; 4]);
        assert_eq!(group.settled(at(4)), at(0));
        let flights: Vec<_> = (0..4).map(|_| hand_out(&mut group)).collect();
        let mut settle = |at: usize| group.take_back(flights[at].0, flights[at].1).unwrap();
        settle(0);
        settle(2);
        let back = settle(1);
        assert_eq!(group.settled(at(9)), at(3));
        group.add(at(2), back);
        assert_eq!(group.settled(at(9)), at(1));
        group.add(at(1), entry(None, true));
        assert_eq!(group.settled(at(9)), at(1), "what is replayed counts as settled");
        assert!(group.replays());
    }

    #[test]
    fn what_takes_too_long_is_taken_back() {
        let mut group = group(&[None; 2]);
        let now = monotonic();
        group.hand_out(at(1), Some(now + Duration::from_secs(1))).unwrap();
        group.hand_out(at(2), None).unwrap();
        assert_eq!(group.next_deadline(now), Some(now + Duration::from_secs(1)));
        assert!(group.expired(now).is_none());
        assert_eq!(group.expired(now + Duration::from_secs(2)).map(|late| late.0), Some(at(1)));
        assert!(group.expired(now + Duration::from_secs(9)).is_none(), "2 has all the time");
    }
}
