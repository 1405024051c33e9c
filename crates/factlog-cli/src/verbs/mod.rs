//! The verbs, one file each, and what the writing ones share.
//!
//! Knows: how a store is opened for writing. Does not know: what is written.

pub mod append;
pub mod backup;
pub mod bench;
pub mod damage;
pub mod dump;
pub mod export;
pub mod forget;
pub mod fork;
pub mod get;
pub mod import;
pub mod info;
pub mod init;
pub mod keys;
pub mod read;
pub mod reclaim;
pub mod repair;
pub mod restore;
pub mod salvage;
pub mod shell;
pub mod stats;
pub mod stream;
pub mod streams;
pub mod subs;
pub mod tail;
pub mod trim;
pub mod verify;

use factlog::{ErrorKind, Options, Store};

use crate::args::Global;
use crate::exit::Failure;
use crate::output::Messages;
use crate::select::{open_to_read, opened};

/// Whatever a store can hold, the command can append: what was exported must be importable.
const EVENT_DATA_MAX: usize = 64 << 20;

/// Opens the store for writing; says when it is new, or when it had to be put in order.
fn open_to_write(global: &Global, messages: &Messages) -> Result<Store, Failure> {
    open_with(global, messages, global.options())
}

/// The same, to append what others say. It makes a store, but no directory for it to be in: that
/// would be a misspelt one.
fn open_to_append(global: &Global, messages: &Messages, in_clear: bool) -> Result<Store, Failure> {
    parent_must_exist(global)?;
    open_with(global, messages, global.options().subjects_in_clear(in_clear))
}

fn parent_must_exist(global: &Global) -> Result<(), Failure> {
    let dir = global.dir()?;
    let parent = dir.parent().filter(|parent| !parent.as_os_str().is_empty());
    match parent.filter(|parent| !parent.is_dir()) {
        None => Ok(()),
        Some(parent) => Err(Failure::NotFound(format!(
            "there is no directory {}; make it, or `factlog init` a store in it",
            parent.display()
        ))),
    }
}

/// Whether there is a store, or something else that opening one will tell.
fn is_there(global: &Global) -> Result<bool, Failure> {
    let missing = |error: &factlog::Error| {
        error.kind() == ErrorKind::NotFound && error.message().starts_with("there is no store")
    };
    Ok(!global.options().open_read_only(global.dir()?).is_err_and(|error| missing(&error)))
}

fn open_with(global: &Global, messages: &Messages, how: Options) -> Result<Store, Failure> {
    let dir = global.dir()?;
    let store = how.event_data_max(EVENT_DATA_MAX).open(&dir)?;
    let report = store.open_report();
    if report.created {
        messages.say(format!("created a store in {}", dir.display()));
    }
    for aside in &report.set_aside {
        messages.say(format!(
            "an unfinished append of {} bytes was set aside; they are kept in {}",
            aside.bytes, aside.kept_in
        ));
    }
    for note in &report.notes {
        messages.say(format!("note: {note}"));
    }
    opened(&store, &dir, messages);
    Ok(store)
}

/// The same, where there is a store: it is not made by changing something in it.
fn open_there_to_write(global: &Global, messages: &Messages) -> Result<Store, Failure> {
    drop(open_to_read(global)?);
    open_to_write(global, messages)
}

/// Whether an error is about the events offered, so that others can still be stored.
fn is_about_events(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::Invalid
            | ErrorKind::Conflict
            | ErrorKind::IdConflict
            | ErrorKind::DuplicateIdInBatch
            | ErrorKind::AlreadyExists
            | ErrorKind::Deleted
    )
}
