//! Layer 1.3: the system calls of a run, as strace lists them.
//!
//! Knows: strace's lines, and how it counts: per thread and per kind of call. Does not know: what
//! is done with a call.

use std::collections::BTreeMap;
use std::path::Path;

use crate::process::{Ended, Launch};
use crate::record::Record;
use crate::trouble::{Outcome, Trouble};

/// The `nth` call of its kind in one thread, as strace counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    pub name: String,
    pub nth: u64,
}

impl Call {
    /// Kills the process when it makes this call; the call itself is not made.
    pub fn kill(&self) -> Vec<String> {
        self.inject("signal=SIGKILL", "")
    }

    /// Something else happens at this call; `more` is `+` for all that follow as well.
    pub fn inject(&self, what: &str, more: &str) -> Vec<String> {
        let Self { name, nth } = self;
        let mut all = quiet(name);
        all.extend(["-e".into(), format!("inject={name}:{what}:when={nth}{more}")]);
        all
    }
}

/// Shows calls of these kinds only, and writes nothing down. Not with `--seccomp-bpf`, which is
/// faster, but then strace 6.1 injects no signal.
pub fn quiet(names: &str) -> Vec<String> {
    let all = ["-o", "/dev/null", "-e"].map(str::to_owned).into_iter();
    all.chain([format!("trace={names}")]).collect()
}

/// Runs the script and lists its calls, in order, from the moment it opens its store.
pub fn list(launch: &Launch, scratch: &Path, record: &mut Record) -> Outcome<(Vec<Call>, Ended)> {
    let file = scratch.join("calls");
    let strace = ["-o".into(), file.display().to_string(), "-e".into(), "trace=all".into()];
    let launch = Launch { strace: strace.into(), ..launch.clone() };
    let ended = launch.run(record)?;
    let text = std::fs::read_to_string(&file).map_err(Trouble::io("cannot read strace's list"))?;
    std::fs::remove_file(&file).map_err(Trouble::io("cannot remove strace's list"))?;
    Ok((parse(&text), ended))
}

fn parse(text: &str) -> Vec<Call> {
    let mut counts: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    let mut calls = Vec::new();
    // What the first thread had done of a kind before it opened the store: to inject into the first
    // such call of another thread would hit that instead.
    let mut startup: BTreeMap<&str, u64> = BTreeMap::new();
    let mut opens = false;
    for line in text.lines() {
        let Some((thread, rest)) = line.split_once(' ') else { continue };
        let Some((name, arguments)) = rest.trim_start().split_once('(') else { continue };
        let is_name = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        if !is_name || name.is_empty() {
            continue; // a signal, an exit, the rest of a call that was interrupted
        }
        let nth = counts.entry((thread, name)).or_default();
        *nth += 1;
        opens |= name == "write" && arguments.starts_with("1, \"opens.");
        if !opens {
            startup.insert(name, *nth);
        } else if *nth > startup.get(name).copied().unwrap_or(0) {
            calls.push(Call { name: name.to_owned(), nth: *nth });
        }
    }
    calls
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_counted_by_thread_and_kind_from_the_opening_on() {
        let text = "7 read(3, \"\", 0) = 0\n7 write(1, \"opens.\\n\", 7) = 7\n\
                    8  read(3, <unfinished ...>\n7 read(4, \"\", 1) = 0\n\
                    8 <... read resumed> \"\", 5) = 0\n8 close(3) = 0\n\
                    7 +++ exited with 0 +++\n";
        let calls = parse(text);
        let told: Vec<_> = calls.iter().map(|call| (&*call.name, call.nth)).collect();
        assert_eq!(told, [("write", 1), ("read", 2), ("close", 1)]);
    }
}
