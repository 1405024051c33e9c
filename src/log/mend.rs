//! Layer 4.5: mend what can be mended in a log without losing anything of it.
//!
//! Knows: what is known twice, so that one of them can be made from the other. Does not know: the
//! end of the log, which an opening puts in order. Whatever is replaced is kept beside first.

use super::files::{copy_bytes, create_temporary, failed, keep_copy, put_in_place};
use super::head::read_heads;
use super::keyed::KeyedFile;
use super::survey::{FIRST_FRAME, SegmentInfo, Survey, survey};
use super::verify::{TornTail, VerifyReport, verify_log};
use crate::disk::{Access, Disk};
use crate::format::{FileName, KeptFile, Purpose, REWRITE_GUESSED, SegmentHeader, Step, name_of};
use crate::segment::{EndVerdict, FileSource};
use crate::sync::Arc;
use crate::types::{Damage, Error, ErrorKind, RepairStep, Result};

/// What is wrong with a log, and what of it can be mended.
#[derive(Debug)]
pub(crate) struct Diagnosis {
    found: Survey,
    pub report: VerifyReport,
    /// What is mended before an opening, each with its reason.
    mends: Vec<(Mend, String)>,
    /// Damage to what nothing else tells.
    pub beyond: Vec<Damage>,
    /// Whole batches that nothing certifies, in frames: an opening copies them.
    pub frames_to_rescue: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mend {
    /// The header block of a segment, all of which is known otherwise.
    Header(u64),
    /// Both generations of the head are lost, or one: the next opening makes it anew.
    Head(u8),
    /// A keyed file with entries that do not check.
    Keyed(KeptFile),
}

impl Diagnosis {
    /// Reads everything.
    pub(crate) fn of(disk: &Arc<dyn Disk>, progress: &mut dyn FnMut(u64, u64)) -> Result<Self> {
        let report = verify_log(&**disk, progress)?;
        let Some(found) = survey(&**disk)? else {
            let text = format!("there is no store in {}", disk.location());
            return Err(Error::new(ErrorKind::NotFound, text));
        };
        let mendable = |damage: &&Damage| {
            let scar = |number: &u64| damage.file == name_of(FileName::Segment(*number));
            let head = found.head_lost && found.damage.first() == Some(*damage);
            head || (damage.offset == 0 && found.scarred.iter().any(scar))
        };
        let beyond = report.damage.iter().filter(|damage| !mendable(damage)).cloned().collect();
        let mut diagnosis = Self { mends: Vec::new(), beyond, frames_to_rescue: 0, report, found };
        diagnosis.heads(&**disk)?;
        for number in &diagnosis.found.scarred {
            let why = "the header block does not check; all that is in it is known otherwise";
            diagnosis.mends.push((Mend::Header(*number), why.into()));
        }
        for file in [KeptFile::Checkpoints, KeptFile::Snapshots] {
            let keyed = load(disk, &diagnosis.found, file)?;
            if let Err(error) = keyed.refuse_damage() {
                let at = error.offset().unwrap_or_default();
                let why = format!("entries from {at} on do not check; those that do are kept");
                diagnosis.mends.push((Mend::Keyed(file), why));
            } else if keyed.is_torn() {
                let why = "the last entry was never finished";
                diagnosis.mends.push((Mend::Keyed(file), why.into()));
            }
        }
        diagnosis.rescue(&**disk)?;
        Ok(diagnosis)
    }

    pub(crate) fn head_lost(&self) -> bool {
        self.found.head_lost
    }

    fn heads(&mut self, disk: &dyn Disk) -> Result<()> {
        // Both may be lost without a trace: then there is nothing that does not check.
        let damaged = read_heads(disk)?.damaged;
        let why = match self.found.head_lost {
            true => "no generation of the head checks; it is made anew from the segments",
            false => "this generation of the head does not check; the other one counts",
        };
        for generation in [0, 1] {
            let file = name_of(FileName::Head(generation));
            if self.found.head_lost || damaged.as_ref() == Some(&file) {
                self.mends.push((Mend::Head(generation), why.into()));
            }
        }
        Ok(())
    }

    fn rescue(&mut self, disk: &dyn Disk) -> Result<()> {
        let Some(tail) = self.found.segments.last() else { return Ok(()) };
        let name = tail.name();
        let file = disk.open(&name, crate::disk::Access::Read).map_err(failed("open", &name))?;
        let end = self.found.judge_tail(&file, disk)?;
        if matches!(end.verdict, EndVerdict::Rescue | EndVerdict::Torn) {
            let from = end.walk.certified_end(end.certified).expected.number;
            self.frames_to_rescue = end.walk.good.expected.number.saturating_sub(from);
        }
        Ok(())
    }

    /// What would be done, in order; a file that is not there is not kept.
    pub(crate) fn steps(&self, disk: &dyn Disk) -> Result<Vec<RepairStep>> {
        let names = disk.list().map_err(|error| Error::io("cannot list the directory", error))?;
        let mut steps = Vec::new();
        for (mend, why) in &self.mends {
            let (file, kept) = self.names_of(*mend);
            let kept_in = names.contains(&file).then_some(kept);
            steps.push(RepairStep { file, what: why.clone(), kept_in });
        }
        Ok(steps)
    }

    fn names_of(&self, mend: Mend) -> (String, String) {
        let epoch = self.found.epoch;
        let kept =
            |file: KeptFile| (name_of(file.original()), name_of(FileName::Kept(file, epoch)));
        match mend {
            Mend::Header(number) => {
                let kept = FileName::SetAside(number, 0, epoch);
                (name_of(FileName::Segment(number)), name_of(kept))
            }
            Mend::Head(generation) => kept(KeptFile::Head(generation)),
            Mend::Keyed(file) => kept(file),
        }
    }

    /// Does it. The caller holds the lock, and opens the store next, which puts its end and the
    /// head in order.
    pub(crate) fn mend(&self, disk: &Arc<dyn Disk>, (capacity, now): (u64, u64)) -> Result<()> {
        for ((mend, _), step) in self.mends.iter().zip(self.steps(&**disk)?) {
            let RepairStep { file, kept_in, .. } = step;
            let keep = || match (&kept_in, mend) {
                (None, _) => Ok(()),
                (Some(kept), Mend::Header(_)) => {
                    keep_copy(&**disk, &file, (0, FIRST_FRAME), kept).map(drop)
                }
                (Some(kept), _) => keep_copy(&**disk, &file, (0, u64::MAX), kept).map(drop),
            };
            if !planted!(RepairedBeforeKept) {
                keep()?;
            }
            match mend {
                // The original may be an older format's, so it goes only when its copy is durable.
                Mend::Head(_) => {}
                Mend::Header(number) => self.rewrite_header(&**disk, *number, (capacity, now))?,
                Mend::Keyed(file) => load(disk, &self.found, *file)?.rewrite()?,
            }
            if planted!(RepairedBeforeKept) {
                keep()?;
            }
        }
        Ok(())
    }

    /// The same segment with the block it should have, under its own name: whole, or not at all.
    fn rewrite_header(
        &self,
        disk: &dyn Disk,
        number: u64,
        (capacity, now): (u64, u64),
    ) -> Result<()> {
        let info = self.found.segments.iter().find(|info| info.number == number);
        let Some(info) = info else { return Ok(()) };
        let name = name_of(FileName::Segment(number));
        let temporary = name_of(FileName::Temporary(Purpose::Segment));
        let file = create_temporary(disk, &temporary)?;
        let rewrite = rewrite_of(disk, info)?;
        let header = SegmentHeader { capacity, created_at: now, rewrite, ..info.header };
        file.write_at(&header.encode(), 0).map_err(failed("write", &temporary))?;
        copy_bytes(disk, (&name, FIRST_FRAME, u64::MAX), (&*file, &temporary, FIRST_FRAME))?;
        file.sync().map_err(failed("sync", &temporary))?;
        put_in_place(disk, &temporary, &name)
    }
}

/// How often a segment was rewritten is in its header block alone; whether it was at all is seen
/// from where its log ends.
fn rewrite_of(disk: &dyn Disk, info: &SegmentInfo) -> Result<u32> {
    let Some(end) = info.end else { return Ok(0) };
    let name = info.name();
    let file = disk.open(&name, Access::Read).map_err(failed("open", &name))?;
    let mut source = FileSource::new(file, end.offset);
    let mut walker = info.walker();
    while walker.expected.number <= end.frame {
        match walker.step(&mut source).map_err(failed("read", &name))? {
            Step::Frame(_) => {}
            _ => break,
        }
    }
    let whole = walker.offset == end.offset || planted!(RewriteNotGuessed);
    Ok(if whole { 0 } else { REWRITE_GUESSED })
}

/// What does not check in the files beside the log: entries in front of others are damaged, what
/// follows the last one that checks is torn.
pub(crate) fn verify_beside(disk: &Arc<dyn Disk>, report: &mut VerifyReport) -> Result<()> {
    let Some(found) = survey(&**disk)? else { return Ok(()) };
    let files = [
        (FileName::Checkpoints, Purpose::Checkpoints),
        (FileName::Snapshots, Purpose::Snapshots),
        (FileName::Keyring, Purpose::Keyring),
    ];
    for (file, purpose) in files {
        let keyed = KeyedFile::load(disk.clone(), found.head.store, file, purpose)?;
        if let Err(error) = keyed.refuse_damage() {
            report.damage.push(Damage {
                file: name_of(file),
                offset: error.offset().unwrap_or_default(),
                first_position: None,
                last_position: None,
                what: "saved entry does not check".into(),
            });
        } else if let Some((offset, bytes)) = keyed.torn_end() {
            let file = name_of(file);
            report.torn.get_or_insert(TornTail { file, offset, bytes });
        }
    }
    report.clean = report.damage.is_empty() && report.torn.is_none();
    Ok(())
}

fn load(disk: &Arc<dyn Disk>, found: &Survey, file: KeptFile) -> Result<KeyedFile> {
    let purpose = match file {
        KeptFile::Snapshots => Purpose::Snapshots,
        _ => Purpose::Checkpoints,
    };
    KeyedFile::load(disk.clone(), found.head.store, file.original(), purpose)
}
