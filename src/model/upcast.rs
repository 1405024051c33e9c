//! Layer 8.1: upcasters: how data of an earlier schema version becomes data of a later one.
//!
//! Knows: types by name and schema version, and the way from one to another. Does not know: Rust
//! types. Upcasters belong to an event's type and not to a store, so that no read can do without.

use std::borrow::Cow;
use std::fmt;

use serde_json::Value;

use super::codec::{Codec, Json};
use crate::api::caught;
use crate::types::{Error, ErrorKind, Result};

/// An event type as code knows it: its name in the log and the schema version it writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct EventType {
    name: &'static str,
    schema_version: u16,
}

impl EventType {
    /// A type of this name, in this version of its data's shape.
    #[must_use]
    pub const fn new(name: &'static str, schema_version: u16) -> Self {
        Self { name, schema_version }
    }

    /// Its name in the log, which never changes: [`Upcast::renamed`] when it must.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// The schema version that is written.
    #[must_use]
    pub const fn schema_version(&self) -> u16 {
        self.schema_version
    }
}

/// One step from an event type's schema version to the next. Steps are chained: 1 to 2 and 2 to 3
/// make 1 readable by code that knows 3.
///
/// ```
/// use factlog::{Event, Expect, NewEvent, Store, Upcast};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Debug, PartialEq, Event, Serialize, Deserialize)]
/// #[event(upcasts = &[
///     Upcast::json("Paid", 1, |mut data| {
///         data["currency"] = "EUR".into(); // all there was then
///         Ok(data)
///     }),
///     Upcast::renamed("Refunded", 1, "PaidBack", 1),
/// ])]
/// enum Order {
///     #[event(version = 2)]
///     Paid { cents: u64, currency: String },
///     PaidBack { cents: u64 },
/// }
///
/// let store = Store::in_memory()?;
/// let old = [NewEvent::json_text("Paid", r#"{"cents":5}"#), // of the year before
///     NewEvent::json_text("Refunded", r#"{"cents":5}"#)];
/// store.append("Order-1", Expect::NoStream, old)?;
/// let orders: Vec<Order> = store.read_stream("Order-1").typed().values()?;
/// assert_eq!(orders[0], Order::Paid { cents: 5, currency: "EUR".into() });
/// assert_eq!(orders[1], Order::PaidBack { cents: 5 });
/// # Ok::<(), factlog::Error>(())
/// ```
#[derive(Clone, Copy)]
pub struct Upcast {
    from: EventType,
    to: EventType,
    step: Step,
}

#[derive(Clone, Copy)]
enum Step {
    Same,
    Json(fn(Value) -> Result<Value>),
    Bytes(fn(&[u8]) -> Result<Vec<u8>>),
}

impl Upcast {
    /// From `schema_version` of JSON data to the next one.
    #[must_use]
    pub const fn json(
        name: &'static str,
        schema_version: u16,
        step: fn(Value) -> Result<Value>,
    ) -> Self {
        Self::next(name, schema_version, Step::Json(step))
    }

    /// From `schema_version` of data in any codec to the next one.
    #[must_use]
    pub const fn bytes(
        name: &'static str,
        schema_version: u16,
        step: fn(&[u8]) -> Result<Vec<u8>>,
    ) -> Self {
        Self::next(name, schema_version, Step::Bytes(step))
    }

    /// A type has a new name; its data stays as it is.
    #[must_use]
    pub const fn renamed(
        from: &'static str,
        schema_version: u16,
        to: &'static str,
        to_schema_version: u16,
    ) -> Self {
        let from = EventType::new(from, schema_version);
        Self { from, to: EventType::new(to, to_schema_version), step: Step::Same }
    }

    const fn next(name: &'static str, schema_version: u16, step: Step) -> Self {
        let from = EventType::new(name, schema_version);
        let to = EventType::new(name, schema_version.saturating_add(1));
        Self { from, to, step }
    }

    /// What it reads.
    #[must_use]
    pub const fn from(&self) -> EventType {
        self.from
    }

    /// What it makes of it.
    #[must_use]
    pub const fn to(&self) -> EventType {
        self.to
    }

    /// A step that panics, as `data["currency"]` does when the data is no object, cannot read that
    /// event: it is an error like any other, to be parked or told by the doctor.
    fn run<'a>(&self, data: Cow<'a, [u8]>) -> Result<Cow<'a, [u8]>> {
        match self.step {
            Step::Same => Ok(data),
            Step::Bytes(step) => caught("the upcaster", || step(&data)).map(Cow::Owned),
            Step::Json(step) => {
                let before = Json::decode(std::marker::PhantomData::<Value>, &data)?;
                let after = caught("the upcaster", || step(before))?;
                Json::encode(&after).map(Cow::Owned)
            }
        }
    }
}

impl fmt::Debug for Upcast {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (from, to) = (self.from, self.to);
        write!(f, "{} {} to {} {}", from.name, from.schema_version, to.name, to.schema_version)
    }
}

/// What code knows of a stored event type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Route {
    /// The type at this place of the list, after so many steps.
    Known { index: usize, steps: usize },
    /// The name says nothing to this code.
    Unknown,
    /// The name is known, in this schema version at most.
    Newer(u16),
    /// The name is known, but nothing leads from this schema version of it on.
    NoWay(EventType),
}

/// The types and upcasters of one Rust type.
#[derive(Debug, Clone, Copy)]
pub(super) struct Schema {
    pub types: &'static [EventType],
    pub upcasts: &'static [Upcast],
}

impl Schema {
    /// Every name it can read, also those that upcasters lead away from.
    pub(super) fn names(self) -> impl Iterator<Item = &'static str> {
        let own = self.types.iter().map(|known| known.name);
        let old = self.upcasts.iter().map(|upcast| upcast.from.name);
        own.chain(old.filter(move |name| self.types.iter().all(|known| known.name != *name)))
    }

    fn step(self, name: &str, version: u16) -> Option<&'static Upcast> {
        let leads = |it: &&Upcast| it.from.name == name && it.from.schema_version == version;
        self.upcasts.iter().find(leads)
    }

    /// Where the upcasters lead from a stored type, and what each step makes of `data`.
    fn walk<T>(
        self,
        (name, version): (&str, u16),
        data: T,
        step: impl Fn(&Upcast, T) -> Result<T>,
    ) -> Result<(Route, T)> {
        let (mut name, mut version, mut data) = (name, version, data);
        for steps in 0..=self.upcasts.len() {
            let known = self.types.iter().position(|known| known.name == name);
            let written = known.and_then(|at| self.types.get(at)).map(|it| it.schema_version);
            match (known, written) {
                (Some(index), Some(written)) if written == version => {
                    return Ok((Route::Known { index, steps }, data));
                }
                (_, Some(written)) if written < version => {
                    return Ok((Route::Newer(written), data));
                }
                _ => {}
            }
            let Some(upcast) = self.step(name, version) else {
                let named = self.names().find(|known| *known == name);
                let route = named
                    .map_or(Route::Unknown, |name| Route::NoWay(EventType::new(name, version)));
                return Ok((route, data));
            };
            data = step(upcast, data)?;
            (name, version) = (upcast.to.name, upcast.to.schema_version);
        }
        // More steps than there are upcasters: they lead in a circle.
        let at = self.names().find(|known| *known == name).unwrap_or_default();
        Ok((Route::NoWay(EventType::new(at, version)), data))
    }

    /// Where a stored type leads, without any data.
    pub(super) fn route(self, name: &str, version: u16) -> Route {
        self.walk((name, version), (), |_, ()| Ok(())).map_or(Route::Unknown, |(route, ())| route)
    }

    /// The data in the shape of the type it leads to; `None` when the name is unknown.
    pub(super) fn upcast<'a>(
        self,
        (name, version): (&str, u16),
        data: &'a [u8],
    ) -> Result<Option<(usize, Cow<'a, [u8]>)>> {
        let walked =
            self.walk((name, version), Cow::Borrowed(data), |step, data| step.run(data))?;
        match walked {
            (Route::Known { index, .. }, data) => Ok(Some((index, data))),
            (Route::Unknown, _) => Ok(None),
            (Route::Newer(known), _) => Err(refused(format!(
                "schema version {version} is newer than version {known}, which this code knows"
            ))),
            (Route::NoWay(at), _) => Err(refused(format!(
                "no upcaster leads from schema version {} of {}",
                at.schema_version, at.name
            ))),
        }
    }
}

fn refused(what: String) -> Error {
    Error::new(ErrorKind::Decode, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grow(mut data: Value) -> Result<Value> {
        data["grown"] = (data["grown"].as_u64().unwrap_or(0) + 1).into();
        Ok(data)
    }

    const TYPES: &[EventType] = &[EventType::new("Opened", 1), EventType::new("Paid", 4)];
    const UPCASTS: &[Upcast] = &[
        Upcast::json("Paid", 3, grow),
        Upcast::json("Paid", 2, grow),
        Upcast::renamed("Bought", 1, "Paid", 2),
        Upcast::json("Round", 1, grow),
        Upcast::renamed("Round", 2, "Round", 1),
    ];
    const SCHEMA: Schema = Schema { types: TYPES, upcasts: UPCASTS };

    #[test]
    fn every_stored_type_has_one_route() {
        for (name, version, route) in [
            ("Opened", 1, Route::Known { index: 0, steps: 0 }),
            ("Opened", 2, Route::Newer(1)),
            ("Paid", 4, Route::Known { index: 1, steps: 0 }),
            ("Paid", 3, Route::Known { index: 1, steps: 1 }),
            ("Paid", 2, Route::Known { index: 1, steps: 2 }),
            ("Bought", 1, Route::Known { index: 1, steps: 3 }),
            ("Paid", 1, Route::NoWay(EventType::new("Paid", 1))),
            ("Paid", 5, Route::Newer(4)),
            ("Bought", 2, Route::NoWay(EventType::new("Bought", 2))),
            ("Closed", 1, Route::Unknown),
        ] {
            assert_eq!(SCHEMA.route(name, version), route, "{name} {version}");
        }
    }

    #[test]
    fn a_circle_of_upcasters_ends() {
        assert!(matches!(SCHEMA.route("Round", 1), Route::NoWay(_)));
        assert!(SCHEMA.upcast(("Round", 1), b"{}").is_err());
    }

    #[test]
    fn steps_are_chained_in_order_across_a_new_name() {
        let (index, data) = SCHEMA.upcast(("Bought", 1), b"{}").unwrap().unwrap();
        assert_eq!((index, &*data), (1, &b"{\"grown\":2}"[..]));
    }

    #[test]
    fn old_names_are_among_the_names() {
        assert_eq!(
            SCHEMA.names().collect::<Vec<_>>(),
            ["Opened", "Paid", "Bought", "Round", "Round"]
        );
    }
}
