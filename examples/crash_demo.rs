//! A process that is killed in the middle of its work, and what the next one finds: everything that
//! was answered, and nothing twice. The kill is real: this program runs itself and kills it.
#![allow(clippy::print_stdout, reason = "an example")]

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use factlog::{Event, Model, Scope, Store};
use serde::{Deserialize, Serialize};

#[derive(Clone, Event, Serialize, Deserialize)]
enum Counter {
    Counted { n: u64 },
}

#[derive(Default)]
struct Count {
    last: u64,
}

impl Model for Count {
    type Event = Counter;

    fn scope(&self) -> Scope {
        Scope::stream("Counter", 1)
    }

    fn apply(&mut self, Counter::Counted { n }: Counter) {
        assert_eq!(n, self.last + 1, "each number once, in order");
        self.last = n;
    }
}

/// Counts until it is killed; says each number when it is on disk.
fn count_on(dir: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let store = Store::open(dir)?;
    loop {
        let decided = store.decide(Count::default(), |count| {
            Ok::<_, String>([Counter::Counted { n: count.last + 1 }])
        })?;
        println!("{}", decided.state.last + 1);
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    if let Some(dir) = std::env::args().nth(1) {
        return count_on(Path::new(&dir));
    }
    let dir = tempfile::tempdir()?;
    let mut acknowledged = 0;
    for round in 1..=3 {
        let program = std::env::current_exe()?;
        let mut child = Command::new(program).arg(dir.path()).stdout(Stdio::piped()).spawn()?;
        let output = child.stdout.take().ok_or("the child has no output")?;
        for line in BufReader::new(output).lines().take(200) {
            acknowledged = line?.parse()?;
        }
        child.kill()?;
        child.wait()?;
        let store = Store::open(dir.path())?;
        let stored = store.load(Count::default())?.last;
        let clean = store.open_report().clean;
        println!("round {round}: {acknowledged} answered, {stored} stored, closed clean: {clean}");
        assert!(stored >= acknowledged, "nothing that was answered is lost");
    }
    Ok(())
}
