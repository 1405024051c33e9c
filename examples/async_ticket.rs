//! Await appends without any runtime: a ticket is a future that is woken by a plain waker.
#![allow(clippy::print_stdout, reason = "an example")]

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;

use factlog::{Expect, NewEvent, Store};

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// What a runtime does, for one future.
fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => std::thread::park(),
        }
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = tempfile::tempdir()?;
    let store = Store::open(dir.path())?;
    let tick = |n: u8| {
        let events = [NewEvent::binary("Ticked", vec![n])];
        store.batch().append("Clock-1", Expect::Any, events).submit()
    };
    // Three batches under way at once; they may share one sync.
    let tickets = [tick(1)?, tick(2)?, tick(3)?];
    block_on(async {
        for ticket in tickets {
            println!("position {} is on disk", ticket.await?.last);
        }
        Ok(())
    })
}
