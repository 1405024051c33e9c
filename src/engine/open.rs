//! Layer 6.8: build an open store from a directory: lock, recover, index, start the threads.
//!
//! Knows: the order of opening. Does not know: verbs.

use std::time::Duration;

use super::catalog::Catalog;
use super::close::{commit_in_background, keep};
use super::commit::begin_segment;
use super::desk::Desks;
use super::fold::FoldLimit;
use super::follow::{Follower, follow};
use super::heads::{Heads, HeadsMark, read_heads, write_heads};
#[cfg(not(feature = "forget"))]
use super::no_subjects::Subjects;
use super::parts::{claims, remove_parts};
use super::queue::Queue;
use super::shared::{Engine, Parts};
use super::sidecars::{FoundLater, Opening, binding};
#[cfg(feature = "forget")]
use super::subjects::Subjects;
use super::tell;
use super::watch::Watch;
use crate::clock::Clock;
use crate::disk::Disk;
use crate::format::{FileName, name_of};
use crate::index::Binding;
use crate::log::{CommitFailure, LogEnd, Recovered, SegmentInfo, Tail, recover};
use crate::sync::thread::{self, JoinHandle};
use crate::sync::{Arc, AtomicBool, AtomicU64, Mutex, RwLock, unbounded};
use crate::types::{
    Error, ErrorKind, IndexOrigin, OpenReport, Position, Result, Settings, SidecarRebuilt,
};

/// A clock that is behind the log by more than this is worth a note.
const CLOCK_BEHIND: u64 = 3_600_000_000;

/// An engine and its threads.
pub(crate) struct Started {
    pub engine: Arc<Engine>,
    pub threads: Vec<JoinHandle<()>>,
}

/// Opens for writing.
pub(crate) fn open_writer(
    disk: Arc<dyn Disk>,
    clock: Arc<dyn Clock>,
    settings: Settings,
) -> Result<Started> {
    let began = clock.now();
    settings.check()?;
    let place = disk.location();
    disk.create_root().map_err(|e| Error::io(format!("cannot make the directory {place}"), e))?;
    let lock = disk.lock(&name_of(FileName::Lock));
    let lock = lock.map_err(|e| Error::io(format!("cannot lock {place}"), e))?;
    let Some(lock) = lock else {
        let text = format!("{place} is open for writing elsewhere");
        return Err(Error::new(ErrorKind::Locked, text));
    };
    let mut report = OpenReport::default();
    let rebuild = settings.rebuild_index;
    let claims = |info: &SegmentInfo| if rebuild { Vec::new() } else { claims(&*disk, info) };
    let mut recovered = recover(&disk, &settings, began, &claims, &mut report)?;
    let Loaded { catalog, mark, later } = load(&disk, &settings, &recovered, &mut report)?;
    let last_stamp = recovered.tail.last_recorded_at();
    if began.saturating_add(CLOCK_BEHIND) < last_stamp {
        let hours = (last_stamp - began) / CLOCK_BEHIND;
        report.notes.push(format!("the clock is {hours} hours behind the newest event"));
    }
    let subjects = subjects(&disk, &recovered, &settings, report.clean)?;
    recovered.tail.mark_live()?;
    recovered.tail.sync_live()?;
    report.segments = recovered.segments.len() as u64;
    report.events = catalog.events();
    report.index = if rebuild { IndexOrigin::Log } else { IndexOrigin::Sidecars };
    report.elapsed = Duration::from_micros(clock.now().saturating_sub(began));
    tell::opened(&place, &report);
    let (sender, jobs) = unbounded();
    let background = settings.background;
    let last = catalog.last;
    let durable = recovered.tail.durable();
    let mut engine = assemble(Parts { disk, clock, settings }, &recovered, catalog, report);
    engine.subjects = subjects;
    engine.jobs = background.then_some(sender);
    engine.lock = Mutex::new(Some(lock));
    engine.heads_mark = Mutex::new(mark);
    engine.found_later = later;
    engine.durable_frame = AtomicU64::new(durable);
    engine.watch.raise(last, last);
    roll_if_sealed(&engine, &mut recovered.tail)?;
    *engine.tail.lock() = Some(recovered.tail);
    if !engine.report.clean {
        engine.settle_checkpoints()?;
    }
    let engine = Arc::new(engine);
    let mut threads = Vec::new();
    if background {
        let keeper = engine.clone();
        threads.push(spawn("factlog-keeper", move || keep(&keeper, &jobs))?);
        let committer = engine.clone();
        match spawn("factlog-committer", move || commit_in_background(&committer)) {
            Ok(thread) => threads.push(thread),
            Err(error) => {
                // The first thread holds the engine, and with it the lock.
                let _ = engine.close();
                threads.into_iter().for_each(|thread| drop(thread.join()));
                engine.release();
                return Err(error);
            }
        }
    }
    Ok(Started { engine, threads })
}

/// The subjects of a store; its head says so before the first event is encrypted.
fn subjects(
    disk: &Arc<dyn Disk>,
    found: &Recovered,
    settings: &Settings,
    clean: bool,
) -> Result<Subjects> {
    let encrypts = found.tail.head().encrypts;
    let subjects = Subjects::for_writing(disk, found.store, settings, (encrypts, !clean))?;
    if subjects.encrypts() && !encrypts {
        found.tail.encrypt_subjects()?;
    }
    Ok(subjects)
}

pub(super) fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>> {
    let thread = thread::Builder::new().name(name.into()).spawn(run);
    thread.map_err(|error| Error::io("cannot start a thread", error))
}

fn assemble(parts: Parts, found: &Recovered, catalog: Catalog, report: OpenReport) -> Engine {
    let id_scope = found.tail.id_scope();
    engine_of(parts, (found.store, id_scope), catalog, report)
}

pub(super) fn engine_of(
    parts: Parts,
    (store, id_scope): (uuid::Uuid, crate::types::IdScope),
    mut catalog: Catalog,
    report: OpenReport,
) -> Engine {
    catalog.accept_lost = parts.settings.accept_lost;
    let lost = catalog.last_lost_by_salvage().filter(|_| !catalog.accept_lost);
    Engine {
        subjects: Subjects::for_reading(&parts.disk, store, &parts.settings),
        queue: Queue::new(parts.settings.limits, parts.settings.background),
        desks: Desks::default(),
        watch: Watch::default(),
        disk: parts.disk,
        clock: parts.clock,
        settings: parts.settings,
        store,
        id_scope,
        report,
        lost_through: lost.unwrap_or(Position::START),
        found_later: Arc::default(),
        catalog: RwLock::new(catalog),
        tail: Mutex::new(None),
        durable_frame: AtomicU64::new(0),
        jobs: None,
        rounds: AtomicU64::new(0),
        tended: AtomicBool::new(false),
        read_only: false,
        closing: AtomicBool::new(false),
        closed: AtomicBool::new(false),
        poison: Mutex::new(None),
        owner: std::process::id(),
        lock: Mutex::new(None),
        checkpoints: Mutex::new(None),
        snapshots: Mutex::new(None),
        part_lock: Mutex::default(),
        trim_lock: Mutex::default(),
        sealing: Mutex::default(),
        heads_mark: Mutex::default(),
    }
}

/// A log that ends with a seal goes on in the next segment.
fn roll_if_sealed(engine: &Engine, tail: &mut Tail) -> Result<()> {
    if !tail.is_sealed() {
        return Ok(());
    }
    let end = tail.roll(engine.clock.now()).map_err(|failure| match failure {
        CommitFailure::Refused(error) | CommitFailure::Fatal(error) => error,
    })?;
    begin_segment(engine, tail, end)?;
    tail.mark_live()
}

struct Loaded {
    catalog: Catalog,
    mark: HeadsMark,
    later: Arc<Mutex<FoundLater>>,
}

/// The index: the heads file and the sidecars after it for sealed segments, a scan for the tail.
fn load(
    disk: &Arc<dyn Disk>,
    settings: &Settings,
    found: &Recovered,
    report: &mut OpenReport,
) -> Result<Loaded> {
    let opening = Opening { disk, settings, read_only: false };
    let (mut catalog, mut mark, doubt) = load_heads(&**disk, settings, found);
    let written = found.tail.written();
    let covered = mark.upto.map_or(0, |upto| upto.segment);
    let (mut last_end, later) = (None, Arc::default());
    let uncovered = found.segments.iter().filter(|info| info.number > covered);
    let uncovered: Vec<_> = uncovered.filter_map(|info| Some((info, info.end?))).collect();
    let mut sealed = opening.all_sealed(&uncovered, report)?.into_iter();
    for info in &found.segments {
        match info.end {
            Some(end) if info.number <= covered => {
                let segment = opening.covered(info, end, report, &later)?;
                catalog.add_known(Arc::new(segment));
            }
            Some(end) => {
                let Some(segment) = sealed.next() else { break };
                mark.sealed(catalog.add(Arc::new(segment)));
                last_end = Some(binding_of(info, end));
            }
            None => {
                // What is known now is what is known of the sealed segments: the moment to make the
                // heads file, if it does not count or the sidecars outweigh it.
                if let Some(binding) = last_end.take_if(|_| mark.is_due()) {
                    let why = doubt.clone().unwrap_or_else(|| "sidecars outweigh it".to_owned());
                    let file = name_of(FileName::Heads);
                    report.sidecars_rebuilt.push(SidecarRebuilt { file, why });
                    let (heads, carried) = (&catalog.heads, &catalog.carried);
                    if write_heads(&**disk, &binding, heads, carried).is_ok() {
                        mark = HeadsMark::at(binding, heads);
                    }
                }
                let limit = tail_limit(written.offset, written.position);
                for part in opening.tail_in_parts(info, limit, report)? {
                    catalog.add(Arc::new(part));
                }
                remove_parts(&**disk, info.number);
            }
        }
    }
    catalog.last = Position::new(written.position - 1);
    Ok(Loaded { catalog, mark, later })
}

/// A catalog with what the heads file holds, without segments; or an empty one, and why.
fn load_heads(
    disk: &dyn Disk,
    settings: &Settings,
    Recovered { segments, base, .. }: &Recovered,
) -> (Catalog, HeadsMark, Option<String>) {
    let is_end = |found: &Binding| {
        let ended = |info: &SegmentInfo| Some(binding_of(info, info.end?));
        segments.iter().any(|info| ended(info).as_ref() == Some(found))
    };
    let read = match settings.rebuild_index {
        true => Err("the index is made from the log alone".to_owned()),
        false => read_heads(disk, is_end),
    };
    let mut catalog = Catalog::behind(base.clone());
    match read {
        Ok(file) => {
            catalog.carried.take_file(&file);
            let binding = *file.binding();
            catalog.heads = Heads::of_file(Arc::new(file));
            let mark = HeadsMark::at(binding, &catalog.heads);
            (catalog, mark, None)
        }
        Err(why) => (catalog, HeadsMark::default(), Some(why)),
    }
}

fn binding_of(info: &SegmentInfo, end: LogEnd) -> Binding {
    binding(info.header.store, info.number, info.first_position(), end)
}

fn tail_limit(offset: u64, next_position: u64) -> FoldLimit {
    FoldLimit { offset, frame: u64::MAX, chain: None, next_position, tolerant: false }
}

/// Opens read-only, beside a writer or alone: takes no lock and writes nothing.
pub(crate) fn open_follower(
    disk: Arc<dyn Disk>,
    clock: Arc<dyn Clock>,
    settings: Settings,
) -> Result<Started> {
    let began = clock.now();
    settings.check()?;
    let background = settings.background;
    let parts = Parts { disk, clock, settings };
    let (mut follower, mut catalog, mut report) = Follower::open(&parts)?;
    follower.catch_up(&parts, &mut catalog)?;
    report.segments = catalog.segments.len() as u64;
    report.events = catalog.events();
    report.elapsed = Duration::from_micros(parts.clock.now().saturating_sub(began));
    tell::opened(&parts.disk.location(), &report);
    let last = catalog.last;
    let lost_through = follower.lost_through(&catalog);
    let mut engine = engine_of(parts, follower.identity(), catalog, report);
    engine.read_only = true;
    engine.lost_through = engine.lost_through.max(lost_through);
    engine.watch.raise(last, last);
    let engine = Arc::new(engine);
    let mut threads = Vec::new();
    if background {
        let following = engine.clone();
        threads.push(spawn("factlog-follower", move || follow(&following, follower))?);
    }
    Ok(Started { engine, threads })
}
