use super::*;
use crate::types::Lifecycle;

fn end() -> BaseEnd {
    BaseEnd {
        store: Uuid::from_u128(7),
        number: 2,
        first_segment: 5,
        frame: 40,
        chain: 0xABCD,
        first_position: 31,
        last_recorded_at: 99,
        last_id: Uuid::from_u128(30),
    }
}

fn setting() -> SettingsRecord<'static> {
    let lifecycle = Lifecycle { tombstoned: true, ..Lifecycle::default() };
    SettingsRecord { stream: "B", lifecycle }
}

fn written(
    streams: &[BaseStream<'_>],
    checkpoints: &[BaseCheckpoint<'_>],
    ids: Vec<BaseId>,
) -> Vec<u8> {
    let mut body = Vec::new();
    let settings = &[(7, setting())][..streams.len().min(1)];
    let ids = ids.into_iter();
    let parts = BaseParts { end: end(), streams, checkpoints, ids, settings };
    let header = parts.write(&mut |piece| {
        body.extend_from_slice(piece);
        Ok(())
    });
    [header.unwrap(), body].concat()
}

fn sample() -> Vec<u8> {
    let stream = |name, version, last_position| BaseStream { name, version, last_position };
    let streams = [stream("A-1", 3, 9), stream("B", 1, 4), stream("ü-2", 26, 30)];
    let checkpoint = |name, position| BaseCheckpoint {
        name,
        position,
        id: Uuid::from_u128(position.into()),
        frame: position,
    };
    written(&streams, &[checkpoint("mail", 8), checkpoint("x", 20)], sample_ids())
}

/// One id twice, as ids unique within a stream may come.
fn sample_ids() -> Vec<BaseId> {
    let id = |id: u128, position, stream| BaseId {
        id: Uuid::from_u128(id),
        position,
        version: position,
        stream,
    };
    vec![id(3, 4, 1), id(10, 2, 0), id(10, 7, 2), id(30, 30, 2)]
}

fn open(bytes: &[u8]) -> Result<Base<&[u8]>> {
    Base::open(bytes, "f")
}

#[test]
fn a_base_comes_back_as_it_was() {
    let bytes = sample();
    let base = open(&bytes).unwrap();
    assert_eq!((base.end(), base.len(), base.ids_check()), (&end(), 3, true));
    let names: Vec<_> = base.streams().map(|stream| (stream.name, stream.version)).collect();
    assert_eq!(names, [("A-1", 3), ("B", 1), ("ü-2", 26)]);
    for stream in base.streams() {
        assert_eq!(base.stream(stream.name), Some(stream));
    }
    assert_eq!((base.stream("A"), base.stream("A-10"), base.stream("")), (None, None, None));
    assert_eq!(base.stream_at(1), base.stream("B"));
    let saved: Vec<_> = base.checkpoints().map(|c| (c.name, c.position)).collect();
    assert_eq!(saved, [("mail", 8), ("x", 20)]);
    assert_eq!(base.ids().collect::<Vec<_>>(), sample_ids());
    assert_eq!(base.settings().collect::<Vec<_>>(), [(7, setting())]);
    let found = |id: u128| {
        let id = Uuid::from_u128(id);
        let positions = base.with_id(&id).map(|found| found.position).collect::<Vec<_>>();
        assert!(base.may_have(&id) || positions.is_empty());
        positions
    };
    assert_eq!((found(10), found(3), found(30)), (vec![2, 7], vec![4], vec![30]));
    assert!([0, 4, 29, 31].into_iter().all(|id| found(id).is_empty()));
    let bytes = written(&[], &[], Vec::new());
    let empty = open(&bytes).unwrap();
    assert_eq!((empty.len(), empty.checkpoints().count(), empty.ids().count()), (0, 0, 0));
    assert!(!empty.may_have(&Uuid::nil()));
}

#[test]
fn more_than_a_piece_is_checked_as_a_whole() {
    let ids = (0..40_000_u64).map(|n| BaseId {
        id: Uuid::from_u128(u128::from(n) * 2),
        position: 1 + n % 30,
        version: 1,
        stream: 0,
    });
    let bytes = written(&[], &[], ids.collect());
    let base = open(&bytes).unwrap();
    assert!(base.ids_check());
    let has = |n: u128| base.with_id(&Uuid::from_u128(n)).count();
    assert!((0..40_000).all(|n| has(2 * n) == 1 && has(2 * n + 1) == 0));
}

#[test]
fn every_flipped_bit_and_every_cut_is_noticed() {
    let good = sample();
    for bit in 0..good.len() * 8 {
        let mut bad = good.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        assert!(!open(&bad).is_ok_and(|base| base.ids_check()), "bit {bit}");
    }
    for cut in 0..good.len() {
        assert!(open(&good[..cut]).is_err(), "cut {cut}");
    }
}

#[test]
fn what_a_newer_version_wrote_is_unsupported() {
    // Format version, zeros, flags.
    for place in [8, 10, 12, 15] {
        let mut bytes = sample();
        bytes[place] |= 1;
        let sum = crc(&bytes[..252]).to_le_bytes();
        bytes[252..256].copy_from_slice(&sum);
        let kind = open(&bytes).err().map(|error| error.kind());
        assert_eq!(kind, Some(ErrorKind::Unsupported), "{place}");
    }
}

/// Whoever writes such numbers makes the checksum true: they are refused all the same.
#[test]
fn a_header_that_cannot_be_is_refused_though_its_checksum_is_true() {
    let table: [(&str, usize, u64); 7] = [
        ("no number", 32, 0),
        ("a number beyond all bounds", 32, 1 << 62),
        ("nothing trimmed", 40, 1),
        ("a segment beyond all bounds", 40, u64::MAX),
        ("a frame beyond all bounds", 48, 1 << 63),
        ("no position", 64, 0),
        ("a position beyond all bounds", 64, 1 << 62),
    ];
    for (what, place, value) in table {
        let mut bytes = sample();
        bytes[place..place + 8].copy_from_slice(&value.to_le_bytes());
        let sum = crc(&bytes[..252]).to_le_bytes();
        bytes[252..256].copy_from_slice(&sum);
        let kind = open(&bytes).err().map(|error| error.kind());
        assert_eq!(kind, Some(ErrorKind::Damaged), "{what}");
    }
}

#[test]
fn a_stream_that_cannot_be_is_not_served() {
    let beyond = end().first_position;
    for (version, last_position) in [(0, 4), (5, 4), (1, beyond)] {
        let stream = BaseStream { name: "A-1", version, last_position };
        let bytes = written(&[stream], &[], Vec::new());
        let base = open(&bytes).unwrap();
        assert_eq!(base.stream("A-1"), None, "{version} at {last_position}");
        assert_eq!(base.streams().count(), 0, "{version} at {last_position}");
    }
}
