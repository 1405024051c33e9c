//! Layer 4.6: a store of its own that begins as a prefix of another: what fork and restore make.
//!
//! Knows: the order that leaves no store or a whole one. Does not know: what is saved beside the
//! log, which the caller writes. The two stores share files that neither writes any more, or none.

use uuid::Uuid;

use super::bring::{
    Brought, Progress, Steps, bring_base, bring_heads, bring_sidecar, copy_span, first_head,
    link_span, lock, remove_all,
};
use super::files::failed;
use super::fresh::Fresh;
use super::head::HeadFile;
use super::prefix::{Prefix, prefix_of};
use super::stage::Cursor;
use super::survey::FIRST_FRAME;
use crate::disk::Disk;
use crate::format::{ANCESTORS_MAX, FileName, Head, Opening, Predecessor, SegmentHeader};
use crate::sync::Arc;
use crate::types::{Error, Result, Settings};

/// A store to be made.
pub(crate) struct Branch<'a> {
    pub from: &'a dyn Disk,
    pub to: &'a Arc<dyn Disk>,
    pub prefix: &'a Prefix,
    pub settings: &'a Settings,
    pub now: u64,
    /// Whether the two may share files.
    pub link: bool,
    /// Whether what they share is read and checked, as what is copied always is.
    pub verify: bool,
}

impl Branch<'_> {
    /// The head to begin with.
    ///
    /// # Errors
    /// `Invalid` when the directory holds something else.
    pub(crate) fn first_head(&self) -> Result<Head> {
        first_head(&**self.to, self.prefix.head.id_scope)
    }

    /// Makes it: first a head that says it is unfinished, then everything else, then the head that
    /// counts. `saved` writes what belongs beside the log of the new store.
    pub(crate) fn make(
        &self,
        saved: impl FnOnce(Uuid) -> Result<()>,
        progress: Progress<'_>,
    ) -> Result<(Uuid, Brought)> {
        let ancestors = self.prefix.head.ancestors_through(self.prefix.last_segment());
        if ancestors.len() > ANCESTORS_MAX {
            let text = format!("the store has more than {ANCESTORS_MAX} ancestors");
            return Err(Error::invalid(text));
        }
        let _lock = lock(&**self.to)?;
        let first = self.first_head()?;
        let store = first.store;
        remove_all(&**self.to, |file| !matches!(file, FileName::Lock | FileName::Head(_)))?;
        let head = HeadFile::new(self.to.clone(), first);
        head.update(|head| head.unfinished = true)?;
        let finish = |durable: u64| {
            let change = |head: &mut Head| {
                head.first_segment = self.prefix.head.first_segment;
                head.base = self.prefix.head.base;
                head.last_segment = self.prefix.last_segment() + u64::from(durable > 0);
                head.epoch = self.epoch();
                head.durable = durable;
                head.ancestors.clone_from(&ancestors);
                head.encrypts = self.prefix.head.encrypts;
                head.unfinished = false;
            };
            head.update(change)?;
            // No generation is left that says otherwise, should the newest ever rot.
            head.update(|_| ())
        };
        if planted!(BranchHeadFirst) {
            finish(self.prefix.frame() + 2)?;
        }
        let brought = self.bring(progress)?;
        let durable = self.begin(store)?;
        saved(store)?;
        finish(durable)?;
        let made = prefix_of(&**self.to, None)?;
        if made.position() != self.prefix.position() {
            let text = format!("what was made ends at position {}", made.position());
            return Err(Error::damaged(self.to.location(), 0, text));
        }
        Ok((store, brought))
    }

    fn epoch(&self) -> u32 {
        self.prefix.epoch.saturating_add(1)
    }

    fn bring(&self, progress: Progress<'_>) -> Result<Brought> {
        let (from, to) = (self.from, &**self.to);
        let mut brought = Brought::default();
        let mut steps = Steps::of(self.prefix, progress);
        if let Some(base) = &self.prefix.base {
            bring_base(from, base, to, true)?;
        }
        for span in &self.prefix.spans {
            // Only what nobody cuts any more is shared: a recovery of the other store may cut its
            // newest segment before an end that this one names.
            let shared = self.link && (span.settled || planted!(TailLinked));
            if shared && link_span(from, span, to, self.verify)? {
                brought.linked += 1;
            } else {
                copy_span(from, span, to, true)?;
                brought.copied += 1;
                brought.bytes += span.end.offset;
            }
            bring_sidecar(from, span, to, self.link);
            steps.step(span);
        }
        bring_heads(from, to, self.link);
        to.sync_dir().map_err(failed("sync the directory of", &to.location()))?;
        Ok(brought)
    }

    /// The first segment of the new store's own, after what it shares; answers its last durable
    /// frame. A store without a past begins with its first opening.
    fn begin(&self, store: Uuid) -> Result<u64> {
        let Some(last) = self.prefix.spans.last() else { return Ok(0) };
        let end = last.end;
        let fresh = Fresh {
            disk: &**self.to,
            header: SegmentHeader {
                store,
                number: last.info.number + 1,
                id_scope: self.prefix.head.id_scope,
                capacity: self.settings.segment_bytes,
                created_at: self.now,
                rewrite: 0,
            },
            epoch: self.epoch(),
            align: self.settings.align_commit,
        };
        let cursor = Cursor {
            offset: FIRST_FRAME,
            number: end.frame + 1,
            position: end.next_position,
            chain: end.chain,
        };
        let predecessor = Predecessor {
            number: last.info.number,
            end: end.offset,
            frame: end.frame,
            chain: end.chain,
        };
        let opening = Opening { predecessor, last_recorded_at: self.prefix.last_recorded_at };
        let stage = fresh.make(cursor, &opening, None)?;
        Ok(stage.cursor.number - 1)
    }
}
