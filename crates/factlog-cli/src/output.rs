//! Standard output and standard error: data here, progress and messages there.
//!
//! Knows: whether somebody looks at a terminal, and whether colour is wanted. Does not know:
//! events.

use std::env;
use std::ffi::OsStr;
use std::fmt;
use std::io::{self, BufWriter, IsTerminal, StdoutLock, Write};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};
use serde::Serialize;

use crate::args::{Colour, Global};
use crate::exit::Failure;
use crate::progress::{Unit, told};

/// Standard output, buffered: flush it where somebody waits for it.
pub struct Out {
    inner: BufWriter<StdoutLock<'static>>,
    /// Somebody looks at it.
    pub terminal: bool,
    /// How many columns a line may have, if that is known.
    pub width: Option<usize>,
    colour: bool,
}

/// Whether colour is wanted: what is said counts, then NO_COLOR, then whether somebody looks at it.
fn coloured(said: Colour, no_colour: Option<&OsStr>, terminal: bool) -> bool {
    match said {
        Colour::Always => true,
        Colour::Never => false,
        Colour::Auto => terminal && no_colour.is_none_or(OsStr::is_empty),
    }
}

/// How wide a line may be: what COLUMNS says, then what the terminal says.
fn width(columns: Option<&str>, terminal: bool) -> Option<usize> {
    let said = columns.and_then(|text| text.parse().ok()).filter(|columns| *columns > 0);
    let asked = || Some(usize::from(terminal_size::terminal_size_of(io::stdout())?.0.0));
    said.or_else(|| asked().filter(|columns| terminal && *columns > 0))
}

impl Out {
    /// Standard output.
    pub fn new(global: &Global) -> Self {
        let terminal = io::stdout().is_terminal();
        let colour = coloured(global.color, env::var_os("NO_COLOR").as_deref(), terminal);
        let width = width(env::var("COLUMNS").ok().as_deref(), terminal);
        let inner = BufWriter::with_capacity(64 << 10, io::stdout().lock());
        Self { inner, terminal, width, colour }
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
    verbose: bool,
    bar: ProgressBar,
}

impl Messages {
    /// Messages without progress.
    pub fn new(global: &Global) -> Self {
        Self { quiet: global.quiet, verbose: global.verbose, bar: ProgressBar::hidden() }
    }

    /// Messages and, on a terminal, a bar of bytes up to `total`; without a total it only counts.
    pub fn with_bytes(global: &Global, total: Option<u64>) -> Self {
        Self::with_bar(global, total, Unit::Bytes)
    }

    /// Messages and, on a terminal, a bar of events up to `total`.
    pub fn with_events(global: &Global, total: u64) -> Self {
        Self::with_bar(global, Some(total), Unit::Events)
    }

    /// Messages and, on a terminal, a bar of segments.
    pub fn with_segments(global: &Global) -> Self {
        Self::with_bar(global, Some(0), Unit::Segments)
    }

    fn with_bar(global: &Global, total: Option<u64>, unit: Unit) -> Self {
        if global.quiet || !io::stderr().is_terminal() {
            return Self::new(global);
        }
        let bar = ProgressBar::with_draw_target(total, ProgressDrawTarget::stderr());
        let template = if total.is_some() { "{bar:30} {pace}" } else { "{spinner} {pace}" };
        if let Ok(style) = ProgressStyle::with_template(template) {
            let pace = move |state: &ProgressState, out: &mut dyn fmt::Write| {
                let _ = out.write_str(&told(unit, state.pos(), state.len(), state.elapsed()));
            };
            bar.set_style(style.with_key("pace", pace));
        }
        bar.enable_steady_tick(Duration::from_millis(200));
        Self { quiet: global.quiet, verbose: global.verbose, bar }
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

    /// A message that only `--verbose` asks for.
    pub fn explain(&self, text: impl FnOnce() -> String) {
        if self.verbose {
            self.warn(text());
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
    fn colour_and_width_follow_what_is_said_and_then_the_terminal() {
        let (auto, always, never) = (Colour::Auto, Colour::Always, Colour::Never);
        let table = [
            (auto, None, true, true),
            (auto, None, false, false),
            (auto, Some("1"), true, false),
            (auto, Some(""), true, true),
            (always, Some("1"), false, true),
            (never, None, true, false),
        ];
        for (said, no_colour, terminal, wanted) in table {
            let got = coloured(said, no_colour.map(OsStr::new), terminal);
            assert_eq!(got, wanted, "{said:?}, NO_COLOR={no_colour:?}, terminal: {terminal}");
        }
        assert_eq!(width(Some("72"), false), Some(72));
        for nothing in [None, Some("0"), Some("wide"), Some("")] {
            assert_eq!(width(nothing, false), None, "{nothing:?}");
        }
    }

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
