//! Layer 0.4: stream names and their categories.
//!
//! Knows: which names are legal. Does not know: which streams exist.

use std::borrow::Cow;
use std::fmt;

use smol_str::SmolStr;

use super::error::{Error, Result};
use super::limits::STREAM_NAME_MAX;

/// The checked name of a stream: 1 to 1024 bytes of UTF-8 without control characters. Names that
/// begin with `$` are the store's own and cannot be appended to.
///
/// ```
/// use factlog::StreamName;
/// let order = StreamName::new("Order-42")?;
/// assert_eq!(order.category(), Some("Order"));
/// # Ok::<(), factlog::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamName(SmolStr);

impl StreamName {
    /// Checks a name.
    ///
    /// # Errors
    /// `Invalid` when it is empty, too long or has a control character.
    pub fn new(name: impl AsRef<str>) -> Result<Self> {
        let name = name.as_ref();
        check(name)?;
        Ok(Self(name.into()))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The part before the first `-`: the seed's stream type. None without a `-`, or when the name
    /// begins with it.
    #[must_use]
    pub fn category(&self) -> Option<&str> {
        category(&self.0)
    }
}

pub(crate) fn category(name: &str) -> Option<&str> {
    // Categories are short: looking at byte after byte is quicker than a search set up for more.
    let end = name.bytes().position(|byte| byte == b'-').filter(|end| *end > 0)?;
    name.get(..end)
}

/// Whether there is a control character; text that is ASCII, as most is, is looked at by bytes.
pub(crate) fn has_control(text: &str) -> bool {
    match text.is_ascii() {
        true => text.bytes().any(|byte| byte.is_ascii_control()),
        false => text.chars().any(char::is_control),
    }
}

fn check(name: &str) -> Result<()> {
    if name.is_empty() || name.len() > STREAM_NAME_MAX {
        let given = name.len();
        let text = format!("stream name has {given} bytes, allowed are 1 to {STREAM_NAME_MAX}");
        return Err(Error::invalid(text));
    }
    if has_control(name) {
        return Err(Error::invalid("stream name has a control character"));
    }
    Ok(())
}

impl fmt::Display for StreamName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for StreamName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

impl AsRef<str> for StreamName {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

mod sealed {
    pub trait Sealed {}
}

/// What can name a stream in a call: a [`StreamName`], or a string that is checked.
pub trait StreamKey: sealed::Sealed {
    /// The checked name.
    ///
    /// # Errors
    /// `Invalid` when a string is not a legal name.
    fn stream_name(&self) -> Result<Cow<'_, StreamName>>;
}

impl sealed::Sealed for StreamName {}
impl StreamKey for StreamName {
    fn stream_name(&self) -> Result<Cow<'_, StreamName>> {
        Ok(Cow::Borrowed(self))
    }
}

impl sealed::Sealed for str {}
impl StreamKey for str {
    fn stream_name(&self) -> Result<Cow<'_, StreamName>> {
        StreamName::new(self).map(Cow::Owned)
    }
}

impl sealed::Sealed for String {}
impl StreamKey for String {
    fn stream_name(&self) -> Result<Cow<'_, StreamName>> {
        StreamName::new(self).map(Cow::Owned)
    }
}

impl<T: sealed::Sealed + ?Sized> sealed::Sealed for &T {}
impl<T: StreamKey + ?Sized> StreamKey for &T {
    fn stream_name(&self) -> Result<Cow<'_, StreamName>> {
        (**self).stream_name()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_outside_the_limits_are_refused() {
        for name in ["", "a\nb", "\u{7f}", &"x".repeat(1025)] {
            assert!(StreamName::new(name).is_err(), "{name:?}");
        }
        assert!(StreamName::new("x".repeat(1024)).is_ok());
    }

    #[test]
    fn the_category_ends_before_the_first_dash() {
        for (name, category) in
            [("Order-42-b", Some("Order")), ("Order", None), ("-42", None), ("A-", Some("A"))]
        {
            assert_eq!(StreamName::new(name).unwrap().category(), category, "{name}");
        }
    }
}
