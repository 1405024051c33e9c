//! The `factlog` command: look into, follow, import, export and verify factlog stores.
//!
//! Knows: which verb was asked for and how the process ends. Does not know: what a verb does
//! (`verbs/`), what a line looks like (`exchange`), which code an error has (`exit`).

mod args;
mod demo;
mod exchange;
mod exit;
mod interrupt;
mod lines;
mod output;
mod progress;
mod select;
mod times;
mod verbs;
mod view;

use std::process::ExitCode;

use clap::{CommandFactory, Parser};

use args::{Cli, Verb};
use exit::Failure;

fn main() -> ExitCode {
    if let Some(writer) = demo::writer::asked_for() {
        interrupt::arm();
        return exit::end(demo::writer::run(&writer));
    }
    let cli = Cli::parse();
    interrupt::arm();
    exit::end(run(&cli))
}

fn run(cli: &Cli) -> Result<(), Failure> {
    let global = &cli.global;
    let Some(verb) = &cli.verb else { return demo::run(global, &demo::DemoArgs::default()) };
    if !verb.makes_keyring() {
        global.keyring_must_exist()?;
    }
    match verb {
        Verb::Demo(args) => demo::run(global, args),
        Verb::Init(args) => verbs::init::run(global, args),
        Verb::Append(args) => verbs::append::run(global, args),
        Verb::Read(args) => verbs::read::run(global, args),
        Verb::Tail(args) => verbs::tail::run(global, args),
        Verb::Get(args) => verbs::get::run(global, args),
        Verb::Types(args) => verbs::stats::types(global, args),
        Verb::Stats(args) => verbs::stats::run(global, args),
        Verb::Subs(args) => verbs::subs::run(global, args),
        Verb::Forget(args) => verbs::forget::run(global, args),
        Verb::Keys(args) => verbs::keys::run(global, args),
        Verb::Streams(args) => verbs::streams::run(global, args),
        Verb::Reclaim(args) => verbs::reclaim::run(global, args),
        Verb::Stream(args) => verbs::stream::run(global, args),
        Verb::Info(args) => verbs::info::run(global, args),
        Verb::Import(args) => verbs::import::run(global, args),
        Verb::Export(args) => verbs::export::run(global, args),
        Verb::Dump(args) => verbs::dump::run(global, args),
        Verb::Repair(args) => verbs::repair::run(global, args),
        Verb::Salvage(args) => verbs::salvage::run(global, args),
        Verb::Bench(args) => verbs::bench::run(global, args),
        Verb::Trim(args) => verbs::trim::run(global, args),
        Verb::Verify(args) => verbs::verify::run(global, args),
        Verb::Backup(args) => verbs::backup::run(global, args),
        Verb::Restore(args) => verbs::restore::run(global, args),
        Verb::Fork(args) => verbs::fork::run(global, args),
        Verb::Completions(args) => verbs::shell::completions(global, args, Cli::command()),
        Verb::Man(args) => verbs::shell::man(global, args, Cli::command()),
    }
}
