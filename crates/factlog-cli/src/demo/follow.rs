//! The demo's third act: the tail followed from another thread and from another process.
//!
//! Knows: that both must see every event, in order, once. Does not know: how they are told.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use factlog::{Delivery, Expect, NewEvent, Source, Start, Store};
use serde::Deserialize;

use super::{Story, disproved};
use crate::exit::Failure;
use crate::output::counted;

const EVENTS: u64 = 200;
const STREAM: &str = "Meter-7";
const PATIENCE: Duration = Duration::from_secs(20);

/// A child that is killed when nobody waits for it any more.
pub struct Owned(pub Child);

impl Drop for Owned {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[derive(Deserialize)]
struct Seen {
    position: u64,
}

/// Appends while a thread and a process follow; both must have seen everything.
pub fn act(story: &mut Story, store: &Store, program: &Path, dir: &Path) -> Result<(), Failure> {
    story.act("Follow the tail from another thread and from another process, while appending")?;
    let before = store.last_position();
    let (by_thread, thread_saw) = mpsc::channel();
    let mut subscription = store.subscribe(Source::All).start(Start::After(before))?;
    let deadline = Instant::now() + PATIENCE;
    thread::spawn(move || {
        while Instant::now() < deadline {
            let sent = match subscription.next_timeout(Duration::from_millis(100)) {
                Ok(Some(Delivery::Event(event))) => by_thread.send(event.position().get()),
                Ok(_) => continue,
                Err(_) => return,
            };
            if sent.is_err() {
                return;
            }
        }
    });
    let (_child, process_saw) = another_process(program, dir)?;
    // Its first line is the newest event there was: from now on it follows.
    let start = next(&process_saw, "the other process")?;
    if start != before.get() {
        return Err(disproved(format!("the other process began at {start}, not at {before}")));
    }
    for n in 1..=EVENTS {
        let reading = NewEvent::json("MeterRead", &serde_json::json!({ "kwh": n }))?;
        store.append(STREAM, Expect::Any, [reading])?;
    }
    let appended = Instant::now();
    for position in before.get() + 1..=before.get() + EVENTS {
        for (saw, who) in [(&thread_saw, "the thread"), (&process_saw, "the other process")] {
            let seen = next(saw, who)?;
            if seen != position {
                return Err(disproved(format!("{who} saw {seen} and not {position}")));
            }
        }
    }
    let millis = appended.elapsed().as_secs_f64() * 1e3;
    story.tell(format!(
        "{} appended one by one; the thread and `factlog tail -f` in another process\n\
         each saw all of them, in order, once; the last {millis:.1} ms after its append returned",
        counted(EVENTS, "event")
    ))
}

fn another_process(program: &Path, dir: &Path) -> Result<(Owned, mpsc::Receiver<u64>), Failure> {
    let mut command = Command::new(program);
    command.args(["tail", "-f", "-n", "1", "--output", "ndjson", "--dir"]).arg(dir);
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    let child = command.spawn().map_err(Failure::io("cannot start another process"))?;
    let mut child = Owned(child);
    let Some(output) = child.0.stdout.take() else { return Err(disproved("no pipe")) };
    let (send, receive) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(output).lines() {
            let Ok(line) = line else { return };
            let Ok(seen) = serde_json::from_str::<Seen>(&line) else { return };
            if send.send(seen.position).is_err() {
                return;
            }
        }
    });
    Ok((child, receive))
}

fn next(saw: &mpsc::Receiver<u64>, who: &str) -> Result<u64, Failure> {
    saw.recv_timeout(PATIENCE).map_err(|_| disproved(format!("{who} saw nothing more")))
}
