//! Layer 8.3: the doctor: what is stored, compared with what this code can decode.
//!
//! Knows: event types, their routes through upcasters and, when asked, the data. Does not know:
//! what to do about it: it reports, at start-up or in a test.

use std::fmt;
use std::ops::ControlFlow;

use hashbrown::HashMap;

use super::codec::Codec;
use super::event::{Event, decode, schema};
use super::upcast::{EventType, Route, Schema};
use crate::api::Store;
use crate::types::{ContentType, Error, ErrorKind, EventRef, Position, Result};

/// Compares what code can decode with what is stored; see [`Store::doctor`].
#[derive(Debug)]
#[must_use = "the doctor does nothing until it examines"]
pub struct Doctor<'a> {
    store: &'a Store,
    known: Vec<Knower>,
    decode: bool,
}

/// A Rust type that knows event types.
#[derive(Debug, Clone, Copy)]
struct Knower {
    schema: Schema,
    content_type: ContentType,
    decodes: fn(&EventRef<'_>) -> Result<()>,
}

fn decodes<E: Event>(event: &EventRef<'_>) -> Result<()> {
    decode::<E>(event).map(drop)
}

/// Whether stored events of one type and schema version can be read.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Prognosis {
    /// They can, after so many steps of upcasting.
    Reads {
        /// Upcasters that each of them goes through.
        steps: usize,
    },
    /// No known Rust type has this event type.
    Unknown,
    /// They are of a newer schema version than this code knows.
    Newer {
        /// The newest it knows.
        known: u16,
    },
    /// No upcaster leads from here to what the code knows.
    NoUpcaster {
        /// The event type where the way ends.
        from: EventType,
    },
    /// They were written by another codec than the code reads.
    OtherCodec {
        /// What the code reads.
        wanted: ContentType,
    },
    /// Some of them do not decode, although their type and schema version are known.
    Fails {
        /// How many.
        events: u64,
        /// Why the first does not, and where it is.
        first: Error,
    },
}

/// Stored events of one type, schema version and content type.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct StoredType {
    /// The type.
    pub event_type: String,
    /// The version of their data's shape.
    pub schema_version: u16,
    /// What their data is.
    pub content_type: ContentType,
    /// How many there are.
    pub events: u64,
    /// The position of the first.
    pub first: Position,
    /// The position of the last.
    pub last: Position,
    /// Whether they can be read.
    pub prognosis: Prognosis,
}

impl StoredType {
    /// Whether all of them can be read.
    #[must_use]
    pub fn reads(&self) -> bool {
        matches!(self.prognosis, Prognosis::Reads { .. })
    }
}

/// What the doctor found.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Diagnosis {
    /// What is stored, in the order of first appearance.
    pub stored: Vec<StoredType>,
    /// What the code knows and nobody ever stored, in any schema version.
    pub never_stored: Vec<EventType>,
}

impl Diagnosis {
    /// Whether everything that is stored can be read.
    #[must_use]
    pub fn is_healthy(&self) -> bool {
        self.stored.iter().all(StoredType::reads)
    }
}

impl Store {
    /// Compares what this code can decode with what is stored, before a customer does.
    ///
    /// ```
    /// use factlog::{Event, Expect, NewEvent, Store};
    /// use serde::{Deserialize, Serialize};
    ///
    /// #[derive(Event, Serialize, Deserialize)]
    /// enum Bank {
    ///     Opened { owner: String },
    ///     #[event(version = 2)]
    ///     Deposited { cents: u64 },
    /// }
    ///
    /// let store = Store::in_memory()?;
    /// let opened = NewEvent::of(&Bank::Opened { owner: "ada".into() })?;
    /// let old = NewEvent::json_text("Deposited", r#"{"amount":5}"#); // schema version 1
    /// store.append("Account-1", Expect::NoStream, [opened, old])?;
    ///
    /// let diagnosis = store.doctor().knows::<Bank>().examine()?;
    /// assert!(diagnosis.stored[0].reads());
    /// assert!(!diagnosis.stored[1].reads()); // nobody wrote an upcaster
    /// println!("{diagnosis}");
    /// assert!(store.doctor().knows::<Bank>().check().is_err()); // for a start-up or a test
    /// # Ok::<(), factlog::Error>(())
    /// ```
    pub fn doctor(&self) -> Doctor<'_> {
        Doctor { store: self, known: Vec::new(), decode: false }
    }
}

impl Doctor<'_> {
    /// One more Rust type that this code reads events as.
    pub fn knows<E: Event>(mut self) -> Self {
        let content_type = E::Codec::CONTENT_TYPE;
        self.known.push(Knower { schema: schema::<E>(), content_type, decodes: decodes::<E> });
        self
    }

    /// Also decodes every event, instead of looking at its type alone. Takes about as long as a
    /// projection from the beginning.
    pub fn decode_all(mut self) -> Self {
        self.decode = true;
        self
    }

    /// Reads the whole log and reports.
    ///
    /// # Errors
    /// `Damaged`, `Closed`, `Io`.
    pub fn examine(&self) -> Result<Diagnosis> {
        let mut found = Found::default();
        self.store.read_all().for_each(|event| {
            // What the store keeps for itself is not the application's.
            if !event.stream().starts_with('$') {
                let look = |row: &mut StoredType| {
                    if self.decode {
                        self.try_decoding(&event, row);
                    }
                };
                found.add(&event, || self.prognosis(&event), look);
            }
            ControlFlow::Continue(())
        })?;
        let types = self.known.iter().flat_map(|knower| knower.schema.types);
        let never = types.filter(|known| !found.of_type.contains_key(known.name()));
        let never_stored = never.copied().collect();
        let mut stored: Vec<_> = found.of_type.into_values().flatten().collect();
        stored.sort_by_key(|stored| stored.first);
        Ok(Diagnosis { stored, never_stored })
    }

    /// Fails if anything that is stored cannot be read.
    ///
    /// # Errors
    /// `Decode`, naming the first type that cannot, and what [`Self::examine`] meets.
    pub fn check(&self) -> Result<()> {
        let diagnosis = self.examine()?;
        match diagnosis.stored.iter().find(|stored| !stored.reads()) {
            None => Ok(()),
            Some(stored) => {
                let text = format!("this code cannot read what is stored: {stored}");
                Err(Error::new(ErrorKind::Decode, text).at(stored.first).through(stored.last))
            }
        }
    }

    /// Of several types that know it, the one that cannot read it decides.
    fn prognosis(&self, event: &EventRef<'_>) -> Prognosis {
        let mut found = Prognosis::Unknown;
        for knower in &self.known {
            let prognosis = knower.prognosis(event);
            match prognosis {
                Prognosis::Unknown => {}
                Prognosis::Reads { .. } => found = prognosis,
                _ => return prognosis,
            }
        }
        found
    }

    fn try_decoding(&self, event: &EventRef<'_>, row: &mut StoredType) {
        let Some(error) = self.known.iter().find_map(|knower| (knower.decodes)(event).err()) else {
            return;
        };
        match &mut row.prognosis {
            Prognosis::Fails { events, .. } => *events += 1,
            Prognosis::Reads { .. } => row.prognosis = Prognosis::Fails { events: 1, first: error },
            _ => {}
        }
    }
}

impl Knower {
    fn prognosis(&self, event: &EventRef<'_>) -> Prognosis {
        match self.schema.route(event.event_type(), event.schema_version()) {
            Route::Known { .. } if event.content_type() != self.content_type => {
                Prognosis::OtherCodec { wanted: self.content_type }
            }
            Route::Known { steps, .. } => Prognosis::Reads { steps },
            Route::Unknown => Prognosis::Unknown,
            Route::Newer(known) => Prognosis::Newer { known },
            Route::NoWay(from) => Prognosis::NoUpcaster { from },
        }
    }
}

/// Rows by type, so that none is allocated for per event.
#[derive(Default)]
struct Found {
    of_type: HashMap<String, Vec<StoredType>>,
}

impl Found {
    fn add(
        &mut self,
        event: &EventRef<'_>,
        prognosis: impl FnOnce() -> Prognosis,
        look: impl FnOnce(&mut StoredType),
    ) {
        let name = event.event_type();
        let rows = self.of_type.entry_ref(name).or_default();
        let (schema_version, content_type) = (event.schema_version(), event.content_type());
        let same = |row: &StoredType| {
            row.schema_version == schema_version && row.content_type == content_type
        };
        let at = rows.iter().position(same).unwrap_or(rows.len());
        if at == rows.len() {
            let (first, last) = (event.position(), event.position());
            rows.push(StoredType {
                event_type: name.to_owned(),
                schema_version,
                content_type,
                events: 0,
                first,
                last,
                prognosis: prognosis(),
            });
        }
        if let Some(row) = rows.get_mut(at) {
            row.events += 1;
            row.last = event.position();
            look(row);
        }
    }
}

impl fmt::Display for Prognosis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reads { steps: 0 } => f.write_str("reads"),
            Self::Reads { steps } => write!(f, "reads, upcast in {steps} steps"),
            Self::Unknown => f.write_str("unknown type"),
            Self::Newer { known } => write!(f, "newer than schema version {known}"),
            Self::NoUpcaster { from } => {
                write!(f, "no upcaster from {} {}", from.name(), from.schema_version())
            }
            Self::OtherCodec { wanted } => write!(f, "the code reads {wanted:?}"),
            Self::Fails { events, first } => write!(f, "{events} do not decode: {first}"),
        }
    }
}

impl fmt::Display for StoredType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { event_type, schema_version, content_type, events, first, last, .. } = self;
        write!(
            f,
            "{event_type} {schema_version} ({content_type:?}), {events} events at positions \
             {first} to {last}: {}",
            self.prognosis
        )
    }
}

impl fmt::Display for Diagnosis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for stored in &self.stored {
            writeln!(f, "{stored}")?;
        }
        for known in &self.never_stored {
            writeln!(f, "{} {}: never stored", known.name(), known.schema_version())?;
        }
        Ok(())
    }
}
