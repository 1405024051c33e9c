//! What a new user meets with the command: every page of `transcripts/` is run as written.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod console;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use console::{Place, check, name_of, pages};

/// A namespace of one's own, in which a file system may be mounted without being root.
const UNSHARE: [&str; 3] = ["unshare", "-rm", "--"];

/// A user without any privilege, whoever runs the test.
const NOBODY: [&str; 4] = ["unshare", "-U", "--map-user=1000", "--map-group=1000"];

/// A disk of 1 MiB, with all that a page begins with.
const SMALL_DISK: &str = "mkdir disk && mount -t tmpfs -o size=1m none disk && \
    cp -r sample.ndjson segmented disk && cd disk || exit 9";

fn place(name: &str) -> Place {
    match name {
        "full-disk" | "read-only-mount" => {
            Place { wrapper: UNSHARE.to_vec(), prologue: SMALL_DISK }
        }
        "read-only-directory" => Place { wrapper: NOBODY.to_vec(), prologue: "" },
        _ => Place::default(),
    }
}

/// Whether this machine lets us be in such a place; says loudly when it does not.
fn possible(name: &str, place: &Place) -> bool {
    let Some((program, arguments)) = place.wrapper.split_first() else { return true };
    let mounts = place.prologue.contains("mount");
    let probe = if mounts { "mount -t tmpfs none /mnt" } else { "true" };
    let tried = Command::new(program).args(arguments).args(["sh", "-c", probe]).output();
    let possible = tried.is_ok_and(|tried| tried.status.success());
    if !possible {
        // Not by a macro, which the test harness would keep to itself.
        let text = format!("SKIPPED: {name}.md, because namespaces cannot be made here\n");
        std::io::stderr().write_all(text.as_bytes()).unwrap();
    }
    possible
}

fn transcript(name: &str) {
    let place = place(name);
    let page: PathBuf =
        Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/transcripts/{name}.md"));
    if possible(name, &place) {
        check(&page, &place);
    }
}

/// Each page is a test of its own; this table makes them, and no page is left out.
macro_rules! transcripts {
    ($($test:ident: $page:literal),+ $(,)?) => {
        $(
            #[test]
            fn $test() {
                transcript($page);
            }
        )+

        #[test]
        fn every_page_is_run() {
            let mut run = vec![$($page.to_owned()),+];
            run.sort();
            let there = pages("transcripts");
            let there: Vec<String> = there.iter().map(|page| name_of(page)).collect();
            assert_eq!(there, run);
        }
    };
}

transcripts! {
    healthy: "healthy",
    live_writer: "live-writer",
    torn: "torn",
    damaged: "damaged",
    full_disk: "full-disk",
    read_only_mount: "read-only-mount",
    read_only_directory: "read-only-directory",
}
