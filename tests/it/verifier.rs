//! The independent verifier, written from `docs/FORMAT.md` alone, agrees with this code.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test"
)]

use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use factlog::{
    ContentType, ErrorKind, Expect, NewEvent, Options, Position, RecordedEvent, Retention, Store,
    StreamState, Version,
};
use serde_json::Value;
use tempfile::TempDir;

/// Whether there is a Python to run it with. In CI there must be.
fn python() -> bool {
    let there = Command::new("python3").arg("--version").output().is_ok_and(|o| o.status.success());
    assert!(there || std::env::var_os("CI").is_none(), "python3 is missing");
    if !there {
        println!("SKIPPED: python3 is missing, so nothing was compared with tests/verify.py");
    }
    there
}

/// What the verifier says of a store.
struct Said {
    code: i32,
    says: Value,
    /// A line per event.
    lines: Vec<String>,
}

fn ask(dir: &Path) -> Said {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/verify.py");
    let run = Command::new("python3").arg(script).args(["--json", "--list"]).arg(dir).output();
    let run = run.unwrap();
    let text = String::from_utf8(run.stdout).unwrap();
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let last = lines.pop().unwrap_or_default();
    let says = serde_json::from_str(&last);
    let says = says.unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&run.stderr)));
    Said { code: run.status.code().unwrap(), says, lines }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

/// The event as the verifier lists it.
fn line(event: &RecordedEvent) -> String {
    let tags: Vec<String> = event.tags().map(|tag| hex(tag.as_bytes())).collect();
    let fields = [
        event.position().get().to_string(),
        event.version().get().to_string(),
        event.recorded_at().micros().to_string(),
        hex(event.id().as_bytes()),
        event.schema_version().to_string(),
        u8::from(event.content_type() == ContentType::Json).to_string(),
        hex(event.stream().as_bytes()),
        hex(event.event_type().as_bytes()),
        tags.join(","),
        hex(event.subject().unwrap_or_default().as_bytes()),
        hex(event.metadata()),
        hex(event.data()),
    ];
    fields.join("\t")
}

fn listing(store: &Store) -> Vec<String> {
    store.read_all().into_iter().map(|event| line(&event.unwrap())).collect()
}

fn checkpoints(store: &Store) -> Vec<(String, u64)> {
    store.checkpoints().unwrap().into_iter().map(|c| (c.name, c.position.get())).collect()
}

fn options() -> Options {
    let options = Store::options().subjects_in_clear(true);
    options.background_threads(false).segment_bytes(16 << 10)
}

/// A copy of a store as it lies on disk now.
fn copy(from: &Path) -> TempDir {
    let to = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.path().join(entry.file_name())).unwrap();
    }
    to
}

fn segment(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{number:020}.seg"))
}

/// The number of the last segment that is in use.
fn tail(dir: &Path) -> u64 {
    let used =
        |n: &u64| fs::read(segment(dir, *n)).is_ok_and(|bytes| bytes.get(4096) == Some(&b'F'));
    (1..).take_while(used).last().unwrap()
}

fn places(damage: &[(String, u64)]) -> BTreeSet<(String, u64)> {
    damage.iter().cloned().collect()
}

/// The verifier's exit code for a store that both judge in the same way; `None` without Python.
pub fn judged(dir: &Path) -> Option<i32> {
    python().then(|| agree(dir).code)
}

/// Both judge the store in the same way. Answers what the verifier said.
fn agree(dir: &Path) -> Said {
    let said = ask(dir);
    let report = match factlog::verify(dir, &mut |_, _| {}) {
        Ok(report) => report,
        Err(error) => {
            let code = match error.kind() {
                ErrorKind::Unsupported => 12,
                ErrorKind::NotFound => 4,
                _ => 11,
            };
            assert_eq!(said.code, code, "{error:?}, {}", said.says);
            return said;
        }
    };
    let told = |value: &Value| {
        (value["file"].as_str().unwrap().to_owned(), value["offset"].as_u64().unwrap())
    };
    let context = || format!("{report:?}\n{}", said.says);
    if report.damage.is_empty() {
        assert_eq!(said.code, if report.torn.is_some() { 10 } else { 0 }, "{}", context());
        let torn = report.torn.as_ref().map(|torn| (torn.file.clone(), torn.offset));
        assert_eq!(Some(&said.says["torn"]).filter(|t| !t.is_null()).map(told), torn);
        let counts = ["events", "reclaimed", "lost", "segments", "frames"];
        let counts = counts.map(|name| said.says[name].as_u64().unwrap());
        let ours = [report.events, report.reclaimed, report.lost, report.segments, report.frames];
        assert_eq!(counts, ours, "{}", context());
        return said;
    }
    assert_eq!(said.code, 11, "{}", context());
    let ours: Vec<_> = report.damage.iter().map(|d| (d.file.clone(), d.offset)).collect();
    let theirs: Vec<_> = said.says["damage"].as_array().unwrap().iter().map(told).collect();
    assert_eq!(places(&theirs), places(&ours), "{}", context());
    said
}

/// Both judge it in the same way and hold the same events, before and after this code has opened it
/// for writing.
fn same(dir: &Path) -> Said {
    let said = agree(dir);
    assert_ne!(said.code, 11, "{}", said.says);
    let opened = copy(dir);
    let store = options().open(opened.path()).unwrap();
    assert_eq!(said.lines, listing(&store));
    assert_eq!(said.says["closed"], Value::from(store.open_report().clean));
    assert_eq!(store.open_report().set_aside.is_empty(), said.code == 0);
    let theirs = said.says["checkpoints"].as_object().unwrap();
    let theirs = theirs.iter().map(|(name, of)| (name.clone(), of[0].as_u64().unwrap()));
    assert_eq!(theirs.collect::<Vec<_>>(), checkpoints(&store));
    for (stream, settings) in said.says["settings"].as_object().unwrap() {
        assert_eq!(*settings, settings_of(&store, stream), "{stream}");
    }
    let recovered = agree(opened.path());
    assert_eq!((recovered.code, &recovered.lines), (0, &said.lines));
    store.append("After-1", Expect::Any, [NewEvent::binary("After", *b"all")]).unwrap();
    store.close().unwrap();
    let again = agree(opened.path());
    assert_eq!((again.code, &again.says["closed"]), (0, &Value::Bool(true)));
    assert_eq!(again.lines.len(), said.lines.len() + 1);
    said
}

fn settings_of(store: &Store, stream: &str) -> Value {
    let retention = store.retention(stream).unwrap();
    let age = retention.max_age.map_or(0, |age| age.as_micros() as u64);
    let before = retention.truncate_before.map_or(0, Version::get);
    let (deleted, tombstoned) = match store.stream_state(stream).unwrap() {
        StreamState::SoftDeleted(at) => (at.get(), false),
        StreamState::Tombstoned(_) => (0, true),
        _ => (0, false),
    };
    serde_json::json!([before, retention.keep_last.unwrap_or(0), age, deleted, tombstoned])
}

#[test]
fn they_agree_on_the_settings_of_streams() {
    if !python() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let store = options().open(dir.path()).unwrap();
    fill(&store, 0, 20);
    store.delete_stream("A-1", Expect::Any).unwrap();
    store.tombstone_stream("Größe-7", Expect::NoStream).unwrap();
    let retention = Retention::default().keep_last(2).max_age(Duration::from_secs(60));
    store.retain("Stream-1", retention).unwrap();
    store.retain("Stream-1", retention.truncate_before(Version::new(2))).unwrap();
    store.close().unwrap();
    let said = same(dir.path());
    assert_eq!(said.says["settings"].as_object().unwrap().len(), 3);
}

fn event(n: u64) -> NewEvent {
    match n % 3 {
        0 => NewEvent::json_text("Placed", format!("{{\"n\": {n}}}")).tag(format!("n:{n}")),
        1 => NewEvent::binary("Größe", vec![u8::try_from(n % 256).unwrap(); (n % 90) as usize])
            .tags(["ä", "b"])
            .subject("ada")
            .schema_version(3),
        _ => NewEvent::json_text("Paid", "null").metadata("{\"k\":1}").correlation(n),
    }
}

fn fill(store: &Store, from: u64, count: u64) {
    for n in from..from + count {
        if n % 7 == 0 {
            let batch = store.batch().append("A-1", Expect::Any, [event(n), event(n + 1)]);
            batch.append("B-2", Expect::Any, [event(n + 2)]).commit().unwrap();
        } else {
            store.append(format!("Stream-{}", n % 5), Expect::Any, [event(n)]).unwrap();
        }
    }
}

/// Nothing but the frames themselves says any more what was durable.
fn forget_marks(dir: &Path) {
    fs::remove_file(dir.join("live")).unwrap();
}

#[test]
fn they_agree_on_stores_closed_and_not_closed() {
    if !python() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let store = options().open(dir.path()).unwrap();
    same(copy(dir.path()).path());
    fill(&store, 0, 30);
    let said = same(copy(dir.path()).path());
    assert_eq!((said.code, &said.says["closed"]), (0, &Value::Bool(false)));
    store.close().unwrap();
    let said = same(dir.path());
    assert_eq!((said.code, &said.says["closed"]), (0, &Value::Bool(true)));
    assert_eq!(said.lines.len(), 30 + 2 * 5);
}

#[test]
fn they_agree_on_a_log_of_many_segments_and_its_checkpoints() {
    if !python() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let store = options().open(dir.path()).unwrap();
    for round in 0..6 {
        fill(&store, round * 100, 100);
        let last = store.last_position();
        store.save_checkpoint("saved", Position::new(last.get() - round)).unwrap();
        let batch = store.batch().append("C-1", Expect::Any, [event(round)]);
        batch.checkpoint("carried", last).commit().unwrap();
        store.batch().checkpoint("both", last).commit().unwrap();
        if round % 2 == 0 {
            store.reset_checkpoint("both", Position::new(round)).unwrap();
        }
        let head = store.head("A-1").unwrap().unwrap();
        store.save_snapshot("A-1", "folded", (head.version, 1), vec![7; 100]).unwrap();
    }
    store.reset_checkpoint("zero", Position::START).unwrap();
    store.batch().checkpoint("gone", Position::new(5)).commit().unwrap();
    store.save_checkpoint("gone too", Position::new(5)).unwrap();
    for gone in ["gone", "gone too"] {
        assert!(store.remove_checkpoint(gone).unwrap());
    }
    let said = same(copy(dir.path()).path());
    assert!(said.says["segments"].as_u64().unwrap() > 5, "{}", said.says);
    store.close().unwrap();
    same(dir.path());
}

#[test]
fn they_agree_when_every_commit_has_blocks_of_its_own() {
    if !python() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let open = || options().align_commit(true).open(dir.path()).unwrap();
    let store = open();
    fill(&store, 0, 20);
    // A crash while the newest segment was begun: its opening frame is torn behind the header.
    let cut = copy(dir.path());
    forget_marks(cut.path());
    let newest = segment(cut.path(), tail(cut.path()));
    let mut bytes = fs::read(&newest).unwrap();
    bytes[4096 + 64..].fill(0);
    fs::write(&newest, bytes).unwrap();
    assert_eq!(same(cut.path()).code, 10);

    store.close().unwrap();
    let store = open();
    assert!(store.open_report().clean, "a filler after the closed mark does not hide it");
    let said = same(copy(dir.path()).path());
    assert!(said.says["segments"].as_u64().unwrap() > 3, "{}", said.says);
}

#[test]
fn every_commit_has_blocks_of_its_own_whatever_was_there_before() {
    let dir = tempfile::tempdir().unwrap();
    let store = options().open(dir.path()).unwrap();
    fill(&store, 0, 10);
    let uncertified = copy(dir.path());
    forget_marks(uncertified.path());
    let open = copy(dir.path());
    store.close().unwrap();
    for place in [dir.path(), open.path(), uncertified.path()] {
        let store = options().align_commit(true).open(place).unwrap();
        for n in 0..3 {
            store.append("Block-1", Expect::Any, [event(n)]).unwrap();
            let bytes = fs::read(segment(place, tail(place))).unwrap();
            let starts = frames(&bytes);
            // The batch, the filler behind it, and the end.
            let [.., batch, _, end] = starts[..] else { panic!("{starts:?}") };
            assert_eq!((batch % 4096, end % 4096), (0, 0), "{starts:?}");
        }
        assert!(store.verify().unwrap().clean);
    }
}

/// The offsets of the last segment's frames, and the end of the last.
fn frames(bytes: &[u8]) -> Vec<usize> {
    let mut starts = vec![4096];
    while let Some(at) = starts.last().copied().filter(|at| bytes[*at..].starts_with(b"FLFR")) {
        let length = u32::from_le_bytes(bytes[at + 4..at + 8].try_into().unwrap());
        starts.push(at + length as usize);
    }
    starts
}

/// The last segment ends, in all ways a crash may leave, within the frames from the `n`th last on.
fn tear(dir: &Path, n: usize, step: usize) -> BTreeSet<i32> {
    let whole = fs::read(segment(dir, tail(dir))).unwrap();
    let starts = frames(&whole);
    let (from, to) = (starts[starts.len() - 1 - n], starts[starts.len() - 1]);
    let mut codes = BTreeSet::new();
    for (at, cut) in (from..to).step_by(step).chain([from + 1, to - 1]).enumerate() {
        let torn = copy(dir);
        forget_marks(torn.path());
        let mut bytes = whole.clone();
        match at % 3 {
            0 => bytes.truncate(cut),
            1 => bytes[cut..].fill(0),
            _ => bytes[cut..to].fill(0xA5),
        }
        fs::write(segment(torn.path(), tail(dir)), bytes).unwrap();
        codes.insert(same(torn.path()).code);
    }
    codes
}

/// It has no keys: what was forgotten it lists as this code does, the rest without its data.
#[test]
fn they_agree_on_encrypted_and_forgotten_events() {
    if !python() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let store = options().keyring(factlog::Keyring::beside()).open(dir.path()).unwrap();
    for subject in ["ada", "bob"] {
        let event = || NewEvent::json_text("Said", "{}").subject(subject).tag("t");
        store.append("Person-1", Expect::Any, [event(), event()]).unwrap();
    }
    store.forget("ada").unwrap();
    store.append("Person-1", Expect::Any, [NewEvent::binary("Left", "")]).unwrap();
    let ours = listing(&store);
    drop(store);
    let said = agree(dir.path());
    let bare = |line: &String| line.trim_end_matches("7b7d").to_owned();
    assert_eq!(said.lines, ours.iter().map(bare).collect::<Vec<_>>());
    assert_ne!(said.lines, ours);
    options().open(dir.path()).unwrap().forget("bob").unwrap();
    same(dir.path());
}

#[test]
fn they_agree_on_torn_ends_and_on_what_recovery_makes_of_them() {
    if !python() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let store = options().open(dir.path()).unwrap();
    fill(&store, 0, 60);
    assert_eq!(tear(dir.path(), 1, 9), BTreeSet::from([0, 10]));
}

#[test]
fn they_agree_on_an_unfinished_batch_over_several_frames() {
    if !python() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let store = options().open(dir.path()).unwrap();
    fill(&store, 0, 5);
    let big = |n| NewEvent::binary("Chunk", vec![n; 700_000]);
    store.append("Big-1", Expect::Any, (0..5).map(big)).unwrap();
    assert_eq!(tear(dir.path(), 3, 400_000), BTreeSet::from([0, 10]));
}

#[test]
fn they_agree_on_flipped_bits_wherever_they_are() {
    if !python() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let store = options().open(dir.path()).unwrap();
    fill(&store, 0, 150);
    let whole = listing(&store);
    let known: BTreeSet<&String> = whole.iter().collect();
    let last = tail(dir.path());
    assert!(last >= 3);
    let mut random: u64 = 1;
    let mut next = |below: usize| {
        random =
            random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(random >> 33).unwrap() % below
    };
    for case in 0..36 {
        let bent = copy(dir.path());
        let number = 1 + next(usize::try_from(last).unwrap()) as u64;
        let path = segment(bent.path(), number);
        let mut bytes = fs::read(&path).unwrap();
        let used = *frames(&bytes).last().unwrap();
        // Some in the header block or the opening frame, most in the frames.
        let at = if case % 6 == 0 { next(4096 + 144) } else { 4096 + next(used - 4096) };
        bytes[at] ^= 1 << next(8);
        fs::write(&path, bytes).unwrap();
        let said = agree(bent.path());
        assert_eq!(said.code, 11, "byte {at} of {}: {}", path.display(), said.says);
        assert!(said.lines.iter().all(|line| known.contains(line)), "byte {at}");
        // What is sealed is judged when it is read: opening is bounded by the tail.
        match options().open(bent.path()) {
            Err(error) => assert_eq!(error.kind(), ErrorKind::Damaged),
            Ok(store) => assert_ne!(number, last, "{:?}", store.open_report()),
        }
        let reader = options().open_read_only(bent.path()).unwrap();
        let served: BTreeSet<String> =
            reader.read_all().into_iter().flatten().map(|event| line(&event)).collect();
        assert!(served.iter().all(|line| known.contains(line)), "byte {at}");
    }
}

#[test]
fn they_agree_on_a_fork_without_its_heads() {
    if !python() {
        return;
    }
    let (origin, dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = options().open(origin.path()).unwrap();
    fill(&store, 0, 60);
    store.trim(factlog::Trim::before(Position::new(20))).unwrap();
    store.fork_at(Position::new(50), dir.path()).unwrap();
    let fork = options().open(dir.path()).unwrap();
    fill(&fork, 60, 3);
    let events = fork.read_all().count().unwrap();
    fork.close().unwrap();
    for head in ["head-0", "head-1"] {
        fs::remove_file(dir.path().join(head)).unwrap();
    }
    let said = agree(dir.path());
    assert_eq!((said.code, said.lines.len() as u64), (11, events));
}

#[test]
fn they_agree_on_missing_files_and_on_a_head_that_is_lost() {
    if !python() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let store = options().open(dir.path()).unwrap();
    fill(&store, 0, 100);
    let last = tail(dir.path());
    for name in ["head-0", "head-1", "live"] {
        let lost = copy(dir.path());
        fs::remove_file(lost.path().join(name)).unwrap();
        assert_eq!(same(lost.path()).code, 0, "{name}");
        let bent = copy(dir.path());
        let mut bytes = fs::read(bent.path().join(name)).unwrap();
        bytes[10] ^= 1;
        fs::write(bent.path().join(name), bytes).unwrap();
        assert_eq!(same(bent.path()).code, 0, "{name}");
    }
    let headless = copy(dir.path());
    for name in ["head-0", "head-1"] {
        fs::remove_file(headless.path().join(name)).unwrap();
    }
    let said = agree(headless.path());
    assert_eq!((said.code, said.lines.len()), (11, listing(&store).len()), "{}", said.says);
    for number in 1..=last {
        let lost = copy(dir.path());
        fs::remove_file(segment(lost.path(), number)).unwrap();
        assert_eq!(agree(lost.path()).code, 11, "{number}");
    }
    let newer = copy(dir.path());
    let path = segment(newer.path(), 2);
    let mut bytes = fs::read(&path).unwrap();
    bytes[8] = 9;
    let sum = crc(&bytes[..4092]).to_le_bytes();
    bytes[4092..4096].copy_from_slice(&sum);
    fs::write(&path, bytes).unwrap();
    assert_eq!(agree(newer.path()).code, 12);
}

/// CRC-32 once more, bit by bit: nothing of the store's own code judges here.
fn crc(bytes: &[u8]) -> u32 {
    let step = |sum: u32| (sum >> 1) ^ (0xEDB8_8320 & 0_u32.wrapping_sub(sum & 1));
    !bytes
        .iter()
        .fold(u32::MAX, |sum, byte| (0..8).fold(sum ^ u32::from(*byte), |sum, _| step(sum)))
}

#[test]
fn a_log_whose_only_opening_frame_is_damaged_is_not_begun_anew() {
    let dir = tempfile::tempdir().unwrap();
    let store = options().open(dir.path()).unwrap();
    fill(&store, 0, 5);
    // All that is outside the segment is lost, too: the first head knew of no segment.
    let bent = copy(dir.path());
    forget_marks(bent.path());
    fs::remove_file(bent.path().join("head-1")).unwrap();
    let mut bytes = fs::read(segment(bent.path(), 1)).unwrap();
    bytes[4100] ^= 1;
    fs::write(segment(bent.path(), 1), bytes).unwrap();
    let error = options().open(bent.path()).unwrap_err();
    assert_eq!((error.kind(), error.offset()), (ErrorKind::Damaged, Some(4096)));
    if python() {
        agree(bent.path());
    }
}
