// Layer 11.0: the door: docs, lints, re-exports.
#![cfg_attr(docsrs, feature(doc_cfg))]
#![cfg_attr(
    test,
    allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_possible_wrap,
        reason = "a test fails by panicking"
    )
)]
//! An embedded, append-only, crash-safe event store: the SQLite of event sourcing.
//!
//! A process opens a directory, appends events with an expected version, reads any stream or the
//! whole log in order, and follows the tail. There is no server, no C compiler and no runtime.
//!
//! ```
//! use factlog::{ErrorKind, Expect, NewEvent, Store, Version};
//!
//! # let dir = tempfile::tempdir().unwrap();
//! # let path = dir.path().join("orders");
//! let store = Store::open(path)?;
//! let placed = NewEvent::json_text("OrderPlaced", r#"{"total": 42}"#);
//! let appended = store.append("Order-42", Expect::NoStream, [placed])?; // now it is on disk
//! assert_eq!(appended.first.get(), 1);
//!
//! // Whoever decided on version 1 and comes second is told so, and nothing is written.
//! let expect = Expect::Version(Version::new(1));
//! store.append("Order-42", expect, [NewEvent::binary("OrderPaid", "")])?;
//! let late = store.append("Order-42", expect, [NewEvent::binary("OrderCancelled", "")]);
//! assert_eq!(late.unwrap_err().kind(), ErrorKind::Conflict);
//!
//! for event in store.read_stream("Order-42") {
//!     let event = event?;
//!     println!("{} {}", event.version(), event.event_type());
//! }
//! # Ok::<(), factlog::Error>(())
//! ```
//!
//! # What it is, and what it is not
//!
//! It is a library for one process that writes and any number of threads and processes that read:
//! streams with optimistic concurrency, batches over several streams, conditions over tags
//! (dynamic consistency boundaries), subscriptions, checkpoints, snapshots.
//!
//! It is not a server, not a cluster, not a message broker and not a database to query: events are
//! found by stream, category, type, tag, correlation, id, position and time, and by nothing else.
//! An event cannot be changed or deleted in place.
//!
//! # What is promised
//!
//! 1. An append that returned is on disk: it survives a kill, a crash of the operating system and a
//!    power cut (with [`Durability::Sync`], the default).
//! 2. After any crash the log is a prefix of what was submitted and contains every acknowledged
//!    batch; each batch is whole or absent.
//! 3. Positions have no gaps and are never seen out of order. A subscription delivers every event
//!    once, in order, however slow it is.
//! 4. Damage is never served and never silently dropped: it is a [`Damaged`](ErrorKind::Damaged)
//!    error that names file, offset and positions. A torn, never acknowledged end is something
//!    else: it is set aside, kept and told in the [`OpenReport`].
//! 5. An event id is stored once: sending the same batch again answers what the first one did.
//! 6. Opening takes time by the length of the tail, not by the size of the store.
//!
//! The assumptions behind this, and what stays ambiguous, are in `docs/DURABILITY.md`.
//!
//! # Concepts
//!
//! | word | meaning | type |
//! |---|---|---|
//! | event | a fact, going in and coming out | [`NewEvent`], [`RecordedEvent`], [`EventRef`] |
//! | stream | a named ordered sequence of events, such as `Order-42` | [`StreamName`] |
//! | category | the part of a stream's name before its first `-` | [`Store::read_category`] |
//! | version | the number of an event in its stream, from 1 | [`Version`] |
//! | position | the number of an event in the store, from 1, without gaps | [`Position`] |
//! | expect | what the caller believes of a stream | [`Expect`] |
//! | batch | events over one or several streams: all or none | [`BatchBuilder`], [`Appended`] |
//! | query, condition | which events matter | [`Query`], [`BatchBuilder::condition`] |
//! | watermark | everything up to here can be read | [`Store::last_position`] |
//! | subscription | a read that does not end at the watermark | [`Subscription`] |
//! | checkpoint | a named subscriber's durable progress | [`Store::checkpoint`] |
//! | snapshot | an aggregate's folded state at a version | [`Store::snapshot`] |
//! | typed event | a serde enum whose variants are event types | `Event`, `Typed` |
//! | model, decide | state folded from events, and rules on it | `Model`, `Store::decide` |
//! | projection | a handler that follows events under a name | `Store::projection` |
//!
//! The last three are the typed layer, feature `model`; the `guide` tells how to use it.
//!
//! # Errors, and what to do about them
//!
//! There is one [`Error`]; its [`kind`](Error::kind) says what to do. Nothing in the public API
//! panics.
//!
//! | kind | what to do |
//! |---|---|
//! | `Conflict`, `AlreadyExists` | read again and decide again |
//! | `IdConflict`, `DuplicateIdInBatch` | give every event its own id: a bug in the caller |
//! | `Invalid`, `NotFound`, `Deleted`, `Trimmed` | correct the call; nothing was written |
//! | `QueueFull` | wait, or [`submit`](BatchBuilder::submit), which waits |
//! | `DiskFull` | free space and try again; nothing was written |
//! | `InDoubt` | open the store again and retry with the same event ids |
//! | `Poisoned` | an earlier write failed: open the store again; reading goes on meanwhile |
//! | `Locked` | close the other writer, or open read-only |
//! | `Damaged` | [`verify`], then [`repair`], a copy or [`salvage`]; or [`Store::open_read_only`] |
//! | `Unsupported` | use a newer version of this crate |
//! | `Decode` | the data has another shape than the type asked for |
//! | `Failed` | a handler of yours failed: its reason is the source |
//! | `Closed`, `Io` | as the message says |
//!
//! Retries are safe when the caller gives the ids, because a batch that is stored already is
//! answered and not stored twice:
//!
//! ```
//! use factlog::{Expect, NewEvent, Store, Uuid};
//! let store = Store::in_memory()?;
//! let id = Uuid::from_u128(42); // in earnest, of the command or message being handled
//! let event = || NewEvent::binary("Paid", "").id(id);
//! let first = store.append("Order-1", Expect::NoStream, [event()])?;
//! let again = store.append("Order-1", Expect::NoStream, [event()])?;
//! assert!(again.already);
//! assert_eq!(again.first, first.first);
//! # Ok::<(), factlog::Error>(())
//! ```
//!
//! # Durability
//!
//! | mode | an append is answered when it is | a power cut may take |
//! |---|---|---|
//! | [`Sync`](Durability::Sync) (default) | on disk | nothing that was answered |
//! | [`Interval(d)`](Durability::Interval) | written | what was written in the last `d`, about |
//! | [`Os`](Durability::Os) | written | what the operating system had not synced |
//!
//! A kill of the process takes nothing that was answered, in any mode. In the weaker modes reads
//! see what is written; subscriptions, read-only stores and checkpoints stop at what is on disk.
//! A single batch may ask for `Sync`: [`BatchBuilder::durability`].
//!
//! # Limits
//!
//! Checked when an event is appended; what is refused is named with the limit, and nothing is
//! written.
//!
//! | what | limit |
//! |---|---|
//! | stream name | 1 to 1024 bytes of UTF-8, no control characters, not beginning with `$` |
//! | event type | 1 to 255 bytes, not beginning with `$` |
//! | tags | 64 of an event, 1 to 255 bytes each |
//! | data | 1 MiB, up to 64 MiB with [`Options::event_data_max`] |
//! | metadata | 64 KiB |
//! | JSON, in data and metadata | 128 levels |
//! | subject; name of a checkpoint or snapshot | 255 bytes |
//! | batch | below 4 GiB |
//! | snapshot | 64 MiB |
//!
//! # Async code, without a runtime
//!
//! [`BatchBuilder::submit`] answers with a [`Ticket`], which is a `Future` that needs no runtime.
//! Dropping it does not undo the append. [`Subscription::poll_next`] takes a waker; with the
//! feature `stream` a subscription is a `futures_core::Stream`. Reading is blocking: a read that
//! finds its pages in memory takes microseconds, a long scan belongs on a thread of its own.
//!
//! ```
//! use factlog::{Appended, Expect, NewEvent, Store};
//!
//! async fn place(store: &Store) -> factlog::Result<Appended> {
//!     let events = [NewEvent::binary("OrderPlaced", "")];
//!     store.batch().append("Order-42", Expect::NoStream, events).submit()?.await
//! }
//! ```
//!
//! # Testing
//!
//! [`Store::in_memory`] behaves like a store on disk, without the disk. With
//! [`Options::background_threads`]`(false)` and a [`ManualClock`] a test repeats exactly. The
//! feature `sim` adds `SimDisk` to [`disk`], a disk that cuts the power where a test says, to prove
//! that your own code recovers:
//!
//! ```
//! # #[cfg(feature = "sim")] {
//! use std::sync::Arc;
//! use factlog::{Expect, NewEvent, Store, disk::SimDisk};
//!
//! let disk = SimDisk::new(1);
//! let open = |disk: &SimDisk| {
//!     Store::options().background_threads(false).open_on(Arc::new(disk.clone()))
//! };
//! let store = open(&disk)?;
//! store.append("Order-1", Expect::NoStream, [NewEvent::binary("OrderPlaced", "")])?;
//! let after = open(&disk.after_power_cut(7))?; // one of the ways this may end
//! assert_eq!(after.head("Order-1")?.map(|head| head.version.get()), Some(1));
//! # }
//! # Ok::<(), factlog::Error>(())
//! ```
//!
//! # Features
//!
//! | feature | default | what it adds |
//! |---|---|---|
//! | `json` | yes | `json` of [`NewEvent`] and [`RecordedEvent`]: data by serde |
//! | `model` | yes | the typed layer: typed events, models that decide, projections, consumers |
//! | `derive` | no | `#[derive(Event)]` |
//! | `bincode` | no | the same as compact binary, in the standard configuration of bincode 2 |
//! | `forget` | no | data of events that name a subject is encrypted, and can be forgotten |
//! | `stream` | no | subscriptions as `futures_core::Stream` |
//! | `tracing` | no | a few `tracing` events, target `factlog`: opened, rolled, poisoned |
//! | `sim` | no | [`disk`]`::SimDisk`, the simulated disk |
//!
//! No feature changes what bytes on disk mean.

#[macro_use]
mod planted;

// In reading order: from the words up to the verbs.
mod types;

mod sync;

mod clock;

mod format;

pub mod disk;

mod segment;

mod log;

mod index;

mod engine;

mod api;

#[cfg(feature = "model")]
mod model;

#[cfg(feature = "model")]
mod consume;

#[cfg(feature = "model")]
pub mod guide;

#[cfg(any(test, feature = "sim"))]
#[doc(hidden)]
pub mod fuzzing;

#[cfg(feature = "stream")]
pub use api::DeliveryStream;
pub use api::{
    BackupOptions, BackupReport, BatchBuilder, BranchOptions, BranchReport, CategoryInfo,
    CheckpointInfo, Delivery, Dump, Events, Options, Read, Repair, RestoreTo, Source, Start, Stats,
    Store, StreamHead, StreamInfo, SubscribeOptions, Subscription, Ticket, Verify, repair, restore,
    restore_on, salvage, verify,
};
#[cfg(feature = "forget")]
pub use api::{Forgotten, KeyInfo, KeysImported};
pub use clock::{Clock, ManualClock, SystemClock};
#[cfg(feature = "model")]
pub use consume::{
    Consumers, ConsumersOptions, ConsumersStatus, Control, Failed, Incoming, Outbox, Parked,
    Poison, Projection, ProjectionOptions, Retry, RunState, Status, Work,
};
pub use engine::{Appended, Snapshot, StreamAppended};
#[cfg(feature = "derive")]
pub use factlog_derive::Event;
pub use log::{TornTail, VerifyReport};
#[cfg(all(feature = "model", feature = "bincode"))]
pub use model::Bincode;
#[cfg(feature = "model")]
pub use model::{
    Boundary, Cached, Codec, DecideError, Decided, Decider, Diagnosis, Doctor, Emit, Emits, Event,
    EventType, Given, Json, Metadata, Model, ModelCache, Outcome, Prognosis, Scope, Snapshots,
    StoredType, Typed, TypedEvents, Upcast, tag,
};
pub use types::{
    Conflict, ContentType, Damage, Durability, Error, ErrorKind, EventRef, Expect, Hidden,
    HiddenReason, IdScope, IndexOrigin, IntoEvent, NewEvent, OpenReport, Piece, PieceValue,
    Position, Query, QueryItem, ReclaimReport, RecordedEvent, Recovery, RepairStep, Repaired,
    Result, Retention, RewrittenSegment, Salvaged, SetAside, SidecarRebuilt, StreamKey, StreamName,
    StreamState, Tags, Timestamp, Trim, Trimmed, Version,
};
#[cfg(feature = "forget")]
pub use types::{InClear, Keyring};
pub use uuid::Uuid;

/// The code in the README is compiled and run like that in these pages.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct ReadmeDoctests;
