//! Lines of a file, a gzip file or standard input, each with its number and of bounded length.
//!
//! Knows: where bytes come from and where a line ends. Does not know: what a line says.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use flate2::bufread::MultiGzDecoder;
use indicatif::ProgressBar;

/// Longest line: an event's data may be 64 MiB, and a line may hold them as JSON and as base64.
pub const LINE_MAX: usize = 160 << 20;

const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";
const BUFFER: usize = 64 << 10;

/// Where lines come from.
pub enum Origin {
    /// A file, and its size if it is an ordinary one.
    File(File, Option<u64>),
    /// Standard input.
    Stdin,
}

impl Origin {
    /// Opens the file; `-` or nothing is standard input.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn open(path: Option<&Path>) -> io::Result<Self> {
        let Some(path) = path.filter(|path| path.as_os_str() != "-") else {
            return Ok(Self::Stdin);
        };
        let file = File::open(path)?;
        let meta = file.metadata()?;
        if meta.is_dir() {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        Ok(Self::File(file, meta.is_file().then_some(meta.len())))
    }

    /// Its size in bytes, if that is known.
    pub fn size(&self) -> Option<u64> {
        match self {
            Self::File(_, size) => *size,
            Self::Stdin => None,
        }
    }

    /// Its lines, unpacked if it is gzip; `bar` shows the bytes read.
    ///
    /// # Errors
    /// What reading its first bytes says.
    pub fn lines(self, bar: &ProgressBar) -> io::Result<Lines<Box<dyn BufRead>>> {
        match self {
            Self::File(file, _) => unpacked(bar.wrap_read(file)),
            Self::Stdin => unpacked(bar.wrap_read(io::stdin())),
        }
    }
}

/// The lines of `input`, unpacked if it begins as gzip does.
///
/// # Errors
/// What reading its first bytes says.
pub fn unpacked(mut input: impl Read + 'static) -> io::Result<Lines<Box<dyn BufRead>>> {
    let mut start = Vec::with_capacity(GZIP_MAGIC.len());
    input.by_ref().take(GZIP_MAGIC.len() as u64).read_to_end(&mut start)?;
    let packed = start == GZIP_MAGIC;
    let whole = BufReader::with_capacity(BUFFER, io::Cursor::new(start).chain(input));
    let reader: Box<dyn BufRead> = if packed {
        Box::new(BufReader::with_capacity(BUFFER, MultiGzDecoder::new(whole)))
    } else {
        Box::new(whole)
    };
    Ok(Lines::new(reader))
}

/// One line.
#[derive(Debug, PartialEq, Eq)]
pub enum Line<'a> {
    /// Its number, from 1, and its bytes without the line break.
    Text(u64, &'a [u8]),
    /// The number of a line longer than [`LINE_MAX`]; it was skipped.
    TooLong(u64),
}

/// A reader of lines. Blank lines are counted and left out.
pub struct Lines<R> {
    input: R,
    number: u64,
    line: Vec<u8>,
    most: usize,
}

impl<R: BufRead> Lines<R> {
    /// The lines of `input`.
    pub fn new(input: R) -> Self {
        Self { input, number: 0, line: Vec::new(), most: LINE_MAX }
    }

    /// The next line that is not blank; `None` at the end. The last line needs no line break.
    ///
    /// # Errors
    /// What the reader says; a line begun before is dropped.
    pub fn next_line(&mut self) -> io::Result<Option<Line<'_>>> {
        loop {
            self.line.clear();
            let bound = self.most as u64 + 2;
            let read = self.input.by_ref().take(bound).read_until(b'\n', &mut self.line)?;
            if read == 0 {
                return Ok(None);
            }
            self.number += 1;
            let ended = self.line.last() == Some(&b'\n');
            if self.line.trim_ascii_end().len() > self.most {
                if !ended {
                    self.input.skip_until(b'\n')?;
                }
                return Ok(Some(Line::TooLong(self.number)));
            }
            if !self.line.trim_ascii().is_empty() {
                break;
            }
        }
        let mut text = self.line.as_slice();
        if self.number == 1 {
            text = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text);
        }
        text = text.strip_suffix(b"\n").unwrap_or(text);
        text = text.strip_suffix(b"\r").unwrap_or(text);
        Ok(Some(Line::Text(self.number, text)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::{Compression, write::GzEncoder};
    use std::io::Write;

    fn all<R: BufRead>(mut lines: Lines<R>) -> Vec<(u64, String)> {
        let mut out = Vec::new();
        while let Some(line) = lines.next_line().unwrap() {
            out.push(match line {
                Line::Text(number, text) => (number, String::from_utf8_lossy(text).into()),
                Line::TooLong(number) => (number, "too long".into()),
            });
        }
        out
    }

    fn numbered(lines: &[(u64, &str)]) -> Vec<(u64, String)> {
        lines.iter().map(|(number, text)| (*number, (*text).to_owned())).collect()
    }

    #[test]
    fn lines_have_numbers_and_blank_ones_are_left_out() {
        let text = "\u{feff}a\r\n\n  \nb\n c";
        assert_eq!(all(Lines::new(text.as_bytes())), numbered(&[(1, "a"), (4, "b"), (5, " c")]));
        assert_eq!(all(Lines::new("".as_bytes())), []);
        assert_eq!(all(Lines::new("\n".as_bytes())), []);
    }

    #[test]
    fn a_line_too_long_is_skipped_and_the_next_is_read() {
        for (text, third) in [("ab\nabcdefghij\nabc\n", "abc"), ("ab\nabcd\nabc", "abc")] {
            let mut lines = Lines::new(text.as_bytes());
            lines.most = 3;
            assert_eq!(all(lines), numbered(&[(1, "ab"), (2, "too long"), (3, third)]));
        }
        let mut lines = Lines::new("abc\r\nabc".as_bytes());
        lines.most = 3;
        assert_eq!(all(lines), numbered(&[(1, "abc"), (2, "abc")]));
    }

    #[test]
    fn gzip_is_known_by_its_magic_also_in_several_members() {
        let pack = |text: &str| {
            let mut packer = GzEncoder::new(Vec::new(), Compression::fast());
            packer.write_all(text.as_bytes()).unwrap();
            packer.finish().unwrap()
        };
        let both = [pack("a\nb"), pack("c\nd\n")].concat();
        let lines = unpacked(io::Cursor::new(both)).unwrap();
        assert_eq!(all(lines), numbered(&[(1, "a"), (2, "bc"), (3, "d")]));
        for plain in ["", "x", "xy\nz"] {
            let lines = unpacked(io::Cursor::new(plain.to_owned().into_bytes())).unwrap();
            assert_eq!(all(lines).len(), plain.lines().count());
        }
    }

    #[test]
    fn a_cut_gzip_file_is_an_error_and_not_an_end() {
        let mut packer = GzEncoder::new(Vec::new(), Compression::fast());
        packer.write_all(b"a\nb\nc\n").unwrap();
        let mut packed = packer.finish().unwrap();
        packed.truncate(packed.len() - 9);
        let mut lines = unpacked(io::Cursor::new(packed)).unwrap();
        let error = loop {
            match lines.next_line() {
                Ok(Some(_)) => {}
                Ok(None) => panic!("the end"),
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }
}
