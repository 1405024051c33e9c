//! Layer 7.7: steps of a program that take something away: events, contents, subjects.
//!
//! Knows: what each may take, for the model to hold the store to. Does not know: when it is done.

use super::input::Input;
use super::model::{Life, Model, STREAMS};
use crate::api::{Options, Store};
use crate::types::{ErrorKind, Expect, Hidden, Position, Result, Retention, Trim, Version};

/// What is before a position goes, if whole segments can; past the checkpoint if told so.
pub(super) fn trim(store: &Store, model: &mut Model, input: &mut Input<'_>) -> Result<()> {
    let trim = Trim::before(Position::new(input.byte().into()));
    let trim = if input.byte() & 1 != 0 { trim.past_checkpoints() } else { trim };
    let planned = store.plan_trim(&trim)?;
    let first = planned.first_position.get();
    model.first.push(first);
    assert_eq!(store.trim(trim)?, planned, "a trim does what it has planned");
    // One that failed before does not come about any more.
    model.first = vec![first];
    assert_eq!(store.first_position().get(), first);
    Ok(())
}

/// What is before a version of a stream is hidden, and no other.
pub(super) fn truncate(store: &Store, model: &mut Model, input: &mut Input<'_>) -> Result<()> {
    let stream = input.pick(&STREAMS).copied().unwrap_or("Order-1");
    let version = model.version(stream);
    let before = u64::from(input.byte()) % (version + 1) + 1;
    let Some(life) = model.life(stream).filter(|_| version > 0) else { return Ok(()) };
    let keep = Retention::default().truncate_before(Version::new(before));
    let next = Life { truncate_before: before, ..life };
    change(model, (stream, next), || store.retain(stream, keep))
}

/// All events that a stream has are hidden.
pub(super) fn delete(store: &Store, model: &mut Model, input: &mut Input<'_>) -> Result<()> {
    let stream = input.pick(&STREAMS).copied().unwrap_or("Order-1");
    let version = model.version(stream);
    let alive = version > 0 && !model.is_deleted(stream);
    let Some(life) = model.life(stream).filter(|_| alive) else { return Ok(()) };
    let next = Life { deleted_at: version, ..life };
    change(model, (stream, next), || store.delete_stream(stream, Expect::Any))
}

/// Says something of a stream: from the answer on, or perhaps, or not at all.
fn change(
    model: &mut Model,
    (stream, next): (&'static str, Life),
    done: impl FnOnce() -> Result<()>,
) -> Result<()> {
    let done = done();
    let lives = model.lives.entry(stream).or_default();
    match &done {
        Ok(()) => *lives = vec![next],
        Err(error) if error.kind() == ErrorKind::InDoubt => lives.push(next),
        Err(_) => return done,
    }
    let hides = next.deleted_at.max(next.truncate_before.saturating_sub(1));
    let hidden = model.hidden.entry(stream).or_default();
    *hidden = hides.max(*hidden);
    done
}

/// The contents of what is hidden go.
pub(super) fn reclaim(store: &Store, model: &mut Model) -> Result<()> {
    let report = store.reclaim()?;
    assert!(report.damage.is_empty(), "nothing was damaged: {report:?}");
    let first = store.first_position().get();
    let marked = store.read_all().hidden(Hidden::Mark).to_vec()?;
    let facts: Vec<u64> = model.facts_from(first).map(|fact| fact.number).collect();
    for (event, number) in marked.iter().zip(facts) {
        let hidden = model.hidden.get(event.stream()).copied().unwrap_or(0);
        let gone = event.reclaimed().is_some();
        assert!(!gone || event.version().get() <= hidden, "reclaimed unasked: {event:?}");
        assert!(gone || !model.gone.contains(&number), "what was gone came back: {event:?}");
        if gone {
            model.gone.insert(number);
        }
    }
    Ok(())
}

/// What was said of the subject so far can be read no more.
#[cfg(feature = "forget")]
pub(super) fn forget(store: &Store, model: &mut Model) -> Result<()> {
    let through = model.numbers;
    match store.forget(super::model::SUBJECT) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        other => {
            model.forgotten.1 = through;
            other?;
            model.forgotten.0 = through;
            let said = store.read_stream("Cart-1").to_vec()?;
            assert!(said.iter().all(|event| event.is_forgotten()), "{said:?}");
            Ok(())
        }
    }
}

#[cfg(not(feature = "forget"))]
pub(super) fn forget(_: &Store, _: &mut Model) -> Result<()> {
    Ok(())
}

/// Subjects have keys, where the build knows of any.
#[cfg(feature = "forget")]
pub(super) fn with_keys(options: Options) -> Options {
    options.keyring(crate::types::Keyring::beside())
}

#[cfg(not(feature = "forget"))]
pub(super) fn with_keys(options: Options) -> Options {
    options
}
