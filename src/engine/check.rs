//! Layer 6.4: sidecars compared with the log, byte for byte.
//!
//! Knows: that an index made from the same events with the same hash key has the same bytes. Does
//! not know: what is done about one that differs. Reads only.

use super::fold::{FoldLimit, fold_into};
use super::heads::map_file;
use super::sidecars::binding_of;
use crate::disk::{Access, Disk};
use crate::format::{FileName, name_of};
use crate::index::{Sidecar, encode};
use crate::log::{SegmentInfo, survey};
use crate::segment::FileSource;
use crate::types::{Error, Result, SidecarRebuilt};

/// The sidecars that are not what the log would make today, and why; of one segment or of all. A
/// segment that is damaged has none to compare with.
pub(crate) fn doubtful_sidecars(
    disk: &dyn Disk,
    only: Option<u64>,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Vec<SidecarRebuilt>> {
    let Some(found) = survey(disk)? else { return Ok(Vec::new()) };
    let wanted = |info: &&SegmentInfo| only.is_none_or(|number| number == info.number);
    let sealed: Vec<_> = found.segments.iter().filter(wanted).filter(|i| i.end.is_some()).collect();
    let size = |info: &SegmentInfo| info.end.map_or(0, |end| end.offset);
    let (mut done, total) = (0, sealed.iter().map(|info| size(info)).sum());
    let mut doubtful = Vec::new();
    for info in sealed {
        if let Some(why) = doubt_about(disk, info)? {
            let file = name_of(FileName::Sidecar(info.number));
            doubtful.push(SidecarRebuilt { file, why });
        }
        done += size(info);
        progress(done, total);
    }
    Ok(doubtful)
}

fn doubt_about(disk: &dyn Disk, info: &SegmentInfo) -> Result<Option<String>> {
    let Some(end) = info.end else { return Ok(None) };
    let binding = binding_of(info, end);
    let bytes = match map_file(disk, &name_of(FileName::Sidecar(info.number))) {
        Ok(bytes) => bytes,
        Err(why) => return Ok(Some(why)),
    };
    let sidecar = match Sidecar::open(&*bytes, &binding) {
        Ok(sidecar) => sidecar,
        Err(why) => return Ok(Some(why)),
    };
    let name = info.name();
    let file = disk.open(&name, Access::Read);
    let file = file.map_err(|error| Error::io(format!("cannot open {name}"), error))?;
    let mut source = FileSource::new(file, end.offset);
    let limit = FoldLimit::named(end, true);
    let folded = fold_into(sidecar.like_this(), &mut source, info, limit)?;
    if !folded.damage.is_empty() {
        return Ok(None);
    }
    let same = encode(&folded.index, &binding).is_ok_and(|made| made == *bytes);
    Ok((!same).then(|| "it checks, but says something else than the log".to_owned()))
}
