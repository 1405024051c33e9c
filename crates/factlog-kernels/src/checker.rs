//! Layer 1.5: a process that mounts disks and opens the stores on them, one after the other.
//!
//! It is a process of its own because the disks are served by the one that starts it: who waits for
//! a disk must not be who serves it. Knows: one job. Does not know: where disks come from.

use std::io::{self, BufRead, BufReader, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use crate::contract;
use crate::filesystems::{Kind, Mounted};
use crate::plan::Plan;
use crate::process::{Owned, myself};
use crate::record::Record;
use crate::said::Said;
use crate::trouble::{Outcome, Trouble};

const PATIENCE: Duration = Duration::from_secs(120);

/// A disk to be looked at.
#[derive(Debug, Clone)]
pub struct Job {
    pub kind: Kind,
    pub disk: PathBuf,
    /// The lines that were said before the crash.
    pub said: PathBuf,
    pub plan: Plan,
    pub seed: u64,
}

/// What it says of one disk, unless it found something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The contract holds; the recovery's row of the verdict table.
    Holds(String),
    Unmountable,
}

/// The process, seen from outside.
#[derive(Debug)]
pub struct Checker {
    /// Ends when this goes.
    input: ChildStdin,
    lines: Receiver<String>,
    _child: Owned,
}

impl Checker {
    pub fn start(point: &Path) -> Outcome<Self> {
        let mut command = Command::new(myself()?);
        command.arg("check").arg("--point").arg(point);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = Owned(command.spawn().map_err(Trouble::io("cannot start a checker"))?);
        let (Some(input), Some(output)) = (child.0.stdin.take(), child.0.stdout.take()) else {
            return Err(Trouble::Machine("no pipe".into()));
        };
        let (send, lines) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if send.send(line).is_err() {
                    break;
                }
            }
        });
        Ok(Self { input, lines, _child: child })
    }

    pub fn check(&mut self, job: &Job) -> Outcome<Verdict> {
        let Job { kind, disk, said, plan, seed } = job;
        let (disk, said) = (disk.display(), said.display());
        let line = format!("{kind} {disk} {said} {} {} {seed}\n", plan.seed, plan.steps);
        self.input.write_all(line.as_bytes()).map_err(Trouble::io("the checker is gone"))?;
        let answer = self.lines.recv_timeout(PATIENCE);
        let answer = answer.map_err(Trouble::io("the checker does not answer"))?;
        match answer.split_once(' ').unwrap_or((&answer, "")) {
            ("holds", row) => Ok(Verdict::Holds(row.to_owned())),
            ("unmountable", _) => Ok(Verdict::Unmountable),
            ("finding", text) => Err(Trouble::Finding(text.to_owned())),
            (_, text) => Err(Trouble::Machine(text.to_owned())),
        }
    }
}

/// The process itself: a job per line of standard input.
pub fn serve(point: &Path) -> Outcome<()> {
    for line in io::stdin().lock().lines() {
        let line = line.map_err(Trouble::io("cannot read a job"))?;
        let done = catch_unwind(AssertUnwindSafe(|| look(point, &line)));
        let answer = match done {
            Ok(Ok(Verdict::Holds(row))) => format!("holds {row}"),
            Ok(Ok(Verdict::Unmountable)) => "unmountable".into(),
            Ok(Err(Trouble::Finding(text))) => format!("finding {}", text.replace('\n', " ")),
            Ok(Err(Trouble::Machine(text) | Trouble::Lacks(text))) => {
                format!("machine {}", text.replace('\n', " "))
            }
            Err(_) => "finding a panic".into(),
        };
        let mut output = io::stdout().lock();
        writeln!(output, "{answer}").map_err(Trouble::io("nobody listens"))?;
    }
    Ok(())
}

fn parse(line: &str) -> Option<Job> {
    let words: Vec<&str> = line.split(' ').collect();
    let [kind, disk, said, seed, steps, state] = words.as_slice() else { return None };
    let plan = Plan { seed: seed.parse().ok()?, steps: steps.parse().ok()? };
    let (kind, seed) = (kind.parse().ok()?, state.parse().ok()?);
    Some(Job { kind, disk: disk.into(), said: said.into(), plan, seed })
}

fn look(point: &Path, line: &str) -> Outcome<Verdict> {
    let Some(job) = parse(line) else { return Err(Trouble::Machine(format!("job {line:?}"))) };
    let said = std::fs::read_to_string(&job.said).map_err(Trouble::io("what was said"))?;
    let mut record = Record::default();
    for line in said.lines() {
        let said = line.parse::<Said>();
        record.hear(&said.map_err(|()| Trouble::Machine(format!("{line:?} was said")))?);
    }
    let Ok(mounted) = Mounted::new(job.kind, &job.disk, point) else {
        return Ok(Verdict::Unmountable);
    };
    // Room for what the check appends; ballast is not part of the store.
    let _: io::Result<()> = std::fs::remove_file(point.join("store.ballast"));
    let found = contract::check(&point.join("store"), job.plan, &mut record, job.seed)?;
    mounted.unmount()?;
    Ok(Verdict::Holds(found.verdict))
}
