//! The walker over segments built here, good and bad in one way each.

use super::super::checksum::crc_from;
use super::super::frame::{patch_header, records_crc};
use super::super::record::{patch_record, push_record};
use super::*;

const SEED: u32 = 0x5EED;
const START: u64 = SEGMENT_HEADER_BYTES as u64;
const ALONE: BatchPart = BatchPart { first: true, last: true };
const FIRST: BatchPart = BatchPart { first: true, last: false };
const INNER: BatchPart = BatchPart { first: false, last: false };
const LAST: BatchPart = BatchPart { first: false, last: true };

/// Records of a frame to come: kind and flags of each.
type Kinds = [(RecordKind, u8)];
const EVENT: (RecordKind, u8) = (RecordKind::Event, 0);

/// A segment that grows by one frame at a time; each can be bent before its checksum is made.
#[derive(Clone)]
struct Built {
    bytes: Vec<u8>,
    next: Expected,
    /// Where each frame begins.
    frames: Vec<u64>,
}

fn index(offset: u64) -> usize {
    usize::try_from(offset).unwrap()
}

fn start() -> Expected {
    Expected { number: 7, position: 20, chain: 99, epoch_min: 2, epoch_max: 5 }
}

impl Built {
    fn empty() -> Self {
        Self { bytes: vec![0; SEGMENT_HEADER_BYTES], next: start(), frames: Vec::new() }
    }

    fn opened() -> Self {
        Self::empty().frame(FrameKind::Opening, &[(RecordKind::Opening, 0)], |_| {})
    }

    fn end(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn frame(
        mut self,
        kind: FrameKind,
        kinds: &Kinds,
        bend: impl FnOnce(&mut FrameHeader),
    ) -> Self {
        let mut frame = vec![0; FRAME_HEADER_BYTES];
        let mut heads = Vec::new();
        let mut position = self.next.position;
        for (kind, flags) in kinds {
            let at = frame.len();
            push_record(&mut frame, *kind, |out| out.extend_from_slice(b"some body"));
            frame[at + 1] = *flags;
            heads.push(patch_record(&mut frame[at..], SEED, (position, 1, 1)).0);
            position += u64::from(*kind == RecordKind::Event);
        }
        let events = u32::try_from(position - self.next.position).unwrap();
        let batch = kind == FrameKind::Batch;
        let mut header = FrameHeader {
            length: u32::try_from(frame.len()).unwrap(),
            number: self.next.number,
            first_position: self.next.position,
            durable: self.next.number - 1,
            epoch: self.next.epoch_min,
            chain: self.next.chain,
            kind,
            part: if batch { ALONE } else { BatchPart::default() },
            flags: 0,
            records_crc: heads.into_iter().fold(0, records_crc),
            events,
            batch_frames: u32::from(batch),
            batch_events: if batch { events } else { 0 },
        };
        bend(&mut header);
        patch_header(&mut frame, &header, SEED, self.end());
        self.next = Expected {
            number: header.number + 1,
            position: header.first_position + u64::from(header.events),
            chain: chain_after(&header),
            epoch_min: header.epoch,
            ..self.next
        };
        self.frames.push(self.end());
        self.bytes.extend(frame);
        self
    }

    fn batch(self, events: usize) -> Self {
        self.frame(FrameKind::Batch, &vec![EVENT; events], |_| {})
    }

    fn part(self, part: BatchPart, sums: (u32, u32), events: usize) -> Self {
        self.frame(FrameKind::Batch, &vec![EVENT; events], |header| {
            header.part = part;
            (header.batch_frames, header.batch_events) = sums;
        })
    }

    fn bent(self, bend: impl FnOnce(&mut FrameHeader)) -> Self {
        self.frame(FrameKind::Batch, &[EVENT], bend)
    }

    fn plain(self, kind: FrameKind) -> Self {
        self.frame(kind, &[], |_| {})
    }

    fn walk(&self) -> Walked {
        walk(&self.bytes, Walker::new(SEED, START, start()))
    }
}

#[derive(Debug, PartialEq, Eq)]
enum End {
    Bad(Bad),
    Unsupported,
}

struct Walked {
    frames: usize,
    end: End,
    walker: Walker,
}

impl Walked {
    /// How many good frames there are, and why there is no further one.
    fn found(&self) -> (usize, &End) {
        (self.frames, &self.end)
    }
}

fn walk(bytes: &[u8], mut walker: Walker) -> Walked {
    let mut source = bytes;
    for frames in 0.. {
        let end = match walker.step(&mut source).unwrap() {
            Step::Frame(_) => continue,
            Step::Bad(bad) => End::Bad(bad),
            Step::Unsupported => End::Unsupported,
        };
        return Walked { frames, end, walker };
    }
    unreachable!("a segment has an end");
}

/// A good beginning of three frames and five events.
fn good() -> Built {
    Built::opened().batch(2).batch(3)
}

fn three_parts() -> Built {
    Built::opened().part(FIRST, (0, 0), 2).part(INNER, (0, 0), 1).part(LAST, (3, 6), 3)
}

#[test]
fn a_good_segment_is_walked_to_its_end() {
    let built = good()
        .plain(FrameKind::Mark)
        .frame(FrameKind::Batch, &[(RecordKind::Checkpoint, 0)], |_| {})
        .plain(FrameKind::FILLER)
        .frame(FrameKind::Seal, &[(RecordKind::Seal, 0)], |_| {});
    let walked = built.walk();
    assert_eq!(walked.found(), (7, &End::Bad(Bad::Blank)));
    assert_eq!((walked.walker.offset, walked.walker.open), (built.end(), None));
    assert_eq!(walked.walker.expected, built.next);
}

#[test]
fn records_come_with_their_offsets() {
    let built = good();
    let mut walker = Walker::new(SEED, START, start());
    let mut source = built.bytes.as_slice();
    walker.step(&mut source).unwrap();
    let Step::Frame(frame) = walker.step(&mut source).unwrap() else { panic!("it is good") };
    let records: Vec<_> = frame.records().map(|(at, r)| (at, r.head.position)).collect();
    let at = built.frames[1] + FRAME_HEADER_BYTES as u64;
    assert_eq!(records, [(at, 20), (at + 56, 21)]);
}

#[test]
fn every_flipped_bit_ends_the_walk_at_its_frame() {
    let built = three_parts().batch(1);
    for at in SEGMENT_HEADER_BYTES..built.bytes.len() {
        let frame = built.frames.partition_point(|start| *start <= at as u64) - 1;
        for bit in 0..8 {
            let mut bytes = built.bytes.clone();
            bytes[at] ^= 1 << bit;
            let walked = walk(&bytes, Walker::new(SEED, START, start()));
            assert_eq!(walked.frames, frame, "bit {bit} of byte {at}");
            assert!(matches!(walked.end, End::Bad(Bad::Header | Bad::Record)));
        }
    }
}

#[test]
fn every_cut_ends_the_walk_at_its_frame() {
    let built = three_parts().batch(1);
    for length in SEGMENT_HEADER_BYTES..built.bytes.len() {
        let frame = built.frames.partition_point(|start| *start <= length as u64) - 1;
        let walked = walk(&built.bytes[..length], Walker::new(SEED, START, start()));
        let within = length as u64 - built.frames[frame];
        let end = match within {
            0 => Bad::Blank,
            1..64 => Bad::Header,
            _ => Bad::Cut,
        };
        assert_eq!(walked.found(), (frame, &End::Bad(end)), "cut at {length}");
    }
}

#[test]
fn a_batch_over_three_frames_is_open_until_its_last() {
    let built = three_parts();
    let whole = built.walk();
    assert_eq!((whole.frames, whole.walker.open), (4, None));
    let cut = usize::try_from(built.frames[3]).unwrap();
    let walked = walk(&built.bytes[..cut], Walker::new(SEED, START, start()));
    let open = walked.walker.open.unwrap();
    assert_eq!((walked.frames, open.offset, open.before.number), (3, built.frames[1], 8));
    assert_eq!((open.frames, open.events), (2, 3));
}

#[test]
fn frames_that_do_not_fit_their_batch_are_bad() {
    let open = || Built::opened().part(FIRST, (0, 0), 2);
    let table = [
        ("first while one is open", open().batch(1), 2),
        ("another kind while one is open", open().plain(FrameKind::Mark), 2),
        ("a filler while one is open", open().plain(FrameKind::FILLER), 2),
        ("last without first", good().part(LAST, (1, 1), 1), 3),
        ("inner without first", good().part(INNER, (0, 0), 1), 3),
        ("too few frames", open().part(LAST, (1, 3), 1), 2),
        ("too many events", open().part(LAST, (2, 4), 1), 2),
        ("sums in a first frame", Built::opened().part(FIRST, (1, 2), 2), 1),
        ("no sums in a last frame", Built::opened().part(ALONE, (0, 0), 1), 1),
        ("a mark with a part", good().frame(FrameKind::Mark, &[], |h| h.part = ALONE), 3),
        ("a mark with sums", good().frame(FrameKind::Mark, &[], |h| h.batch_frames = 1), 3),
        ("a seal with events", good().frame(FrameKind::Seal, &[EVENT], |_| {}), 3),
        (
            "unknown, with sums",
            good().frame(FrameKind::Skipped(200), &[], |h| h.batch_events = 1),
            3,
        ),
    ];
    for (what, built, frames) in table {
        let walked = built.walk();
        assert_eq!(walked.found(), (frames, &End::Bad(Bad::Batch)), "{what}");
        // An unfinished batch stays open: the log ends where it began.
        assert_eq!(walked.walker.open.is_some(), frames == 2, "{what}");
    }
}

/// Their checksums are true; what they say cannot be.
#[test]
fn a_lost_range_or_a_stub_that_cannot_be_is_a_bad_record() {
    for kind in [RecordKind::Lost, RecordKind::Stub] {
        let built = good().frame(FrameKind::Batch, &[(kind, 0)], |_| {});
        assert_eq!(built.walk().found(), (3, &End::Bad(Bad::Record)), "{kind:?}");
    }
}

#[test]
fn frames_that_do_not_belong_are_misplaced() {
    let opening = |h: &mut FrameHeader| h.kind = FrameKind::Opening;
    let table = [
        ("number", good().bent(|h| h.number += 1)),
        ("a frame twice", good().bent(|h| h.number -= 1)),
        ("position", good().bent(|h| h.first_position -= 1)),
        ("chain", good().bent(|h| h.chain ^= 1)),
        ("stale epoch", good().frame(FrameKind::Mark, &[], |h| h.epoch = 1)),
        ("epoch to come", good().frame(FrameKind::Mark, &[], |h| h.epoch = 6)),
        ("durable before it is written", good().bent(|h| h.durable = h.number)),
        ("an opening elsewhere", good().frame(FrameKind::Mark, &[], opening)),
    ];
    for (what, built) in table {
        assert_eq!(built.walk().found(), (3, &End::Bad(Bad::Misplaced)), "{what}");
    }
    for kind in [FrameKind::Batch, FrameKind::Mark, FrameKind::FILLER, FrameKind::Unknown(9)] {
        let built = Built::empty().plain(kind);
        assert_eq!(built.walk().found(), (0, &End::Bad(Bad::Misplaced)), "{kind:?} at the start");
    }
}

#[test]
fn nothing_follows_a_seal() {
    let sealed = good().frame(FrameKind::Seal, &[(RecordKind::Seal, 0)], |_| {});
    for kind in [FrameKind::Batch, FrameKind::Mark, FrameKind::Closed, FrameKind::FILLER] {
        let built = sealed.clone().plain(kind);
        assert_eq!(built.walk().found(), (4, &End::Bad(Bad::Misplaced)), "{kind:?}");
    }
}

#[test]
fn epochs_rise_and_never_fall() {
    let built = good().bent(|h| h.epoch = 4).bent(|h| h.epoch = 5);
    assert_eq!(built.clone().walk().frames, 5);
    assert_eq!(built.bent(|h| h.epoch = 4).walk().found(), (5, &End::Bad(Bad::Misplaced)));
}

#[test]
fn numbers_and_positions_have_an_end() {
    let most = u64::MAX / 2;
    for (number, position, good) in [(most - 1, 1, 1), (most, 1, 0), (1, most - 1, 1), (1, most, 0)]
    {
        let expected = Expected { number, position, ..start() };
        let built = Built { next: expected, ..Built::empty() };
        let built = built.frame(FrameKind::Opening, &[(RecordKind::Opening, 0)], |_| {});
        assert_eq!(walk(&built.bytes, Walker::new(SEED, START, expected)).frames, good);
    }
}

#[test]
fn swapped_frames_do_not_check() {
    // Of one size, so that each lies where the other was.
    let built = Built::opened().batch(1).batch(1);
    let (a, b) = (index(built.frames[1]), index(built.frames[2]));
    let mut bytes = built.bytes[..a].to_vec();
    bytes.extend_from_slice(&built.bytes[b..]);
    bytes.extend_from_slice(&built.bytes[a..b]);
    assert_eq!(bytes.len(), built.bytes.len());
    let walked = walk(&bytes, Walker::new(SEED, START, start()));
    assert_eq!(walked.found(), (1, &End::Bad(Bad::Header)));
    // Even resealed for their new places they do not belong.
    let resealed = Built::opened().bent(|h| h.number += 1);
    assert_eq!(resealed.walk().found(), (1, &End::Bad(Bad::Misplaced)));
}

#[test]
fn records_spliced_from_another_frame_are_noticed() {
    // Two histories with the same beginning: their next events have the same place, not the same
    // bytes, and every record checks by itself.
    let splice = |version: u64| {
        let mut record = Vec::new();
        push_record(&mut record, RecordKind::Event, |out| out.extend_from_slice(b"some body"));
        patch_record(&mut record, SEED, (25, version, 1));
        let mut built = good().batch(1);
        let at = usize::try_from(built.frames[3]).unwrap() + FRAME_HEADER_BYTES;
        built.bytes[at..].copy_from_slice(&record);
        built.walk()
    };
    assert_eq!(splice(1).frames, 4, "the very record");
    assert_eq!(splice(2).found(), (3, &End::Bad(Bad::Record)));
}

#[test]
fn records_that_do_not_fit_their_header_are_bad() {
    let table = [
        ("count of events", good().bent(|h| (h.events, h.batch_events) = (2, 2))),
        ("records checksum", good().bent(|h| h.records_crc ^= 1)),
        ("records left out", good().bent(|h| h.length -= 56)),
    ];
    for (what, built) in table {
        assert_eq!(built.walk().found(), (3, &End::Bad(Bad::Record)), "{what}");
    }
    let mut wrong = good();
    wrong.next.position += 1;
    let wrong = wrong.bent(|h| h.first_position -= 1);
    assert_eq!(wrong.walk().found(), (3, &End::Bad(Bad::Record)), "position of an event");
}

#[test]
fn a_length_beyond_the_end_or_beyond_all_frames_is_bad() {
    assert_eq!(good().bent(|h| h.length += 8).walk().found(), (3, &End::Bad(Bad::Cut)));
    for length in [0, 56, 60, 122, (96 << 20) + 8, u32::MAX - 7] {
        let walked = good().bent(|h| h.length = length).walk();
        assert_eq!(walked.found(), (3, &End::Bad(Bad::Header)), "{length}");
    }
}

#[test]
fn zeros_and_the_end_of_the_file_are_blank() {
    for more in [0, 1, 8, 63, 64, 5000] {
        let mut built = good();
        built.bytes.resize(built.bytes.len() + more, 0);
        assert_eq!(built.walk().found(), (3, &End::Bad(Bad::Blank)), "{more}");
        if more > 0 {
            let last = built.bytes.len() - 1;
            built.bytes[last] = 1;
            let end = if more > 64 { Bad::Blank } else { Bad::Header };
            assert_eq!(built.walk().found(), (3, &End::Bad(end)), "{more}");
        }
    }
}

#[test]
fn what_may_be_skipped_is_skipped_and_checked_all_the_same() {
    for code in 128..=255 {
        let skipped = (RecordKind::Skipped(code), 0);
        let built = good().frame(FrameKind::Skipped(code), &[skipped], |_| {}).frame(
            FrameKind::Batch,
            &[EVENT, skipped, EVENT],
            |_| {},
        );
        assert_eq!(built.walk().found(), (5, &End::Bad(Bad::Blank)), "{code}");
        let mut broken = built.clone();
        broken.bytes[usize::try_from(built.frames[3]).unwrap() + 110] ^= 1;
        assert_eq!(broken.walk().found(), (3, &End::Bad(Bad::Record)), "{code}");
    }
}

#[test]
fn what_must_be_understood_and_is_not_is_unsupported() {
    for code in (0..128).filter(|code| !(1..=5).contains(code)) {
        let built = good().plain(FrameKind::Unknown(code));
        assert_eq!(built.walk().found(), (3, &End::Unsupported), "frame kind {code}");
    }
    for code in (0..128).filter(|code| !(1..=7).contains(code)) {
        let unknown = (RecordKind::Unknown(code), 0);
        let built = good().frame(FrameKind::Batch, &[EVENT, unknown], |_| {});
        assert_eq!(built.walk().found(), (3, &End::Unsupported), "record kind {code}");
    }
    for bit in 0..16 {
        let built = good().bent(|h| h.flags = 1 << bit);
        assert_eq!(built.walk().found(), (3, &End::Unsupported), "frame flag {bit}");
        let skipped = good().frame(FrameKind::Skipped(200), &[], |h| h.flags = 1 << bit);
        assert_eq!(skipped.walk().found(), (3, &End::Unsupported), "flag {bit} of a skipped one");
    }
    for (kind, bit) in [RecordKind::Event, RecordKind::Skipped(200)]
        .map(|k| (0..8).map(move |b| (k, b)))
        .into_iter()
        .flatten()
    {
        let built = good().frame(FrameKind::Batch, &[(kind, 1 << bit)], |_| {});
        // An event's data may be encrypted, and nothing else.
        let known = (kind, bit) == (RecordKind::Event, 1);
        let found = if known { (4, &End::Bad(Bad::Blank)) } else { (3, &End::Unsupported) };
        assert_eq!(built.walk().found(), found, "record flag {bit} of {kind:?}");
    }
}

#[test]
fn unknown_bits_of_the_part_are_flags() {
    let mut built = good().batch(1);
    let at = built.frames[3];
    let start = usize::try_from(at).unwrap();
    built.bytes[start + 41] |= 4;
    let sum = crc_from(crc_from(SEED, &built.bytes[start..start + 60]), &at.to_le_bytes());
    built.bytes[start + 60..start + 64].copy_from_slice(&sum.to_le_bytes());
    assert_eq!(built.walk().found(), (3, &End::Unsupported));
}

#[test]
fn what_does_not_belong_is_never_called_unsupported() {
    let built = good().bent(|h| (h.flags, h.number) = (1, 1));
    assert_eq!(built.walk().found(), (3, &End::Bad(Bad::Misplaced)));
}

/// A walker that was set down on frame `at`.
fn jumped(built: &Built, at: usize) -> Walked {
    let offset = built.frames[at];
    let range = offset..built.end();
    let (found, header) = find_header(&mut built.bytes.as_slice(), range, SEED).unwrap().unwrap();
    assert_eq!(found, offset);
    let mut walker = Walker::new(SEED, START, start());
    walker.jump(offset, &header);
    walk(&built.bytes, walker)
}

#[test]
fn behind_damage_the_rest_of_a_batch_is_walked_and_nothing_laxer() {
    let built = three_parts().batch(1).plain(FrameKind::Mark);
    for at in 1..6 {
        assert_eq!(jumped(&built, at).found(), (6 - at, &End::Bad(Bad::Blank)), "frame {at}");
    }
    let table = [
        ("the rest interrupted", three_parts().part(FIRST, (0, 0), 1).part(INNER, (0, 0), 1), 5),
        ("whole batches count again", good().part(FIRST, (0, 0), 1).part(LAST, (2, 9), 1), 3),
        ("after the rest", three_parts().part(ALONE, (2, 1), 1), 3),
        ("after a mark", good().plain(FrameKind::Mark).part(LAST, (1, 1), 1), 3),
    ];
    for (what, built, at) in table {
        let built = if at == 5 { built.batch(1) } else { built };
        let walked = jumped(&built, at);
        assert_eq!(walked.found(), (1, &End::Bad(Bad::Batch)), "{what}");
    }
}

#[test]
fn headers_are_found_where_they_check_and_nowhere_else() {
    let built = good();
    let end = built.end();
    let find = |bytes: &[u8], range| {
        find_header(&mut &*bytes, range, SEED).unwrap().map(|(at, header)| (at, header.number))
    };
    let (first, second) = (built.frames[0], built.frames[1]);
    assert_eq!(find(&built.bytes, 0..end), Some((first, 7)));
    assert_eq!(find(&built.bytes, first..end), Some((first, 7)));
    assert_eq!(find(&built.bytes, first + 1..end), Some((second, 8)));
    assert_eq!(find(&built.bytes, first + 8..second), None, "the range ends before it");
    assert_eq!(find(&built.bytes, first + 8..second + 1), Some((second, 8)));
    assert_eq!(find(&built.bytes[..index(built.frames[2]) + 63], second + 8..end), None);
    assert_eq!(find(&built.bytes, end..end), None);
    assert_eq!(find(&built.bytes, end + 4096..end + 9000), None, "beyond the file");
    assert_eq!(find_header(&mut built.bytes.as_slice(), 0..end, 1).unwrap(), None, "other seed");
    // The magic alone, and a frame that lies where it was not written.
    let mut bytes = built.bytes[..index(second)].to_vec();
    bytes.extend_from_slice(b"FLFR and so on..");
    bytes.extend_from_slice(&built.bytes[index(second)..]);
    assert_eq!(find(&bytes, second..end), None);
}

#[test]
fn headers_are_found_across_the_windows_of_the_search() {
    for zeros in [0, 8, 64, (1 << 16) - 64, (1 << 16) - 8, 1 << 16, (1 << 16) + 8, 3 << 16] {
        let mut built = good();
        let from = built.end();
        built.bytes.resize(built.bytes.len() + zeros, 0);
        let built = built.batch(1);
        let found = find_header(&mut built.bytes.as_slice(), from..built.end(), SEED).unwrap();
        assert_eq!(found.map(|(at, _)| at), Some(from + zeros as u64), "{zeros}");
    }
}
