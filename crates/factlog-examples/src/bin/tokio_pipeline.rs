//! A pipeline with tokio: many tasks append and await their tickets, one follows as they come, and
//! competing consumers on threads of their own do the work that blocks.

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use factlog::{Consumers, Delivery, Event, Expect, NewEvent, Source, Start, Store};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

#[derive(Clone, Event, Serialize, Deserialize)]
enum Job {
    Requested { n: u64 },
}

const JOBS: u64 = 64;

async fn request(store: Store, n: u64) -> factlog::Result<u64> {
    let event = NewEvent::of(&Job::Requested { n })?;
    // Batches that wait at the same time share one write and one sync.
    let ticket = store.batch().append("Job-all", Expect::Any, [event]).submit()?;
    Ok(ticket.await?.last.get())
}

/// Follows with the runtime's own wakers; no thread waits.
async fn follow(store: Store) -> factlog::Result<u64> {
    let mut all = store.subscribe(Source::category("Job")).start(Start::Beginning)?;
    let mut seen = 0;
    while seen < JOBS {
        let delivery = std::future::poll_fn(|context| all.poll_next(context)).await?;
        seen += u64::from(matches!(delivery, Delivery::Event(_)));
    }
    Ok(seen)
}

/// Works until all jobs are done, by whomever.
fn work(
    consumers: &Consumers<Job>,
    left: &AtomicU64,
    done: &mpsc::UnboundedSender<u64>,
) -> factlog::Result<()> {
    while left.load(Ordering::SeqCst) > 0 {
        let Some(work) = consumers.next_timeout(Duration::from_millis(20))? else { continue };
        let Job::Requested { n } = work.event;
        if n.is_multiple_of(10) && work.attempts() == 1 {
            work.retry("the first attempt fails")?;
            continue;
        }
        work.ack()?;
        left.fetch_sub(1, Ordering::SeqCst);
        if done.send(n).is_err() {
            break;
        }
    }
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let dir = tempfile::tempdir()?;
    let store = Store::open(dir.path())?;
    let consumers = store.consumers::<Job>("workers").start()?;
    let (done, mut finished) = mpsc::unbounded_channel();
    let left = Arc::new(AtomicU64::new(JOBS));
    let workers: Vec<_> = (0..4)
        .map(|_| {
            let (consumers, left, done) = (consumers.clone(), left.clone(), done.clone());
            tokio::task::spawn_blocking(move || work(&consumers, &left, &done))
        })
        .collect();
    drop(done);
    let following = tokio::spawn(follow(store.clone()));
    let requests: Vec<_> = (1..=JOBS).map(|n| tokio::spawn(request(store.clone(), n))).collect();
    for request in requests {
        request.await??;
    }
    let mut all = Vec::new();
    while let Some(n) = finished.recv().await {
        all.push(n);
    }
    for worker in workers {
        worker.await??;
    }
    all.sort_unstable();
    println!("{} followed, {} done", following.await??, all.len());
    if !all.iter().copied().eq(1..=JOBS) {
        return Err("a job was lost, or done twice".into());
    }
    Ok(())
}
