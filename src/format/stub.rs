//! Layer 1.2: the body of a stub: what is left of an event whose data was reclaimed.
//!
//! Knows: the layout, and that a stub stands in its frame for the event that was there. Does not
//! know: which events are reclaimed. It is the beginning of the event's body with the names and
//! without the contents, so that a stub is never larger than the event. The head checksum it keeps
//! is what the event had in the records checksum of its frame: the chain stays as it was, and
//! whoever still has the event can prove that it was this one.
//!
//! ```text
//!  0  id                16   UUID
//! 16  schema version    u16
//! 18  content           u8   0 = binary, 1 = JSON
//! 19  type length       u8   1 to 255
//! 20  stream length     u16  1 to 1024
//! 22  reason            u8   why: see below
//! 23  zero              u8
//! 24  head checksum     u32  of the event that stood here
//! 28  stream, type; nothing follows
//! ```

use super::bytes::{Put, Take};
use super::record::{Record, RecordKind, patch_record, push_record};
use crate::types::{BodyLayout, ContentType, DataState, EventRef, HiddenReason, STREAM_NAME_MAX};

const FIXED_BYTES: u32 = 28;
const HEAD_CRC_AT: usize = 24;

/// What a record is in the records checksum of its frame: the checksum of its head, or of the head
/// of the event that it is a stub of. `None` when it cannot be a stub.
pub(crate) fn head_in_frame(record: &Record<'_>) -> Option<u32> {
    match record.head.kind {
        RecordKind::Stub => Take(record.body.get(HEAD_CRC_AT..)?).u32(),
        _ => Some(record.head.head_crc),
    }
}

/// Lays a stub of `event`, which `record` holds, at the end of `out`.
pub(crate) fn push_stub(
    out: &mut Vec<u8>,
    (record, event): (&Record<'_>, &EventRef<'_>),
    why: HiddenReason,
    seed: u32,
) {
    let (stream, event_type) = (event.stream().as_bytes(), event.event_type().as_bytes());
    let start = out.len();
    push_record(out, RecordKind::Stub, |out| {
        out.put(event.id().as_bytes());
        out.put_u16(event.schema_version());
        out.put_u8(u8::from(event.content_type() == ContentType::Json));
        out.put_u8(u8::try_from(event_type.len()).unwrap_or(u8::MAX));
        out.put_u16(u16::try_from(stream.len()).unwrap_or(u16::MAX));
        out.put_u8(why.code());
        out.put_u8(0);
        out.put_u32(record.head.head_crc);
        out.put(stream);
        out.put(event_type);
    });
    let head = record.head;
    let place = (head.position, head.version, head.recorded_at);
    patch_record(out.get_mut(start..).unwrap_or_default(), seed, place);
}

/// Where the names lie in a stub, and why it is one.
pub(super) fn layout_of_stub(body: &[u8]) -> Option<BodyLayout> {
    let mut take = Take(body);
    let id = take.uuid()?;
    let schema_version = take.u16()?;
    let json = match take.u8()? {
        0 => false,
        1 => true,
        _ => return None,
    };
    let type_length = u32::from(take.u8()?);
    let stream_length = u32::from(take.u16()?);
    let reclaimed = HiddenReason::of(take.u8()?)?;
    take.zeros(1)?;
    if type_length == 0 || stream_length == 0 || stream_length as usize > STREAM_NAME_MAX {
        return None;
    }
    let stream_end = FIXED_BYTES + stream_length;
    let end = stream_end + type_length;
    let text = |from: u32, to: u32| {
        let part = body.get(from as usize..to as usize);
        part.is_some_and(|part| std::str::from_utf8(part).is_ok())
    };
    let whole =
        body.len() == end as usize && text(FIXED_BYTES, stream_end) && text(stream_end, end);
    whole.then_some(BodyLayout {
        id,
        schema_version,
        json,
        reclaimed: Some(reclaimed),
        data: DataState::Clear,
        stream_start: FIXED_BYTES,
        stream_end,
        type_end: end,
        tags_end: end,
        subject_end: end,
        metadata_end: end,
    })
}

#[cfg(test)]
mod tests {
    use super::super::body::{decode_event, encode_event};
    use super::*;
    use crate::types::{Limits, NewEvent, StreamName};

    const PLACE: (u64, u64, u64) = (10, 2, 30);

    fn both(event: &NewEvent) -> (Vec<u8>, Vec<u8>) {
        let (mut whole, mut stub) = (Vec::new(), Vec::new());
        let name = StreamName::new("Größe-42").unwrap();
        encode_event(&mut whole, &name, event, &Limits::default()).unwrap();
        patch_record(&mut whole, 1, PLACE);
        let record = Record::decode(&whole, 1).unwrap();
        let event = decode_event(&record).unwrap();
        push_stub(&mut stub, (&record, &event), HiddenReason::Expired, 1);
        (whole, stub)
    }

    fn event() -> NewEvent {
        let event = NewEvent::json_text("Plätze", "{\"secret\": 1}").schema_version(3);
        event.tags(["x:1", "y"]).subject("ada").metadata("{\"k\": 1}").correlation("c")
    }

    #[test]
    fn a_stub_has_the_names_and_the_place_and_nothing_else() {
        let (whole, stub) = both(&event());
        let record = Record::decode(&stub, 1).unwrap();
        let left = decode_event(&record).unwrap();
        assert_eq!(left.reclaimed(), Some(HiddenReason::Expired));
        assert_eq!((left.id(), left.schema_version()), (event().id(left.id()).id, 3));
        assert_eq!((left.stream(), left.event_type()), ("Größe-42", "Plätze"));
        let head = record.head;
        assert_eq!((head.position, head.version, head.recorded_at), PLACE);
        assert_eq!((left.tags().count(), left.subject()), (0, None));
        assert_eq!((left.metadata(), left.data()), (b"".as_slice(), b"".as_slice()));
        assert_eq!(left.correlation(), None);
        let stood_there = Record::decode(&whole, 1).unwrap();
        assert_eq!(head_in_frame(&record), Some(stood_there.head.head_crc));
        assert_eq!(head_in_frame(&stood_there), Some(stood_there.head.head_crc));
    }

    #[test]
    fn a_stub_is_never_larger_than_the_event() {
        for length in 0..20 {
            let (whole, stub) = both(&NewEvent::binary("T", vec![1; length]));
            assert!(stub.len() <= whole.len(), "{length}");
        }
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_noticed() {
        let (_, good) = both(&event());
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(Record::decode(&bad, 1).is_none(), "bit {bit}");
        }
        let body = Record::decode(&good, 1).unwrap().body;
        for cut in 0..body.len() {
            assert!(layout_of_stub(&body[..cut]).is_none(), "cut {cut}");
        }
        assert!(layout_of_stub(&[body, b"x"].concat()).is_none(), "a stub has no contents");
        for (at, value) in [(18, 2), (19, 0), (20, 0), (22, 0), (22, 6), (23, 1)] {
            let mut bad = body.to_vec();
            bad[at] = value;
            assert!(layout_of_stub(&bad).is_none(), "{value} at {at}");
        }
        // No stream, and a body of just that length.
        let (front, names) = body.split_at(FIXED_BYTES as usize);
        let mut bad = [front, &names["Größe-42".len()..]].concat();
        bad[20] = 0;
        assert!(layout_of_stub(&bad).is_none());
    }
}
