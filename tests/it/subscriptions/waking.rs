//! The ways to wait: parked, with a timeout, not at all, over a channel, as a task, as a callback.

use std::ops::ControlFlow;
use std::task::{Context, Poll};
use std::time::Duration;

use crossbeam_channel::{TryRecvError, select};
use factlog::{
    Delivery, ErrorKind, Expect, Position, Source, Start, Store, StreamName, Subscription,
};

use super::super::support::{block_on, ends, number, waker};
use super::{append, next_event};

fn live(store: &Store) -> Subscription {
    let mut subscription = store.subscribe(Source::All).start(Start::End).unwrap();
    let caught_up = subscription.try_next().unwrap();
    assert_eq!(caught_up, Some(Delivery::CaughtUp(store.last_position())));
    subscription
}

/// A tombstone moves no position, so that nobody who waited for the stream ever heard of it.
#[test]
fn a_tombstone_ends_who_waits_for_the_stream_and_a_deletion_does_not() {
    let follow = |store: &Store| {
        let source = Source::Stream(StreamName::new("Fan-1").unwrap());
        let mut subscription = store.subscribe(source).start(Start::Beginning).unwrap();
        next_event(&mut subscription);
        while subscription.try_next().unwrap().is_some() {}
        subscription
    };
    for remote in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        append(&store, 0..2);
        let reader = match remote {
            true => Store::open_read_only(dir.path()).unwrap(),
            false => store.clone(),
        };
        let (mut thread, mut task, mut timed) = (follow(&reader), follow(&reader), follow(&reader));
        store.delete_stream("Fan-1", Expect::Any).unwrap();
        assert_eq!(timed.next_timeout(Duration::from_millis(30)).unwrap(), None);
        append(&store, 5..6); // it lives again
        for subscription in [&mut thread, &mut task, &mut timed] {
            assert_eq!(next_event(subscription), Some(5));
        }
        let waits = std::thread::spawn(move || {
            ends(move || {
                loop {
                    match thread.next() {
                        Ok(delivery) => assert!(!matches!(delivery, Delivery::Event(_))),
                        Err(error) => return error,
                    }
                }
            })
        });
        let polled = std::thread::spawn(move || {
            ends(move || {
                block_on(std::future::poll_fn(move |context| {
                    loop {
                        match task.poll_next(context) {
                            Poll::Ready(Ok(delivery)) => {
                                assert!(!matches!(delivery, Delivery::Event(_)));
                            }
                            Poll::Ready(Err(error)) => return Poll::Ready(error),
                            Poll::Pending => return Poll::Pending,
                        }
                    }
                }))
            })
        });
        std::thread::sleep(Duration::from_millis(20));
        store.tombstone_stream("Fan-1", Expect::Any).unwrap();
        for waiter in [waits, polled] {
            let error = waiter.join().unwrap();
            assert_eq!((error.kind(), error.stream()), (ErrorKind::Deleted, Some("Fan-1")));
        }
        // Whoever asks again is told again.
        for _ in 0..2 {
            let told = ends({
                let store = reader.clone();
                move || {
                    let source = Source::Stream(StreamName::new("Fan-1").unwrap());
                    store.subscribe(source).start(Start::End).unwrap().next()
                }
            });
            assert_eq!(told.unwrap_err().kind(), ErrorKind::Deleted);
        }
    }
}

#[test]
fn not_waiting_and_waiting_a_while_answer_none() {
    let store = Store::in_memory().unwrap();
    let mut subscription = live(&store);
    assert_eq!(subscription.try_next().unwrap(), None);
    assert_eq!(subscription.next_timeout(Duration::ZERO).unwrap(), None);
    assert_eq!(subscription.next_timeout(Duration::from_millis(5)).unwrap(), None);
    append(&store, 1..2);
    let next = subscription.next_timeout(Duration::ZERO).unwrap();
    assert!(matches!(next, Some(Delivery::Event(_))));
    // A time so long that the clock has no name for its end is as good as for ever.
    append(&store, 2..3);
    let next = subscription.next_timeout(Duration::MAX).unwrap();
    assert!(matches!(next, Some(Delivery::Event(_))));
}

#[test]
fn a_signal_is_selected_over_and_never_lost() {
    ends(|| {
        let store = Store::in_memory().unwrap();
        let mut one = live(&store);
        let mut two = live(&store);
        let (first, second) = (one.signal(), two.signal());
        let mut seen = (Vec::new(), Vec::new());
        std::thread::scope(|scope| {
            scope.spawn(|| append(&store, 0..500));
            while seen.0.len() < 500 || seen.1.len() < 500 {
                select! {
                    recv(first) -> woken => {
                        woken.unwrap();
                        while let Some(Delivery::Event(event)) = one.try_next().unwrap() {
                            seen.0.push(number(&event));
                        }
                    }
                    recv(second) -> woken => {
                        woken.unwrap();
                        while let Some(Delivery::Event(event)) = two.try_next().unwrap() {
                            seen.1.push(number(&event));
                        }
                    }
                }
            }
        });
        assert_eq!(seen.0, (0..500).collect::<Vec<_>>());
        assert_eq!(seen.1, seen.0);
        store.close().unwrap();
        let _ = first.try_recv();
        assert_eq!(first.try_recv(), Err(TryRecvError::Disconnected));
        assert_eq!(one.try_next().unwrap_err().kind(), ErrorKind::Closed);
        let late = two.signal();
        let _ = late.try_recv();
        assert_eq!(late.try_recv(), Err(TryRecvError::Disconnected));
    });
}

#[test]
fn a_task_is_woken_when_there_is_something() {
    ends(|| {
        let store = Store::in_memory().unwrap();
        let mut subscription = live(&store);
        let mut pending = 0;
        let mut seen = Vec::new();
        std::thread::scope(|scope| {
            scope.spawn(|| append(&store, 0..300));
            let waker = waker();
            let mut context = Context::from_waker(&waker);
            while seen.len() < 300 {
                match subscription.poll_next(&mut context) {
                    Poll::Ready(Ok(Delivery::Event(event))) => seen.push(number(&event)),
                    Poll::Ready(other) => assert!(other.is_ok()),
                    Poll::Pending => {
                        pending += 1;
                        std::thread::park();
                    }
                }
            }
        });
        assert_eq!(seen, (0..300).collect::<Vec<_>>());
        assert!(pending <= 301, "{pending} times for nothing");
        let closing = store.clone();
        let thread = std::thread::spawn(move || closing.close().unwrap());
        let end = block_on(std::future::poll_fn(|context| subscription.poll_next(context)));
        assert_eq!(end.unwrap_err().kind(), ErrorKind::Closed);
        thread.join().unwrap();
    });
}

#[cfg(feature = "stream")]
#[test]
fn a_stream_of_deliveries_ends_with_the_store() {
    use futures_core::Stream;
    ends(|| {
        let store = Store::in_memory().unwrap();
        append(&store, 0..10);
        let mut stream =
            store.subscribe(Source::All).start(Start::Beginning).unwrap().into_stream();
        let mut next = move || {
            block_on(std::future::poll_fn(|cx| std::pin::Pin::new(&mut stream).poll_next(cx)))
        };
        for n in 0..10 {
            let delivery = next().unwrap().unwrap();
            assert!(matches!(delivery, Delivery::Event(event) if number(&event) == n));
        }
        assert!(matches!(next(), Some(Ok(Delivery::CaughtUp(_)))));
        let writer = store.clone();
        let thread = std::thread::spawn(move || append(&writer, 10..11));
        assert!(matches!(next(), Some(Ok(Delivery::Event(event))) if number(&event) == 10));
        thread.join().unwrap();
        let thread = std::thread::spawn(move || store.close().unwrap());
        assert!(next().is_none());
        assert!(next().is_none());
        thread.join().unwrap();
    });
}

#[test]
fn an_iterator_and_a_handler_end_with_the_store() {
    ends(|| {
        let store = Store::in_memory().unwrap();
        append(&store, 0..25);
        let mut iterated = store.subscribe(Source::All).start(Start::Beginning).unwrap();
        let mut handled = store.subscribe(Source::All).start(Start::Beginning).unwrap();
        std::thread::scope(|scope| {
            let iterating = scope.spawn(move || {
                let deliveries = iterated.iter().map(Result::unwrap);
                deliveries.filter(|d| matches!(d, Delivery::Event(_))).count()
            });
            let handling = scope.spawn(move || {
                let mut sizes = Vec::new();
                let mut numbers = Vec::new();
                let handled = handled.run(10, |events| {
                    sizes.push(events.len());
                    numbers.extend(events.iter().map(number));
                    ControlFlow::Continue(())
                });
                handled.unwrap();
                (sizes, numbers)
            });
            append(&store, 25..60);
            // Both have all of it before the store is closed: a third one tells when.
            let mut third = store.subscribe(Source::All).start(Start::Beginning).unwrap();
            while third.position() < Position::new(60) {
                next_event(&mut third);
            }
            store.clone().close().unwrap();
            assert!(iterating.join().unwrap() <= 60);
            let (sizes, numbers) = handling.join().unwrap();
            assert!(sizes.iter().all(|size| (1..=10).contains(size)), "{sizes:?}");
            assert_eq!(numbers, (0..numbers.len() as u64).collect::<Vec<_>>());
        });
    });
}

#[test]
fn a_handler_gets_whole_batches_and_may_break_off() {
    ends(|| {
        let store = Store::in_memory().unwrap();
        append(&store, 0..25);
        let mut subscription = store.subscribe(Source::All).start(Start::Beginning).unwrap();
        let mut sizes = Vec::new();
        let broken = subscription.run(10, |events| {
            sizes.push(events.len());
            if sizes.len() == 3 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        broken.unwrap();
        assert_eq!(sizes, [10, 10, 5]);
        assert_eq!(subscription.position(), Position::new(25));
        // What is left over goes on where the handler broke off.
        append(&store, 25..30);
        assert_eq!(next_event(&mut subscription), Some(25));
    });
}

#[test]
fn closing_wakes_everybody_who_waits() {
    ends(|| {
        let store = Store::in_memory().unwrap();
        let waiting: Vec<_> = (0..8)
            .map(|n| {
                let mut subscription = live(&store);
                std::thread::spawn(move || match n % 2 {
                    0 => subscription.next().unwrap_err().kind(),
                    _ => subscription.next_timeout(super::LONG).unwrap_err().kind(),
                })
            })
            .collect();
        store.close().unwrap();
        for thread in waiting {
            assert_eq!(thread.join().unwrap(), ErrorKind::Closed);
        }
    });
}
