#!/usr/bin/env python3
"""An independent reader of a factlog store, written from docs/FORMAT.md alone.

    python3 tests/verify.py DIR [--json] [--list]

Prints what the log holds (--json: on one line; --list: first a line per event). Exit code: 0 sound, 4 never
finished, 10 torn end, 11 damage, 12 unsupported format. It only reads. Section numbers in comments are those of FORMAT.md. The
digest is the SHA-256 of the listing: the events of good frames; where there is damage, those that can still be
reached.
"""
import hashlib
import json
import mmap
import os
import struct
import sys
from collections import namedtuple
from zlib import crc32

BLOCK = 4096
KINDS = OPENING, BATCH, SEAL, CLOSED, MARK = 1, 2, 3, 4, 5
RECORDS = EVENT, CHECKPOINT, OPENING_RECORD, SEAL_RECORD, STUB, LOST, SETTINGS = 1, 2, 3, 4, 5, 6, 7
FILLER = 128
LOST_MOST = 1 << 20
ENCRYPTED, SEALED = 2, 16 + 24 + 16
LIMIT = 2**63 - 1
LONGEST = 96 << 20

Header = namedtuple("Header", "magic length number position durable epoch chain kind part flags records_sum events "
                              "batch_frames batch_events checksum")
Record = namedtuple("Record", "kind flags zeros length position version recorded_at body_sum head_sum offset body")
Frame = namedtuple("Frame", "segment offset header records chain")
Opening = namedtuple("Opening", "segment end frame chain zeros last_recorded_at")
Expected = namedtuple("Expected", "number position chain epoch")


class Unsupported(Exception):
    pass


class Bad(Exception):
    pass


class Unfinished(Exception):
    pass


def u64(value):
    return struct.pack("<Q", value)


def zeros(data, start, end=None):
    end = len(data) if end is None else end
    for at in range(start, end, 1 << 20):
        if any(data[at:min(at + (1 << 20), end)]):
            return False
    return True


def plausible(header):
    return header.durable < header.number < LIMIT and header.position < LIMIT


class Segment:
    """One segment file: its bytes, its seed, its opening frame if that is valid (section 8)."""

    def __init__(self, number, name, data, origin):
        self.number, self.name, self.data = number, name, data
        self.seed = crc32(u64(number), crc32(origin))
        self.opening = self.frame = self.end = None
        self.rewrite = 0
        self.blank = zeros(data, BLOCK)

    def header(self, at):
        """The frame header at `at`, or None if none checks there (section 6)."""
        raw = self.data[at:at + 64]
        if len(raw) < 64 or raw[:4] != b"FLFR":
            return None
        header = Header(*struct.unpack("<4sIQQQIIBBHIIIII", raw))
        good = crc32(u64(at), crc32(raw[:60], self.seed)) == header.checksum
        return header if good and 64 <= header.length <= LONGEST and header.length % 8 == 0 else None

    def record(self, at, end):
        """The record at `at` (section 7)."""
        raw = self.data[at:at + 40]
        if at + 40 > end:
            raise Bad("a record's head is cut off")
        values = struct.unpack("<BBHIQQQII", raw)
        length = values[3]
        if crc32(raw[:36], self.seed) != values[8] or values[2]:
            raise Bad("a record's head does not check")
        if at + 40 + length + -length % 8 > end:
            raise Bad("a record is longer than its frame")
        stored = self.data[at + 40:at + 40 + length + -length % 8]
        if crc32(stored) != values[7] or any(stored[length:]):
            raise Bad("a record's body does not check")
        return Record(*values, at, stored[:length])

    @staticmethod
    def in_frame(record):
        """What a record counts as in the records checksum: a stub as the event that stood there (section 7)."""
        if record.kind != STUB:
            return struct.pack("<I", record.head_sum)
        if record.length < 28:
            raise Bad("a stub is too short")
        return record.body[24:28]

    @staticmethod
    def lost(record):
        """How many positions a lost range covers (section 7)."""
        if len(record.body) != 24:
            raise Bad("a lost range has another length")
        positions, reason, pad, _, _ = struct.unpack("<IB3sQQ", record.body)
        if not 1 <= positions <= LOST_MOST or reason not in (1, 2, 3) or any(pad):
            raise Bad("a lost range cannot be")
        return positions

    def frame_at(self, at, header, end):
        """The frame whose header was found at `at` and belongs there, its records checked (section 6)."""
        if header.flags or header.part > 3 or (header.kind < 128 and header.kind not in KINDS):
            raise Unsupported("frame kind %d, part %d, flags %#x" % (header.kind, header.part, header.flags))
        stop = at + header.length
        if stop > min(end, len(self.data)):
            raise Bad("a frame is cut off")
        records, place, events, heads = [], at + 64, 0, 0
        while place < stop:
            record = self.record(place, stop)
            known = ENCRYPTED if record.kind == EVENT else 0
            if record.flags & ~known or (record.kind < 128 and record.kind not in RECORDS):
                raise Unsupported("record kind %d, flags %#x" % (record.kind, record.flags))
            positions = 1 if record.kind in (EVENT, STUB) else self.lost(record) if record.kind == LOST else 0
            if positions and record.position != header.position + events:
                raise Bad("an event has the wrong position")
            events += positions
            records.append(record)
            heads = crc32(self.in_frame(record), heads)
            place += 40 + record.length + -record.length % 8
        emptied = header.kind == FILLER and header.length == 64
        if heads != header.records_sum and not emptied or events != header.events:
            raise Bad("a frame's records are not those of its header")
        if header.kind != BATCH and (header.part or header.events or header.batch_frames or header.batch_events):
            raise Bad("a frame that is not of a batch has a part or counts")
        return Frame(self, at, header, records, self.chain(at, header))

    def chain(self, at, header):
        """The chain value behind the frame whose header is there (section 6)."""
        return crc32(self.data[at + 40:at + 60], crc32(self.data[at + 8:at + 36], header.chain))

    def find_opening(self):
        """Section 8: what makes an opening frame valid."""
        header = self.header(BLOCK)
        if not header or header.kind != OPENING or not plausible(header):
            return
        try:
            frame = self.frame_at(BLOCK, header, len(self.data))
        except Bad:
            return
        if [r.kind for r in frame.records] != [OPENING_RECORD] or len(frame.records[0].body) != 40:
            return
        opening = Opening(*struct.unpack("<QQQIIQ", frame.records[0].body))
        fits = opening.frame + 1 == header.number and opening.chain == header.chain and not opening.zeros
        if fits and opening.segment + 1 == self.number and (opening.frame or header.position == 1):
            self.opening, self.frame = opening, frame

    def headers(self, start, end):
        """Every place from `start` on that is a multiple of 8 and where a header checks."""
        at = self.data.find(b"FLFR", start, end)
        while at >= 0:
            header = self.header(at) if at % 8 == 0 and at + 64 <= end else None
            if header:
                yield at, header
            at = self.data.find(b"FLFR", at + 1, end)


class Base:
    """A trim base (section 12). `bad` says where and why it does not check; the ids have their own."""

    def __init__(self, name, data):
        self.data, self.bad, self.ids_bad, self.number = data, (0, "the base does not check"), None, 0
        if len(data) < 256 or data[:8] != b"FACTBASE" or crc32(data[:252]) != struct.unpack("<I", data[252:256])[0]:
            return
        version, zero, flags = struct.unpack("<HHI", data[8:16])
        if version or zero or flags:
            raise Unsupported("%s: format version %d, flags %#x" % (name, version, flags))
        self.store = data[16:32]
        self.number, self.first, self.frame, self.chain, pad, self.position, _ = struct.unpack("<QQQIIQQ", data[32:80])
        self.sections = [struct.unpack("<QQII", data[at:at + 24]) for at in range(128, 248, 24)]
        self.starts, at = [], 256
        for _, size, _, zero in self.sections:
            self.starts.append(at)
            at += size + -size % 8
            pad |= zero
        counts = self.sections[0][:2], self.sections[3][:2]
        sane = max(self.number, self.first, self.frame, self.position) < 1 << 62
        sane = sane and self.number >= 1 and self.first >= 2 and self.position >= 1
        sane = sane and counts[0][0] * 32 == counts[0][1] and counts[1][0] * 36 == counts[1][1]
        if pad or any(data[248:252]) or not sane or at != len(data):
            return
        for section in (0, 1, 2, 4, 3):
            if crc32(self.section(section, True)) != self.sections[section][2]:
                bad = self.starts[section], "section %d does not check" % section
                if section != 3:
                    self.bad = bad
                    return
                self.ids_bad = bad
        self.bad = None

    def section(self, number, padded=False):
        size = self.sections[number][1]
        return self.data[self.starts[number]:self.starts[number] + size + (-size % 8 if padded else 0)]

    def streams(self):
        """Name, version and last position, sorted by name."""
        entries, names = self.section(0), self.section(1)
        for at in range(0, len(entries), 32):
            start, length, _, version, last = struct.unpack("<QHB5xQQ", entries[at:at + 32])
            yield names[start:start + length], version, last

    def checkpoints(self):
        raw, at = self.section(2), 0
        while at + 34 <= len(raw):
            position, uuid, frame, length = struct.unpack("<Q16sQH", raw[at:at + 34])
            yield raw[at + 34:at + 34 + length], (position, uuid, frame)
            at += 34 + length

    def settings(self):
        """The bodies of settings records."""
        raw, at = self.section(4), 0
        while at + 44 <= len(raw):
            end = at + 44 + struct.unpack("<H", raw[at + 42:at + 44])[0]
            yield raw[at + 8:end]
            at = end

    def ids(self):
        raw = b"" if self.ids_bad else self.section(3)
        return struct.iter_unpack("<16sIQQ", raw)


class Store:
    def __init__(self, directory, listing=None):
        self.directory, self.listing = directory, listing
        self.damage, self.torn = [], None
        self.events = self.reclaimed = self.lost = self.frames = self.segment_count = 0
        self.closed = self.tail_is_damaged = False
        self.certified = self.epoch = 0
        self.digest = hashlib.sha256()
        self.streams, self.ids, self.newest, self.whole = {}, set(), 0, True
        self.base = None
        self.pending, self.carried, self.checkpoints, self.settings = [], {}, {}, {}

    def result(self):
        return {"closed": self.closed, "events": self.events, "reclaimed": self.reclaimed, "lost": self.lost,
                "segments": self.segment_count, "frames": self.frames, "torn": self.torn, "damage": self.damage,
                "checkpoints": self.checkpoints, "settings": self.settings, "digest": self.digest.hexdigest()}

    def note(self, name, offset, what):
        if not any((d["file"], d["offset"]) == (name, offset) for d in self.damage):
            self.damage.append({"file": name, "offset": offset, "what": what})
        self.whole = False

    def load(self, name):
        try:
            with open(os.path.join(self.directory, name), "rb") as file:
                if os.fstat(file.fileno()).st_size == 0:
                    return b""
                return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except FileNotFoundError:
            return None

    # Sections 3 and 4.

    def read_head(self):
        heads, missing, bad, names = [], False, None, ("head-0", "head-1")
        for name in names:
            raw = self.load(name)
            if raw is None:
                missing = True
                continue
            head = self.generation(name, raw)
            if head is None:
                bad = name
                continue
            heads.append(head)
        if not heads:
            self.note("head-1" if bad == "head-1" else "head-0", 0, "no generation of the head checks")
            heads = self.head_of_segments()
            if not heads:
                return False
        generation, self.first, self.last, self.store, self.scope, self.ancestors, _, _, flags, self.based = max(heads)
        if flags & 2:
            if bad or (missing and generation > 1):
                self.note(bad or "head-0", 0, "no generation of the head checks")
                return False
            raise Unfinished("begun and not finished")
        self.epoch = max(head[6] for head in heads)
        self.certified = max(head[7] for head in heads)
        raw = self.load("live") or b""
        for at in (0, BLOCK):
            mark = raw[at:at + 68]
            counts = struct.unpack("<5Q", mark[24:64]) if len(mark) == 68 else ()
            if counts and mark[:4] == b"FLLV" and mark[8:24] == self.store and max(counts) < 1 << 62:
                if crc32(mark[:64]) == struct.unpack("<I", mark[64:])[0]:
                    self.epoch = max(self.epoch, struct.unpack("<I", mark[4:8])[0])
                    self.certified = max(self.certified, struct.unpack("<Q", mark[32:40])[0])
        if generation and (bad or (missing and generation > 1)):
            self.epoch += 1
        return True

    def head_of_segments(self):
        """What stands for the head when none is left (section 3)."""
        headers = []
        for name in sorted(os.listdir(self.directory)):
            if len(name) != 24 or not name.endswith(".seg") or not name[:20].isdigit() or not int(name[:20]):
                continue
            block = (self.load(name) or b"")[:BLOCK]
            checks = len(block) == BLOCK and crc32(block[:-4]) == struct.unpack("<I", block[-4:])[0]
            if not checks or block[:8] != b"FACTLOG\0":
                continue
            version, algorithm, scope, flags = struct.unpack("<HBBI", block[8:16])
            if version or algorithm != 1 or scope not in (1, 2) or flags > 1:
                raise Unsupported("%s: format version %d, flags %#x" % (name, version, flags))
            if block[32:40] == u64(int(name[:20])) and self.rewrites(block) is not None:
                headers.append((block[16:32], int(name[:20]), scope, name))
        stores = [header[0] for header in headers]
        if not headers:
            return []
        line = self.line(headers)
        most = max(headers, key=lambda header: (stores.count(header[0]), header[1]))
        store, last, scope, _ = most if line is None else headers[-1]
        line = line or []
        mine = [Segment(number, name, self.load(name), store) for uuid, number, _, name in headers if uuid == store]
        epochs = [header.epoch for segment in mine[-2:] for _, header in segment.headers(BLOCK, len(segment.data))]
        first, base = self.beginning(last, [store] + [uuid for uuid, _ in line])
        return [(0, first, last, store, scope, line, max(epochs, default=0) + 1, 0, 0, base)]

    def line(self, headers):
        """The ancestors that segment headers tell of, or None if they are of no one line (section 3)."""
        found = []
        for (store, number, _, name), (later, after, _, other) in zip(headers, headers[1:]):
            if store == later:
                continue
            if len(found) >= 1024 or any(uuid == later for uuid, _ in found) or number + 1 != after:
                return None
            one, next_ = Segment(number, name, self.load(name), store), Segment(after, other, self.load(other), later)
            _, first = next(next_.headers(BLOCK, len(next_.data)), (0, None))
            if first is None or first.kind != OPENING:
                return None
            if not any(header.number + 1 == first.number and one.chain(at, header) == first.chain
                       for at, header in one.headers(BLOCK, len(one.data))):
                return None
            found.append((store, number))
        return found

    def beginning(self, last, stores):
        """Where a log without a head begins, and its base (section 3)."""
        names = os.listdir(self.directory)
        known = [(1, 0)]
        for name in names:
            if len(name) == 25 and name.endswith(".base") and name[:20].isdigit():
                base = Base(name, self.load(name) or b"")
                if not base.bad and base.number == int(name[:20]) and base.store in stores and base.first <= last:
                    known.append((base.first, base.number))
        whole = [(first, base) for first, base in sorted(known)
                 if all("%020d.seg" % number in names for number in range(first, last + 1))]
        return whole[0] if whole else max(known)

    # Section 12.

    def read_base(self):
        """Takes in what is known of trimmed segments."""
        if not self.based:
            return
        name = "%020d.base" % self.based
        raw = self.load(name)
        if raw is None:
            return self.note(name, 0, "the base that the head names is missing")
        base = Base(name, raw)
        if base.bad:
            return self.note(name, *base.bad)
        if base.number != self.based:
            return self.note(name, 32, "the base belongs to another place")
        stores = [self.store] + [uuid for uuid, _ in self.ancestors]
        if base.store not in stores or base.first != self.first:
            return self.note(name, 16, "the base belongs to another store or another head")
        self.base = base
        self.certified = max(self.certified, base.frame)
        streams = list(base.streams())
        self.streams = {stream: (version, 0) for stream, version, _ in streams}
        self.carried = dict(base.checkpoints())
        for body in base.settings():
            self.set(name, base.starts[4], body)
        for uuid, stream, version, position in base.ids():
            known = stream < len(streams)
            if not known or not 1 <= version <= streams[stream][1] or not 1 <= position < base.position:
                self.note(name, base.starts[3], "an id of no event")
                break
            self.ids.add(uuid + (b"" if self.scope == 1 else streams[stream][0]))
        if base.ids_bad:
            self.note(name, *base.ids_bad)
            self.whole = True

    @staticmethod
    def generation(name, raw):
        """What a generation of the head says; None if it does not check."""
        if len(raw) < 84 or raw[:8] != b"FACTHEAD" or crc32(raw[:-4]) != struct.unpack("<I", raw[-4:])[0]:
            return None
        version, scope, zero, flags = struct.unpack("<HBBI", raw[8:16])
        base, = struct.unpack("<Q", raw[72:80])
        trimmed = struct.unpack("<Q", raw[48:56])[0] > 1
        if version or scope not in (1, 2) or zero or flags & ~7 or trimmed != bool(base):
            raise Unsupported("%s: format version %d, id scope %d, flags %#x, base %d"
                              % (name, version, scope, flags, base))
        generation, epoch, count, first, last, durable = struct.unpack("<QIIQQQ", raw[32:72])
        if len(raw) != 84 + 24 * count or count > 1024 or first < 1 or first - 1 > last:
            return None
        if max(generation, last, durable, base) >= 1 << 62:
            return None
        ancestors = [(raw[at:at + 16], *struct.unpack("<Q", raw[at + 16:at + 24]))
                     for at in range(80, 80 + 24 * count, 24)]
        return generation, first, last, raw[16:32], scope, ancestors, epoch, durable, flags, base

    # Section 5.

    @staticmethod
    def rewrites(block):
        """How often the segment with this header block was rewritten; None if the block has impossible values."""
        flags, (number,) = block[12], struct.unpack("<I", block[60:64])
        fits = block[56] in (1, 2) and not any(block[57:60]) and not any(block[64:-4])
        return number if fits and flags == (number > 0) and number < (1 << 32) - 1 else None

    def open_segment(self, number):
        """The segment; None if its file is missing, False if its header block is damaged."""
        name = "%020d.seg" % number
        data = self.load(name)
        if data is None:
            return None
        origin = next((uuid for uuid, last in self.ancestors if number <= last), self.store)
        block = data[:BLOCK]
        if len(block) < BLOCK or crc32(block[:-4]) != struct.unpack("<I", block[-4:])[0] or block[:8] != b"FACTLOG\0":
            self.note(name, 0, "segment header does not check")
            return self.behind_header(number, name, data, origin)
        version, algorithm, scope, flags = struct.unpack("<HBBI", block[8:16])
        if version or algorithm != 1 or scope not in (1, 2) or flags > 1:
            raise Unsupported("%s: format version %d, checksum %d, id scope %d, flags %#x"
                              % (name, version, algorithm, scope, flags))
        if self.rewrites(block) is None:
            self.note(name, 0, "segment header has impossible values")
            return self.behind_header(number, name, data, origin)
        if block[16:32] != origin or block[32:40] != u64(number) or scope != self.scope:
            self.note(name, 0, "segment header is not that of this store and segment")
            return False
        segment = Segment(number, name, data, origin)
        segment.rewrite = self.rewrites(block)
        segment.find_opening()
        return segment

    def behind_header(self, number, name, data, origin):
        """A segment whose header block is damaged; False if its opening frame does not check either."""
        segment = Segment(number, name, data, origin)
        segment.find_opening()
        return segment if segment.opening else False

    # Section 8.

    def line_up(self):
        """The segments in line, and the unopened one after them."""
        line, unopened = [], None
        for number in range(self.first, self.last + 3):
            segment = self.open_segment(number)
            if segment is None and number <= self.last:
                self.note("%020d.seg" % number, 0, "the file is missing")
            if not segment:
                continue
            if segment.opening:
                if unopened:
                    self.note(unopened.name, BLOCK, "no opening frame, though a later segment has one")
                    unopened = None
                self.epoch = max(self.epoch, segment.frame.header.epoch)
                self.certified = max(self.certified, segment.frame.header.durable)
                line.append(segment)
            elif unopened is None:
                unopened = segment
            elif not segment.blank:
                self.note(segment.name, BLOCK, "a segment after an unopened one is not blank")
        for before, after in zip(line, line[1:]):
            opening, first, next_one = after.opening, before.frame.header, after.frame.header
            if (opening.segment != before.number or opening.frame < first.number
                    or next_one.position < first.position):
                self.note(after.name, BLOCK, "the segment does not follow the one before it")
            else:
                before.end = opening
        if self.base and line and line[0].number == self.first:
            opening, base = line[0].opening, self.base
            if (opening.frame, opening.chain, line[0].frame.header.position) != (base.frame, base.chain, base.position):
                self.note(line[0].name, BLOCK, "the segment does not follow what was trimmed")
        return line, unopened

    # Section 9.

    def found(self, segment, start, end, number):
        """The search: headers that check, with a higher number and an epoch not above the current one."""
        return ((at, header) for at, header in segment.headers(start, end)
                if number < header.number and header.durable < header.number and header.epoch <= self.epoch)

    def belongs(self, at, header, expected):
        return (header.number == expected.number and header.position == expected.position
                and header.chain == expected.chain and expected.epoch <= header.epoch <= self.epoch
                and plausible(header) and (header.kind == OPENING) == (at == BLOCK))

    def fits_batch(self, frame, rest):
        """Raises if the frame does not continue what is pending (section 6, batches). With `rest`, it may
        be the rest of a batch whose beginning is damaged."""
        header, first, last = frame.header, frame.header.part & 1, frame.header.part & 2
        if header.kind != BATCH:
            if self.pending:
                raise Bad("a batch is interrupted by another frame")
            return
        rest = rest and not first
        if bool(first) == bool(self.pending) and not (rest and not self.pending):
            raise Bad("a batch begins within another" if first else "a batch lacks its first frame")
        sums = (0, 0)
        if last:
            sums = (len(self.pending) + 1, header.events + sum(f.header.events for f in self.pending))
        if sums != (header.batch_frames, header.batch_events) and not (rest and last):
            raise Bad("a batch's counts are wrong")

    def walk(self):
        if not self.read_head():
            return
        self.read_base()
        line, unopened = self.line_up()
        self.segment_count = len(line)
        if not line:
            if unopened and not unopened.blank:
                for _, header in self.found(unopened, BLOCK, len(unopened.data), 0):
                    self.certified = max(self.certified, header.durable)
            if self.certified and not self.damage:
                self.note("%020d.seg" % self.first, BLOCK, "frames are certified, but no segment is open")
        else:
            self.newest = line[0].opening.last_recorded_at
            for segment in line[:-1]:
                if segment.end:
                    self.walk_segment(segment, segment.end.end, None)
            self.walk_segment(line[-1], len(line[-1].data), lambda *where: self.ends(unopened, *where))
        self.read_saved()

    def walk_segment(self, segment, end, ends):
        """Takes in the frames of a segment. `ends` judges the first bad frame of the log's last segment and
        answers whether the log ends there; in all others a bad frame is damage."""
        frame, at, rest, events = segment.frame, BLOCK, False, 0
        last = sealed = None
        expected = Expected(*frame.header[2:4], frame.header.chain, frame.header.epoch)
        while ends or at != end and expected.number <= segment.end.frame:
            try:
                header = segment.header(at)
                if header is None:
                    raise Bad("no frame header checks")
                if not self.belongs(at, header, expected) or sealed:
                    raise Bad("a frame checks but does not belong here")
                frame = segment.frame_at(at, header, end)
                self.fits_batch(frame, rest)
            except Bad as bad:
                if ends and ends(segment, at, expected, str(bad), last, sealed):
                    return
                if not ends:
                    self.note(segment.name, at, str(bad))
                self.flush()
                at, header = next(self.found(segment, at + 8, end, expected.number), (at, None))
                if header is None:
                    return
                expected, rest = Expected(header.number, header.position, header.chain, header.epoch), True
                continue
            self.frames += 1
            self.certified = max(self.certified, header.durable)
            last, sealed = header.kind if header.kind < 128 else last, header.kind == SEAL
            at, events = at + header.length, events + header.events
            expected = Expected(header.number + 1, header.position + header.events, frame.chain, header.epoch)
            self.pending.append(frame)
            if header.kind != BATCH or header.part & 2:
                self.flush()
            rest = rest and header.kind == BATCH and header.part == 0
            if header.kind == SEAL:
                self.check_seal(frame, expected.position - segment.frame.header.position)
        reached = (expected.number - 1, expected.chain) == (segment.end.frame, segment.end.chain)
        if not reached or self.pending or at != end and not segment.rewrite:
            self.note(segment.name, end, "the segment does not end as its successor says")
            self.flush()

    def ends(self, unopened, segment, at, expected, what, last, sealed):
        """The verdict on a bad frame in the last segment: whether the log ends there; if not, it is damage."""
        number, blank = expected.number, True
        if not sealed:
            blank = zeros(segment.data, at)
            for _, header in self.found(segment, at, len(segment.data), number):
                self.certified = max(self.certified, header.durable)
        if unopened and unopened.number == segment.number + 1 and not unopened.blank:
            blank = False
            for _, header in self.found(unopened, BLOCK, len(unopened.data), number - 1):
                self.certified = max(self.certified, header.durable)
        first = self.pending[0] if self.pending else None
        if (first.header.number if first else number) <= self.certified:
            if sealed:
                self.note("%020d.seg" % (segment.number + 1), BLOCK, what)
            elif not self.tail_is_damaged:
                self.note(segment.name, at, what)
            self.tail_is_damaged = True
            return False
        if first or not blank:
            self.torn = {"file": segment.name, "offset": first.offset if first else at}
        self.closed = last == CLOSED and not self.torn and not self.damage
        return True

    # Section 11.

    def keyed(self, name, kind):
        """The entries of a keyed file that count: key to value."""
        data, entries, at, bad = self.load(name) or b"", {}, 0, None
        seed = crc32(bytes([kind]), crc32(self.store))
        while at < len(data):
            head = data[at:at + 32]
            entry = None
            if len(head) == 32 and crc32(u64(at), crc32(head[:28], seed)) == struct.unpack("<I", head[28:])[0]:
                magic, key, value, removed, sequence, body_sum, _ = struct.unpack("<4sIIIQII", head)
                end = at + 32 + key + value + -(key + value) % 8
                sane = 1 <= key <= 4095 and value <= 64 << 20 and removed <= 1 and sequence < 1 << 62
                if magic == b"FLK0" and sane:
                    body = data[at + 32:end]
                    if len(body) == end - at - 32 and crc32(body) == body_sum:
                        entry = body[:key], None if removed else body[key:key + value]
            if entry is None:
                bad, at = at if bad is None else bad, at + 8
                continue
            if bad is not None:
                self.note(name, bad, "a saved entry does not check")
                bad = None
            entries[entry[0]], at = entry[1], end
        return {key: value for key, value in entries.items() if value is not None}

    def read_saved(self):
        """Checkpoints: those saved apart and those that batches carried, whichever is the later."""
        found = dict(self.carried)
        for key, value in self.keyed("checkpoints", 1).items():
            position, uuid, frame, _ = struct.unpack("<Q16sQQ", value)
            if key not in found or frame >= found[key][2]:
                found[key] = position, uuid, frame
        found = {key: value for key, value in found.items() if value[0] != 2**64 - 1}
        self.checkpoints = {key.decode(): [position, uuid.hex()] for key, (position, uuid, _) in sorted(found.items())}
        for key, value in self.keyed("snapshots", 2).items():
            stream = struct.unpack("<H", key[:2])[0]
            if len(key) <= 2 + stream or len(value) < 34:
                self.note("snapshots", 0, "a snapshot is impossible")
        keys = self.keyed("keyring", 3)
        if keys or self.load("keyring"):
            if len(keys.pop(b"\0", b"")) not in (1, 57):
                self.note("keyring", 0, "the first entry of the keyring does not check")
            for key, value in keys.items():
                secret = {1: 32, 2: SEALED + 32, 3: 0}.get(value[0] if value else 0)
                if len(key) != 16 or secret is None or len(value) != 2 + value[1] + 16 + secret:
                    self.note("keyring", 0, "an entry of the keyring is malformed")

    # Sections 6 and 7: what good frames say.

    def flush(self):
        """Takes in the frames of a whole batch."""
        for frame in self.pending:
            for record in frame.records:
                if record.kind in (EVENT, STUB):
                    self.event(frame.segment.name, record)
                if record.kind == LOST:
                    self.lost += struct.unpack("<I", record.body[:4])[0]
                if record.kind == CHECKPOINT:
                    length = record.body[0]
                    position, uuid = struct.unpack("<Q16s", record.body[1 + length:])
                    self.carried[record.body[1:1 + length]] = position, uuid, record.version
                if record.kind == SETTINGS:
                    self.set(frame.segment.name, record.offset, record.body)
        self.pending = []

    def set(self, name, offset, body):
        """The settings of a stream: the newest replace those before."""
        try:
            before, last, age, deleted, tombstoned, zero, length = struct.unpack("<QQQQBBH", body[:36])
            if tombstoned > 1 or zero or len(body) != 36 + length:
                raise ValueError
            self.settings[body[36:].decode()] = [before, last, age, deleted, bool(tombstoned)]
        except (ValueError, struct.error):
            self.note(name, offset, "the settings of a stream are impossible")

    def event(self, name, record):
        body = record.body
        try:
            parts = self.parts(body) if record.kind == EVENT else self.stub(body)
        except (ValueError, IndexError, struct.error):
            self.note(name, record.offset, "an event's body is impossible")
            return
        stream, key = parts[0], body[:16] + (b"" if self.scope == 1 else parts[0])
        before, then = self.streams.get(stream, (0 if self.first == 1 or self.base else None, 0))
        # A version may be missing for each position that was lost in between.
        if self.whole and before is not None and not 0 < record.version - before <= 1 + self.lost - then:
            self.note(name, record.offset, "version %d follows %d" % (record.version, before))
        if key in self.ids:
            self.note(name, record.offset, "an event id is stored twice")
        if record.recorded_at < self.newest:
            self.note(name, record.offset, "recorded_at falls")
        self.streams[stream] = record.version, self.lost
        self.newest = max(self.newest, record.recorded_at)
        self.ids.add(key)
        self.events += 1
        if record.kind == STUB:
            self.reclaimed += 1
            return
        stream, kind, tags, subject, metadata, data = parts
        if record.flags & ENCRYPTED:
            if len(data) < SEALED:
                self.note(name, record.offset, "an event's body is impossible")
            data = b""  # nobody but who has the key can list it
        line = [record.position, record.version, record.recorded_at, body[:16].hex(),
                struct.unpack("<H", body[16:18])[0], body[18], *(part.hex() for part in (stream, kind)),
                ",".join(tag.hex() for tag in tags), *(part.hex() for part in (subject, metadata, data))]
        line = "\t".join(map(str, line)) + "\n"
        self.digest.update(line.encode())
        if self.listing:
            self.listing.write(line)

    @staticmethod
    def parts(body):
        content, kind, stream, tags, subject, metadata = struct.unpack("<BBHBBI", body[18:28])
        at, out = 28, []

        def take(length):
            nonlocal at
            if at + length > len(body):
                raise ValueError
            at += length
            return body[at - length:at]
        if content > 1 or kind == 0 or not 1 <= stream <= 1024:
            raise ValueError
        out = [take(stream), take(kind), [take(take(1)[0]) for _ in range(tags)], take(subject), take(metadata)]
        for text in (out[0], out[1], out[3], *out[2]):
            text.decode("utf-8")
        return out + [body[at:]]

    @staticmethod
    def stub(body):
        content, kind, stream, reason, zero, _ = struct.unpack("<BBHBBI", body[18:28])
        if content > 1 or kind == 0 or not 1 <= stream <= 1024 or not 1 <= reason <= 5 or zero:
            raise ValueError
        if len(body) != 28 + stream + kind:
            raise ValueError
        body[28:28 + stream].decode("utf-8"), body[28 + stream:].decode("utf-8")
        return [body[28:28 + stream]]

    def check_seal(self, frame, events):
        if [r.kind for r in frame.records] != [SEAL_RECORD] or len(frame.records[0].body) != 16:
            self.note(frame.segment.name, frame.offset, "a seal frame without a seal record, or with more")
            return
        told, newest = struct.unpack("<QQ", frame.records[0].body)
        if told != events or self.whole and newest != self.newest:
            self.note(frame.segment.name, frame.offset, "a seal says something else")


def main(arguments):
    paths = [a for a in arguments if a not in ("--json", "--list")]
    if len(paths) != 1:
        print(__doc__, file=sys.stderr)
        return 2
    store = Store(paths[0], sys.stdout if "--list" in arguments else None)
    code = 0
    try:
        store.walk()
        result = store.result()
        code = 11 if store.damage else 10 if store.torn else 0
    except Unsupported as unsupported:
        result, code = {**store.result(), "unsupported": str(unsupported)}, 12
    except Unfinished as unfinished:
        result, code = {**store.result(), "unfinished": str(unfinished)}, 4
    print(json.dumps(result, indent=None if "--json" in arguments else 2))
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
