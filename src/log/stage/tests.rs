//! The worked example of `docs/FORMAT.md`, and what a stage builds, read back by the walker.

use std::fmt::Write;

use uuid::Uuid;

use super::*;
use crate::format::{
    Expected, SEGMENT_HEADER_BYTES, SegmentHeader, Step, Walker, encode_event, segment_seed,
};
use crate::types::{IdScope, Limits, NewEvent, StreamName};

const PAPER: &str = include_str!("../../../docs/FORMAT.md");
const START: u64 = SEGMENT_HEADER_BYTES as u64;
const TIME: u64 = 1_700_000_000_000_000;

fn cursor() -> Cursor {
    Cursor { offset: START, number: 1, position: 1, chain: 0 }
}

/// The rows of the example: offset, then up to 16 bytes.
fn hex_rows(bytes: &[u8], from: usize) -> String {
    let mut rows = String::new();
    for (row, piece) in bytes.chunks(16).enumerate() {
        write!(rows, "{:08x} ", from + row * 16).unwrap();
        for byte in piece {
            write!(rows, " {byte:02x}").unwrap();
        }
        rows.push('\n');
    }
    rows
}

#[test]
fn the_worked_example_is_what_this_code_writes() {
    let store = Uuid::from_u128(1);
    let header = SegmentHeader {
        store,
        number: 1,
        id_scope: IdScope::Store,
        capacity: 16_384,
        created_at: TIME,
        rewrite: 0,
    };
    let seed = segment_seed(store, 1);
    let mut stage = Stage::new(seed, 1, 0, cursor());
    stage.opening(&Opening::default());
    let first_chain = stage.cursor.chain;
    stage.durable = 1;
    let mut event = NewEvent::json_text("OrderPlaced", "{\"total\":42}");
    event.id = Uuid::from_u128(10);
    let mut records = Vec::new();
    let stream = StreamName::new("Order-42").unwrap();
    encode_event(&mut records, &stream, &event, &Limits::default()).unwrap();
    let batch = BatchBytes {
        records: &records,
        starts: &[0],
        versions: &[1],
        control: &[],
        recorded_at: TIME,
    };
    stage.batch(&batch, &mut Vec::new());

    let block = header.encode();
    let (shown, sum) = (&block[..64], SEGMENT_HEADER_BYTES - 4);
    assert!(block[64..sum].iter().all(|byte| *byte == 0));
    let mut built = hex_rows(shown, 0);
    built += &hex_rows(&block[sum..], sum);
    built += &hex_rows(&stage.buffer, SEGMENT_HEADER_BYTES);
    let told = PAPER.split_once("<!-- example begins -->").unwrap().1;
    let told = told.split_once("<!-- example ends -->").unwrap().0;
    let told = told.trim().strip_prefix("```hex\n").unwrap().strip_suffix("```").unwrap();
    assert_eq!(told, built, "docs/FORMAT.md should say:\n{built}");
    for value in [seed, first_chain, stage.cursor.chain] {
        assert!(PAPER.contains(&format!("`{value:08x}`")), "{value:08x} is not in docs/FORMAT.md");
    }
}

/// Everything in the buffer is good frames, one after the other.
fn kinds(stage: &Stage, seed: u32) -> Vec<(FrameKind, u64, usize)> {
    let mut bytes = vec![0; usize::try_from(stage.base).unwrap()];
    bytes.extend_from_slice(&stage.buffer);
    let expected = Expected { number: 1, position: 1, chain: 0, epoch_min: 0, epoch_max: 1 };
    let mut walker = Walker::new(seed, START, expected);
    let (mut source, mut found) = (bytes.as_slice(), Vec::new());
    while walker.offset < stage.cursor.offset {
        let Step::Frame(frame) = walker.step(&mut source).unwrap() else { panic!("{found:?}") };
        let all = frame.records().map(|(_, record)| record.head);
        let checkpoints: Vec<_> = all.filter(|h| h.kind == RecordKind::Checkpoint).collect();
        assert!(checkpoints.iter().all(|head| head.version == 2), "its batch's first frame");
        found.push((frame.header.kind, frame.header.events.into(), checkpoints.len()));
    }
    assert_eq!((walker.open, walker.offset), (None, stage.cursor.offset));
    found
}

#[test]
fn a_large_batch_is_split_and_carries_its_checkpoint_in_the_last_frame() {
    let mut stage = Stage::new(5, 1, 0, cursor());
    stage.opening(&Opening::default());
    let (mut records, mut starts) = (Vec::new(), Vec::new());
    let stream = StreamName::new("Big-1").unwrap();
    for _ in 0..5 {
        let event = NewEvent::binary("Chunk", vec![7; 700_000]);
        starts.push(encode_event(&mut records, &stream, &event, &Limits::default()).unwrap().start);
    }
    let mut control = Vec::new();
    let id = Uuid::nil();
    crate::format::CheckpointRecord { name: "view", position: 3, id }.push(&mut control);
    let batch = BatchBytes {
        records: &records,
        starts: &starts,
        versions: &[1, 2, 3, 4, 5],
        control: &control,
        recorded_at: 9,
    };
    let mut placed = Vec::new();
    stage.batch(&batch, &mut placed);
    for (at, offset) in placed.iter().enumerate() {
        assert_eq!(stage.event(*offset).unwrap().position().get(), at as u64 + 1);
    }
    let batch = FrameKind::Batch;
    let told = [(FrameKind::Opening, 0, 0), (batch, 2, 0), (batch, 2, 0), (batch, 1, 1)];
    assert_eq!(kinds(&stage, 5), told);
}

#[test]
fn a_filled_block_ends_on_the_block_whatever_was_before_it() {
    for length in (0..4200).step_by(8) {
        let mut stage = Stage::new(5, 1, 0, cursor());
        stage.opening(&Opening::default());
        let mut record = Vec::new();
        push_record(&mut record, RecordKind::FILLER, |out| out.resize(out.len() + length, 0));
        stage.control(FrameKind::FILLER, &record, 0);
        stage.fill_block(4096, 0);
        assert_eq!(stage.cursor.offset % 4096, 0);
        assert!(kinds(&stage, 5).len() >= 2);
    }
}
