//! A subscriber's durable progress, saved apart or carried by a batch.

use factlog::{Durability, Error, ErrorKind, Expect, Position, Source, Start, Store};

use super::super::support::{ends, tick};
use super::append;

fn at(n: u64) -> Position {
    Position::new(n)
}

fn invalid(outcome: Result<(), Error>, position: u64) {
    let error = outcome.unwrap_err();
    assert_eq!(
        (error.kind(), error.position()),
        (ErrorKind::Invalid, Some(at(position))),
        "{error}"
    );
}

#[test]
fn a_saved_checkpoint_only_goes_forward_unless_it_is_reset() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    append(&store, 0..10);
    assert_eq!(store.checkpoint("mail").unwrap(), None);
    store.save_checkpoint("mail", at(5)).unwrap();
    store.save_checkpoint("mail", at(5)).unwrap();
    invalid(store.save_checkpoint("mail", at(4)), 5);
    invalid(store.save_checkpoint("mail", at(11)), 11);
    invalid(store.reset_checkpoint("mail", at(11)), 11);
    assert_eq!(store.checkpoint("mail").unwrap(), Some(at(5)));
    store.reset_checkpoint("mail", at(2)).unwrap();
    assert_eq!(store.checkpoint("mail").unwrap(), Some(at(2)));
    store.reset_checkpoint("mail", at(0)).unwrap();
    store.save_checkpoint("other", at(7)).unwrap();
    drop(store);
    let store = Store::open(dir.path()).unwrap();
    let all = store.checkpoints().unwrap();
    let all: Vec<_> = all.iter().map(|c| (&*c.name, c.position.get())).collect();
    assert_eq!(all, [("mail", 0), ("other", 7)]);
}

#[test]
fn a_batch_carries_a_checkpoint_or_fails_with_it() {
    let store = Store::in_memory().unwrap();
    append(&store, 0..10);
    let send = |expect, name: &str, position| {
        let batch = store.batch().append("Out-1", expect, [tick(1)]);
        batch.checkpoint(name, at(position)).commit()
    };
    send(Expect::NoStream, "mail", 4).unwrap();
    assert_eq!(store.checkpoint("mail").unwrap(), Some(at(4)));
    // The batch is refused, and its checkpoint with it.
    assert_eq!(send(Expect::NoStream, "mail", 6).unwrap_err().kind(), ErrorKind::Conflict);
    assert_eq!(store.checkpoint("mail").unwrap(), Some(at(4)));
    // The checkpoint is refused, and its batch with it.
    invalid(send(Expect::Any, "mail", 3).map(drop), 4);
    invalid(send(Expect::Any, "mail", 12).map(drop), 12);
    assert_eq!(store.last_position(), at(11));
    // It may come alone.
    let alone = store.batch().checkpoint("mail", at(11)).commit().unwrap();
    assert_eq!((alone.first, alone.last), (at(0), at(0)));
    assert_eq!(store.checkpoint("mail").unwrap(), Some(at(11)));
    assert_eq!(store.last_position(), at(11));
}

#[test]
fn a_replay_applies_its_checkpoint_if_that_is_higher() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    append(&store, 0..10);
    let event = tick(1);
    let send = |store: &Store, position| {
        let batch = store.batch().append("Out-1", Expect::NoStream, [event.clone()]);
        batch.checkpoint("mail", at(position)).commit().unwrap()
    };
    assert!(!send(&store, 4).already);
    for (sent, stands) in [(4, 4), (3, 4), (7, 7), (5, 7)] {
        assert!(send(&store, sent).already);
        assert_eq!(store.checkpoint("mail").unwrap(), Some(at(stands)));
    }
    drop(store);
    let store = Store::open(dir.path()).unwrap();
    assert_eq!(store.checkpoint("mail").unwrap(), Some(at(7)));
    assert_eq!(store.last_position(), at(11));
}

/// Every order of two ways, also when the store is opened again in between, with and without the
/// sidecars that remember what batches carried.
#[test]
fn of_saved_and_carried_the_later_counts() {
    let table: &[(&[(&str, u64)], u64)] = &[
        (&[("save", 3), ("carry", 5)], 5),
        (&[("carry", 3), ("save", 5)], 5),
        (&[("carry", 5), ("reset", 2)], 2),
        (&[("carry", 5), ("reset", 2), ("carry", 3)], 3),
        (&[("carry", 5), ("reset", 0), ("save", 1)], 1),
        (&[("save", 5), ("reset", 2), ("carry", 4), ("reset", 1)], 1),
        (&[("carry", 5), ("save", 8), ("reset", 0), ("carry", 6), ("save", 7)], 7),
        (&[("save", 5), ("remove", 0), ("carry", 3)], 3),
        (&[("carry", 5), ("remove", 0), ("save", 2)], 2),
        (&[("carry", 5), ("remove", 0), ("carry", 2)], 2),
        (&[("carry", 5), ("save", 8), ("remove", 0), ("remove", 0), ("reset", 0)], 0),
        (&[("save", 5), ("remove", 0), ("carry", 2), ("remove", 0)], 0),
    ];
    for reopen in [false, true] {
        for (steps, stands) in table {
            let dir = tempfile::tempdir().unwrap();
            let mut store = Store::open(dir.path()).unwrap();
            append(&store, 0..10);
            let mut removed = false;
            for (how, to) in *steps {
                match *how {
                    "save" => store.save_checkpoint("mail", at(*to)).unwrap(),
                    "reset" => store.reset_checkpoint("mail", at(*to)).unwrap(),
                    "remove" => {
                        let there = store.checkpoint("mail").unwrap().is_some();
                        assert_eq!(store.remove_checkpoint("mail").unwrap(), there, "{steps:?}");
                    }
                    _ => drop(store.batch().checkpoint("mail", at(*to)).commit().unwrap()),
                }
                if reopen {
                    drop(store);
                    let rebuild = to % 2 == 0;
                    store = Store::options().rebuild_index(rebuild).open(dir.path()).unwrap();
                }
                let there = (*how != "remove").then(|| at(*to));
                assert_eq!(store.checkpoint("mail").unwrap(), there, "{steps:?}");
                assert_eq!(store.checkpoints().unwrap().len(), usize::from(there.is_some()));
                removed = there.is_none();
            }
            let start = Start::Checkpoint("mail".into());
            let subscription = store.subscribe(Source::All).start(start).unwrap();
            assert_eq!(subscription.position(), at(*stands));
            let follower = Store::open_read_only(dir.path()).unwrap();
            let there = (!removed).then(|| at(*stands));
            assert_eq!(follower.checkpoint("mail").unwrap(), there, "{steps:?}");
        }
    }
}

/// A reset is later than what a batch carried although that batch is not synced yet; it was
/// stamped with the last synced frame, and the batch's won.
#[test]
fn a_reset_holds_in_a_store_that_does_not_sync() {
    let dir = tempfile::tempdir().unwrap();
    let options = Store::options().durability(Durability::Os);
    let store = options.clone().open(dir.path()).unwrap();
    append(&store, 0..10);
    store.batch().checkpoint("mail", at(5)).commit().unwrap();
    store.reset_checkpoint("mail", at(0)).unwrap();
    assert_eq!(store.checkpoint("mail").unwrap(), Some(at(0)));
    drop(store);
    let store = options.open(dir.path()).unwrap();
    assert_eq!(store.checkpoint("mail").unwrap(), Some(at(0)));
}

/// Saving and carrying at once: whoever was told that progress is saved must find it, or more.
#[test]
fn saving_and_carrying_at_once_never_go_back() {
    ends(|| {
        let store = Store::options().background_threads(false).in_memory().unwrap();
        append(&store, 0..2000);
        std::thread::scope(|scope| {
            for way in 0..2 {
                let store = &store;
                scope.spawn(move || {
                    for n in (1 + way..2000).step_by(2) {
                        let told = match way {
                            0 => store.save_checkpoint("mail", at(n)),
                            _ => store.batch().checkpoint("mail", at(n)).commit().map(drop),
                        };
                        let stands = store.checkpoint("mail").unwrap().unwrap_or_default();
                        match told {
                            Ok(()) => assert!(stands >= at(n), "{way}: {stands} after {n}"),
                            Err(error) => assert!(stands > at(n), "{way}: {stands} {error}"),
                        }
                    }
                });
            }
        });
    });
}

#[test]
fn a_checkpoint_of_another_history_is_an_error_and_not_a_skip() {
    let [dir, copy] = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let store = Store::open(dir.path()).unwrap();
    append(&store, 0..5);
    store.close().unwrap();
    for file in std::fs::read_dir(dir.path()).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), copy.path().join(file.file_name())).unwrap();
    }
    let store = Store::open(dir.path()).unwrap();
    append(&store, 5..7);
    store.save_checkpoint("mail", at(6)).unwrap();
    store.save_checkpoint("early", at(3)).unwrap();
    store.close().unwrap();
    // The backup comes back, the subscriber's progress is the newer one.
    let saved = |dir: &tempfile::TempDir| dir.path().join("checkpoints");
    std::fs::copy(saved(&dir), saved(&copy)).unwrap();
    let store = Store::open(copy.path()).unwrap();
    let resume = |name: &str| {
        let start = Start::Checkpoint(name.into());
        store.subscribe(Source::All).start(start).map(drop)
    };
    invalid(resume("mail"), 6);
    resume("early").unwrap();
    append(&store, 10..13);
    invalid(resume("mail"), 6);
    let text = resume("mail").unwrap_err().to_string();
    assert!(text.contains("another history") && text.contains("mail"), "{text}");
    store.reset_checkpoint("mail", at(5)).unwrap();
    resume("mail").unwrap();
}
