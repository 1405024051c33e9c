//! Layer 1.1: the process that writes: it says what it begins and what it was answered.
//!
//! Knows: what an application does about each error. Does not know: when it will be killed or which
//! of its calls will fail.

use std::fs::File;
use std::io::{self, BufRead, Write};
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use factlog::{Error, ErrorKind, Position, Store, Ticket, Version};

use crate::plan::{Plan, Step, snapshot_data};
use crate::said::Said;
use crate::trouble::{Outcome, Trouble};

/// How often a call is tried again before the script gives up.
const TRIES: u64 = 4;
/// Batches that are sent at once.
const GROUP: u64 = 6;

/// What the process is told to do.
#[derive(Debug, Clone, clap::Args)]
pub struct ScriptArgs {
    #[arg(long)]
    pub dir: PathBuf,
    #[arg(long)]
    pub seed: u64,
    #[arg(long)]
    pub steps: u64,
    /// The how-manieth process on this store
    #[arg(long, default_value_t = 0)]
    pub round: u64,
    /// The number of the first batch
    #[arg(long, default_value_t = 0)]
    pub first: u64,
    /// Waits for a line on standard input after every line it said
    #[arg(long)]
    pub lockstep: bool,
    /// First fills the file system up to so many free bytes, and makes room when it is full
    #[arg(long)]
    pub room: Option<u64>,
}

/// Writes until it is done, gives up or is killed.
pub fn run(args: &ScriptArgs) -> Outcome<()> {
    let plan = Plan { seed: args.seed, steps: args.steps };
    let mut script = Script { args, plan, next: args.first };
    if let Some(room) = args.room {
        fill(&script.ballast(), room)?;
    }
    let done = script.all();
    match done {
        Ok(()) => script.say(&Said::Done),
        Err(Stop::GaveUp) => script.say(&Said::GaveUp),
        Err(Stop::Trouble(trouble)) => Err(trouble),
    }
}

enum Stop {
    GaveUp,
    Trouble(Trouble),
}

impl From<Trouble> for Stop {
    fn from(trouble: Trouble) -> Self {
        Self::Trouble(trouble)
    }
}

struct Script<'a> {
    args: &'a ScriptArgs,
    plan: Plan,
    next: u64,
}

impl Script<'_> {
    fn say(&self, said: &Said) -> Outcome<()> {
        let lost = Trouble::io("nobody listens");
        // A whole line is one write.
        io::stdout().lock().write_all(format!("{said}\n").as_bytes()).map_err(lost)?;
        if self.args.lockstep {
            let mut line = String::new();
            io::stdin().lock().read_line(&mut line).map_err(Trouble::io("nobody answers"))?;
        }
        Ok(())
    }

    fn all(&mut self) -> Result<(), Stop> {
        let mut store = self.open()?;
        for step in self.plan.steps_of(self.args.round) {
            match step {
                Step::Append => store = self.append(store, false)?,
                Step::AppendWithCheckpoint => store = self.append(store, true)?,
                Step::AppendGroup => store = self.append_group(store)?,
                Step::SaveCheckpoint => self.save_checkpoint(&store)?,
                Step::SaveSnapshot => self.save_snapshot(&store)?,
                Step::Reopen => store = self.reopen(store)?,
            }
        }
        self.close(store)?;
        Ok(())
    }

    fn open(&mut self) -> Result<Store, Stop> {
        for _ in 0..TRIES {
            self.say(&Said::Opens)?;
            match self.plan.options().open(&self.args.dir) {
                Ok(store) => {
                    self.say(&Said::Opened(store.open_report().verdict.replace(' ', "-")))?;
                    return Ok(store);
                }
                Err(error) => {
                    tell(&error);
                    self.say(&Said::failed("open", error.kind()))?;
                    self.make_room(error.kind())?;
                }
            }
        }
        Err(Stop::GaveUp)
    }

    fn close(&self, store: Store) -> Outcome<()> {
        match store.close() {
            Ok(()) => self.say(&Said::Closed),
            Err(error) => self.say(&Said::failed("close", error.kind())),
        }
    }

    fn reopen(&mut self, store: Store) -> Result<Store, Stop> {
        self.close(store)?;
        self.open()
    }

    /// Sends several batches before it waits for the first, and one by one those that failed.
    fn append_group(&mut self, mut store: Store) -> Result<Store, Stop> {
        let batches = self.next..self.next + GROUP;
        self.next += GROUP;
        let mut tickets = Vec::new();
        for batch in batches {
            self.say(&Said::Begins { batch, carries: 0 })?;
            tickets.push((batch, self.plan.batch(&store, batch).submit()));
        }
        let mut failed = Vec::new();
        for (batch, ticket) in tickets {
            match ticket.and_then(Ticket::wait) {
                Ok(answer) => self.say(&Said::Answered { batch, first: answer.first.get() })?,
                Err(error) => {
                    tell(&error);
                    failed.push((batch, error.kind()));
                    self.say(&failure(batch, error.kind()))?;
                }
            }
        }
        let Some((_, kind)) = failed.first() else { return Ok(store) };
        self.read(&store)?;
        self.make_room(*kind)?;
        if failed.iter().any(|(_, kind)| is_poisoned(*kind)) {
            store = self.reopen(store)?;
        }
        for (batch, kind) in failed {
            store = self.append_one(store, batch, (false, kind == ErrorKind::InDoubt))?;
        }
        Ok(store)
    }

    fn append(&mut self, store: Store, with_checkpoint: bool) -> Result<Store, Stop> {
        let batch = self.next;
        self.next += 1;
        self.append_one(store, batch, (with_checkpoint, false))
    }

    /// Stores a batch, whatever it takes; gives it up only when it is refused again and again.
    fn append_one(
        &mut self,
        mut store: Store,
        batch: u64,
        (with_checkpoint, mut in_doubt): (bool, bool),
    ) -> Result<Store, Stop> {
        for _ in 0..TRIES {
            let carries = if with_checkpoint { store.last_position().get() } else { 0 };
            self.say(&Said::Begins { batch, carries })?;
            let mut building = self.plan.batch(&store, batch);
            if carries > 0 {
                building = building.checkpoint("reader", Position::new(carries));
            }
            let error = match building.commit() {
                Ok(answer) => {
                    self.say(&Said::Answered { batch, first: answer.first.get() })?;
                    return Ok(store);
                }
                Err(error) => error,
            };
            tell(&error);
            self.read(&store)?;
            in_doubt |= error.kind() == ErrorKind::InDoubt;
            self.say(&failure(batch, error.kind()))?;
            self.make_room(error.kind())?;
            if is_poisoned(error.kind()) {
                store = self.reopen(store)?;
            }
        }
        // Nothing may be sent after what is in doubt: its place would not be known.
        if in_doubt { Err(Stop::GaveUp) } else { Ok(store) }
    }

    /// Reads go on, whatever became of an append.
    fn read(&self, store: &Store) -> Outcome<()> {
        let read: factlog::Result<Vec<_>> = store.read_all().into_iter().collect();
        match read {
            Ok(events) if events.len() as u64 == store.last_position().get() => Ok(()),
            Ok(_) => self.say(&Said::failed("read", ErrorKind::Damaged)),
            Err(error) => self.say(&Said::failed("read", error.kind())),
        }
    }

    fn make_room(&self, kind: ErrorKind) -> Outcome<()> {
        let ballast = self.ballast();
        if kind != ErrorKind::DiskFull || !ballast.exists() {
            return Ok(());
        }
        remove(&ballast)?;
        self.say(&Said::MadeRoom)
    }

    /// A file beside the store that takes up space.
    fn ballast(&self) -> PathBuf {
        self.args.dir.with_extension("ballast")
    }

    fn save_checkpoint(&self, store: &Store) -> Outcome<()> {
        let to = store.last_position();
        if to == Position::START {
            return Ok(());
        }
        self.say(&Said::SavesCheckpoint(to.get()))?;
        match store.save_checkpoint("reader", to) {
            Ok(()) => self.say(&Said::SavedCheckpoint),
            Err(error) => {
                tell(&error);
                self.say(&Said::failed("save_checkpoint", error.kind()))
            }
        }
    }

    fn save_snapshot(&self, store: &Store) -> Outcome<()> {
        let Ok(Some(last)) = store.event_at(store.last_position()) else { return Ok(()) };
        let (stream, version) = (last.stream().to_owned(), last.version().get());
        self.say(&Said::SavesSnapshot { stream: stream.clone(), version })?;
        let data = snapshot_data(&stream, version);
        match store.save_snapshot(&*stream, "state", (Version::new(version), 1), data) {
            Ok(()) => self.say(&Said::SavedSnapshot { stream }),
            Err(error) => {
                tell(&error);
                self.say(&Said::failed("save_snapshot", error.kind()))
            }
        }
    }
}

fn failure(batch: u64, kind: ErrorKind) -> Said {
    match kind {
        ErrorKind::InDoubt => Said::InDoubt { batch },
        kind => Said::Refused { batch, kind: format!("{kind:?}") },
    }
}

/// Only opening again helps.
fn is_poisoned(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::InDoubt | ErrorKind::Poisoned)
}

/// For people who look at one case: the error in full.
fn tell(error: &Error) {
    if std::env::var_os("FACTLOG_TELL").is_some() {
        let _: io::Result<()> = writeln!(io::stderr(), "{error:?}");
    }
}

/// Takes all space but `room`; file systems cannot say exactly how much there is.
fn fill(path: &Path, room: u64) -> Outcome<()> {
    let place = path.parent().unwrap_or(path);
    let space = rustix::fs::statvfs(place).map_err(Trouble::io("how much room is there"))?;
    let file = File::create(path).map_err(Trouble::io("cannot take space"))?;
    let mut size = (space.f_bavail * space.f_frsize).saturating_sub(room);
    while size > 0 {
        let mode = rustix::fs::FallocateFlags::empty();
        match rustix::fs::fallocate(&file, mode, 0, size) {
            Ok(()) => break,
            Err(Errno::NOSPC) => size = size.saturating_sub(64 << 10),
            Err(error) => return Err(Trouble::io("cannot take space")(error)),
        }
    }
    file.sync_all().map_err(Trouble::io("cannot take space durably"))
}

fn remove(path: &Path) -> Outcome<()> {
    std::fs::remove_file(path).map_err(Trouble::io("cannot make room"))?;
    // Freed blocks of some file systems are free only once that is on disk.
    let above = path.parent().unwrap_or(path);
    let above = File::open(above).and_then(|above| above.sync_all());
    above.map_err(Trouble::io("cannot make room durably"))
}
