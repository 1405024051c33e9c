//! Layer 1.2: runs a script in a process of its own, under strace if asked, and hears its end.
//!
//! Knows: children, pipes, patience. Does not know: what the script says means.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use crate::plan::Plan;
use crate::record::Record;
use crate::said::Said;
use crate::trouble::{Outcome, Trouble};

/// Nobody hangs: a script that says nothing for so long does.
const PATIENCE: Duration = Duration::from_secs(60);
const SIGKILL: i32 = 9;

/// A script to be run.
#[derive(Debug, Clone)]
pub struct Launch {
    pub dir: PathBuf,
    pub plan: Plan,
    pub round: u64,
    /// Bytes left free on the file system at the beginning; none = all of it.
    pub room: Option<u64>,
    /// Arguments of strace; none = not under strace.
    pub strace: Vec<String>,
    /// The script waits until each line it said was taken down.
    pub lockstep: bool,
}

/// How it ended.
#[derive(Debug, Clone)]
pub struct Ended {
    pub killed: bool,
    pub success: bool,
    /// What it said on standard error.
    pub complaint: String,
}

/// A child that does not outlive its owner.
#[derive(Debug)]
pub struct Owned(pub Child);

impl Drop for Owned {
    fn drop(&mut self) {
        let _: std::io::Result<()> = self.0.kill(); // it may have ended already
        let _: std::io::Result<std::process::ExitStatus> = self.0.wait();
    }
}

/// This program.
pub fn myself() -> Outcome<PathBuf> {
    std::env::current_exe().map_err(Trouble::io("where is this program"))
}

impl Launch {
    pub fn new(dir: &Path, plan: Plan) -> Self {
        Self { dir: dir.into(), plan, round: 0, room: None, strace: Vec::new(), lockstep: false }
    }

    /// The command line, going on where the record ends.
    pub fn command(&self, record: &Record) -> Outcome<Command> {
        let program = myself()?;
        let mut command = match self.strace.is_empty() {
            true => Command::new(program),
            false => {
                let mut command = Command::new("strace");
                command.args(["-f", "-qq"]).args(&self.strace).arg(program);
                command
            }
        };
        let number = |value: u64| value.to_string();
        command.arg("script").arg("--dir").arg(&self.dir);
        command.args(["--seed", &number(self.plan.seed), "--steps", &number(self.plan.steps)]);
        command.args(["--round", &number(self.round), "--first", &number(record.resume_at())]);
        if let Some(room) = self.room {
            command.args(["--room", &number(room)]);
        }
        if self.lockstep {
            command.arg("--lockstep");
        }
        Ok(command)
    }

    /// Runs it to its end; what it says goes into the record.
    pub fn run(&self, record: &mut Record) -> Outcome<Ended> {
        self.run_and(record, |_| {})
    }

    /// The same, and somebody else listens.
    pub fn run_and(&self, record: &mut Record, mut listen: impl FnMut(&Said)) -> Outcome<Ended> {
        let mut command = self.command(record)?;
        command.stdin(if self.lockstep { Stdio::piped() } else { Stdio::null() });
        hear(&mut command, |line| {
            let said = line.parse::<Said>()?;
            record.hear(&said);
            listen(&said);
            Ok(())
        })
    }
}

/// Runs a command; every line of its standard output goes to `listen`, which may refuse the last.
/// If it has a pipe to read from, it is sent an empty line for every line it said.
pub fn hear(
    command: &mut Command,
    mut listen: impl FnMut(&str) -> Result<(), ()>,
) -> Outcome<Ended> {
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let spawned = command.spawn().map_err(Trouble::io("cannot start a process"))?;
    let mut child = Owned(spawned);
    let (Some(output), Some(complaints)) = (child.0.stdout.take(), child.0.stderr.take()) else {
        return Err(Trouble::Machine("no pipe".into()));
    };
    let mut input = child.0.stdin.take();
    let complaints = thread::spawn(move || {
        let mut text = String::new();
        let _: std::io::Result<usize> = BufReader::new(complaints).read_to_string(&mut text);
        text
    });
    let (send, lines) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            if send.send(line).is_err() {
                break;
            }
        }
    });
    let mut cut = None;
    loop {
        match lines.recv_timeout(PATIENCE) {
            Ok(line) if cut.is_none() => {
                if listen(&line).is_err() {
                    cut = Some(line);
                }
                if let Some(input) = &mut input {
                    let _: std::io::Result<()> = input.write_all(b"\n"); // it may be dead
                }
            }
            Ok(line) => return Err(Trouble::Machine(format!("{cut:?} stands before {line:?}"))),
            Err(mpsc::RecvTimeoutError::Disconnected) => break,
            Err(mpsc::RecvTimeoutError::Timeout) => {
                return Err(Trouble::Finding(format!("{command:?} hangs")));
            }
        }
    }
    let status = child.0.wait().map_err(Trouble::io("cannot wait for a process"))?;
    let killed = status.signal() == Some(SIGKILL);
    match cut {
        Some(line) if !killed => Err(Trouble::Machine(format!("a process said {line:?}"))),
        _ => {
            let complaint = complaints.join().unwrap_or_default();
            Ok(Ended { killed, success: status.success(), complaint })
        }
    }
}
