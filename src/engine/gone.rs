//! Layer 6.4: what a view answers about events that were trimmed.
//!
//! Knows: the trim base. Does not know: how it came about. Whoever asks for a trimmed event is told
//! so, and where the log begins now; nothing is skipped in silence.

use uuid::Uuid;

use super::catalog::View;
use super::knowledge::StoredEvent;
use crate::types::{
    Error, ErrorKind, EventRef, Position, RecordedEvent, Result, Timestamp, Version,
};

impl View {
    /// The newest event with this id.
    ///
    /// # Errors
    /// `Trimmed`, `Damaged`, `Io`.
    pub(crate) fn event_of_id(
        &self,
        id: &Uuid,
        own: impl Fn(EventRef<'_>) -> Result<RecordedEvent>,
    ) -> Result<Option<RecordedEvent>> {
        let found = self.with_event_of_id(id, |event| Some(own(event)))?;
        if found.is_none() {
            self.refuse_trimmed_id(id)?;
        }
        found.transpose()
    }

    /// Where the event of a stream with this version is.
    ///
    /// # Errors
    /// `Trimmed`.
    pub(crate) fn retained(&self, stream: &str, version: Version) -> Result<Option<Position>> {
        self.refuse_trimmed_version(stream, version)?;
        Ok(self.position_of(stream, version))
    }

    /// # Errors
    /// `Trimmed` when an event at this position was trimmed.
    pub(crate) fn refuse_trimmed(&self, position: Position) -> Result<()> {
        let first = self.first_position();
        if position == Position::START || position >= first || self.base.is_none() {
            return Ok(());
        }
        Err(trimmed(format!("position {position} was trimmed"), first))
    }

    /// # Errors
    /// `Trimmed` when whoever has come to `position` would miss events. At the very beginning
    /// nobody does: he asks for what there is.
    pub(crate) fn refuse_behind(&self, position: Position) -> Result<()> {
        match position {
            Position::START => Ok(()),
            position => self.refuse_trimmed(position.next()),
        }
    }

    /// # Errors
    /// `Trimmed` when `first` is the first event after a time, and an earlier one after it was
    /// trimmed.
    pub(crate) fn refuse_trimmed_time(&self, first: Position, time: Timestamp) -> Result<()> {
        let Some(end) = self.base.as_ref().map(|base| base.end()) else { return Ok(()) };
        if first > self.first_position() || end.last_recorded_at <= time.micros() {
            return Ok(());
        }
        let what = format!("what was recorded after {} microseconds was trimmed", time.micros());
        Err(trimmed(what, self.first_position()))
    }

    /// The last version of the stream that was trimmed.
    pub(crate) fn trimmed_version(&self, stream: &str) -> Option<Version> {
        let found = self.base.as_ref()?.known().stream(stream)?;
        Some(Version::new(found.version))
    }

    /// # Errors
    /// `Trimmed` when this version of the stream was trimmed.
    pub(crate) fn refuse_trimmed_version(&self, stream: &str, version: Version) -> Result<()> {
        let last = self.trimmed_version(stream).filter(|last| version <= *last);
        if version == Version::NONE || last.is_none() {
            return Ok(());
        }
        let what = format!("version {version} of stream {stream:?} was trimmed");
        Err(trimmed(what, self.first_position()).in_stream(stream).at_version(version))
    }

    /// The trimmed event with this id: in the whole store, or in the stream given.
    ///
    /// # Errors
    /// `Damaged` when the ids do not check.
    pub(crate) fn trimmed_event(
        &self,
        id: &Uuid,
        stream: Option<&str>,
    ) -> Result<Option<StoredEvent>> {
        let Some(base) = self.base.as_ref().filter(|_| !planted!(TrimmedIdsForgotten)) else {
            return Ok(None);
        };
        base.with_id(id, |found, of| {
            stream.is_none_or(|stream| stream == of.name).then(|| StoredEvent {
                stream: of.name.to_owned(),
                version: Version::new(found.version),
                position: Position::new(found.position),
            })
        })
    }

    /// # Errors
    /// `Trimmed` when the event with this id was trimmed; `Damaged`.
    fn refuse_trimmed_id(&self, id: &Uuid) -> Result<()> {
        match self.trimmed_event(id, None)? {
            None => Ok(()),
            Some(found) => {
                let StoredEvent { stream, version, .. } = found;
                let what = format!("version {version} of stream {stream:?} was trimmed");
                let error = trimmed(what, self.first_position()).of_event(*id);
                Err(error.in_stream(stream).at_version(version))
            }
        }
    }

    /// The id of the event at a position. Of the trimmed ones only the last is known by its
    /// position: it is where whoever has seen everything before the first retained one stands.
    ///
    /// # Errors
    /// `Trimmed`, `Damaged`, `Io`.
    pub(crate) fn id_at(&self, position: Position) -> Result<Option<Uuid>> {
        let end = self.base.as_ref().map(|base| base.end());
        match end
            .filter(|end| position != Position::START && position.get() + 1 == end.first_position)
        {
            Some(end) => Ok(Some(end.last_id)),
            None => self.with_event(position, |event| event.id()),
        }
    }
}

fn trimmed(what: String, first: Position) -> Error {
    let what = format!("{what}: the log begins at position {first}");
    Error::new(ErrorKind::Trimmed, what).at(first)
}
