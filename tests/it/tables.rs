//! The tables of the append's rules, through the public API: verdicts, values, order, limits.

use factlog::{
    Durability, ErrorKind, Expect, NewEvent, Position, Query, QueryItem, Store, Uuid, Version,
};

use super::support::{block_on, ends, tick};

fn version(n: u64) -> Expect {
    Expect::Version(Version::new(n))
}

fn with_events(streams: &[(&str, u64)]) -> Store {
    let store = Store::in_memory().unwrap();
    for (stream, count) in streams {
        store.append(*stream, Expect::NoStream, (0..*count).map(tick)).unwrap();
    }
    store
}

/// `None` is ok; otherwise a conflict with the stream's true version.
const EXPECTATIONS: &[(&str, Expect, Option<u64>)] = &[
    ("N-1", Expect::Any, None),
    ("N-1", Expect::NoStream, None),
    ("N-1", Expect::StreamExists, Some(0)),
    ("N-1", Expect::Version(Version::NONE), None),
    ("N-1", Expect::Version(Version::new(1)), Some(0)),
    ("E-1", Expect::Any, None),
    ("E-1", Expect::NoStream, Some(3)),
    ("E-1", Expect::StreamExists, None),
    ("E-1", Expect::Version(Version::NONE), Some(3)),
    ("E-1", Expect::Version(Version::new(2)), Some(3)),
    ("E-1", Expect::Version(Version::new(3)), None),
    ("E-1", Expect::Version(Version::new(4)), Some(3)),
    ("E-1", Expect::Version(Version::new(u64::MAX)), Some(3)),
];

#[test]
fn an_append_is_judged_by_what_is_expected_of_its_stream() {
    for (stream, expect, actual) in EXPECTATIONS {
        let store = with_events(&[("E-1", 3), ("Other-1", 2)]);
        let outcome = store.append(*stream, *expect, [tick(7), tick(8)]);
        let said = format!("{stream} {expect:?}");
        match actual {
            None => {
                let appended = outcome.expect(&said);
                let before = if *stream == "E-1" { 3 } else { 0 };
                assert!(!appended.already, "{said}");
                assert_eq!((appended.first.get(), appended.last.get()), (6, 7), "{said}");
                assert_eq!(appended.streams.len(), 1);
                let part = &appended.streams[0];
                assert_eq!(part.stream.as_str(), *stream);
                assert_eq!((part.first.get(), part.last.get()), (before + 1, before + 2), "{said}");
            }
            Some(actual) => {
                let error = outcome.expect_err(&said);
                assert_eq!(error.kind(), ErrorKind::Conflict, "{said}");
                assert!(error.is_conflict() && !error.is_retryable());
                assert_eq!(error.stream(), Some(*stream));
                assert_eq!(error.conflicts().len(), 1);
                let conflict = &error.conflicts()[0];
                assert_eq!(conflict.stream, *stream);
                assert_eq!(conflict.expected, *expect);
                assert_eq!(conflict.actual.get(), *actual, "{said}");
                assert_eq!(store.last_position().get(), 5, "{said}");
            }
        }
    }
}

#[test]
fn a_check_is_judged_alike_and_writes_nothing() {
    let checks = EXPECTATIONS.iter().filter(|(_, expect, _)| *expect != Expect::Any);
    for (stream, expect, actual) in checks {
        let store = with_events(&[("E-1", 3), ("Other-1", 2)]);
        let said = format!("{stream} {expect:?}");
        let alone = store.batch().check(*stream, *expect).commit();
        let beside = store.batch().append("Beside-1", Expect::NoStream, [tick(7)]);
        let beside = beside.check(*stream, *expect).commit();
        match actual {
            None => {
                let alone = alone.expect(&said);
                assert_eq!((alone.first.get(), alone.last.get()), (0, 0));
                assert!(alone.streams.is_empty());
                let beside = beside.expect(&said);
                assert_eq!(beside.streams.len(), 1, "a check is not in the answer");
                assert_eq!(store.last_position().get(), 6);
            }
            Some(actual) => {
                for error in [alone.expect_err(&said), beside.expect_err(&said)] {
                    assert_eq!(error.kind(), ErrorKind::Conflict, "{said}");
                    assert_eq!(error.conflicts()[0].actual.get(), *actual);
                }
                assert_eq!(store.last_position().get(), 5);
            }
        }
        assert_eq!(store.head("N-1").unwrap(), None);
    }
}

#[test]
fn every_violated_expectation_is_named() {
    let store = with_events(&[("A-1", 1), ("A-2", 2)]);
    let batch = store.batch().append("A-1", Expect::NoStream, [tick(7)]);
    let batch = batch.append("A-2", version(2), [tick(8)]).append("A-3", version(4), [tick(9)]);
    let error = batch.check("A-4", Expect::StreamExists).commit().unwrap_err();
    let all: Vec<_> = error.conflicts().iter().map(|c| (&*c.stream, c.actual.get())).collect();
    assert_eq!(all, [("A-1", 1), ("A-3", 0), ("A-4", 0)]);
    for part in ["\"A-1\" is at version 1", "\"A-3\" is at version 0, expected version 4"] {
        assert!(error.to_string().contains(part), "{error}");
    }
    assert_eq!(store.last_position().get(), 3);
}

/// The ids of a retry by the place of their first letter: what is stored is a b c in A-1, x in B-1.
#[test]
fn a_retry_is_judged_by_its_ids() {
    let id = |letter: char| Uuid::from_u128(letter as u128);
    let events = |ids: &str| ids.chars().map(|c| tick(0).id(id(c))).collect::<Vec<_>>();
    // stream, ids, expected of the stream; the answer, or the kind, id, stream and version.
    type Verdict = Result<(u64, u64, u64, u64), (ErrorKind, char, Option<(&'static str, u64)>)>;
    let table: &[(&str, &str, Expect, Verdict)] = &[
        ("A-1", "abc", Expect::NoStream, Ok((1, 3, 1, 3))),
        ("A-1", "abc", Expect::Any, Ok((1, 3, 1, 3))),
        ("A-1", "abc", version(77), Ok((1, 3, 1, 3))),
        ("A-1", "a", version(3), Ok((1, 1, 1, 1))),
        ("A-1", "bc", Expect::NoStream, Ok((2, 3, 2, 3))),
        ("A-1", "abcn", version(3), Err((ErrorKind::IdConflict, 'a', Some(("A-1", 1))))),
        ("A-1", "na", version(3), Err((ErrorKind::IdConflict, 'a', Some(("A-1", 1))))),
        ("A-1", "ac", Expect::Any, Err((ErrorKind::IdConflict, 'c', Some(("A-1", 3))))),
        ("A-1", "ba", Expect::Any, Err((ErrorKind::IdConflict, 'a', Some(("A-1", 1))))),
        ("A-1", "x", Expect::Any, Err((ErrorKind::IdConflict, 'x', Some(("B-1", 1))))),
        ("C-1", "ab", Expect::NoStream, Err((ErrorKind::IdConflict, 'a', Some(("A-1", 1))))),
        ("A-1", "nmn", Expect::Any, Err((ErrorKind::DuplicateIdInBatch, 'n', None))),
        ("A-1", "aa", Expect::Any, Err((ErrorKind::DuplicateIdInBatch, 'a', None))),
    ];
    for (stream, ids, expect, verdict) in table {
        let store = Store::in_memory().unwrap();
        store.append("A-1", Expect::NoStream, events("abc")).unwrap();
        store.append("B-1", Expect::NoStream, events("x")).unwrap();
        let outcome = store.append(*stream, *expect, events(ids));
        let said = format!("{ids} in {stream}: {outcome:?}");
        match (outcome, verdict) {
            (Ok(found), Ok(wanted)) => {
                let part = &found.streams[0];
                let (first, last) = (part.first.get(), part.last.get());
                assert!(found.already);
                assert_eq!((found.first.get(), found.last.get(), first, last), *wanted, "{said}");
            }
            (Err(error), Err((kind, letter, place))) => {
                assert_eq!(error.kind(), *kind, "{said}");
                assert_eq!(error.event_id(), Some(id(*letter)), "{said}");
                if let Some((stream, version)) = place {
                    assert_eq!(error.stream(), Some(*stream), "{said}");
                    assert_eq!(error.version(), Some(Version::new(*version)), "{said}");
                }
            }
            _ => panic!("{said}"),
        }
        assert_eq!(store.last_position().get(), 4, "{said}");
    }
}

#[test]
fn a_batch_over_several_streams_is_a_replay_when_every_part_is() {
    let store = Store::in_memory().unwrap();
    let (a, b, c) = (tick(1), tick(2), tick(3));
    let send = |second: &[NewEvent]| {
        let batch = store.batch().append("A-1", Expect::NoStream, [a.clone()]);
        batch.append("B-1", Expect::NoStream, second.to_vec()).commit()
    };
    let first = send(std::slice::from_ref(&b)).unwrap();
    store.append("B-1", Expect::Any, [tick(9)]).unwrap();
    let again = send(std::slice::from_ref(&b)).unwrap();
    assert!(!first.already && again.already);
    assert_eq!((first.first, first.last, first.streams), (again.first, again.last, again.streams));
    for mixture in [vec![c.clone()], vec![b.clone(), c]] {
        let error = send(&mixture).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::IdConflict);
        assert_eq!(error.event_id(), Some(a.event_id()));
    }
    assert_eq!(store.last_position().get(), 3);
}

/// Of `after`, below, at and above the matching event's position.
#[test]
fn conditions_are_judged_by_what_lies_behind_them() {
    let red = || Query::tags(["red"]);
    let table: &[(Query, u64, Option<u64>)] = &[
        (red(), 0, Some(2)),
        (red(), 1, Some(2)),
        (red(), 2, Some(4)),
        (red(), 3, Some(4)),
        (red(), 4, None),
        (red(), 5, None),
        (Query::types(["Ticked"]), 0, Some(1)),
        (Query::types(["Tocked"]), 0, None),
        (Query::types(["Ticked"]).tag("red"), 2, Some(4)),
        (Query::types(["Tocked"]).tag("red"), 0, None),
        (Query::tags(["red", "late"]), 0, Some(4)),
        (Query::types(["Tocked"]).or(Query::tags(["late"])), 0, Some(4)),
        (Query::correlation("talk"), 0, Some(5)),
        (QueryItem::new().of_type("Ticked").tag("red").correlation("talk").into(), 0, None),
    ];
    for (query, after, position) in table {
        let store = Store::in_memory().unwrap();
        let events = [
            tick(1),
            tick(2).tag("red"),
            tick(3).tag("green"),
            tick(4).tags(["late", "red"]),
            tick(5).correlation("talk"),
        ];
        store.append("A-1", Expect::Any, events).unwrap();
        let batch = || store.batch().append("B-1", Expect::Any, [tick(9)]);
        let outcome = batch().condition(query.clone(), Position::new(*after)).commit();
        let error = outcome.err();
        let wanted = position.map(|at| (ErrorKind::Conflict, Some(Position::new(at))));
        assert_eq!(error.map(|e| (e.kind(), e.position())), wanted, "{query:?} after {after}");
        if *after == 0 {
            let whole = batch().fails_if_exists(query.clone()).commit().err();
            let wanted = position.map(|at| (ErrorKind::AlreadyExists, Some(Position::new(at))));
            assert_eq!(whole.map(|e| (e.kind(), e.position())), wanted, "{query:?}");
        }
    }
}

#[test]
fn of_two_guards_in_one_group_exactly_one_wins() {
    // Without threads all of them are committed as one group, when the first is waited for.
    let store = Store::options().background_threads(false).in_memory().unwrap();
    let claim = || {
        let event = tick(1).tag("name:ada");
        let batch = store.batch().append(format!("User-{}", Uuid::new_v4()), Expect::Any, [event]);
        batch.condition(Query::tags(["name:ada"]), Position::START).submit().unwrap()
    };
    let tickets: Vec<_> = (0..10).map(|_| claim()).collect();
    let answers: Vec<_> = tickets.into_iter().map(|ticket| ticket.wait()).collect();
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 1);
    for error in answers.into_iter().filter_map(Result::err) {
        assert_eq!((error.kind(), error.position()), (ErrorKind::Conflict, Some(Position::new(1))));
    }
    assert_eq!(store.last_position().get(), 1);
}

#[test]
fn the_first_class_that_fails_decides() {
    let store = Store::in_memory().unwrap();
    let stored = tick(1).tag("red");
    store.append("A-1", Expect::Any, [stored.clone(), tick(2)]).unwrap();
    let red = || Query::tags(["red"]);
    let (start, beyond) = (Position::START, Position::new(3));
    let kind = |batch: factlog::BatchBuilder<'_>| batch.commit().map_err(|e| e.kind()).err();
    let replay = || store.batch().append("A-1", Expect::NoStream, [stored.clone()]);
    let partly = || store.batch().append("A-1", Expect::NoStream, [stored.clone(), tick(3)]);
    let new = |expect| store.batch().append("A-1", expect, [tick(3)]);
    let invalid = Some(ErrorKind::Invalid);
    let conflict = Some(ErrorKind::Conflict);
    assert_eq!(kind(replay().condition(red(), beyond)), invalid, "validation before ids");
    assert_eq!(kind(partly().condition(red(), beyond)), invalid);
    assert_eq!(kind(replay().condition(red(), start)), None, "ids before everything behind");
    assert_eq!(kind(replay().check("A-9", Expect::StreamExists).fails_if_exists(red())), None);
    assert_eq!(kind(partly().condition(red(), start)), Some(ErrorKind::IdConflict));
    let both = new(version(9)).condition(red(), start).commit().unwrap_err();
    assert_eq!(both.kind(), ErrorKind::Conflict);
    assert_eq!(both.conflicts().len(), 1, "expectations before conditions");
    let both = new(Expect::Any).fails_if_exists(red()).condition(red(), start);
    assert_eq!(kind(both), conflict, "the boundary before existence");
    let exists = new(Expect::Any).fails_if_exists(red()).condition(red(), Position::new(1));
    assert_eq!(kind(exists), Some(ErrorKind::AlreadyExists));
    assert_eq!(store.last_position().get(), 2);
}

#[test]
fn what_is_not_a_batch_is_invalid() {
    let store = with_events(&[("A-1", 1)]);
    let start = Position::START;
    let empty = || QueryItem::new();
    let batches = [
        ("nothing", store.batch()),
        ("no events", store.batch().append("A-1", Expect::Any, Vec::<NewEvent>::new())),
        ("a check of any", store.batch().check("A-1", Expect::Any)),
        (
            "checked twice",
            store.batch().check("A-1", version(1)).check("A-1", Expect::StreamExists),
        ),
        (
            "expected twice",
            store.batch().append("A-1", version(1), [tick(1)]).append(
                "A-1",
                Expect::StreamExists,
                [tick(2)],
            ),
        ),
        ("no items", store.batch().condition(Query::default(), start)),
        ("an empty item", store.batch().condition(empty(), start)),
        ("one empty item", store.batch().fails_if_exists(Query::types(["T"]).or(empty()))),
        ("the future", store.batch().condition(Query::types(["T"]), Position::new(2))),
        ("two checkpoints", store.batch().checkpoint("a", start).checkpoint("b", start)),
        ("an empty name", store.batch().checkpoint("", start)),
        ("the store's own stream", store.batch().append("$all", Expect::Any, [tick(1)])),
        ("the store's own stream", store.batch().check("$all", Expect::NoStream)),
        ("an empty stream name", store.batch().append("", Expect::Any, [tick(1)])),
    ];
    for (what, batch) in batches {
        let error = batch.commit().expect_err(what);
        assert_eq!(error.kind(), ErrorKind::Invalid, "{what}: {error}");
    }
    for read in [store.read(Query::default()), store.read(empty()), store.read_all().only(empty())]
    {
        let error = read.into_iter().next().unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
    }
    assert_eq!(store.last_position().get(), 1);
}

#[test]
fn a_stream_may_be_named_again_to_interleave() {
    let store = with_events(&[("A-1", 1)]);
    let batch = store.batch().append("A-1", version(1), [tick(1)]);
    let batch = batch.append("B-1", Expect::NoStream, [tick(2)]);
    let appended = batch.append("A-1", Expect::Any, [tick(3)]).commit().unwrap();
    assert_eq!(appended.streams.len(), 2);
    let order: Vec<_> = store.read_all().into_iter().map(Result::unwrap).collect();
    let order: Vec<_> = order.iter().map(|e| (e.stream(), e.version().get())).collect();
    assert_eq!(order, [("A-1", 1), ("A-1", 2), ("B-1", 1), ("A-1", 3)]);
}

fn sized(length: usize) -> String {
    "x".repeat(length)
}

/// The longest that goes in, the shortest that does not, and the words the refusal must have.
#[test]
fn what_is_over_a_limit_is_refused_by_name_limit_and_value() {
    type Make = fn(usize) -> (String, NewEvent);
    let table: &[(&str, usize, Make)] = &[
        ("stream name", 1024, |n| (sized(n), tick(1))),
        ("event type", 255, |n| ("A-1".into(), NewEvent::binary(sized(n), ""))),
        ("tag", 255, |n| ("A-1".into(), tick(1).tag(sized(n)))),
        ("tags of an event", 64, |n| {
            ("A-1".into(), tick(1).tags((0..n).map(|tag| tag.to_string())))
        }),
        ("subject", 255, |n| ("A-1".into(), tick(1).subject(sized(n)))),
        ("event metadata", 64 << 10, |n| {
            ("A-1".into(), tick(1).metadata(format!("\"{}\"", sized(n - 2))))
        }),
        ("event data", 1 << 20, |n| ("A-1".into(), NewEvent::binary("T", vec![0; n]))),
    ];
    for (name, limit, make) in table {
        let store = Store::options().subjects_in_clear(true).in_memory().unwrap();
        let (stream, event) = make(*limit);
        store.append(stream, Expect::Any, [event]).expect(name);
        let (stream, event) = make(limit + 1);
        let error = store.append(stream, Expect::Any, [tick(1), event]).expect_err(name);
        assert_eq!(error.kind(), ErrorKind::Invalid);
        let text = error.to_string();
        for word in [(*name).to_owned(), limit.to_string(), (limit + 1).to_string()] {
            assert!(text.contains(&word), "{name}: {text}");
        }
        assert!(text.len() < 300, "payload in a message");
        assert_eq!(store.last_position().get(), 1, "{name}");
    }
}

#[test]
fn what_is_malformed_is_refused() {
    let store = Store::in_memory().unwrap();
    let events = [
        ("empty type", NewEvent::binary("", "")),
        ("control character in a type", NewEvent::binary("a\nb", "")),
        ("the store's own type", NewEvent::binary("$type", "")),
        ("empty tag", tick(1).tag("")),
        ("control character in a tag", tick(1).tag("a\0b")),
        ("data not JSON", NewEvent::json_text("T", "{")),
        ("data empty JSON", NewEvent::json_text("T", "")),
        ("data two values", NewEvent::json_text("T", "1 2")),
        ("metadata not JSON", tick(1).metadata("nope")),
        ("ids into metadata that is no object", tick(1).metadata("[1]").correlation("a")),
        (
            "another id in the metadata",
            tick(1).metadata(r#"{"$correlationId":"b"}"#).correlation("a"),
        ),
    ];
    for (what, event) in events {
        let error = store.append("A-1", Expect::Any, [tick(0), event]).expect_err(what);
        assert_eq!(error.kind(), ErrorKind::Invalid, "{what}");
    }
    for name in ["a\nb", "\u{7f}", "\u{85}"] {
        let error = store.append(name, Expect::Any, [tick(0)]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{name:?}");
    }
    assert_eq!(store.last_position(), Position::START);
}

#[test]
fn settings_that_do_not_fit_are_refused() {
    let table = [
        ("segment_bytes", Store::options().segment_bytes((16 << 10) - 1)),
        ("segment_bytes", Store::options().segment_bytes(4 << 30)),
        ("event_data_max", Store::options().event_data_max((64 << 20) + 1)),
        ("queue", Store::options().queue(0, 1)),
        ("queue", Store::options().queue(1, 0)),
        ("poll_interval", Store::options().poll_interval(std::time::Duration::ZERO)),
    ];
    for (name, options) in table {
        let error = options.in_memory().expect_err(name);
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.to_string().contains(name), "{error}");
    }
    let raised = Store::options().event_data_max(2 << 20).in_memory().unwrap();
    raised.append("A-1", Expect::Any, [NewEvent::binary("T", vec![1; 2 << 20])]).unwrap();
}

#[test]
fn a_full_queue_says_so_and_takes_more_when_it_is_drained() {
    ends(|| {
        let options = Store::options().background_threads(false);
        let store = options.queue(1 << 20, 2).in_memory().unwrap();
        let send = |bytes: usize| {
            let event = NewEvent::binary("T", vec![0; bytes]);
            store.batch().append("A-1", Expect::Any, [event]).try_submit()
        };
        let first = send(10).unwrap();
        let second = send(10).unwrap();
        let error = send(10).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::QueueFull);
        assert!(error.is_retryable());
        assert_eq!(first.wait().unwrap().last, Position::new(1));
        assert!(second.outcome().is_some_and(|answer| answer.is_ok()), "one group");
        assert_eq!(block_on(send(10).unwrap()).unwrap().last, Position::new(3));
    });
}

#[test]
fn a_batch_larger_than_the_queue_is_admitted_alone() {
    ends(|| {
        for background in [true, false] {
            let options = Store::options().background_threads(background).queue(100, 5);
            let store = options.in_memory().unwrap();
            let large = || NewEvent::binary("T", vec![0; 1000]);
            let batch = || store.batch().append("A-1", Expect::Any, [large()]);
            let first = batch().try_submit().unwrap();
            if !background {
                assert_eq!(batch().try_submit().unwrap_err().kind(), ErrorKind::QueueFull);
            }
            first.wait().unwrap();
            batch().commit().unwrap();
            batch().submit().unwrap().wait().unwrap();
            assert_eq!(store.last_position().get(), 3);
        }
    });
}

#[test]
fn a_batch_larger_than_a_segment_is_stored_whole() {
    let dir = tempfile::tempdir().unwrap();
    for map in [true, false] {
        let options = Store::options().segment_bytes(16 << 10).map_segments(map);
        let store = options.clone().open(dir.path()).unwrap();
        let before = store.last_position().get();
        let large = (0..100).map(|n| NewEvent::binary("T", vec![n as u8; 1000]));
        let batch = store.batch().append("A-1", Expect::Any, large);
        let huge = NewEvent::binary("T", vec![7; 1 << 20]);
        let appended = batch.append("B-1", Expect::Any, [huge]).commit().unwrap();
        assert_eq!(appended.last.get(), before + 101);
        store.append("A-1", Expect::Any, [tick(1)]).unwrap();
        drop(store);
        let store = options.open(dir.path()).unwrap();
        let all: Vec<_> = store.read_all().into_iter().map(Result::unwrap).collect();
        assert_eq!(all.len() as u64, before + 102);
        assert!(all[100 + before as usize].data() == vec![7; 1 << 20]);
        assert!(store.verify().unwrap().clean);
    }
}

#[test]
fn durability_can_be_asked_for_more() {
    let store = Store::options().durability(Durability::Os).in_memory().unwrap();
    let batch = store.batch().append("A-1", Expect::Any, [tick(1)]);
    batch.durability(Durability::Sync).commit().unwrap();
    store.save_checkpoint("mail", Position::new(1)).unwrap();
}
