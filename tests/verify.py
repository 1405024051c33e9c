#!/usr/bin/env python3
"""An independent reader of a factlog store, written from docs/FORMAT.md alone.

    python3 tests/verify.py DIR [--json]      (--json: on one line)

Prints what the log holds. Exit code: 0 ends well, 10 torn tail, 11 damage, 12 unsupported format.
It only reads. Section numbers in comments are those of FORMAT.md. The digest is over the events of good
frames; where there is damage, over those that can still be reached.
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
RECORDS = EVENT, CHECKPOINT, OPENING_RECORD, SEAL_RECORD = 1, 2, 3, 4
LIMIT = 2**63 - 1

Header = namedtuple("Header", "magic length number position durable epoch chain kind part flags records events "
                              "batch_frames batch_events checksum")
Record = namedtuple("Record", "kind flags zeros length position version recorded_at body_sum head_sum offset body")
Frame = namedtuple("Frame", "segment offset header records chain")
Opening = namedtuple("Opening", "segment end frame chain zeros last_recorded_at")
Expected = namedtuple("Expected", "number position chain epoch")


class Unsupported(Exception):
    pass


class Bad(Exception):
    pass


def u64(value):
    return struct.pack("<Q", value)


def zeros(data, start, end=None):
    end = len(data) if end is None else end
    for at in range(start, end, 1 << 20):
        if any(data[at:min(at + (1 << 20), end)]):
            return False
    return True


class Segment:
    """One segment file: its bytes, its seed, its opening frame if that is valid (section 8)."""

    def __init__(self, number, name, data, origin):
        self.number, self.name, self.data = number, name, data
        self.seed = crc32(u64(number), crc32(origin))
        self.opening = self.frame = None

    def header(self, at):
        """The frame header at `at`, or None if none checks there (section 6)."""
        raw = self.data[at:at + 64]
        if len(raw) < 64 or raw[:4] != b"FLFR":
            return None
        header = Header(*struct.unpack("<4sIQQQIIBBHIIIII", raw))
        good = crc32(u64(at), crc32(raw[:60], self.seed)) == header.checksum
        return header if good and header.length >= 64 and header.length % 8 == 0 else None

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

    def frame_at(self, at, header, end):
        """The frame whose header was found at `at`, its records checked."""
        if header.flags or header.part > 3 or (header.kind < 128 and header.kind not in KINDS):
            raise Unsupported("frame kind %d, part %d, flags %#x" % (header.kind, header.part, header.flags))
        stop = at + header.length
        if stop > min(end, len(self.data)):
            raise Bad("a frame is cut off")
        records, place, events = [], at + 64, 0
        chain = crc32(self.data[at + 40:at + 60], crc32(self.data[at + 8:at + 36], header.chain))
        while place < stop:
            record = self.record(place, stop)
            if record.flags or (record.kind < 128 and record.kind not in RECORDS):
                raise Unsupported("record kind %d, flags %#x" % (record.kind, record.flags))
            if record.kind == EVENT:
                if record.position != header.position + events:
                    raise Bad("an event has the wrong position")
                events += 1
            records.append(record)
            chain = crc32(struct.pack("<I", record.head_sum), chain)
            place += 40 + record.length + -record.length % 8
        if (len(records), events) != (header.records, header.events):
            raise Bad("a frame's counts are wrong")
        if (header.kind == OPENING) != (at == BLOCK):
            raise Bad("an opening frame in the wrong place, or none at the beginning")
        return Frame(self, at, header, records, chain)

    def find_opening(self, epoch):
        """Section 8: what makes an opening frame valid."""
        header = self.header(BLOCK)
        if not header or header.epoch > epoch or header.kind != OPENING or header.durable >= header.number:
            return
        try:
            frame = self.frame_at(BLOCK, header, len(self.data))
            bodies = [r.body for r in frame.records if r.kind == OPENING_RECORD]
            if len(bodies) != 1 or len(bodies[0]) != 40:
                return
            opening = Opening(*struct.unpack("<QQQIIQ", bodies[0]))
        except (Bad, Unsupported):
            return
        fits = opening.frame + 1 == header.number and opening.chain == header.chain and not opening.zeros
        if fits and opening.segment < self.number:
            self.opening, self.frame = opening, frame

    def headers(self, start, end):
        """Every place from `start` on that is a multiple of 8 and where a header checks."""
        at = self.data.find(b"FLFR", start, end)
        while at >= 0:
            header = self.header(at) if at % 8 == 0 and at + 64 <= end else None
            if header and header.durable < header.number:
                yield at, header
            at = self.data.find(b"FLFR", at + 1, end)


class Store:
    def __init__(self, directory):
        self.directory = directory
        self.damage, self.torn = [], None
        self.events = self.frames = self.segment_count = 0
        self.clean = False
        self.certified = self.epoch = 0
        self.digest = hashlib.sha256()
        self.streams, self.ids, self.newest, self.whole = {}, set(), 0, True
        self.pending = []

    def result(self):
        return {"clean": self.clean, "events": self.events, "segments": self.segment_count, "frames": self.frames,
                "torn": self.torn, "damage": self.damage, "digest": self.digest.hexdigest()}

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
        heads, seen = [], False
        for name in ("head-0", "head-1"):
            raw = self.load(name)
            seen |= raw is not None
            if raw is None or len(raw) < 84 or raw[:8] != b"FACTHEAD":
                continue
            if crc32(raw[:-4]) != struct.unpack("<I", raw[-4:])[0]:
                continue
            version, scope, zero, flags = struct.unpack("<HBBI", raw[8:16])
            base, = struct.unpack("<Q", raw[72:80])
            if version or scope not in (1, 2) or zero or flags or base:
                raise Unsupported("%s: format version %d, id scope %d, flags %#x, base %d"
                                  % (name, version, scope, flags, base))
            generation, epoch, count, first, last, durable = struct.unpack("<QIIQQQ", raw[32:72])
            if len(raw) != 84 + 24 * count or count > 1024 or first < 1:
                continue
            ancestors = [(raw[at:at + 16], *struct.unpack("<Q", raw[at + 16:at + 24]))
                         for at in range(80, 80 + 24 * count, 24)]
            heads.append((generation, first, last, raw[16:32], scope, ancestors))
            self.epoch, self.certified = max(self.epoch, epoch), max(self.certified, durable)
        if not heads:
            self.note("head-0", 0, "no generation of the head checks" if seen else "there is no head")
            return False
        _, self.first, self.last, self.store, self.scope, self.ancestors = max(heads)
        raw = self.load("live") or b""
        for at in (0, BLOCK):
            mark = raw[at:at + 68]
            if len(mark) == 68 and mark[:4] == b"FLLV" and mark[8:24] == self.store:
                if crc32(mark[:64]) == struct.unpack("<I", mark[64:])[0]:
                    self.epoch = max(self.epoch, struct.unpack("<I", mark[4:8])[0])
                    self.certified = max(self.certified, struct.unpack("<Q", mark[32:40])[0])
        return True

    # Section 5.

    def open_segment(self, number):
        """The segment; None if its file is missing, False if its header block is damaged."""
        name = "%020d.seg" % number
        data = self.load(name)
        if data is None:
            return None
        block = data[:BLOCK]
        if len(block) < BLOCK or crc32(block[:-4]) != struct.unpack("<I", block[-4:])[0] or block[:8] != b"FACTLOG\0":
            self.note(name, 0, "segment header does not check")
            return False
        version, algorithm, scope, flags = struct.unpack("<HBBI", block[8:16])
        if version or algorithm != 1 or scope not in (1, 2) or flags or block[56] > 2:
            raise Unsupported("%s: format version %d, checksum %d, id scope %d, flags %#x"
                              % (name, version, algorithm, scope, flags))
        origin = next((uuid for uuid, last in self.ancestors if number <= last), self.store)
        if block[16:32] != origin or block[32:40] != u64(number) or scope != self.scope or any(block[57:-4]):
            self.note(name, 0, "segment header is not that of this store and segment")
            return False
        segment = Segment(number, name, data, origin)
        segment.find_opening(self.epoch)
        return segment

    # Section 8.

    def line_up(self):
        """The segments in line, then the spares after them."""
        found = {number: self.open_segment(number) for number in range(self.first, self.last + 1)}
        extra = self.open_segment(self.last + 1)
        if extra:
            found[self.last + 1] = extra
        opened = [number for number, segment in found.items() if segment and segment.opening]
        top = max(opened, default=self.first)
        line = [top]
        while line[0] > self.first:
            segment = found.get(line[0])
            named = segment.opening.segment if segment and segment.opening else line[0] - 1
            if named < self.first:
                self.note(segment.name, BLOCK, "the opening frame names no predecessor within the store")
                named = line[0] - 1
            line.insert(0, named)
        for number in range(self.first, self.last + 1):
            if found[number] is None and (number in line or number > top):
                self.note("%020d.seg" % number, 0, "the file is missing")
        spares = [found[number] for number in sorted(found) if number > top and found[number]]
        if self.last == 0 and not (extra and extra.opening):
            line = []  # nothing was ever written
        return [found.get(number) or None for number in line], spares

    # Section 9.

    def found(self, segment, start, end, number):
        """The search: headers that check, with a higher number and an epoch not above the current one."""
        return ((at, header) for at, header in segment.headers(start, end)
                if number < header.number < LIMIT and header.position < LIMIT and header.epoch <= self.epoch)

    def belongs(self, header, expected):
        return (header.number == expected.number and header.position == expected.position
                and header.chain == expected.chain and expected.epoch <= header.epoch <= self.epoch
                and header.durable < header.number < LIMIT and header.position < LIMIT)

    def fits_batch(self, frame, lenient):
        """Raises if the frame does not continue what is pending (section 6, batches)."""
        header, first, last = frame.header, frame.header.part & 1, frame.header.part & 2
        if header.kind != BATCH:
            if self.pending and not lenient:
                raise Bad("a batch is interrupted by another frame")
            if header.events or header.batch_frames:
                raise Bad("a frame that is not of a batch has events")
            return
        if bool(first) == bool(self.pending) and not lenient:
            raise Bad("a batch begins within another" if first else "a batch lacks its first frame")
        sums = (0, 0)
        if last:
            sums = (len(self.pending) + 1, header.events + sum(f.header.events for f in self.pending))
        if sums != (header.batch_frames, header.batch_events) and not (lenient and last):
            raise Bad("a batch's counts are wrong")

    def walk(self):
        if not self.read_head():
            return
        line, spares = self.line_up()
        if not line and self.certified:
            self.note("head-0", 0, "frames are certified, but there is no segment")
        for segment in line:
            if segment and segment.frame:
                self.certified = max(self.certified, segment.frame.header.durable)
        expected, previous = Expected(1, 1, 0, 0) if self.first == 1 else None, None
        while line:
            segment, line = line[0], line[1:]
            if segment is None:  # missing, or with a damaged header block: noted already
                self.flush()
                expected = previous = None
                continue
            end, rest = len(segment.data), line + spares
            if line and line[0] and line[0].opening:
                end = line[0].opening.end
                if end > len(segment.data):
                    self.note(segment.name, len(segment.data), "the file is shorter than its successor says")
            ended, at, expected = self.walk_segment(segment, end, bool(line), rest, expected, previous)
            if ended:
                return
            previous = (segment.number, at, expected.number - 1, expected.chain) if expected else None
            if not line and spares and any(spares[0].headers(BLOCK, len(spares[0].data))):
                line, spares = spares[:1], spares[1:]  # a segment whose opening frame is damaged

    def walk_segment(self, segment, end, followed, rest, expected, previous):
        """Answers whether the log ends in this segment, where the walk stopped, and what is expected next."""
        at, lenient, events, last, opening = BLOCK, False, 0, None, segment.opening
        if opening and expected is None:
            expected = Expected(*segment.frame.header[2:4], segment.frame.header.chain, segment.frame.header.epoch)
        if opening and self.segment_count == 0:
            self.newest = opening.last_recorded_at
        while not (followed and at == end and not self.pending):
            try:
                header = segment.header(at)
                if header is None:
                    raise Bad("no frame header checks")
                if expected is None or not self.belongs(header, expected):
                    raise Bad("a frame checks but does not belong here")
                frame = segment.frame_at(at, header, end)
                if last and last.header.kind == SEAL:
                    raise Bad("a frame follows the seal")
                if at == BLOCK and previous and (opening is None or opening[:4] != previous):
                    raise Bad("the opening frame names another end of its predecessor")
                self.fits_batch(frame, lenient)
            except Bad as bad:
                if self.ends(segment, at, end, followed, rest, expected, str(bad), last):
                    return True, at, None
                at, header = next(self.found(segment, at + 8, end, expected.number if expected else 0), (at, None))
                if header is None:
                    return False, at, None
                expected, lenient = Expected(header.number, header.position, header.chain, header.epoch), True
                continue
            self.segment_count += last is None
            self.certified, last = max(self.certified, header.durable), frame
            at, events = at + header.length, events + header.events
            expected = Expected(header.number + 1, header.position + header.events, frame.chain, header.epoch)
            self.pending.append(frame)
            if header.kind != BATCH or header.part & 2:
                self.flush()
                lenient = False
            if header.kind == SEAL:
                self.check_seal(frame, events)
        return False, at, expected

    def ends(self, segment, at, end, followed, rest, expected, what, last):
        """The verdict on a bad frame: whether the log ends there; if not, it is damage."""
        number = expected.number if expected else 0
        following = rest[0] if rest and rest[0] else None
        places = [(segment, at, end)] + ([(following, BLOCK, len(following.data))] if following else [])
        for place in places:
            for _, header in self.found(*place, number):
                self.certified = max(self.certified, header.durable)
        first = self.pending[0] if self.pending else None
        if expected is None or (first.header.number if first else number) <= self.certified:
            if last and last.header.kind == SEAL and following and not following.opening:
                segment, at = following, BLOCK
            self.note(segment.name, at, what)
            self.flush()
            return False
        if first or followed or not zeros(segment.data, at):
            self.torn = {"file": segment.name, "offset": first.offset if first else at}
            return True
        used = [spare for spare in rest if not zeros(spare.data, BLOCK)]
        if used:
            self.torn = {"file": used[0].name, "offset": BLOCK}
        self.clean = bool(last) and last.header.kind == CLOSED and not used and not self.damage
        return True

    # Sections 6 and 7: what good frames say.

    def flush(self):
        """Takes in the frames of a whole batch."""
        for frame in self.pending:
            self.frames += 1
            for record in frame.records:
                if record.kind == EVENT:
                    self.event(frame.segment.name, record)
        self.pending = []

    def event(self, name, record):
        body = record.body
        try:
            parts = self.parts(body)
        except (ValueError, IndexError, struct.error):
            self.note(name, record.offset, "an event's body is impossible")
            return
        stream, key = parts[0], body[:16] + (b"" if self.scope == 1 else parts[0])
        before = self.streams.get(stream, 0 if self.first == 1 else None)
        if self.whole and before is not None and record.version != before + 1:
            self.note(name, record.offset, "version %d follows %d" % (record.version, before))
        if key in self.ids:
            self.note(name, record.offset, "an event id is stored twice")
        if record.recorded_at < self.newest:
            self.note(name, record.offset, "recorded_at falls")
        self.streams[stream], self.newest = record.version, max(self.newest, record.recorded_at)
        self.ids.add(key)
        self.events += 1
        stream, kind, tags, subject, metadata, data = parts
        out = [u64(record.position), u64(record.version), u64(record.recorded_at), body[:16]]
        for part in (stream, kind, tags, *tags, subject, metadata, data):  # a list is only counted
            out += [struct.pack("<I", len(part)), b"" if isinstance(part, list) else part]
        self.digest.update(b"".join(out))

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

    def check_seal(self, frame, events):
        bodies = [r.body for r in frame.records if r.kind == SEAL_RECORD]
        if len(bodies) != 1 or len(bodies[0]) != 16:
            self.note(frame.segment.name, frame.offset, "a seal frame without a seal record")
        elif self.whole and struct.unpack("<QQ", bodies[0]) != (events, self.newest):
            self.note(frame.segment.name, frame.offset, "a seal's counts are wrong")


def main(arguments):
    paths = [a for a in arguments if a != "--json"]
    if len(paths) != 1:
        print(__doc__, file=sys.stderr)
        return 2
    store = Store(paths[0])
    code = 0
    try:
        store.walk()
        result = store.result()
        code = 11 if store.damage else 10 if store.torn else 0
    except Unsupported as unsupported:
        result, code = {**store.result(), "unsupported": str(unsupported)}, 12
    print(json.dumps(result, indent=None if "--json" in arguments else 2))
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
