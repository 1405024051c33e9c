//! Standard output and standard error: data here, progress and messages there.
//!
//! Knows: whether somebody looks at a terminal, and whether colour is wanted. Does not know:
//! events.

use std::io::{self, BufWriter, IsTerminal, StdoutLock, Write};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

use crate::args::{Colour, Global};
use crate::exit::Failure;

/// Standard output, buffered: flush it where somebody waits for it.
pub struct Out {
    inner: BufWriter<StdoutLock<'static>>,
    /// Somebody looks at it.
    pub terminal: bool,
    colour: bool,
}

impl Out {
    /// Standard output.
    pub fn new(global: &Global) -> Self {
        let terminal = io::stdout().is_terminal();
        let colour = match global.color {
            Colour::Always => true,
            Colour::Never => false,
            Colour::Auto => terminal && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty()),
        };
        Self { inner: BufWriter::with_capacity(64 << 10, io::stdout().lock()), terminal, colour }
    }

    /// `text`, less prominent than the rest.
    pub fn dim(&self, text: &str) -> String {
        self.in_colour("2", text)
    }

    /// `text`, more prominent than the rest.
    pub fn bold(&self, text: &str) -> String {
        self.in_colour("1", text)
    }

    fn in_colour(&self, code: &str, text: &str) -> String {
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    /// One line of text.
    ///
    /// # Errors
    /// Standard output cannot be written; a closed pipe is [`Failure::Pipe`].
    pub fn line(&mut self, text: impl AsRef<str>) -> Result<(), Failure> {
        self.inner.write_all(text.as_ref().as_bytes())?;
        Ok(self.inner.write_all(b"\n")?)
    }

    /// One line of JSON.
    ///
    /// # Errors
    /// As [`Self::line`].
    pub fn json(&mut self, value: &impl Serialize) -> Result<(), Failure> {
        serde_json::to_writer(&mut self.inner, value).map_err(io::Error::from)?;
        Ok(self.inner.write_all(b"\n")?)
    }

    /// Hands on everything written.
    ///
    /// # Errors
    /// As [`Self::line`].
    pub fn done(&mut self) -> Result<(), Failure> {
        Ok(self.inner.flush()?)
    }
}

impl Write for Out {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.inner.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// Standard error: messages and progress.
pub struct Messages {
    quiet: bool,
    bar: ProgressBar,
}

impl Messages {
    /// Messages without progress.
    pub fn new(global: &Global) -> Self {
        Self { quiet: global.quiet, bar: ProgressBar::hidden() }
    }

    /// Messages and, on a terminal, a bar of bytes up to `total`; without a total it only counts.
    pub fn with_bytes(global: &Global, total: Option<u64>) -> Self {
        let counting = "{spinner} {bytes} {elapsed}";
        let full = "{bar:30} {bytes} of {total_bytes}, {eta} left";
        Self::with_bar(global, total, if total.is_some() { full } else { counting })
    }

    /// Messages and, on a terminal, a bar of events up to `total`.
    pub fn with_events(global: &Global, total: u64) -> Self {
        Self::with_bar(global, Some(total), "{bar:30} {pos} of {len} events, {eta} left")
    }

    /// Messages and, on a terminal, a bar of segments.
    pub fn with_segments(global: &Global) -> Self {
        Self::with_bar(global, Some(0), "{bar:30} {pos} of {len} segments, {eta} left")
    }

    fn with_bar(global: &Global, total: Option<u64>, template: &str) -> Self {
        if global.quiet || !io::stderr().is_terminal() {
            return Self::new(global);
        }
        let bar = ProgressBar::with_draw_target(total, ProgressDrawTarget::stderr());
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(200));
        Self { quiet: global.quiet, bar }
    }

    /// The bar; hidden off a terminal.
    pub fn bar(&self) -> &ProgressBar {
        &self.bar
    }

    /// A message that `--quiet` leaves out.
    pub fn say(&self, text: impl AsRef<str>) {
        if !self.quiet {
            self.warn(text);
        }
    }

    /// A message that is always said.
    pub fn warn(&self, text: impl AsRef<str>) {
        self.bar.suspend(|| {
            let _ = writeln!(io::stderr().lock(), "{}", text.as_ref());
        });
    }
}

impl Drop for Messages {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// A number with its thousands apart: `7,630`.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A number of bytes for people: `64.0 MiB`.
pub fn sized(bytes: u64) -> String {
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64;
    let mut unit = "B";
    for next in ["KiB", "MiB", "GiB", "TiB"] {
        if value < 1024.0 {
            break;
        }
        value /= 1024.0;
        unit = next;
    }
    format!("{value:.1} {unit}")
}

/// `1 event`, `2 events`.
pub fn counted(number: u64, what: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {what}{plural}", grouped(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_readable() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(7630), "7,630");
        assert_eq!(grouped(1_234_567), "1,234,567");
        assert_eq!(sized(1023), "1023 B");
        assert_eq!(sized(1536), "1.5 KiB");
        assert_eq!(sized(64 << 20), "64.0 MiB");
        assert_eq!(counted(1, "event"), "1 event");
        assert_eq!(counted(2, "event"), "2 events");
    }
}
