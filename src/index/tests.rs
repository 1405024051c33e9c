//! Layer 5.8: tests of the room: both kinds of index against a plain model, and hostile bytes.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::sample::Index;
use uuid::Uuid;

use super::hash::mix;
use super::layout::{Directory, Header, SECTIONS, Section};
use super::lookup::StreamPart;
use super::*;
use crate::format::{Record, crc, decode_event, encode_event, patch_record};
use crate::types::{EventRef, Limits, NewEvent, Position, StreamName, Timestamp, Version};

const FIRST: u64 = 1001;

/// An event of a history, in numbers that name its parts.
#[derive(Debug, Clone)]
struct Fact {
    stream: u8,
    kind: u8,
    tags: Vec<u8>,
    correlation: Option<u8>,
    causation: Option<u8>,
    /// Events with the same number have the same id.
    id: u16,
}

fn facts() -> impl Strategy<Value = Vec<Fact>> {
    let few = proptest::collection::vec(0..6_u8, 0..4);
    let ids = (proptest::option::of(0..5_u8), proptest::option::of(0..5_u8), 0..500_u16);
    let fact = (0..40_u8, 0..4_u8, few, ids).prop_map(|(stream, kind, tags, ids)| Fact {
        stream,
        kind,
        tags,
        correlation: ids.0,
        causation: ids.1,
        id: ids.2,
    });
    proptest::collection::vec(fact, 0..400)
}

/// Some names have a category, some begin with another name.
fn stream_name(number: u8) -> String {
    match number % 4 {
        0 => format!("Order-{number}"),
        1 => format!("Order-{number}-more"),
        2 => format!("plain{number}"),
        _ => format!("Kündigung-{number}"),
    }
}

fn id(number: u16) -> Uuid {
    Uuid::from_u128(u128::from(mix(number.into())) << 60)
}

fn with_event<T>(fact: &Fact, place: (u64, u64, u64), f: impl FnOnce(&EventRef<'_>) -> T) -> T {
    let tags = fact.tags.iter().map(|tag| format!("tag:{tag}"));
    let mut event = NewEvent::binary(format!("Type{}", fact.kind), *b"data").tags(tags);
    event = event.id(id(fact.id));
    if let Some(number) = fact.correlation {
        event = event.correlation(number);
    }
    if let Some(number) = fact.causation {
        event = event.causation(number);
    }
    let (mut out, name) = (Vec::new(), StreamName::new(stream_name(fact.stream)).unwrap());
    encode_event(&mut out, &name, &event, &Limits::default()).unwrap();
    patch_record(&mut out, 7, place);
    f(&decode_event(&Record::decode(&out, 7).unwrap()).unwrap())
}

fn offset_of(ordinal: u32) -> u32 {
    4096 + ordinal * 104
}

/// First version of a stream in the segment: streams began in earlier ones.
fn first_version(stream: u8) -> u64 {
    1 + u64::from(stream) * 1000
}

fn index_of(facts: &[Fact]) -> TailIndex {
    let mut tail = TailIndex::new(Position::new(FIRST));
    let mut versions = BTreeMap::new();
    for (ordinal, fact) in (0..).zip(facts) {
        let version = versions.entry(fact.stream).or_insert(first_version(fact.stream));
        let place = (FIRST + u64::from(ordinal), *version, 50 + u64::from(ordinal));
        with_event(fact, place, |event| tail.push(event, offset_of(ordinal))).unwrap();
        *version += 1;
    }
    for n in 0..5 {
        let name = format!("reader{}", n % 3);
        tail.push_checkpoint(&name, Position::new(n), Uuid::from_u128(n.into()), 10 - n % 2);
    }
    tail
}

fn binding(events: u32) -> Binding {
    Binding {
        store: Uuid::from_u128(5),
        segment: 3,
        start_offset: 4240,
        end_offset: 1 << 20,
        end_frame: 77,
        chain: 0xABCD,
        first_position: Position::new(FIRST),
        events,
        rewrite: 0,
    }
}

fn sidecar_bytes(tail: &TailIndex) -> Vec<u8> {
    encode(tail, &binding(tail.events())).unwrap()
}

fn ordinals_where(facts: &[Fact], f: impl Fn(&Fact) -> bool) -> Vec<u32> {
    (0..).zip(facts).filter(|(_, fact)| f(fact)).map(|(ordinal, _)| ordinal).collect()
}

/// Asks everything and compares with what a plain search of the facts says.
fn answers_right(index: &dyn SegmentLookup, facts: &[Fact]) {
    let events = u32::try_from(facts.len()).unwrap();
    assert_eq!((index.events(), index.first_position().get()), (events, FIRST));
    let newest = facts.len().checked_sub(1).map_or(0, |last| 50 + last as u64);
    assert_eq!(index.last_recorded_at(), Timestamp::from_micros(newest));
    for ordinal in 0..events {
        assert_eq!(index.offset(ordinal), Some(offset_of(ordinal)));
    }
    assert_eq!((index.offset(events), index.offset(u32::MAX)), (None, None));
    let mut parts = BTreeMap::new();
    for stream in 0..40 {
        let (name, all) = (stream_name(stream), ordinals_where(facts, |f| f.stream == stream));
        let Some(run) = index.stream(&name) else {
            assert!(all.is_empty(), "{name}");
            continue;
        };
        assert_eq!(run.first_version().get(), first_version(stream));
        let listed = (0..run.len()).map(|i| run.ordinal(i).unwrap()).collect::<Vec<_>>();
        assert_eq!(listed, all);
        assert_eq!(run.ordinal(run.len()), None);
        assert_eq!(run.version(Version::new(first_version(stream))), Some(all[0]));
        assert_eq!(run.version(Version::new(first_version(stream) - 1)), None);
        parts.insert(name, (first_version(stream), run.len(), *all.last().unwrap()));
    }
    assert!(index.stream("Order-").is_none() && index.stream("").is_none());
    let mut seen = BTreeMap::new();
    let of = |part: StreamPart<'_>| (part.first_version.get(), part.count, part.last_ordinal);
    index.for_each_stream(&mut |part| assert!(seen.insert(part.name.into(), of(part)).is_none()));
    assert_eq!(seen, parts);
    terms_are_right(index, facts);
    for number in 0..520 {
        let candidates = index.ids(&id(number)).collect::<Vec<_>>();
        assert_eq!(candidates, ordinals_where(facts, |f| f.id == number), "id {number}");
    }
    let mut checkpoints = Vec::new();
    index.for_each_checkpoint(&mut |c| {
        checkpoints.push((c.name.clone(), c.position.get(), c.frame))
    });
    let newest = [("reader0", 0, 10), ("reader1", 4, 10), ("reader2", 2, 10)];
    assert_eq!(checkpoints, newest.map(|(name, at, frame)| (name.to_owned(), at, frame)));
}

fn terms_are_right(index: &dyn SegmentLookup, facts: &[Fact]) {
    let mut table = Vec::new();
    for n in 0..8 {
        let text = n.to_string();
        let (kind, tag) = (format!("Type{n}"), format!("tag:{n}"));
        table.push((Term::Type(&kind).hash(), ordinals_where(facts, |f| f.kind == n)));
        table.push((Term::Tag(&tag).hash(), ordinals_where(facts, |f| f.tags.contains(&n))));
        let correlated = ordinals_where(facts, |f| f.correlation == Some(n));
        table.push((Term::Correlation(&text).hash(), correlated));
        table.push((
            Term::Causation(&text).hash(),
            ordinals_where(facts, |f| f.causation == Some(n)),
        ));
    }
    let orders = ordinals_where(facts, |f| f.stream % 4 < 2);
    table.push((Term::Category("Order").hash(), orders));
    table.push((Term::Category("plain2").hash(), Vec::new()));
    for (hash, all) in table {
        assert_eq!(index.term(hash).collect::<Vec<_>>(), all);
        let back: Vec<_> = index.term(hash).up_to(200).above(50).rev().collect();
        let wanted = all.iter().rev().copied().filter(|at| *at > 50 && *at <= 200);
        assert_eq!(back, wanted.collect::<Vec<_>>());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn the_tail_and_its_sidecar_answer_like_a_plain_search(facts in facts()) {
        let tail = index_of(&facts);
        answers_right(&tail, &facts);
        let bytes = sidecar_bytes(&tail);
        prop_assert!(bytes.len().is_multiple_of(8));
        answers_right(&Sidecar::open(bytes, &binding(tail.events())).unwrap(), &facts);
    }

    #[test]
    fn bytes_that_check_but_were_never_written_do_no_harm(
        facts in facts(), harm in proptest::collection::vec((any::<Index>(), any::<u8>()), 1..60),
        lengths in proptest::option::of(0..SECTIONS),
    ) {
        let tail = index_of(&facts);
        let mut bytes = sidecar_bytes(&tail);
        for (at, byte) in harm {
            let at = at.index(bytes.len());
            // The header up to the binding's end stays, or nothing behind it would be reached.
            if at >= 72 {
                bytes[at] = byte;
            }
        }
        if lengths.is_none() {
            let good = sidecar_bytes(&tail);
            bytes[96..304].copy_from_slice(&good[96..304]);
        }
        check_again(&mut bytes);
        if let Ok(sidecar) = Sidecar::open(bytes, &binding(tail.events())) {
            ask_everything(&sidecar);
        }
    }

    #[test]
    fn any_bytes_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        prop_assert!(Sidecar::open(bytes, &binding(0)).is_err());
    }
}

/// Makes every checksum hold again where the section table still makes sense.
fn check_again(bytes: &mut [u8]) {
    let mut start = 336_usize;
    for section in 0..SECTIONS {
        let at = 104 + section * 16;
        let length = u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
        let end = usize::try_from(length)
            .ok()
            .and_then(|length| start.checked_add(length.checked_next_multiple_of(8)?));
        bytes[at + 12..at + 16].fill(0);
        let Some(end) = end.filter(|end| *end <= bytes.len()) else { break };
        let sum = crc(&bytes[start..end]).to_le_bytes();
        bytes[at + 8..at + 12].copy_from_slice(&sum);
        start = end;
    }
    bytes[328..332].fill(0);
    let sum = crc(&bytes[..332]).to_le_bytes();
    bytes[332..336].copy_from_slice(&sum);
}

fn ask_everything(index: &dyn SegmentLookup) {
    assert!((0..index.events().min(1000)).filter_map(|at| index.offset(at)).count() <= 1000);
    for stream in 0..40 {
        if let Some(run) = index.stream(&stream_name(stream)) {
            assert!((0..run.len()).filter_map(|i| run.ordinal(i)).count() <= run.len() as usize);
        }
    }
    for n in 0..8_u8 {
        let (kind, tag) = (format!("Type{n}"), format!("tag:{n}"));
        for hash in [Term::Type(&kind).hash(), Term::Tag(&tag).hash(), mix(n.into())] {
            index.term(hash).for_each(drop);
            index.term(hash).rev().for_each(drop);
            index.term(hash).above(20).up_to(70).rev().for_each(drop);
        }
    }
    (0..500).for_each(|number| index.ids(&id(number)).for_each(drop));
    index.for_each_stream(&mut |_| ());
    index.for_each_checkpoint(&mut |_| ());
}

fn some_facts(count: u16) -> Vec<Fact> {
    let fact = |n: u16| {
        let byte = |modulus: u16| u8::try_from(n % modulus).unwrap();
        let tags = vec![byte(5), byte(3)];
        let correlation = Some(byte(7));
        Fact { stream: byte(31), kind: byte(3), tags, correlation, causation: None, id: n }
    };
    (0..count).map(fact).collect()
}

#[test]
fn every_flipped_bit_and_every_cut_is_doubtful() {
    let tail = index_of(&some_facts(60));
    let (good, binding) = (sidecar_bytes(&tail), binding(tail.events()));
    assert!(Sidecar::open(good.as_slice(), &binding).is_ok());
    for bit in 0..good.len() * 8 {
        let mut bad = good.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        assert!(Sidecar::open(bad, &binding).is_err(), "bit {bit}");
    }
    for cut in 0..good.len() {
        assert!(Sidecar::open(&good[..cut], &binding).is_err(), "cut {cut}");
    }
    assert!(Sidecar::open([good.as_slice(), &[0; 8]].concat(), &binding).is_err());
}

#[test]
fn a_stream_is_never_taken_for_another() {
    let tail = index_of(&some_facts(60));
    let mut bytes = sidecar_bytes(&tail);
    // As if every hash had collided: all of the stream table leads to one stream.
    let (_, sections) = Header::decode(&bytes).unwrap();
    let table = sections[Section::StreamTable as usize].of(&bytes).as_ptr_range();
    let file = bytes.as_ptr() as usize;
    let (from, to) = (table.start as usize - file, table.end as usize - file);
    bytes[from..to].as_chunks_mut::<8>().0.iter_mut().for_each(|entry| entry[4..].fill(0));
    check_again(&mut bytes);
    let sidecar = Sidecar::open(bytes, &binding(tail.events())).unwrap();
    let found = (0..31).filter(|stream| sidecar.stream(&stream_name(*stream)).is_some());
    assert_eq!(found.count(), 1);
}

#[test]
fn a_sidecar_of_other_bytes_is_doubtful() {
    let tail = index_of(&some_facts(60));
    let (bytes, mine) = (sidecar_bytes(&tail), binding(tail.events()));
    let others = [
        Binding { store: Uuid::from_u128(6), ..mine },
        Binding { segment: 4, ..mine },
        Binding { start_offset: 8, ..mine },
        Binding { end_offset: 8, ..mine },
        Binding { end_frame: 8, ..mine },
        Binding { chain: 8, ..mine },
        Binding { first_position: Position::new(1), ..mine },
        Binding { events: 59, ..mine },
        Binding { rewrite: 1, ..mine },
    ];
    for other in others {
        let why = Sidecar::open(bytes.as_slice(), &other).unwrap_err();
        assert_eq!(why, "it was made for other bytes of the log", "{other:?}");
    }
    assert!(encode(&tail, &Binding { events: 59, ..mine }).is_err());
    assert!(encode(&tail, &Binding { first_position: Position::new(1), ..mine }).is_err());
}

#[test]
fn what_breaks_a_rule_of_the_log_is_refused_and_changes_nothing() {
    let fact = &some_facts(1)[0];
    let mut tail = TailIndex::new(Position::new(FIRST));
    let mut push = |position, version, offset| {
        with_event(fact, (position, version, 9), |event| tail.push(event, offset))
    };
    assert!(push(FIRST + 1, 1, 4096).is_err(), "not the next position");
    assert!(push(FIRST, 1, 0).is_err(), "no offset");
    assert_eq!(push(FIRST, 5, 4096), Ok(()));
    assert!(push(FIRST, 6, 4200).is_err(), "the position again");
    assert!(push(FIRST + 1, 5, 4200).is_err(), "the version again");
    assert!(push(FIRST + 1, 7, 4200).is_err(), "a version left out");
    assert_eq!(push(FIRST + 1, 6, 4200), Ok(()));
    assert_eq!((tail.events(), tail.ids(&id(fact.id)).count()), (2, 2));
    assert_eq!(tail.term(Term::Type("Type0").hash()).collect::<Vec<_>>(), [0, 1]);
}

#[test]
fn damaged_positions_leave_holes_and_no_sidecar() {
    let fact = &some_facts(1)[0];
    let mut tail = TailIndex::new(Position::new(FIRST));
    let push = |tail: &mut TailIndex, at, version| {
        with_event(fact, (FIRST + at, version, 9), |event| tail.push(event, 4096))
    };
    push(&mut tail, 0, 5).unwrap();
    tail.push_damaged();
    tail.push_damaged();
    assert!(push(&mut tail, 3, 9).is_err(), "more versions than damaged positions");
    push(&mut tail, 3, 7).unwrap();
    assert_eq!([0, 1, 2, 3].map(|at| tail.offset(at)), [Some(4096), None, None, Some(4096)]);
    let run = tail.stream(&stream_name(fact.stream)).unwrap();
    assert_eq!([0, 1, 2, 3].map(|i| run.ordinal(i)), [Some(0), None, Some(3), None]);
    assert_eq!((run.len(), run.version(Version::new(7))), (3, Some(3)));
    assert!(encode(&tail, &binding(4)).is_err());
}

#[test]
fn no_id_is_missed_and_hardly_any_other_is_a_candidate() {
    let mut tail = TailIndex::new(Position::new(FIRST));
    let (mut body, name) = (Vec::new(), StreamName::new("Order-1").unwrap());
    let id = |n: u64| Uuid::from_u64_pair(0x0190_0000_0000_7000 | (n << 16), 1 << 63 | mix(n));
    let count = 190_000;
    for n in 0..count {
        body.clear();
        let event = NewEvent::binary("T", Vec::new()).id(id(n));
        encode_event(&mut body, &name, &event, &Limits::default()).unwrap();
        patch_record(&mut body, 7, (FIRST + n, 1 + n, 9));
        let record = Record::decode(&body, 7).unwrap();
        tail.push(&decode_event(&record).unwrap(), 4096).unwrap();
    }
    let binding = binding(tail.events());
    let sidecar = Sidecar::open(encode(&tail, &binding).unwrap(), &binding).unwrap();
    for index in [&tail as &dyn SegmentLookup, &sidecar] {
        for n in 0..count {
            let ordinal = u32::try_from(n).unwrap();
            assert!(index.ids(&id(n)).any(|at| at == ordinal), "{n}");
        }
        let misses = count..count + 1_000_000;
        let wrong = misses.map(|n| index.ids(&id(n)).count()).sum::<usize>();
        // 0.001 for each new id would be 1,000; one in 2^30 or so is expected.
        assert!(wrong < 10, "{wrong} candidates");
    }
}

#[test]
fn buckets_hold_every_entry_and_hostile_directories_none_but_theirs() {
    for count in [0_u64, 1, 15, 16, 33, 1000] {
        let entries: Vec<_> = (0..count).map(|n| (mix(n), u32::try_from(n).unwrap())).collect();
        let (directory, table) = layout::table(entries.clone()).unwrap();
        let (directory, table) = (Directory::open(&directory).unwrap(), table.as_chunks().0);
        for (hash, number) in &entries {
            let found = directory.matching(table, *hash);
            assert!(found.iter().any(|entry| entry[4..] == number.to_le_bytes()), "{count}");
            assert!(found.len() == 1);
        }
    }
    for bad in [vec![], vec![0; 3], vec![0; 4], vec![0; 16]] {
        assert!(Directory::open(&bad).is_none());
    }
    let wild = [[9, 0, 0, 0], [3, 0, 0, 0], [0xFF; 4]].concat();
    let directory = Directory::open(&wild).unwrap();
    assert!(directory.matching(&[[0; 8]; 5], 0).is_empty());
    assert!(directory.matching(&[[0; 8]; 5], u64::MAX).is_empty());
}

#[test]
fn an_empty_segment_has_a_sidecar() {
    let tail = TailIndex::new(Position::new(FIRST));
    let sidecar = Sidecar::open(sidecar_bytes(&tail), &binding(0)).unwrap();
    assert_eq!((sidecar.events(), sidecar.offset(0)), (0, None));
    assert!(sidecar.stream("Order-1").is_none() && sidecar.ids(&Uuid::nil()).next().is_none());
    assert!(Header::decode(&[]).is_err());
}
