//! A failing case: what was run, where it was cut, what the cut left; as a line that repeats it.

use std::fmt;
use std::str::FromStr;

use factlog::disk::SimDisk;

use super::contract::Broken;

/// What a crash leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Left {
    /// The process died, the power stayed on.
    Kill,
    /// The power went: exactly these pending effects have happened.
    Exact(u64),
    /// The power went: the seed says what became of every sector.
    Cut(u64),
}

/// One crash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Crash {
    /// The operation at which it came, counted from the opening.
    pub at: u64,
    /// How much of that operation's write got into the cache.
    pub bytes: u64,
    pub left: Left,
}

impl Crash {
    /// The disk afterwards, if there was such an operation.
    pub fn of(&self, disk: &SimDisk) -> Option<SimDisk> {
        disk.rewind(self.at, self.bytes).map(|disk| self.left.of(&disk))
    }
}

impl Left {
    /// `disk` is as the kill left it.
    pub fn of(self, disk: &SimDisk) -> SimDisk {
        match self {
            Self::Kill => disk.after_kill(),
            Self::Exact(subset) => disk.after_power_cut_exact(subset),
            Self::Cut(seed) => disk.after_power_cut(seed),
        }
    }

    pub fn is_power_cut(self) -> bool {
        self != Self::Kill
    }
}

/// A program by its seed, the steps of it that are kept, and the crashes one after the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Case {
    pub seed: u64,
    pub steps: Vec<usize>,
    pub crashes: Vec<Crash>,
}

/// A clause that does not hold, and how to see it again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    pub case: Case,
    pub broken: Broken,
    /// How many states were opened before.
    pub after: u64,
}

impl fmt::Display for Left {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kill => write!(f, "kill"),
            Self::Exact(subset) => write!(f, "exact-{subset:b}"),
            Self::Cut(seed) => write!(f, "cut-{seed}"),
        }
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let steps: Vec<String> = self.steps.iter().map(ToString::to_string).collect();
        write!(f, "seed={} steps={}", self.seed, steps.join(","))?;
        for crash in &self.crashes {
            write!(f, " crash={}:{}:{}", crash.at, crash.bytes, crash.left)?;
        }
        Ok(())
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { case, broken, after } = self;
        writeln!(f, "{} is broken, found after {after} states: {}", broken.clause, broken.what)?;
        write!(f, "again: FACTLOG_CASE='{case}'")
    }
}

impl FromStr for Left {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = |_| format!("no number in {text:?}");
        match text.split_once('-') {
            None if text == "kill" => Ok(Self::Kill),
            Some(("exact", bits)) => u64::from_str_radix(bits, 2).map(Self::Exact).map_err(wrong),
            Some(("cut", seed)) => seed.parse().map(Self::Cut).map_err(wrong),
            _ => Err(format!("{text:?} is none of kill, exact-BITS, cut-SEED")),
        }
    }
}

impl FromStr for Case {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |text: &str| text.parse().map_err(|_| format!("{text:?} is no number"));
        let mut case = Self { seed: 0, steps: Vec::new(), crashes: Vec::new() };
        for word in text.split_whitespace() {
            match word.split_once('=') {
                Some(("seed", seed)) => case.seed = number(seed)?,
                Some(("steps", steps)) => {
                    let kept = steps.split(',').filter(|step| !step.is_empty());
                    case.steps =
                        kept.map(|s| number(s).map(|s| s as usize)).collect::<Result<_, _>>()?;
                }
                Some(("crash", crash)) => {
                    let parts: Vec<&str> = crash.split(':').collect();
                    let &[at, bytes, left] = &*parts else {
                        return Err(format!("{crash:?} is not AT:BYTES:LEFT"));
                    };
                    let (at, bytes, left) = (number(at)?, number(bytes)?, left.parse()?);
                    case.crashes.push(Crash { at, bytes, left });
                }
                _ => return Err(format!("{word:?} is none of seed=, steps=, crash=")),
            }
        }
        Ok(case)
    }
}
