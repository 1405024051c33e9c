//! Layer 4.0: what a frame and a record say of themselves, for people.
//!
//! Knows: the names of the fields. Does not know: files, or whether what is said is so.

use crate::format::{
    CheckpointRecord, FrameHeader, FrameKind, LostRange, Opening, Record, RecordHead, RecordKind,
    Seal, SettingsRecord, decode_event,
};
use crate::types::{Piece, PieceValue};

pub(super) fn number(value: impl Into<u64>) -> PieceValue {
    PieceValue::Number(value.into())
}

pub(super) fn text(value: impl Into<String>) -> PieceValue {
    PieceValue::Text(value.into())
}

fn sum(value: u32) -> PieceValue {
    PieceValue::Checksum(value)
}

pub(super) fn frame_piece(at: u64, header: &FrameHeader, dead: bool) -> Piece {
    let kind = match header.kind {
        FrameKind::Opening => "opening frame",
        FrameKind::Batch => "batch frame",
        FrameKind::Seal => "seal frame",
        FrameKind::Closed => "closed frame",
        FrameKind::Mark => "mark frame",
        FrameKind::Skipped(_) => "filler frame",
        FrameKind::Unknown(_) => "unknown frame",
    };
    let mut piece = Piece::new(at, header.length.into(), kind);
    let part = match (header.part.first, header.part.last) {
        (true, true) => "whole",
        (true, false) => "first",
        (false, true) => "last",
        (false, false) => "middle",
    };
    piece.fields = vec![
        ("length", number(header.length)),
        ("number", number(header.number)),
        ("position", number(header.first_position)),
        ("events", number(header.events)),
        ("durable", number(header.durable)),
        ("epoch", number(header.epoch)),
        ("chain", sum(header.chain)),
        ("records", sum(header.records_crc)),
    ];
    if header.kind == FrameKind::Batch {
        piece.fields.push(("part", text(part)));
    }
    if dead {
        piece.fields.push(("dead", number(true)));
    }
    piece
}

pub(super) fn record_piece(at: u64, head: &RecordHead, bytes: &[u8], seed: u32) -> Piece {
    let kind = match head.kind {
        RecordKind::Event => "event",
        RecordKind::Checkpoint => "checkpoint",
        RecordKind::Opening => "opening",
        RecordKind::Seal => "seal",
        RecordKind::Stub => "stub",
        RecordKind::Lost => "lost range",
        RecordKind::Settings => "settings",
        RecordKind::Skipped(_) => "filler",
        RecordKind::Unknown(_) => "unknown record",
    };
    let mut piece = Piece::new(at, head.record_bytes() as u64, kind);
    piece.depth = 1;
    piece.fields = vec![
        ("position", number(head.position)),
        ("version", number(head.version)),
        ("recorded_at", number(head.recorded_at)),
        ("body_bytes", number(head.body_length)),
        ("body", sum(head.body_crc)),
    ];
    match Record::decode(bytes, seed) {
        None => piece.problem = Some("its body does not check".into()),
        Some(record) => piece.fields.extend(fields_of(&record)),
    }
    piece
}

fn fields_of(record: &Record<'_>) -> Vec<(&'static str, PieceValue)> {
    if let Some(event) = decode_event(record) {
        return vec![
            ("stream", text(event.stream())),
            ("type", text(event.event_type())),
            ("id", text(event.id().to_string())),
            ("tags", number(event.tags().count() as u64)),
            ("metadata_bytes", number(event.metadata().len() as u64)),
            ("data_bytes", number(event.data().len() as u64)),
        ];
    }
    match record.head.kind {
        RecordKind::Opening => Opening::decode(record.body).map(|opening| {
            let before = opening.predecessor;
            vec![
                ("predecessor", number(before.number)),
                ("end", number(before.end)),
                ("frame", number(before.frame)),
                ("chain", sum(before.chain)),
            ]
        }),
        RecordKind::Seal => {
            Seal::decode(record.body).map(|seal| vec![("events", number(seal.events))])
        }
        RecordKind::Checkpoint => CheckpointRecord::decode(record.body).map(|checkpoint| {
            vec![
                ("name", text(checkpoint.name)),
                ("at_position", number(checkpoint.position)),
                ("id", text(checkpoint.id.to_string())),
            ]
        }),
        RecordKind::Settings => SettingsRecord::decode(record.body).map(|settings| {
            let lifecycle = settings.lifecycle;
            vec![
                ("stream", text(settings.stream)),
                ("deleted_at", number(lifecycle.deleted_at.get())),
                ("tombstoned", number(lifecycle.tombstoned)),
            ]
        }),
        RecordKind::Lost => LostRange::decode(record.body).map(|lost| {
            vec![
                ("positions", number(lost.positions)),
                ("was_in_segment", number(lost.segment)),
                ("was_at", number(lost.offset)),
            ]
        }),
        _ => None,
    }
    .unwrap_or_default()
}
