//! Layer 0.0: is this JSON (RFC 8259), and what is the string under a key at its top level.
//!
//! Knows: the grammar. Does not know: values, numbers' sizes, serde. It is ours and not
//! serde_json's because what the store accepts and indexes must not depend on a feature flag.

/// Deeper nesting is refused; common decoders refuse it too.
const DEPTH_MAX: u32 = 128;

/// Whether `bytes` is exactly one JSON value.
///
/// # Errors
/// The byte offset at which it stops being JSON.
pub(crate) fn validate(bytes: &[u8]) -> Result<(), usize> {
    let mut scanner = Scanner { bytes, at: 0 };
    if std::str::from_utf8(bytes).is_err() {
        return Err(0);
    }
    scanner.value(|_, _, _| ()).filter(|()| scanner.peek().is_none()).ok_or(scanner.at)
}

/// The string value of `key` in the object `bytes`, when it is written without escapes. Of repeated
/// keys the last counts, as in most decoders.
pub(crate) fn top_level_string<'a>(bytes: &'a [u8], key: &str) -> Option<&'a str> {
    // Names are compared as they are written: most metadata has nothing that begins like this one.
    if !bytes.contains(key.as_bytes().first()?) {
        return None;
    }
    let mut found = None;
    let mut scanner = Scanner { bytes, at: 0 };
    scanner.value(|name, start, end| {
        if name == key.as_bytes() {
            found = bytes.get(start..end);
        }
    })?;
    let inner = found?.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    if inner.contains(&b'\\') { None } else { std::str::from_utf8(inner).ok() }
}

struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Scanner<'_> {
    fn peek(&mut self) -> Option<u8> {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.bytes.get(self.at) {
            self.at += 1;
        }
        self.bytes.get(self.at).copied()
    }

    fn take(&mut self, byte: u8) -> Option<()> {
        (self.bytes.get(self.at) == Some(&byte)).then(|| self.at += 1)
    }

    /// One value; tells `member` the name and the value's range of each member of the top object.
    /// Iterative, so that nesting costs a bit and not a stack frame.
    fn value(&mut self, mut member: impl FnMut(&[u8], usize, usize)) -> Option<()> {
        let mut objects: u128 = 0; // bit d: level d+1 is an object, not an array
        let mut depth: u32 = 0;
        let mut top_name = (0, 0);
        let mut top_start = 0;
        loop {
            let opened = match self.peek()? {
                open @ (b'{' | b'[') => {
                    self.at += 1;
                    if depth == DEPTH_MAX {
                        return None;
                    }
                    let object = open == b'{';
                    objects = (objects & !(1 << depth)) | (u128::from(object) << depth);
                    depth += 1;
                    let close = if object { b'}' } else { b']' };
                    if self.peek()? == close {
                        self.at += 1;
                        depth -= 1;
                        false
                    } else {
                        true
                    }
                }
                _ => {
                    self.scalar()?;
                    false
                }
            };
            if !opened {
                loop {
                    if depth == 0 {
                        return Some(());
                    }
                    let object = objects >> (depth - 1) & 1 == 1;
                    if depth == 1 && object {
                        let name = self.bytes.get(top_name.0..top_name.1)?;
                        member(name, top_start, self.at);
                    }
                    match self.peek()? {
                        b',' => {
                            self.at += 1;
                            break;
                        }
                        b'}' if object => self.at += 1,
                        b']' if !object => self.at += 1,
                        _ => return None,
                    }
                    depth -= 1;
                }
            }
            if objects >> (depth - 1) & 1 == 1 {
                self.peek()?;
                let start = self.at + 1;
                self.string()?;
                if depth == 1 {
                    top_name = (start, self.at - 1);
                }
                self.peek()?;
                self.take(b':')?;
                self.peek()?;
                if depth == 1 {
                    top_start = self.at;
                }
            }
        }
    }

    fn scalar(&mut self) -> Option<()> {
        match self.bytes.get(self.at)? {
            b'"' => self.string(),
            b't' => self.word(b"true"),
            b'f' => self.word(b"false"),
            b'n' => self.word(b"null"),
            _ => self.number(),
        }
    }

    fn word(&mut self, word: &[u8]) -> Option<()> {
        self.bytes.get(self.at..)?.starts_with(word).then(|| self.at += word.len())
    }

    fn string(&mut self) -> Option<()> {
        self.take(b'"')?;
        loop {
            let byte = *self.bytes.get(self.at)?;
            match byte {
                b'"' => {
                    self.at += 1;
                    return Some(());
                }
                b'\\' => {
                    self.at += 1;
                    self.escape()?;
                }
                0..0x20 => return None,
                _ => self.at += 1,
            }
        }
    }

    fn escape(&mut self) -> Option<()> {
        let byte = *self.bytes.get(self.at)?;
        self.at += 1;
        match byte {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Some(()),
            b'u' => {
                let digits = self.bytes.get(self.at..self.at + 4)?;
                digits.iter().all(u8::is_ascii_hexdigit).then(|| self.at += 4)
            }
            _ => None,
        }
    }

    fn number(&mut self) -> Option<()> {
        let _ = self.take(b'-');
        if self.take(b'0').is_none() {
            self.digits()?;
        }
        if self.take(b'.').is_some() {
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.bytes.get(self.at) {
            self.at += 1;
            if self.take(b'+').is_none() {
                let _ = self.take(b'-');
            }
            self.digits()?;
        }
        Some(())
    }

    fn digits(&mut self) -> Option<()> {
        let start = self.at;
        while self.bytes.get(self.at).is_some_and(u8::is_ascii_digit) {
            self.at += 1;
        }
        (self.at > start).then_some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn json_is_told_from_what_is_not() {
        let good = [
            "{}",
            "[]",
            " 1 ",
            "-0.5e+10",
            "\"\\u00e4\"",
            "[1,[2,{\"a\":[]}],null]",
            "true",
            "{\"a\":1,\"a\":2}",
            "{\"a\":{\"b\":[{}]}}",
            "0",
            "123456789012345678901234567890",
        ];
        for text in good {
            assert_eq!(validate(text.as_bytes()), Ok(()), "{text}");
        }
        let bad = [
            "",
            "{",
            "[1,]",
            "{\"a\"}",
            "{a:1}",
            "01",
            "1.",
            "+1",
            "\"\n\"",
            "[1 2]",
            "{} {}",
            "\"\\x\"",
            "nul",
            "[}",
            "{\"a\":1]",
            "{\"a\":1,}",
            "-",
            "\"abc",
            "[1}",
        ];
        for text in bad {
            assert!(validate(text.as_bytes()).is_err(), "{text}");
        }
        assert!(validate(b"\"\xff\"").is_err());
    }

    #[test]
    fn deep_nesting_is_refused_without_a_stack() {
        assert!(validate(&b"[".repeat(1 << 20)).is_err());
        let nested = |depth: usize| [b"[".repeat(depth), b"]".repeat(depth)].concat();
        assert!(validate(&nested(128)).is_ok());
        assert!(validate(&nested(129)).is_err());
    }

    #[test]
    fn a_top_level_string_is_found_and_a_nested_one_is_not() {
        let text = br#"{"a":{"k":"no"},"x":[{"k":"no"}], "k" : "yes" ,"z":1}"#;
        assert_eq!(top_level_string(text, "k"), Some("yes"));
        assert_eq!(top_level_string(br#"{"k":"a","k":"b"}"#, "k"), Some("b"));
        assert_eq!(top_level_string(br#"{"k":1}"#, "k"), None);
        assert_eq!(top_level_string(br#"["k","v"]"#, "k"), None);
        assert_eq!(top_level_string(b"", "k"), None);
        assert_eq!(top_level_string(br#"{"k":"a\n"}"#, "k"), None);
    }

    proptest! {
        #[test]
        fn it_agrees_with_serde_json(text in r#"[\[\]{}",:0-9a-z.eE+\\ -]{0,24}"#) {
            let ours = validate(text.as_bytes()).is_ok();
            let theirs = serde_json::from_str::<&serde_json::value::RawValue>(&text).is_ok();
            prop_assert_eq!(ours, theirs, "{}", text);
        }
    }
}
