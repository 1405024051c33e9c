//! Layer 4.6: a copy of a log, segment by segment, that later runs carry on.
//!
//! Knows: what of an earlier copy may be believed, and the order that keeps it usable. Does not
//! know: what is saved beside the log, which the caller writes. A backup is a prefix of the store's
//! own bytes under the store's own name; its head says that nobody appends to it.

use super::bring::{
    Brought, Progress, Steps, begin_alike, beginning, bring_base, bring_heads, bring_sidecar,
    copy_span, holds, lock, occupant, remove_all,
};
use super::files::failed;
use super::head::HeadFile;
use super::prefix::{Prefix, Span, prefix_of};
use super::survey::{find_segment, survey};
use super::trim::{clear_trimmed, has_trimmed};
use crate::disk::{Access, Disk};
use crate::format::{FileName, Head, Step};
use crate::segment::FileSource;
use crate::sync::Arc;
use crate::types::{Error, ErrorKind, Position, Result};

/// A backup to be made or carried on.
pub(crate) struct Backup<'a> {
    pub from: &'a dyn Disk,
    pub to: &'a Arc<dyn Disk>,
    pub prefix: &'a Prefix,
    /// Whether everything is read back and checked, what was there before included.
    pub verify: bool,
}

/// How far what is there is a prefix of what is to be there.
#[derive(Debug, Clone, Copy)]
struct Agreed {
    segment: u64,
    frame: u64,
}

impl Backup<'_> {
    /// The head of an earlier backup of the same store; `None` when there is none yet.
    ///
    /// # Errors
    /// `Invalid` when something else is there.
    pub(crate) fn earlier(&self) -> Result<Option<Head>> {
        let Some(head) = occupant(&**self.to)? else { return Ok(None) };
        let place = self.to.location();
        if !head.backup {
            return Err(Error::invalid(format!("{place} holds a store that is not a backup")));
        }
        if head.store != self.prefix.head.store {
            let (theirs, ours) = (head.store, self.prefix.head.store);
            let text = format!("{place} is a backup of store {theirs}, and this is store {ours}");
            return Err(Error::invalid(text));
        }
        let first = self.prefix.head.first_segment;
        let has_segments = !head.unfinished && head.last_segment >= head.first_segment;
        if has_segments && head.last_segment < first {
            // It may be all that is left of what it holds, and nothing can follow it.
            let at = self.prefix.base.as_ref().map_or(1, |base| base.end().first_position);
            let text = format!(
                "{place} is a backup up to segment {}, and the log begins with segment {first} by \
                 now: what came between was trimmed; make another backup beside it",
                head.last_segment
            );
            return Err(Error::new(ErrorKind::Trimmed, text).at(Position::new(at)));
        }
        Ok(Some(head))
    }

    /// The first and the last position that an earlier backup, which ends at `last`, holds and that
    /// a run would take out of it, because the store has trimmed them.
    pub(crate) fn let_go(&self, last: Position) -> Result<Option<(Position, Position)>> {
        let (Some(base), Some(there)) = (&self.prefix.base, survey(&**self.to)?) else {
            return Ok(None);
        };
        let begins = match (&there.base, there.segments.first()) {
            (Some(base), _) => base.end().first_position,
            // What it knew of trimmed events is rotten: what is there says where it begins.
            (None, Some(segment)) if there.head.base > 0 => segment.first_position(),
            _ => 1,
        };
        let (first, last) = (begins, last.get().min(base.end().first_position - 1));
        Ok((first <= last).then_some((Position::new(first), Position::new(last))))
    }

    /// What a run would do.
    pub(crate) fn plan(&self) -> Result<Brought> {
        let agreed = match self.earlier()? {
            Some(_) => self.agreed()?,
            None => self.nothing(),
        };
        let mut planned = Brought::default();
        for span in &self.prefix.spans {
            match self.is_there(span, agreed)? {
                true => planned.kept += 1,
                false => {
                    planned.copied += 1;
                    planned.bytes += span.end.offset;
                }
            }
        }
        Ok(planned)
    }

    /// Copies what is missing, and takes away what the store has trimmed. A crash leaves the
    /// earlier backup, or more of the log than it had; the first run's a directory that says it is
    /// unfinished. `saved` writes what belongs beside the log.
    pub(crate) fn run(
        &self,
        saved: impl FnOnce() -> Result<()>,
        progress: Progress<'_>,
    ) -> Result<Brought> {
        let to = &**self.to;
        let _lock = lock(to)?;
        let head = match self.earlier()? {
            Some(head) => HeadFile::new(self.to.clone(), head),
            None => self.begin()?,
        };
        remove_all(to, |file| matches!(file, FileName::Temporary(_)))?;
        let agreed = self.agreed()?;
        self.bring_base(&head.get())?;
        self.step_back(&head, agreed)?;
        if planted!(BackupHeadFirst) {
            self.finish(&head)?;
        }
        let mut brought = Brought::default();
        let mut steps = Steps::of(self.prefix, progress);
        for span in &self.prefix.spans {
            if self.is_there(span, agreed)? {
                brought.kept += 1;
            } else {
                // Of the segment as it was before; the next opening would make it again.
                remove_all(to, |file| file == FileName::Sidecar(span.info.number))?;
                copy_span(self.from, span, to, self.verify)?;
                brought.copied += 1;
                brought.bytes += span.end.offset;
            }
            bring_sidecar(self.from, span, to, false);
            steps.step(span);
        }
        if brought.copied > 0 {
            bring_heads(self.from, to, false);
        }
        // Never a checkpoint above the log; but a backup that never was has none to be kept.
        if head.get().unfinished {
            saved()?;
            self.finish(&head)?;
        } else {
            self.finish(&head)?;
            saved()?;
        }
        if has_trimmed(to, &head.get())? {
            head.update(|_| ())?;
            clear_trimmed(to, &head.get())?;
        }
        let made = prefix_of(to, None)?;
        if made.frame() != self.prefix.frame() {
            let text = format!("what was copied ends at frame {}", made.frame());
            return Err(Error::damaged(to.location(), 0, text));
        }
        Ok(brought)
    }

    /// Before any head names it.
    fn bring_base(&self, now: &Head) -> Result<()> {
        let Some(base) = &self.prefix.base else { return Ok(()) };
        let (number, first) = (base.end().number, base.end().first_segment);
        if now.base == number && now.first_segment != first {
            let place = self.to.location();
            let text = format!("{place} was made when base {number} was another: make it again");
            return Err(Error::invalid(text));
        }
        bring_base(self.from, base, &**self.to, self.verify)
    }

    fn begin(&self) -> Result<HeadFile> {
        let Head { store, id_scope, .. } = self.prefix.head;
        let head = HeadFile::new(self.to.clone(), Head::first(store, id_scope));
        head.update(|head| {
            head.backup = true;
            head.unfinished = true;
        })?;
        Ok(head)
    }

    fn finish(&self, head: &HeadFile) -> Result<()> {
        let now = head.get();
        let next = Head {
            epoch: self.prefix.epoch,
            first_segment: self.prefix.head.first_segment,
            base: self.prefix.head.base,
            last_segment: self.prefix.last_segment(),
            durable: self.prefix.frame(),
            ancestors: self.prefix.head.ancestors.clone(),
            encrypts: self.prefix.head.encrypts,
            unfinished: false,
            ..now.clone()
        };
        if next == now {
            return Ok(());
        }
        head.update(|head| *head = next)?;
        match now.unfinished {
            // No generation is left that says otherwise, should the newest ever rot.
            true => head.update(|_| ()),
            false => Ok(()),
        }
    }

    fn nothing(&self) -> Agreed {
        Agreed { segment: self.prefix.head.first_segment - 1, frame: 0 }
    }

    /// Looks how far what is there goes on as the log does: it may be shorter, and after a recovery
    /// of the store it may have frames that the log has elsewhere by now.
    fn agreed(&self) -> Result<Agreed> {
        let mut agreed = self.nothing();
        let mut last = None;
        for span in &self.prefix.spans {
            let number = span.info.number;
            let there = beginning(&**self.to, number)?;
            if begin_alike(&there, &beginning(self.from, number)?) {
                last = Some(span);
                agreed = Agreed { segment: number, frame: span.end.frame };
            } else if find_segment(&**self.to, &self.prefix.head, number)?.is_some() {
                // Not rotten, and not the same: the log went on otherwise here.
                break;
            }
        }
        if let Some(span) = last {
            agreed.frame = self.last_frame(span)?.min(agreed.frame);
        }
        Ok(agreed)
    }

    /// The last frame of a segment that is there, as far as it is wanted.
    fn last_frame(&self, span: &Span) -> Result<u64> {
        let name = span.info.name();
        let file = self.to.open(&name, Access::Read).map_err(failed("open", &name))?;
        let mut source = FileSource::new(file, span.end.offset);
        let mut walker = span.info.walker();
        let mut last = walker.expected.number - 1;
        while let Step::Frame(frame) = walker.step(&mut source).map_err(failed("read", &name))? {
            last = frame.header.number;
        }
        Ok(last)
    }

    /// What is there and is not of this log is taken out of the line, and then away.
    fn step_back(&self, head: &HeadFile, agreed: Agreed) -> Result<()> {
        let now = head.get();
        let beyond = |file: FileName| match file {
            FileName::Segment(number) | FileName::Sidecar(number) => number > agreed.segment,
            _ => false,
        };
        if now.last_segment > agreed.segment || now.durable > agreed.frame {
            head.update(|head| {
                head.first_segment = self.prefix.head.first_segment;
                head.base = self.prefix.head.base;
                head.last_segment = agreed.segment;
                head.durable = agreed.frame;
            })?;
        }
        remove_all(&**self.to, beyond)
    }

    /// Whether a segment is there as it should be, so far as that is looked at.
    fn is_there(&self, span: &Span, agreed: Agreed) -> Result<bool> {
        let number = span.info.number;
        if number > agreed.segment
            || beginning(&**self.to, number)? != beginning(self.from, number)?
        {
            return Ok(false);
        }
        let name = span.info.name();
        let file = self.to.open(&name, Access::Read).map_err(failed("open", &name))?;
        if self.verify || number == agreed.segment {
            return holds(&file, span);
        }
        Ok(file.size().map_err(failed("read", &name))? >= span.end.offset)
    }
}
