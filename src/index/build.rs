//! Layer 5.5: makes the sidecar of a segment from its index in memory.
//!
//! Knows: how each section is filled. Does not know: when a segment is sealed, or how a file is
//! written, synced and renamed. Runs beside the appends: it reads an index that changes no more.

use super::fuse;
use super::layout::{ALONE, Binding, Header, SECTIONS, directory, table};
use super::lookup::{SegmentLookup, StreamRun};
use super::tail::TailIndex;
use crate::format::Put;

/// The sidecar of the segment that `index` and `binding` are of.
///
/// # Errors
/// Says why there must be none: damage (a sidecar is never made around it), a binding of something
/// else, or lengths beyond 32 bits. The segment then keeps its index in memory.
pub(crate) fn encode(index: &TailIndex, binding: &Binding) -> Result<Vec<u8>, String> {
    if index.is_damaged() {
        return Err("the segment is damaged".into());
    }
    if (index.first_position(), index.events()) != (binding.first_position, binding.events) {
        return Err("the index is of other events than the binding".into());
    }
    let sections = sections(index).ok_or("the segment's index is too large for a sidecar")?;
    let header =
        Header { binding: *binding, last_recorded_at: index.last_recorded_at(), key: index.key() };
    Ok(header.encode(sections))
}

fn sections(index: &TailIndex) -> Option<[Vec<u8>; SECTIONS]> {
    let streams = Streams::of(index)?;
    let (term_directory, terms, postings) = terms(index)?;
    let mut ids: Vec<_> = index.id_hashes().collect();
    let mut keys: Vec<_> = ids.iter().map(|(hash, _)| *hash).collect();
    let filter = fuse::build(&mut keys).unwrap_or_default();
    drop(keys);
    let (id_directory, id_table) = table(std::mem::take(&mut ids))?;
    let mut offsets = Vec::with_capacity(index.offsets().len() * 4);
    index.offsets().iter().for_each(|offset| offsets.put_u32(*offset));
    let mut checkpoints = Vec::new();
    index.for_each_checkpoint(&mut |entry| entry.encode(&mut checkpoints));
    let mut settings = Vec::new();
    index.for_each_settings(&mut |entry| entry.encode(&mut settings));
    Some([
        offsets,
        streams.entries,
        streams.names,
        streams.ordinals,
        streams.directory,
        streams.table,
        term_directory,
        terms,
        postings,
        id_directory,
        id_table,
        filter,
        checkpoints,
        settings,
    ])
}

struct Streams {
    entries: Vec<u8>,
    names: Vec<u8>,
    ordinals: Vec<u8>,
    directory: Vec<u8>,
    table: Vec<u8>,
}

impl Streams {
    fn of(index: &TailIndex) -> Option<Self> {
        let mut sorted: Vec<(&str, StreamRun<'_>)> = index.streams().collect();
        sorted.sort_unstable_by_key(|(name, _)| *name);
        let (mut entries, mut names, mut ordinals) = (Vec::new(), Vec::new(), Vec::new());
        let mut hashes = Vec::with_capacity(sorted.len());
        let mut begin = |first_version: u64, name_start: usize, ordinal_bytes: usize| {
            entries.put_u64(first_version);
            entries.put_u32(u32::try_from(name_start).ok()?);
            entries.put_u32(u32::try_from(ordinal_bytes / 4).ok()?);
            Some(())
        };
        for (number, (name, run)) in sorted.iter().enumerate() {
            begin(run.first_version().get(), names.len(), ordinals.len())?;
            names.put(name.as_bytes());
            (0..run.len()).for_each(|i| ordinals.put_u32(run.ordinal(i).unwrap_or(u32::MAX)));
            hashes.push((index.key().bytes(name.as_bytes()), u32::try_from(number).ok()?));
        }
        begin(0, names.len(), ordinals.len())?;
        let (directory, table) = table(hashes)?;
        Some(Self { entries, names, ordinals, directory, table })
    }
}

/// Directory, terms, postings.
fn terms(index: &TailIndex) -> Option<(Vec<u8>, Vec<u8>, Vec<u8>)> {
    let mut sorted: Vec<_> = index.terms().collect();
    sorted.sort_unstable_by_key(|(hash, ..)| *hash);
    let (mut terms, mut postings) = (Vec::with_capacity(sorted.len() * 16), Vec::new());
    for (hash, first, list) in &sorted {
        terms.put_u64(*hash);
        terms.put_u32(list.map_or(*first, |list| list.last()));
        let Some(list) = list else {
            terms.put_u32(ALONE);
            continue;
        };
        terms.put_u32(u32::try_from(postings.len()).ok().filter(|start| *start != ALONE)?);
        list.encode(&mut postings)?;
    }
    Some((directory(sorted.iter().map(|(hash, ..)| *hash))?, terms, postings))
}
