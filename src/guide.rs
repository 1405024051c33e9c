//! Layer 10.0: the guide: pages on how to use the store, tested like everything else.
//!
//! [Streams](streams), [boundaries] and [projections] are what most
//! applications are made of. [Durability](durability), [recovery], [backups],
//! [async code](asynchronous) and [testing] say how it behaves around them.
//! [Tables in SQLite](sqlite) stay exactly-once; and there is a way over
//! [from cqrs-es](from_cqrs_es), [from tables](from_sqlite) and [from KurrentDB](from_kurrentdb).
//!
//! # What does not compile
//!
//! Misuse is an error before the program runs. Each of these is wrong in one place, and the same
//! without that place is right:
//!
//! ```
//! use factlog::{Expect, NewEvent, Store, Version};
//! let store = Store::in_memory()?;
//! store.append("Order-1", Expect::NoStream, [NewEvent::binary("Placed", "")])?;
//! let version: Version = store.head("Order-1")?.expect("it is there").version;
//! store.append("Order-1", Expect::Version(version), [NewEvent::binary("Paid", "")])?;
//! # Ok::<(), factlog::Error>(())
//! ```
//!
//! The expectation was forgotten:
//!
//! ```compile_fail,E0061
//! # use factlog::{Expect, NewEvent, Store, Version};
//! # let store = Store::in_memory()?;
//! store.append("Order-1", [NewEvent::binary("Placed", "")])?;
//! # Ok::<(), factlog::Error>(())
//! ```
//!
//! What is appended is no event:
//!
//! ```compile_fail,E0277
//! # use factlog::{Expect, NewEvent, Store, Version};
//! # let store = Store::in_memory()?;
//! store.append("Order-1", Expect::NoStream, ["Placed"])?;
//! # Ok::<(), factlog::Error>(())
//! ```
//!
//! A bare number is no version:
//!
//! ```compile_fail,E0308
//! # use factlog::{Expect, NewEvent, Store, Version};
//! # let store = Store::in_memory()?;
//! store.append("Order-1", Expect::Version(1), [NewEvent::binary("Paid", "")])?;
//! # Ok::<(), factlog::Error>(())
//! ```
//!
//! A position is no version:
//!
//! ```compile_fail,E0308
//! # use factlog::{Expect, NewEvent, Store, Version};
//! # let store = Store::in_memory()?;
//! let position = store.last_position();
//! store.append("Order-1", Expect::Version(position), [NewEvent::binary("Paid", "")])?;
//! # Ok::<(), factlog::Error>(())
//! ```
//!
//! And of typed events and models, where this is right:
//!
//! ```
//! use factlog::{Emits, Event, Model, NewEvent, Scope, Store};
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Clone, Event, Serialize, Deserialize)]
//! enum Door { Opened, Closed }
//!
//! #[derive(Clone, Default)]
//! struct State { open: bool }
//!
//! impl Model for State {
//!     type Event = Door;
//!     fn scope(&self) -> Scope { Scope::stream("Door", 1) }
//!     fn apply(&mut self, event: Door) { self.open = matches!(event, Door::Opened); }
//! }
//!
//! let store = Store::in_memory()?;
//! store.decide(State::default(), |_| Ok::<_, String>([Door::Opened]))?;
//! store.decide_inside((State::default(), State::default()), |(a, b)| {
//!     if a.open && b.open { Ok([Door::Closed.on("Door-1")]) } else { Err("closed") }
//! })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! A value that is no event is decided:
//!
//! ```compile_fail,E0277
//! # use factlog::{Event, Model, Scope, Store};
//! # #[derive(Clone, Event, serde::Serialize, serde::Deserialize)]
//! # enum Door { Opened, Closed }
//! # #[derive(Clone, Default)]
//! # struct State;
//! # impl Model for State {
//! #     type Event = Door;
//! #     fn scope(&self) -> Scope { Scope::stream("Door", 1) }
//! #     fn apply(&mut self, event: Door) {}
//! # }
//! # let store = Store::in_memory().unwrap();
//! store.decide(State::default(), |_| Ok::<_, String>(["Opened"])).unwrap();
//! ```
//!
//! What is decided on is no model:
//!
//! ```compile_fail,E0277
//! # use factlog::{Event, Model, Scope, Store};
//! # #[derive(Clone, Event, serde::Serialize, serde::Deserialize)]
//! # enum Door { Opened, Closed }
//! # #[derive(Clone, Default)]
//! # struct State;
//! # impl Model for State {
//! #     type Event = Door;
//! #     fn scope(&self) -> Scope { Scope::stream("Door", 1) }
//! #     fn apply(&mut self, event: Door) {}
//! # }
//! # let store = Store::in_memory().unwrap();
//! store.decide((State::default(), 7), |_| Ok::<_, String>([Door::Opened])).unwrap();
//! ```
//!
//! A rule changes the state it decides on, which only events do:
//!
//! ```compile_fail,E0594
//! # use factlog::{Event, Model, Scope, Store};
//! # #[derive(Clone, Event, serde::Serialize, serde::Deserialize)]
//! # enum Door { Opened, Closed }
//! # #[derive(Clone, Default)]
//! # struct State { open: bool }
//! # impl Model for State {
//! #     type Event = Door;
//! #     fn scope(&self) -> Scope { Scope::stream("Door", 1) }
//! #     fn apply(&mut self, event: Door) {}
//! # }
//! # let store = Store::in_memory().unwrap();
//! store.decide(State::default(), |state| {
//!     state.open = true;
//!     Ok::<_, String>([Door::Opened])
//! }).unwrap();
//! ```
//!
//! A rule that runs inside the writer borrows what may be gone by then:
//!
//! ```compile_fail,E0597
//! # use factlog::{Event, Model, Scope, Store};
//! # #[derive(Clone, Event, serde::Serialize, serde::Deserialize)]
//! # enum Door { Opened, Closed }
//! # #[derive(Clone, Default)]
//! # struct State { open: bool }
//! # impl Model for State {
//! #     type Event = Door;
//! #     fn scope(&self) -> Scope { Scope::stream("Door", 1) }
//! #     fn apply(&mut self, event: Door) {}
//! # }
//! # let store = Store::in_memory().unwrap();
//! let wanted = String::from("open");
//! let wanted: &str = &wanted;
//! store.decide_inside(State::default(), move |_| match wanted {
//!     "open" => Ok([Door::Opened]),
//!     _ => Err("nothing is wanted"),
//! }).unwrap();
//! ```
//!
//! An enum keeps its type in its data, where the store keeps it beside:
//!
//! ```compile_fail
//! #[derive(factlog::Event, serde::Serialize, serde::Deserialize)]
//! #[serde(tag = "type")]
//! enum Door { Opened, Closed }
//! ```
//!
//! Two variants have one name in the log:
//!
//! ```compile_fail
//! #[derive(factlog::Event, serde::Serialize, serde::Deserialize)]
//! enum Door { Opened, #[event(name = "Opened")] Closed }
//! ```

#[doc = include_str!("../docs/guide/streams.md")]
pub mod streams {}

#[doc = include_str!("../docs/guide/boundaries.md")]
pub mod boundaries {}

#[doc = include_str!("../docs/guide/projections.md")]
pub mod projections {}

#[doc = include_str!("../docs/guide/durability.md")]
pub mod durability {}

#[doc = include_str!("../docs/guide/recovery.md")]
pub mod recovery {}

#[doc = include_str!("../docs/guide/backups.md")]
pub mod backups {}

#[doc = include_str!("../docs/guide/asynchronous.md")]
pub mod asynchronous {}

#[doc = include_str!("../docs/guide/testing.md")]
pub mod testing {}

#[doc = include_str!("../docs/guide/sqlite.md")]
pub mod sqlite {}

#[doc = include_str!("../docs/guide/from_cqrs_es.md")]
pub mod from_cqrs_es {}

#[doc = include_str!("../docs/guide/from_sqlite.md")]
pub mod from_sqlite {}

#[doc = include_str!("../docs/guide/from_kurrentdb.md")]
pub mod from_kurrentdb {}
