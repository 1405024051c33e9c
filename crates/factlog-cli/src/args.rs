//! The command line: verbs, and the options that every verb has.
//!
//! Knows: names, help texts, where the store's directory comes from. Does not know: events; each
//! verb's own options stand beside the verb.

use std::path::{Path, PathBuf};

use clap::{Args, ColorChoice, Parser, Subcommand};
use factlog::{Keyring, Options, Store};

use crate::demo::DemoArgs;
use crate::exit::Failure;
use crate::verbs::append::AppendArgs;
use crate::verbs::backup::BackupArgs;
use crate::verbs::bench::BenchArgs;
use crate::verbs::dump::DumpArgs;
use crate::verbs::export::ExportArgs;
use crate::verbs::forget::ForgetArgs;
use crate::verbs::fork::ForkArgs;
use crate::verbs::get::GetArgs;
use crate::verbs::import::ImportArgs;
use crate::verbs::info::InfoArgs;
use crate::verbs::init::InitArgs;
use crate::verbs::keys::{KeysArgs, What as Keys};
use crate::verbs::read::ReadArgs;
use crate::verbs::reclaim::ReclaimArgs;
use crate::verbs::repair::RepairArgs;
use crate::verbs::restore::RestoreArgs;
use crate::verbs::salvage::SalvageArgs;
use crate::verbs::shell::{CompletionsArgs, ManArgs};
use crate::verbs::stats::{StatsArgs, TypesArgs};
use crate::verbs::stream::StreamArgs;
use crate::verbs::streams::StreamsArgs;
use crate::verbs::subs::SubsArgs;
use crate::verbs::tail::TailArgs;
use crate::verbs::trim::TrimArgs;
use crate::verbs::verify::VerifyArgs;

/// The environment variable that names the store's directory when `--dir` does not.
pub const DIR_VARIABLE: &str = "FACTLOG_DIR";

const LONG_ABOUT: &str = "\
Look into, follow, import, export and verify factlog stores: append-only, crash-safe event stores
in a directory. Without a verb it runs a guided demo in a temporary directory.

Data go to standard output, progress and messages to standard error. Reading verbs never write and
work while another process is writing.";

const AFTER: &str = "\
The exchange format (append, read, tail, import, export) is one JSON object a line:
  stream, type, id, time, data | data_base64, metadata | metadata_base64, tags, schema_version,
  subject
and on the way out also version, position and recorded_at; in the place of data that cannot be had,
forgotten (true) or unreadable (why); in_clear (true) where data of a subject is not encrypted.
JSON is kept byte for byte.

Exit codes:
  0 ok               4 not found                 7 forget left data in the clear
  1 unexpected       5 locked                   10 torn tail, or repairable
  2 usage            6 import refused lines     11 corruption
  3 conflict       130 interrupted              12 incompatible format

Examples:
  factlog append Order-42 --type OrderPlaced --data '{\"total\":42}' --dir shop
  factlog read Order-42 --dir shop
  factlog tail -f --dir shop
  FACTLOG_DIR=shop factlog export | gzip > shop.ndjson.gz
  factlog import shop.ndjson.gz --dir copy";

/// What was asked for.
#[derive(Debug, Parser)]
#[command(name = "factlog", version, long_about = LONG_ABOUT)]
#[command(about = "Look into, follow, import, export and verify factlog stores")]
#[command(after_help = AFTER, color = ColorChoice::Auto)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub verb: Option<Verb>,
}

/// When to use colour.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Colour {
    /// On a terminal, unless NO_COLOR is set.
    #[default]
    Auto,
    Always,
    Never,
}

/// Options of every verb, before or after it.
#[derive(Debug, Default, Args)]
pub struct Global {
    /// The store's directory [or in the environment: FACTLOG_DIR]
    #[arg(long, global = true, value_name = "DIR", help_heading = "Everywhere")]
    pub dir: Option<PathBuf>,
    /// In a salvaged store, step over positions that were lost
    #[arg(long, global = true, help_heading = "Everywhere")]
    pub accept_lost: bool,
    /// Where the keys of subjects are, if not beside the log
    #[arg(long, global = true, value_name = "DIR", help_heading = "Everywhere")]
    pub keyring: Option<PathBuf>,
    /// No progress and no messages, except errors
    #[arg(long, short, global = true, help_heading = "Everywhere")]
    pub quiet: bool,
    /// Also say what opening the store found, and how long it took
    #[arg(long, short, global = true, help_heading = "Everywhere", conflicts_with = "quiet")]
    pub verbose: bool,
    /// Colour in tables
    #[arg(long, global = true, value_enum, default_value_t, help_heading = "Everywhere")]
    pub color: Colour,
}

impl Global {
    /// The store's directory.
    ///
    /// # Errors
    /// Usage, when neither the option nor the environment names one.
    pub fn dir(&self) -> Result<PathBuf, Failure> {
        self.dir_or(std::env::var_os(DIR_VARIABLE).map(PathBuf::from))
    }

    /// How the store is opened.
    pub fn options(&self) -> Options {
        let options = Store::options().accept_lost(self.accept_lost);
        match &self.keyring {
            Some(directory) => options.keyring(Keyring::in_directory(directory)),
            None => options,
        }
    }

    /// That the keyring which was named is there; what makes one need not ask.
    ///
    /// # Errors
    /// Not found.
    pub fn keyring_must_exist(&self) -> Result<(), Failure> {
        match &self.keyring {
            Some(directory) if !directory.join("keyring").is_file() => {
                let directory = directory.display();
                Err(Failure::NotFound(format!(
                    "there is no keyring in {directory}; `factlog init --keyring {directory}` \
                     makes one, `factlog keys import` takes keys in"
                )))
            }
            _ => Ok(()),
        }
    }

    fn dir_or(&self, environment: Option<PathBuf>) -> Result<PathBuf, Failure> {
        let named = |dir: &Path| !dir.as_os_str().is_empty();
        let dir = self.dir.clone().or(environment).filter(|dir| named(dir));
        dir.ok_or_else(|| {
            Failure::Usage(format!("which store? Give --dir DIR, or set {DIR_VARIABLE}"))
        })
    }
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// See it work: a guided demo in a temporary directory, with this disk's own figures
    Demo(DemoArgs),
    /// Make an empty store
    Init(InitArgs),
    /// Append one event, or one for each line of standard input
    Append(AppendArgs),
    /// Print the events of a stream, a category or the whole store
    Read(ReadArgs),
    /// Print the newest events, and follow with -f
    Tail(TailArgs),
    /// Print one event, by position, id, or stream and version
    Get(GetArgs),
    /// List streams, or categories
    Streams(StreamsArgs),
    /// The life of one stream: show, delete, tombstone, retain
    Stream(StreamArgs),
    /// Give back the disk space of events that their streams hide
    Reclaim(ReclaimArgs),
    /// List event types with their counts
    Types(TypesArgs),
    /// What there is most of: streams, categories and types, by events or bytes
    Stats(StatsArgs),
    /// Durable subscribers: how far they are; set one back or forward, or remove it
    Subs(SubsArgs),
    /// Forget a subject: destroy the keys of its data, for ever
    Forget(ForgetArgs),
    /// Keys of subjects: list them, take them out, take them in
    Keys(KeysArgs),
    /// One screen about a store
    Info(InfoArgs),
    /// Store the events of an NDJSON file (also gzip) or of standard input
    Import(ImportArgs),
    /// Print every event in the order of positions, ready to be imported again
    Export(ExportArgs),
    /// Remove old segments: by age, size, number or position; says first what would go
    Trim(TrimArgs),
    /// Check every byte of a store; writes nothing
    Verify(VerifyArgs),
    /// Show a file of a store piece by piece, also a damaged one
    Dump(DumpArgs),
    /// Put a store in order where nothing is lost by it; a dry run unless told otherwise
    Repair(RepairArgs),
    /// Make a new store of everything that checks in a damaged one, and list what does not
    Salvage(SalvageArgs),
    /// Measure this disk, and a store on it
    Bench(BenchArgs),
    /// Copy a store, also beside its writer; later runs copy what is new
    Backup(BackupArgs),
    /// Make a store from a backup, to its end, a position or a time
    Restore(RestoreArgs),
    /// Make a store that begins as this one, up to a position, and shares its files
    Fork(ForkArgs),
    /// Print what completes this command line in a shell
    Completions(CompletionsArgs),
    /// Print the manual
    Man(ManArgs),
}

impl Verb {
    /// Whether it may find no keyring where one is named, and make it.
    pub fn makes_keyring(&self) -> bool {
        let imports = |keys: &KeysArgs| matches!(keys.what, Keys::Import { .. });
        matches!(self, Self::Init(_) | Self::Restore(_))
            || matches!(self, Self::Keys(keys) if imports(keys))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_directory_is_named_before_or_after_the_verb() {
        for line in [["factlog", "--dir", "d", "info"], ["factlog", "info", "--dir", "d"]] {
            let cli = Cli::try_parse_from(line).unwrap();
            assert_eq!(cli.global.dir, Some(PathBuf::from("d")), "{line:?}");
        }
    }

    #[test]
    fn the_option_counts_over_the_environment_and_nothing_is_usage() {
        let given = Global { dir: Some("a".into()), ..Global::default() };
        assert_eq!(given.dir_or(Some("b".into())).unwrap(), PathBuf::from("a"));
        assert_eq!(Global::default().dir_or(Some("b".into())).unwrap(), PathBuf::from("b"));
        for nothing in [None, Some(PathBuf::new())] {
            assert!(matches!(Global::default().dir_or(nothing), Err(Failure::Usage(_))));
        }
    }

    /// What a verb prints for programs is a contract; `tests/contracts.rs` compares.
    #[test]
    fn every_verb_with_json_has_a_contract() {
        fn without(command: &clap::Command, name: &str, left: &mut Vec<String>) {
            let pages = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/contracts");
            let json = command.get_arguments().any(|arg| arg.get_long() == Some("json"));
            if json && !pages.join(format!("{name}.md")).exists() {
                left.push(name.to_owned());
            }
            for verb in command.get_subcommands() {
                let dash = if name.is_empty() { "" } else { "-" };
                without(verb, &format!("{name}{dash}{}", verb.get_name()), left);
            }
        }
        let mut left = Vec::new();
        without(&Cli::command(), "", &mut left);
        assert_eq!(left, Vec::<String>::new(), "run them in a page, and name them in docs/CLI.md");
    }

    #[test]
    fn no_verb_takes_a_positional_directory() {
        assert!(Cli::try_parse_from(["factlog", "info", "some-dir"]).is_err());
        assert!(Cli::try_parse_from(["factlog", "verify", "some-dir"]).is_err());
        assert!(Cli::try_parse_from(["factlog", "export", "some-dir"]).is_err());
    }
}
