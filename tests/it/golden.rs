//! Golden stores: what today's code writes, byte for byte, and what it reads out of them.
//!
//! `tests/fixtures/NAME.hex` holds the files of a store as text, `NAME.ndjson` the answers. While
//! the format version is 0 they are made anew on purpose, when bytes are meant to change, by
//! `FACTLOG_GOLDEN=write cargo test -p factlog --test it golden`
//! and from version 1 on they are kept for ever. Sidecars and the heads file are left out: they are
//! keyed by chance, can be deleted at any time, and are no part of the format.

use std::fmt::Write;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use factlog::disk::SimDisk;
use factlog::{
    ContentType, ErrorKind, EventRef, Expect, HiddenReason, Keyring, NewEvent, Position, Query,
    RecordedEvent, Result, Retention, Store, StreamState, Trim, Uuid, Version,
};
use serde_json::{Value, json};

use crate::rig::{data, event, options, read_only};

const STORE: Uuid = Uuid::from_u128(0xFAC7_1060_0000_4000_8000_0000_0000_0001);
const FORK: Uuid = Uuid::from_u128(0xFAC7_1060_0000_4000_8000_0000_0000_0002);
const NAMES: [&str; 14] = [
    "plain",
    "segments",
    "trimmed",
    "frames",
    "saved",
    "lives",
    "subjects",
    "torn",
    "damaged",
    "recovered",
    "forked",
    "backup",
    "rewritten",
    "salvaged",
];
/// Keys and nonces are made by chance: this one is written otherwise every time, and read alike.
const BY_CHANCE: &str = "subjects";

fn crc(start: u32, bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(start);
    hasher.update(bytes);
    hasher.finalize()
}

/// A directory whose store has its name already: a store is given one by chance.
fn named() -> SimDisk {
    let disk = SimDisk::new(1);
    name(&disk, STORE, 0);
    disk
}

/// The head that whoever makes a store writes first; one that is forked or restored has a flag.
fn name(disk: &SimDisk, store: Uuid, flags: u32) {
    let mut head = b"FACTHEAD".to_vec();
    head.extend([0, 0, 1, 0]);
    head.extend(flags.to_le_bytes());
    head.extend(store.as_bytes());
    head.extend(1_u64.to_le_bytes());
    head.extend([0; 8]);
    head.extend([1_u64, 0, 0, 0].into_iter().flat_map(u64::to_le_bytes));
    head.extend(crc(0, &head).to_le_bytes());
    disk.write_file("head-1", head);
}

fn open(disk: &SimDisk) -> Result<Store> {
    options().open_on(Arc::new(disk.clone()))
}

fn segment(number: u64) -> String {
    format!("{number:020}.seg")
}

/// Every kind of field an event has, and what may be empty, empty.
fn rich(store: &Store) {
    let full = event(1, 20).causation("cause-1").subject("person-7").schema_version(3);
    let bare = NewEvent::binary("Ä", "").id(Uuid::from_u128(0xBA2E));
    let bytes: Vec<u8> = (0..=255).collect();
    let binary = NewEvent::binary("Scanned", bytes).id(Uuid::from_u128(0xB17E));
    let binary = binary.tags(["größe", "b"]).metadata(r#"{"k":[1,2.50,"\u00e9"]}"#);
    store.append("Order-1", Expect::NoStream, [full, binary]).unwrap();
    store.append("ohne Kategorie", Expect::NoStream, [bare]).unwrap();
    let batch = store.batch().append("Order-1", Expect::Version(Version::new(2)), [event(2, 3)]);
    batch.append("Cart-ü-2", Expect::NoStream, [event(3, 3), event(4, 0)]).commit().unwrap();
}

/// Encrypted events, one of them forgotten, and one of the same subject later.
fn forgetting(store: &Store) {
    rich(store);
    let of = |n, subject| event(n, 3).subject(subject);
    store.append("Order-1", Expect::Any, [of(5, "person-8"), of(6, "person-9")]).unwrap();
    store.forget("person-8").unwrap();
    store.append("Order-1", Expect::Any, [of(7, "person-8")]).unwrap();
}

/// Every kind of settings that a stream can have.
fn lives(store: &Store) {
    rich(store);
    store.append("Order-1", Expect::Any, [event(5, 1)]).unwrap();
    store.delete_stream("Cart-ü-2", Expect::Version(Version::new(2))).unwrap();
    store.tombstone_stream("Never-1", Expect::NoStream).unwrap();
    let bounds = Retention::default().truncate_before(Version::new(2)).keep_last(3);
    store.retain("Order-1", bounds.max_age(Duration::from_secs(3_600))).unwrap();
    let batch = store.batch().append("Gone-1", Expect::NoStream, [event(6, 1)]);
    batch.tombstone("Gone-1", Expect::Any).checkpoint("c", Position::new(5)).commit().unwrap();
}

/// Twice, so that the second base has what is in the first.
fn trim_twice(store: &Store) {
    rich(store);
    let carrying = store.batch().append("Big-1", Expect::Any, [event(5, 4_000)]);
    carrying.checkpoint("carried", Position::new(4)).commit().unwrap();
    for number in 6..18 {
        let stream = format!("Big-{}", number % 2);
        store.append(stream, Expect::Any, [event(number, 4_000)]).unwrap();
    }
    for position in [10, 15] {
        let trim = Trim::before(Position::new(position)).past_checkpoints();
        assert!(store.trim(trim).unwrap().segments > 0);
    }
}

/// Writes the store of that name.
fn made(what: &str) -> SimDisk {
    let disk = named();
    let store = match what {
        BY_CHANCE => options().keyring(Keyring::beside()).open_on(Arc::new(disk.clone())),
        _ => open(&disk),
    };
    let store = store.unwrap();
    match what {
        "segments" | "rewritten" | "forked" | "backup" => {
            for number in 0..7 {
                let stream = format!("Big-{}", number % 2);
                let large = vec![number; 3_500];
                let large = NewEvent::binary("Filled", large).id(Uuid::from_u128(number.into()));
                store.append(stream, Expect::Any, [large.tag("large")]).unwrap();
            }
            assert!(store.stats().segments >= 3);
            if what == "rewritten" {
                reclaim(&store);
            }
        }
        "trimmed" => trim_twice(&store),
        "frames" => {
            let large = |n: u8| {
                let data = vec![n; 700_000];
                NewEvent::binary("Filled", data).id(Uuid::from_u128(n.into()))
            };
            store.append("Huge-1", Expect::Any, [large(1), large(2), large(3)]).unwrap();
        }
        "saved" => {
            rich(&store);
            store
                .batch()
                .append("Order-1", Expect::Any, [event(5, 1)])
                .checkpoint("carried", Position::new(4))
                .commit()
                .unwrap();
            store.save_checkpoint("mail", Position::new(2)).unwrap();
            store.save_checkpoint("mail", Position::new(5)).unwrap();
            store.reset_checkpoint("carried", Position::new(1)).unwrap();
            store.batch().checkpoint("gone", Position::new(2)).commit().unwrap();
            assert!(store.remove_checkpoint("gone").unwrap());
            store.save_checkpoint("gone too", Position::new(2)).unwrap();
            assert!(store.remove_checkpoint("gone too").unwrap());
            for version in [1, 3] {
                let given = (Version::new(version), 2);
                store.save_snapshot("Order-1", "state", given, data(version, 9)).unwrap();
            }
        }
        BY_CHANCE => forgetting(&store),
        "lives" => lives(&store),
        _ => rich(&store),
    }
    match what {
        "torn" | "recovered" => tear(&disk, store),
        "forked" | "backup" => return made_from(&disk, &store, what),
        _ => store.close().unwrap(),
    }
    if what == "recovered" {
        open(&disk).unwrap().close().unwrap();
    }
    if what == "damaged" || what == "salvaged" {
        disk.flip_bit(&segment(1), 4096 + 144 + 200, 3);
    }
    if what == "salvaged" { salvaged(disk) } else { disk }
}

/// What checks of a damaged store.
fn salvaged(damaged: SimDisk) -> SimDisk {
    let to = SimDisk::new(2);
    let salvage = options().salvage_on(Arc::new(damaged), Arc::new(to.clone()), &mut |_, _| ());
    assert!(salvage.unwrap().lost() > 0);
    to
}

/// A store or a copy that begins with the segments of another.
fn made_from(disk: &SimDisk, store: &Store, what: &str) -> SimDisk {
    store.save_checkpoint("mail", Position::new(3)).unwrap();
    store.save_snapshot("Big-0", "state", (Version::new(1), 2), data(1, 9)).unwrap();
    let to = disk.directory(what);
    if what == "backup" {
        crate::branches::backup(store, &to).unwrap();
        return to;
    }
    name(&to, FORK, 2);
    crate::branches::fork(store, 5, &to).unwrap();
    let fork = open(&to).unwrap();
    fork.append("Big-1", Expect::Any, [event(1, 20)]).unwrap();
    fork.close().unwrap();
    to
}

/// The first segment twice, for another reason each time; two more once.
fn reclaim(store: &Store) {
    let first = |event: &EventRef<'_>| event.position() == Position::new(1);
    store.reclaim_where(|event| first(event).then_some(HiddenReason::Truncated)).unwrap();
    let others =
        [(2, HiddenReason::BeyondKeepLast), (3, HiddenReason::Expired), (5, HiddenReason::Deleted)];
    let report = store.reclaim_where(|event| {
        let found = others.iter().find(|(position, _)| event.position().get() == *position);
        found.map(|(_, why)| *why)
    });
    let numbers: Vec<u32> = report.unwrap().rewritten.iter().map(|one| one.rewrite).collect();
    assert_eq!(numbers, [2, 1, 1]);
}

/// One more batch, of whose bytes only a part got to the disk, and nothing that says more.
fn tear(disk: &SimDisk, store: Store) {
    let before = disk.copy();
    store.append("Order-1", Expect::Any, [event(6, 300)]).unwrap();
    let mut bytes = disk.read_file(&segment(1)).unwrap();
    drop(store);
    let used = before.read_file(&segment(1)).unwrap().iter().rposition(|byte| *byte != 0).unwrap();
    bytes[used + 250..].fill(0);
    for name in before.file_names() {
        disk.write_file(&name, before.read_file(&name).unwrap());
    }
    disk.write_file(&segment(1), bytes);
}

fn is_golden(name: &str) -> bool {
    name != "lock" && name != "heads" && !name.ends_with(".idx")
}

/// The files as text: 32 bytes to a line, lines of zeros left out, repeated ones counted.
fn dump(disk: &SimDisk) -> String {
    let mut text = String::new();
    for name in disk.file_names().into_iter().filter(|name| is_golden(name)) {
        let bytes = disk.read_file(&name).unwrap();
        writeln!(text, "file {name} {}", bytes.len()).unwrap();
        let lines: Vec<&[u8]> = bytes.chunks(32).collect();
        let mut at = 0;
        for same in lines.chunk_by(|a, b| a == b) {
            if same[0].iter().any(|byte| *byte != 0) {
                let hex: String = same[0].iter().map(|byte| format!("{byte:02x}")).collect();
                writeln!(text, "{at:08x} {hex} {}", same.len()).unwrap();
            }
            at += 32 * same.len();
        }
    }
    text
}

/// The directory that [`dump`] wrote down.
fn load(text: &str) -> SimDisk {
    let disk = SimDisk::new(1);
    let mut files: Vec<(&str, Vec<u8>)> = Vec::new();
    let number = |digits: &str| usize::from_str_radix(digits, 16).unwrap();
    for line in text.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        if words[0] == "file" {
            files.push((words[1], vec![0; words[2].parse().unwrap()]));
            continue;
        }
        let hex = words[1].as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).unwrap());
        let bytes: Vec<u8> = hex.map(|pair| number(pair) as u8).collect();
        let bytes = bytes.repeat(words[2].parse().unwrap());
        let at = number(words[0]);
        files.last_mut().unwrap().1[at..at + bytes.len()].copy_from_slice(&bytes);
    }
    for (name, bytes) in files {
        disk.write_file(name, bytes);
    }
    disk
}

/// Bytes that a page of answers can hold; the large ones by their checksum.
fn shown(bytes: &[u8]) -> Value {
    match std::str::from_utf8(bytes) {
        _ if bytes.len() > 300 => json!({ "bytes": bytes.len(), "crc": crc(0, bytes) }),
        Ok(text) if !text.contains('\0') => json!(text),
        _ => json!({ "hex": bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>() }),
    }
}

fn line_of(event: &RecordedEvent) -> Value {
    let mut line = told(event);
    if let Err(error) = event.readable() {
        line["readable"] = json!(format!("{:?}", error.kind()));
    }
    line
}

fn told(event: &RecordedEvent) -> Value {
    json!({
        "position": event.position().get(),
        "version": event.version().get(),
        "stream": event.stream(),
        "category": event.category(),
        "type": event.event_type(),
        "id": event.id().to_string(),
        "recorded_at": event.recorded_at().micros(),
        "tags": event.tags().collect::<Vec<_>>(),
        "subject": event.subject(),
        "schema_version": event.schema_version(),
        "correlation": event.correlation(),
        "causation": event.causation(),
        "json": event.content_type() == ContentType::Json,
        "metadata": shown(event.metadata()),
        "data": shown(event.data()),
    })
}

fn refused(error: &factlog::Error) -> Value {
    json!({
        "error": format!("{:?}", error.kind()),
        "file": error.file(),
        "offset": error.offset(),
        "position": error.position().map(Position::get),
    })
}

/// Everything that can be asked of a store, a line to an answer.
fn answers(store: &Store) -> Vec<Value> {
    let mut lines = Vec::new();
    let report = store.open_report();
    lines.push(json!({
        "verdict": report.verdict,
        "clean": report.clean,
        "last_position": store.last_position().get(),
        "damage": report.damage.iter().map(|d| json!([d.file, d.offset, d.what]))
            .collect::<Vec<_>>(),
        "set_aside": report.set_aside.iter().map(|s| json!([s.file, s.offset, s.bytes, s.kept_in]))
            .collect::<Vec<_>>(),
    }));
    for event in store.read_all() {
        lines.push(event.as_ref().map_or_else(refused, line_of));
    }
    for position in 1..=store.last_position().get() {
        if let Err(error) = store.event_at(Position::new(position))
            && error.kind() == ErrorKind::Deleted
        {
            let id = error.event_id().map(|id| id.to_string());
            let version = error.version().map(Version::get);
            lines.push(json!({ "position": position, "stream": error.stream(), "id": id,
                "version": version, "error": error.to_string() }));
        }
    }
    let positions = |read: factlog::Read| {
        let read = read.into_iter().map(|event| event.map(|event| event.position().get()));
        read.map(|found| found.map_or_else(|e| refused(&e), |found| json!(found)))
            .collect::<Vec<_>>()
    };
    for info in store.streams("").unwrap() {
        let name = info.name.as_str();
        let head = (info.version.get(), info.last_position.get());
        if !matches!(info.state, StreamState::Live(_))
            || store.retention(name).unwrap() != Retention::default()
        {
            let retention = format!("{:?}", store.retention(name).unwrap());
            let state = format!("{:?}", info.state);
            lines.push(json!({ "stream": name, "state": state, "retention": retention }));
        }
        let (found, backward) = (store.read_stream(name), store.read_stream(name).backward());
        lines.push(json!({ "stream": name, "head": head, "events": positions(found),
            "backward": positions(backward) }));
        if let Some(state) = store.snapshot(name, "state").unwrap() {
            let (version, schema) = (state.version.get(), state.schema_version);
            lines.push(json!({ "snapshot": name, "version": version, "schema_version": schema,
                "data": shown(&state.data) }));
        }
    }
    for info in store.categories("").unwrap() {
        let found = positions(store.read_category(&info.name));
        lines.push(json!({ "category": info.name, "events": found }));
    }
    for query in
        [Query::types(["Paid", "Scanned"]), Query::tags(["b"]), Query::correlation("flow-1")]
    {
        lines
            .push(json!({ "query": format!("{query:?}"), "events": positions(store.read(query)) }));
    }
    match store.checkpoints() {
        Err(error) => lines.push(refused(&error)),
        Ok(all) => lines
            .extend(all.into_iter().map(
                |saved| json!({ "checkpoint": saved.name, "position": saved.position.get() }),
            )),
    }
    lines
}

/// The answers to one who only reads, and then to one who opens the store for writing.
fn page(disk: &SimDisk) -> String {
    let mut text = String::new();
    for (how, store) in [("read", read_only(disk)), ("write", open(disk))] {
        let lines = match store {
            Ok(store) => answers(&store),
            Err(error) => vec![refused(&error)],
        };
        writeln!(text, "{}", json!({ "opened_to": how })).unwrap();
        lines.iter().for_each(|line| writeln!(text, "{line}").unwrap());
    }
    text
}

fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

fn rewrites() -> bool {
    std::env::var_os("FACTLOG_GOLDEN").is_some_and(|what| what == "write")
}

/// Compares with the fixture, or writes it when asked to.
fn compare(name: &str, found: &str) {
    if rewrites() {
        fs::create_dir_all(fixture("")).unwrap();
        fs::write(fixture(name), found).unwrap();
    }
    let wanted = fs::read_to_string(fixture(name)).unwrap();
    let differs = wanted.lines().zip(found.lines()).position(|(wanted, found)| wanted != found);
    let at = differs.unwrap_or(wanted.lines().count().min(found.lines().count()));
    let line = |text: &str| text.lines().nth(at).unwrap_or("(nothing)").to_owned();
    assert!(
        wanted == found,
        "tests/fixtures/{name}, line {}:\n{}\nwas expected, and this found:\n{}\n\
         If bytes were meant to change: \
         FACTLOG_GOLDEN=write cargo test -p factlog --test it golden",
        at + 1,
        line(&wanted),
        line(found),
    );
}

#[test]
fn golden_stores_are_written_byte_for_byte() {
    for name in NAMES {
        // These two are made by chance: keys, nonces, and the name of what was salvaged.
        if (name != "salvaged" && name != BY_CHANCE) || rewrites() {
            compare(&format!("{name}.hex"), &dump(&made(name)));
        }
    }
}

#[test]
fn golden_stores_are_read_as_ever() {
    for name in NAMES {
        let text = match rewrites() && name != BY_CHANCE {
            true => dump(&made(name)),
            false => fs::read_to_string(fixture(&format!("{name}.hex"))).unwrap(),
        };
        compare(&format!("{name}.ndjson"), &page(&load(&text)));
    }
}

/// The independent verifier judges them as this code does.
#[test]
fn golden_stores_are_judged_alike() {
    for name in NAMES {
        let code = crate::verifier::judged(written(&made(name)).path());
        let wanted = match name {
            "torn" => 10,
            "damaged" => 11,
            _ => 0,
        };
        assert!(code.is_none_or(|code| code == wanted), "{name}: {code:?}");
    }
}

fn written(disk: &SimDisk) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for file in disk.file_names() {
        fs::write(dir.path().join(&file), disk.read_file(&file).unwrap()).unwrap();
    }
    dir
}

/// Found by fuzzing's round trips: the page about the format did not say that numbers from 2^62 on
/// do not check, so that the verifier took a mark's word that this code ignored.
#[test]
fn numbers_too_large_do_not_check_for_anybody() {
    let golden = made("saved");
    let places = [("head-0", 39), ("head-1", 39), ("head-1", 63), ("head-1", 71)];
    let marks = [31, 39, 47, 55, 63].map(|at| ("live", at));
    for (name, place) in places.into_iter().chain(marks) {
        let disk = golden.copy();
        let mut bytes = disk.read_file(name).unwrap();
        for slot in [0, 4096].into_iter().take(if name == "live" { 2 } else { 1 }) {
            bytes[slot + place] |= 0x40;
            let end = if name == "live" { slot + 68 } else { bytes.len() };
            seal(&mut bytes[slot..end]);
        }
        disk.write_file(name, bytes);
        // It asserts that both judge alike.
        let _ = crate::verifier::judged(written(&disk).path());
    }
}

/// Makes the checksum in the last four bytes of a range true.
fn seal(bytes: &mut [u8]) {
    let (body, sum) = bytes.split_last_chunk_mut::<4>().unwrap();
    *sum = crc(0, body).to_le_bytes();
}

fn refuses(disk: &SimDisk, what: &str) {
    for (how, opened) in [("read", read_only(&disk.copy())), ("write", open(&disk.copy()))] {
        let kind = opened.err().map(|error| error.kind());
        assert_eq!(kind, Some(ErrorKind::Unsupported), "{what}, opened to {how}");
    }
}

/// Every place that says "newer than you": the store is refused, and never called damaged.
#[test]
fn what_a_newer_version_wrote_is_unsupported() {
    let golden = made("plain");
    for (place, what) in [
        (8, "format version"),
        (9, "format version"),
        (10, "id scope"),
        (11, "zero"),
        (12, "flags"),
        (15, "flags"),
        (72, "base"),
        (79, "base"),
    ] {
        for name in ["head-0", "head-1"] {
            let disk = golden.copy();
            let mut bytes = disk.read_file(name).unwrap();
            bytes[place] |= 0x40;
            seal(&mut bytes);
            disk.write_file(name, bytes);
            refuses(&disk, &format!("{what} at {place} of {name}"));
        }
    }
    for (place, what) in [
        (8, "format version"),
        (9, "format version"),
        (10, "checksum algorithm"),
        (11, "id scope"),
        (12, "flags"),
        (15, "flags"),
    ] {
        let disk = golden.copy();
        let mut bytes = disk.read_file(&segment(1)).unwrap();
        bytes[place] |= 0x40;
        seal(&mut bytes[..4096]);
        disk.write_file(&segment(1), bytes);
        refuses(&disk, &format!("{what} at {place} of a segment"));
    }
}

/// Where the last frame of the segment begins, and its header.
fn last_frame(bytes: &[u8]) -> usize {
    let mut at = 4096;
    loop {
        let length = u32::from_le_bytes(bytes[at + 4..at + 8].try_into().unwrap()) as usize;
        if bytes.get(at + length..at + length + 4) != Some(b"FLFR") {
            return at;
        }
        at += length;
    }
}

#[test]
fn frames_and_records_of_a_newer_version_are_unsupported() {
    let seed = crc(crc(0, STORE.as_bytes()), &1_u64.to_le_bytes());
    let disk = named();
    let store = open(&disk).unwrap();
    rich(&store);
    let bytes = disk.read_file(&segment(1)).unwrap();
    let left = disk.after_kill();
    drop(store);
    let at = last_frame(&bytes);
    let changed = |record: bool, place: usize, value: u8| {
        let (disk, mut bytes) = (left.copy(), bytes.clone());
        bytes[at + place] = value;
        if record {
            let head = crc(seed, &bytes[at + 64..at + 100]).to_le_bytes();
            bytes[at + 100..at + 104].copy_from_slice(&head);
            let mut heads = 0;
            let (mut next, end) = (
                at + 64,
                at + u32::from_le_bytes(bytes[at + 4..at + 8].try_into().unwrap()) as usize,
            );
            while next < end {
                heads = crc(heads, &bytes[next + 36..next + 40]);
                let body = u32::from_le_bytes(bytes[next + 4..next + 8].try_into().unwrap());
                next += 40 + (body as usize).next_multiple_of(8);
            }
            bytes[at + 44..at + 48].copy_from_slice(&heads.to_le_bytes());
        }
        let sum = crc(crc(seed, &bytes[at..at + 60]), &(at as u64).to_le_bytes());
        bytes[at + 60..at + 64].copy_from_slice(&sum.to_le_bytes());
        disk.write_file(&segment(1), bytes);
        disk
    };
    for (place, value, what) in [
        (40, 6, "frame kind"),
        (40, 127, "frame kind"),
        (40, 0, "frame kind"),
        (41, 7, "batch part"),
        (42, 1, "frame flags"),
        (43, 0x80, "frame flags"),
    ] {
        refuses(&changed(false, place, value), &format!("{what} {value}"));
    }
    for (place, value, what) in [
        (64, 9, "record kind"),
        (64, 127, "record kind"),
        (65, 1, "record flags"),
        (65, 0x80, "record flags"),
    ] {
        refuses(&changed(true, place, value), &format!("{what} {value}"));
    }
    // The same change with the value that was there is none.
    let (store, known) = (open(&changed(true, 65, 0)).unwrap(), open(&left.copy()).unwrap());
    assert_eq!(store.last_position(), known.last_position());
}
