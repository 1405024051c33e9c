//! Layer 6.5: what decisions ask, answered from the catalog and the log.
//!
//! Knows: where answers come from. Does not know: what is decided.

use uuid::Uuid;

use super::catalog::View;
use super::find::{Wanted, candidates};
use super::knowledge::{Knowledge, StoredEvent};
use super::segment::EventReader;
use super::shared::Engine;
use crate::types::{Error, IdScope, Lifecycle, Position, Query, Result, Version};

impl Knowledge for Engine {
    fn stream(&self, name: &str) -> (Version, Lifecycle) {
        let catalog = self.catalog.read();
        let version = catalog.heads.get(name).map(|head| head.version).unwrap_or_default();
        (version, catalog.carried.lifecycle(name))
    }

    fn event_with_id(&self, id: &Uuid, stream: &str) -> Result<Option<StoredEvent>> {
        let view = self.catalog.read().view();
        let anywhere = self.id_scope == IdScope::Store;
        let found = view.with_event_of_id(id, |event| {
            (anywhere || event.stream() == stream).then(|| StoredEvent {
                stream: event.stream().to_owned(),
                version: event.version(),
                position: event.position(),
            })
        })?;
        let found = match found {
            None => view.trimmed_event(id, (!anywhere).then_some(stream))?,
            found => found,
        };
        if found.is_none() {
            refuse_holes(&view)?;
        }
        Ok(found)
    }

    fn first_match(&self, query: &Query, after: Position) -> Result<Option<Position>> {
        let view = self.catalog.read().view();
        let wanted = Wanted::Query(query.clone());
        for segment in view.segments.iter() {
            let events = segment.events();
            let from = match segment.ordinal_of(after.next()) {
                Some(ordinal) if ordinal >= events => continue,
                Some(ordinal) => ordinal,
                None => 0,
            };
            let found = candidates(segment, &wanted, from..events, view.accept_lost);
            let mut reader = EventReader::default();
            for ordinal in (0..found.len()).filter_map(|at| found.get(at)) {
                let event = reader.read(segment, ordinal)?;
                if event.reclaimed().is_none() && query.matches(&event) {
                    return Ok(Some(event.position()));
                }
            }
        }
        Ok(None)
    }

    fn id_at(&self, position: Position) -> Result<Option<Uuid>> {
        let view = self.catalog.read().view();
        view.id_at(position)
    }

    fn last_position(&self) -> Position {
        self.catalog.read().last
    }

    fn checkpoint(&self, name: &str) -> Result<Option<Position>> {
        Ok(Engine::checkpoint(self, name)?.map(|checkpoint| checkpoint.position))
    }

    fn ids_per_stream(&self) -> bool {
        self.id_scope == IdScope::Stream
    }
}

/// A sidecar may turn out not to check, and the log under it neither, while the store is open: what
/// was there could have had any id, so that nothing can be said to be new.
fn refuse_holes(view: &View) -> Result<()> {
    for segment in view.segments.iter() {
        if let Some(ordinal) = segment.ask(|index| index.damaged().first().copied()) {
            let what = "an event that does not check may have the id";
            let position = segment.position_of(ordinal);
            return Err(Error::damaged(&*segment.name, 0, what).at(position));
        }
    }
    Ok(())
}
