//! Layer 4.2: which segments a directory holds and where each begins; reads only.
//!
//! Knows: head, headers and opening frames. Does not know: what is in the segments, or what to do
//! about damage: it is collected, and the caller refuses or works around it.

use super::base::{TrimBase, base_ends};
use super::files::{failed, read_small};
use super::head::{HeadsRead, read_heads};
use super::headless::head_of_segments;
use super::live::read_live;
use crate::disk::{Access, Disk, DiskFile};
use crate::format::{
    Expected, FRAME_HEADER_BYTES, FileName, Frame, FrameHeader, FrameKind, Head, LiveMark, Opening,
    RECORD_HEAD_BYTES, RecordKind, SEGMENT_HEADER_BYTES, SegmentHeader, Step, Walker, name_of,
    segment_seed,
};
use crate::segment::{FileSource, Place, last_used_byte};
use crate::sync::Arc;
use crate::types::{Damage, Error, ErrorKind, Position, Result};

/// Where frames begin.
pub(crate) const FIRST_FRAME: u64 = SEGMENT_HEADER_BYTES as u64;

/// Where the frames behind the opening frame begin: it has one record with a body of 40 bytes.
pub(crate) const AFTER_OPENING: u64 =
    FIRST_FRAME + (FRAME_HEADER_BYTES + RECORD_HEAD_BYTES + 40) as u64;

/// A segment whose header and opening frame check.
#[derive(Debug, Clone)]
pub(crate) struct SegmentInfo {
    pub number: u64,
    pub seed: u32,
    pub header: SegmentHeader,
    pub opening: FrameHeader,
    pub opened: Opening,
    /// The place after the opening frame.
    pub start: Place,
    /// A later place, after which a walk of the tail may begin: the log confirms what an index
    /// claims of everything before it.
    pub settled: Option<Place>,
    /// Where the successor says it ends, and the chain value there; `None` for the tail.
    pub end: Option<LogEnd>,
}

/// A named end of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LogEnd {
    pub offset: u64,
    pub frame: u64,
    pub chain: u32,
    pub next_position: u64,
}

/// The end of a part of the tail, as an index claims it: no evidence until the log confirms it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Claim {
    pub offset: u64,
    pub frame: u64,
    pub chain: u32,
    pub next_position: u64,
    pub last_recorded_at: u64,
}

impl SegmentInfo {
    pub(crate) fn name(&self) -> String {
        name_of(FileName::Segment(self.number))
    }

    pub(crate) fn first_position(&self) -> u64 {
        self.opening.first_position
    }

    /// The part of it that begins at `place`.
    pub(crate) fn beginning_at(&self, place: Place) -> Self {
        let mut part = self.clone();
        part.start = place;
        part.opening.first_position = place.expected.position;
        part
    }
}

/// A segment file without an opening frame that checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unopened {
    pub number: u64,
    /// Nothing but zeros after the header: prepared and not used yet.
    pub blank: bool,
}

/// What a directory holds.
#[derive(Debug)]
pub(crate) struct Survey {
    pub head: Head,
    /// What is known of trimmed segments, if any were.
    pub base: Option<Arc<TrimBase>>,
    pub live: Option<LiveMark>,
    /// The log's segments in order; the last is the tail.
    pub segments: Vec<SegmentInfo>,
    /// The file after the tail.
    pub unopened: Option<Unopened>,
    pub damage: Vec<Damage>,
    /// Segments of the line whose header block does not check: a damage that costs nothing.
    pub scarred: Vec<u64>,
    pub notes: Vec<String>,
    /// No generation of the head checks: `head` is what the segments say of themselves.
    pub head_lost: bool,
    /// The newest writer epoch that anything names.
    pub epoch: u32,
}

enum Found {
    Opened(Box<SegmentInfo>),
    Unopened(Unopened),
    Missing,
    Damaged(Error),
    /// Its header block does not check, but its frames do: they say themselves where they belong.
    Scarred(Box<SegmentInfo>, Error),
}

/// Looks at the directory; `None` when there is no store in it.
pub(crate) fn survey(disk: &dyn Disk) -> Result<Option<Survey>> {
    // Names last: beside a writer, whatever head and live file speak of is there by then.
    let HeadsRead { newest, damaged } = read_heads(disk)?;
    let mut live = match &newest {
        Some(head) => read_live(disk, head.store)?,
        None => None,
    };
    let Some(Numbers { segments: numbers, bases }) = numbers(disk)? else { return Ok(None) };
    if let Some(head) = newest.as_ref().filter(|head| head.unfinished) {
        return Err(unfinished(disk, head, damaged));
    }
    let head_lost = newest.is_none();
    let head = match newest {
        Some(head) => head,
        None if numbers.is_empty() && damaged.is_none() => return Ok(None),
        None => {
            let Some(head) = head_of_segments(disk, &numbers, &base_ends(disk, &bases)?)? else {
                return Err(damage_error(&lost_head(damaged)));
            };
            live = read_live(disk, head.store)?;
            head
        }
    };
    let mut survey = Survey {
        epoch: head.epoch.max(live.map_or(0, |mark| mark.epoch)),
        live,
        segments: Vec::new(),
        unopened: None,
        damage: Vec::new(),
        scarred: Vec::new(),
        notes: Vec::new(),
        head_lost,
        base: None,
        head,
    };
    if head_lost {
        survey.damage.push(lost_head(damaged));
    } else if let Some(name) = damaged {
        // The lost generation was the other's successor at most, so it can have begun one epoch.
        survey.epoch = survey.epoch.saturating_add(1);
        survey.notes.push(format!("{name} does not check; the other generation was used"));
    }
    survey.take_base(disk)?;
    let listed = survey.head.last_segment;
    let mut next = survey.head.first_segment;
    // A number far beyond the log is a foreign file.
    let ours = next..=listed + 2;
    for number in numbers.into_iter().filter(|number| ours.contains(number)) {
        survey.miss(next, number.min(listed + 1));
        let found = look_at(disk, &survey.head, number)?;
        survey.take(number, found, listed);
        next = number + 1;
    }
    survey.miss(next, listed + 1);
    survey.link_ends();
    survey.check_beginning();
    Ok(Some(survey))
}

/// What is still being made is no store: whoever made it was interrupted, or is at it.
fn unfinished(disk: &dyn Disk, head: &Head, damaged: Option<String>) -> Error {
    if damaged.is_some() {
        // The other generation may have been the one that finished it.
        return damage_error(&lost_head(damaged));
    }
    let what = if head.backup { "backup" } else { "store" };
    let text = format!(
        "{} holds a {what} that was begun and not finished: make it again",
        disk.location()
    );
    Error::new(ErrorKind::NotFound, text)
}

/// The numbers in the names of files, ascending.
struct Numbers {
    segments: Vec<u64>,
    bases: Vec<u64>,
}

/// The numbers of all segments and trim bases; `None` when there is no directory.
fn numbers(disk: &dyn Disk) -> Result<Option<Numbers>> {
    let names = match disk.list() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(|e| Error::io(format!("cannot list {}", disk.location()), e))?,
    };
    let mut found = Numbers { segments: Vec::new(), bases: Vec::new() };
    for name in &names {
        match FileName::parse(name) {
            Some(FileName::Segment(number)) => found.segments.push(number),
            Some(FileName::Base(number)) => found.bases.push(number),
            _ => {}
        }
    }
    found.segments.sort_unstable();
    found.bases.sort_unstable();
    Ok(Some(found))
}

fn lost_head(damaged: Option<String>) -> Damage {
    Damage {
        file: damaged.unwrap_or_else(|| name_of(FileName::Head(0))),
        offset: 0,
        first_position: None,
        last_position: None,
        what: "no generation of the head file checks".into(),
    }
}

/// The segment `number`, if it is there with an opening frame that checks.
pub(crate) fn find_segment(
    disk: &dyn Disk,
    head: &Head,
    number: u64,
) -> Result<Option<SegmentInfo>> {
    match look_at(disk, head, number)? {
        Found::Opened(info) => Ok(Some(*info)),
        _ => Ok(None),
    }
}

impl SegmentInfo {
    /// Where the segment before this one ends.
    pub(crate) fn predecessor_end(&self) -> LogEnd {
        let before = self.opened.predecessor;
        LogEnd {
            offset: before.end,
            frame: before.frame,
            chain: before.chain,
            next_position: self.opening.first_position,
        }
    }
}

fn look_at(disk: &dyn Disk, head: &Head, number: u64) -> Result<Found> {
    let name = name_of(FileName::Segment(number));
    let file = match disk.open(&name, Access::Read) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Found::Missing),
        Err(error) if error.kind() == std::io::ErrorKind::InvalidInput => {
            return Ok(Found::Damaged(Error::damaged(name, 0, "segment is not a regular file")));
        }
        other => other.map_err(failed("open", &name))?,
    };
    let block = read_small(disk, &name, FIRST_FRAME)?.unwrap_or_default();
    let header = match SegmentHeader::decode(&block, &name) {
        Ok(header) => header,
        Err(error) if error.kind() == ErrorKind::Unsupported => return Err(error),
        Err(error) => return look_behind_header(file, head, (number, error)),
    };
    let agrees = header.number == number
        && header.store == head.origin_of(number)
        && header.id_scope == head.id_scope;
    if !agrees {
        let what = "segment belongs to another place or another store";
        return Ok(Found::Damaged(Error::damaged(name, 0, what)));
    }
    look_at_opening(file, header, &name)
}

/// Everything in a header block is known otherwise, so its loss costs a reader nothing. A writer
/// refuses the damage all the same.
fn look_behind_header(
    file: Arc<dyn DiskFile>,
    head: &Head,
    (number, error): (u64, Error),
) -> Result<Found> {
    let store = head.origin_of(number);
    let header = SegmentHeader::lost(store, number, head.id_scope);
    match look_at_opening(file, header, &name_of(FileName::Segment(number)))? {
        Found::Opened(info) => Ok(Found::Scarred(info, error)),
        _ => Ok(Found::Damaged(error)),
    }
}

fn look_at_opening(file: Arc<dyn DiskFile>, header: SegmentHeader, name: &str) -> Result<Found> {
    let seed = segment_seed(header.store, header.number);
    let mut source = FileSource::sparing(file.clone(), u64::MAX);
    let unread = |error| Error::io(format!("cannot read {name}"), error);
    let bytes = crate::format::Source::bytes(&mut source, FIRST_FRAME, 64).map_err(unread)?;
    let number = header.number;
    let first = FrameHeader::decode(bytes, seed, FIRST_FRAME);
    let Some(opening) = first.filter(|frame| frame.kind == FrameKind::Opening) else {
        let mut whole = FileSource::new(file, u64::MAX);
        let blank = last_used_byte(&mut whole, FIRST_FRAME).map_err(unread)? == FIRST_FRAME;
        return Ok(Found::Unopened(Unopened { number, blank }));
    };
    let expected = Expected {
        number: opening.number,
        position: opening.first_position,
        chain: opening.chain,
        epoch_min: 0,
        epoch_max: u32::MAX,
    };
    let mut walker = Walker::new(seed, FIRST_FRAME, expected);
    let opened = match walker.step(&mut source).map_err(unread)? {
        Step::Frame(frame) => {
            sole_opening(&frame).filter(|opened| opened.agrees_with(number, &opening))
        }
        Step::Unsupported => {
            let what = "segment begins with a frame of a newer format";
            return Err(Error::new(ErrorKind::Unsupported, what).in_file(name, FIRST_FRAME));
        }
        Step::Bad(_) => None,
    };
    let Some(opened) = opened else {
        return Ok(Found::Unopened(Unopened { number, blank: false }));
    };
    let last_recorded_at = opened.last_recorded_at;
    let start = Place { offset: walker.offset, expected: walker.expected, last_recorded_at };
    let info =
        SegmentInfo { number, seed, header, opening, opened, start, settled: None, end: None };
    Ok(Found::Opened(Box::new(info)))
}

/// The opening record of an opening frame, which holds nothing else.
fn sole_opening(frame: &Frame<'_>) -> Option<Opening> {
    let mut records = frame.records().map(|(_, record)| record);
    let first = records.next().filter(|record| record.head.kind == RecordKind::Opening)?;
    let opened = Opening::decode(first.body)?;
    records.next().is_none().then_some(opened)
}

impl Survey {
    fn take_base(&mut self, disk: &dyn Disk) -> Result<()> {
        match TrimBase::of_head(disk, &self.head) {
            Ok(base) => self.base = base.map(Arc::new),
            Err(error) if error.kind() == ErrorKind::Damaged => {
                let name = name_of(FileName::Base(self.head.base));
                self.damaged(&name, error.offset().unwrap_or(0), error.message());
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Whether the first segment goes on where the base ends.
    fn check_beginning(&mut self) {
        let (Some(base), Some(first)) = (&self.base, self.segments.first()) else { return };
        let (end, before) = (base.end(), first.opened.predecessor);
        let follows = before.frame == end.frame
            && before.chain == end.chain
            && first.first_position() == end.first_position;
        if first.number == end.first_segment && !follows {
            let name = first.name();
            self.damaged(&name, FIRST_FRAME, "segment does not follow what was trimmed");
        }
    }

    fn take(&mut self, number: u64, found: Found, listed: u64) {
        let name = name_of(FileName::Segment(number));
        match found {
            Found::Opened(info) => {
                if let Some(before) = self.unopened.take() {
                    // A later segment was begun, so the earlier one was more than a spare.
                    let what = "segment has no opening frame though a later one has";
                    self.damaged(&name_of(FileName::Segment(before.number)), FIRST_FRAME, what);
                }
                self.epoch = self.epoch.max(info.opening.epoch);
                self.segments.push(*info);
            }
            Found::Unopened(unopened) => match self.unopened {
                Some(_) if !unopened.blank => {
                    self.damaged(&name, FIRST_FRAME, "segment after a spare is not empty");
                }
                Some(_) => {}
                None => self.unopened = Some(unopened),
            },
            Found::Missing if number <= listed => {
                self.damaged(&name, 0, "segment that the head lists is missing");
            }
            Found::Missing => {}
            Found::Damaged(error) => self.damaged(&name, 0, error.message()),
            Found::Scarred(info, error) => {
                self.damaged(&name, 0, error.message());
                self.scarred.push(number);
                self.take(number, Found::Opened(info), listed);
            }
        }
    }

    /// Segments from `next` up to `until` are not there: one damage, however many a head lists.
    fn miss(&mut self, next: u64, until: u64) {
        if next >= until || planted!(MissingSegmentPassed) {
            return;
        }
        let what = match until - next {
            1 => "segment that the head lists is missing".to_owned(),
            many => format!("{many} segments that the head lists are missing, from here on"),
        };
        self.damaged(&name_of(FileName::Segment(next)), 0, &what);
    }

    fn damaged(&mut self, file: &str, offset: u64, what: &str) {
        self.damage.push(Damage {
            file: file.into(),
            offset,
            first_position: None,
            last_position: None,
            what: what.into(),
        });
    }

    /// Tells every segment where its successor says it ends, and checks that they follow each
    /// other.
    fn link_ends(&mut self) {
        let mut damage = Vec::new();
        let pairs: Vec<(usize, Opening, FrameHeader, u64)> = self
            .segments
            .iter()
            .enumerate()
            .skip(1)
            .map(|(at, next)| (at, next.opened, next.opening, next.number))
            .collect();
        for (at, opened, opening, number) in pairs {
            let Some(segment) = self.segments.get_mut(at - 1) else { continue };
            let before = opened.predecessor;
            let follows = before.number == segment.number
                && before.number + 1 == number
                && before.frame >= segment.opening.number
                && before.frame + 1 == opening.number
                && opening.first_position >= segment.opening.first_position;
            if !follows {
                let first = segment.start.expected.position;
                damage.push(Damage {
                    file: name_of(FileName::Segment(number)),
                    offset: FIRST_FRAME,
                    first_position: Some(Position::new(first)),
                    last_position: Some(Position::new(opening.first_position.saturating_sub(1))),
                    what: format!("segment does not follow segment {}", segment.number),
                });
                continue;
            }
            segment.end = Some(LogEnd {
                offset: before.end,
                frame: before.frame,
                chain: before.chain,
                next_position: opening.first_position,
            });
        }
        self.damage.extend(damage);
    }

    /// Takes the head made from the segments for the store's; a note says what it cannot prove.
    pub(crate) fn accept_lost_head(&mut self) {
        if !self.head_lost || self.damage.is_empty() {
            return;
        }
        // It is always the first that was found.
        let lost = self.damage.remove(0);
        self.notes.push(format!(
            "{}: {}; made anew from the segments up to {}: whether any came after it is not proved",
            lost.file, lost.what, self.head.last_segment
        ));
    }

    /// The first damage as an error.
    pub(crate) fn refuse_damage(&self) -> Result<()> {
        let Some(damage) = self.damage.first() else { return Ok(()) };
        Err(damage_error(damage))
    }

    /// W, so far as it can be known without walking the tail.
    pub(crate) fn certified(&self) -> u64 {
        let live = self.live.filter(|mark| mark.epoch <= self.epoch).map_or(0, |mark| mark.frame);
        let openings = self.segments.iter().map(|segment| segment.opening.durable).max();
        let trimmed = self.base.as_ref().map_or(0, |base| base.end().frame);
        self.head.durable.max(live).max(openings.unwrap_or(0)).max(trimmed)
    }
}

pub(crate) fn damage_error(damage: &Damage) -> Error {
    let mut error = Error::damaged(damage.file.clone(), damage.offset, damage.what.clone());
    if let Some(first) = damage.first_position {
        error = error.at(first);
    }
    if let Some(last) = damage.last_position {
        error = error.through(last);
    }
    error
}
