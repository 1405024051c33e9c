//! What the tests of the built binary share: a store of one's own, and runs of the command over it.
#![allow(dead_code, reason = "every test file uses a part")]
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

/// A directory of one's own, with a place for a store that is not there yet.
pub struct Home(TempDir);

/// What a run of the command left.
#[derive(Debug)]
pub struct Run {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Run {
    /// Standard output as one JSON value.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// One line of the exchange format, with these members beside stream and type.
pub fn line(stream: &str, event_type: &str, members: &str) -> String {
    let comma = if members.is_empty() { "" } else { "," };
    format!(r#"{{"stream":"{stream}","type":"{event_type}"{comma}{members}}}"#)
}

/// The history that is shipped with the project.
pub fn history() -> String {
    let root = env!("CARGO_MANIFEST_DIR");
    format!("{root}/../../examples/data/ripgrep-history.ndjson.gz")
}

/// Sends what Ctrl-C sends.
pub fn interrupt(child: &Child) {
    let id = child.id().to_string();
    assert!(Command::new("kill").args(["-INT", &id]).status().unwrap().success());
}

impl Home {
    pub fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    /// A store of `count` events, in turn in the streams A-1 and B-1.
    pub fn filled(count: u64) -> Self {
        let home = Self::new();
        let lines: Vec<String> = (1..=count)
            .map(|n| {
                let stream = if n % 2 == 1 { "A-1" } else { "B-1" };
                line(stream, "T", &format!(r#""data":{{"n":{n}}}"#))
            })
            .collect();
        let run = home.on(&["append"], &lines.join("\n"));
        assert_eq!(run.code, 0, "{}", run.err);
        home
    }

    /// The store's directory.
    pub fn dir(&self) -> String {
        self.file("store").display().to_string()
    }

    /// A file beside the store.
    pub fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn exists(&self) -> bool {
        self.file("store").exists()
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_factlog"));
        command.args(arguments).env_remove("FACTLOG_DIR").stdin(Stdio::null());
        command
    }

    pub fn run(&self, arguments: &[&str], input: &str) -> Run {
        self.piped(arguments, input.as_bytes())
    }

    fn piped(&self, arguments: &[&str], input: &[u8]) -> Run {
        let mut command = self.command(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let input = input.to_vec();
        let feeder = std::thread::spawn(move || {
            let _ = stdin.write_all(&input); // it may end without reading
        });
        let output = child.wait_with_output().unwrap();
        feeder.join().unwrap();
        Run {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// A run over the store.
    pub fn on(&self, arguments: &[&str], input: &str) -> Run {
        self.with_bytes(arguments, input.as_bytes())
    }

    /// A run over the store with bytes as its input.
    pub fn with_bytes(&self, arguments: &[&str], input: &[u8]) -> Run {
        let dir = self.dir();
        let mut arguments = arguments.to_vec();
        arguments.extend(["--dir", &dir]);
        self.piped(&arguments, input)
    }

    pub fn ok(&self, arguments: &[&str]) -> Run {
        let run = self.run(arguments, "");
        assert_eq!(run.code, 0, "{arguments:?}: {}", run.err);
        run
    }

    /// The lines that a successful run over the store prints.
    pub fn lines(&self, arguments: &[&str]) -> Vec<String> {
        let run = self.on(arguments, "");
        assert_eq!(run.code, 0, "{arguments:?}: {}", run.err);
        run.out.lines().map(str::to_owned).collect()
    }

    /// The same, each line a JSON value.
    pub fn values(&self, arguments: &[&str]) -> Vec<Value> {
        let lines = self.lines(arguments);
        lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// One number of each line.
    pub fn numbers(&self, arguments: &[&str], key: &str) -> Vec<u64> {
        self.values(arguments).iter().map(|value| value[key].as_u64().unwrap()).collect()
    }

    /// Every file of the store with its content.
    /// The lock file is left out: whoever tries to write notes itself there.
    pub fn bytes_of_everything(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let files = std::fs::read_dir(self.file("store")).unwrap().map(|entry| entry.unwrap());
        let files = files.filter(|entry| entry.file_name() != "lock");
        files.map(|entry| (entry.path(), std::fs::read(entry.path()).unwrap())).collect()
    }

    /// The one segment file.
    pub fn segment(&self) -> PathBuf {
        let mut names: Vec<PathBuf> = self.bytes_of_everything().into_keys().collect();
        names.retain(|name| name.extension().is_some_and(|ending| ending == "seg"));
        names.remove(0)
    }

    /// Changes one byte of the data of the first event, or changes it back.
    pub fn flip_a_byte_of_the_first_event(&self) {
        let name = self.segment();
        let mut bytes = std::fs::read(&name).unwrap();
        let at = bytes.windows(3).position(|window| window == b"\"n\"").unwrap();
        bytes[at + 3] ^= 1 << 7;
        std::fs::write(name, bytes).unwrap();
    }
}
