//! `$time`: when the fact happened, kept within the metadata, put in and taken out as text.
//!
//! Knows: the members of a JSON object as ranges of its text. Does not know: what else is in there;
//! not one other byte changes.

use std::fmt;
use std::ops::Range;

use serde::Deserializer as _;
use serde::de::{MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::times::is_rfc3339;

const KEY: &str = "$time";

/// The metadata with `time` as its first member.
///
/// # Errors
/// One sentence, when the metadata is no object or has a `$time` of its own.
pub fn put(metadata: Option<&str>, time: &str) -> Result<String, String> {
    let member = format!("\"{KEY}\":\"{time}\"");
    let Some(metadata) = metadata else { return Ok(format!("{{{member}}}")) };
    let members = members(metadata).ok_or("time is given, so metadata must be an object")?;
    if members.iter().any(|member| member.is_time) {
        return Err("time is given, and metadata has a $time of its own".into());
    }
    let open = metadata.find('{').map_or(0, |at| at + 1);
    let (before, after) = metadata.split_at_checked(open).unwrap_or(("{", "}"));
    let comma = if members.is_empty() { "" } else { "," };
    Ok(format!("{before}{member}{comma}{after}"))
}

/// The time in the metadata, and the metadata without it (`None` if nothing is left). No time when
/// `$time` is not exactly one string in RFC 3339: then it is ordinary metadata.
pub fn take(metadata: &str) -> Option<(String, Option<String>)> {
    if !metadata.contains("time\"") && !metadata.contains('\\') {
        return None;
    }
    let members = members(metadata)?;
    let mut found = members.iter().enumerate().filter(|(_, member)| member.is_time);
    let (index, member) = found.next()?;
    if found.next().is_some() {
        return None;
    }
    let text = metadata.get(member.value.clone())?;
    let time: String = serde_json::from_str(text).ok().filter(|time: &String| is_rfc3339(time))?;
    if members.len() == 1 {
        return Some((time, None));
    }
    let next_comma = || metadata.get(member.value.end..)?.find(',').map(|at| at + 1);
    let cut = match members.get(index + 1) {
        Some(_) => member.key.start..member.value.end + next_comma()?,
        None => members.get(index.checked_sub(1)?)?.value.end..member.value.end,
    };
    let rest = [metadata.get(..cut.start)?, metadata.get(cut.end..)?].concat();
    Some((time, Some(rest)))
}

struct Member {
    is_time: bool,
    key: Range<usize>,
    value: Range<usize>,
}

/// The members of the object `text`; `None` when it is not an object.
fn members(text: &str) -> Option<Vec<Member>> {
    let mut reader = serde_json::Deserializer::from_str(text);
    let members = reader.deserialize_map(Members(text)).ok()?;
    reader.end().ok().map(|()| members)
}

struct Members<'t>(&'t str);

impl<'de> Visitor<'de> for Members<'de> {
    type Value = Vec<Member>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = Vec::new();
        while let Some((key, value)) = map.next_entry::<&RawValue, &RawValue>()? {
            let name: String = serde_json::from_str(key.get()).unwrap_or_default();
            members.push(Member {
                is_time: name == KEY,
                key: range_in(self.0, key.get()),
                value: range_in(self.0, value.get()),
            });
        }
        Ok(members)
    }
}

/// Where `part`, a slice of `whole`, lies in it.
fn range_in(whole: &str, part: &str) -> Range<usize> {
    let start = part.as_ptr().addr().saturating_sub(whole.as_ptr().addr());
    start..start + part.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    const T: &str = "2016-02-27T16:07:26Z";

    #[test]
    fn what_is_put_in_comes_out_and_leaves_every_byte() {
        for metadata in [
            r#"{"a":1}"#,
            r#"{ "a" : 1.0 , "a":2 }"#,
            " {\n \"b\": [1, 2], \"c\": {\"$time\": 7} } ",
            r#"{"x":"}{,\""}"#,
        ] {
            let with = put(Some(metadata), T).unwrap();
            let (time, rest) = take(&with).unwrap();
            assert_eq!((time.as_str(), rest.as_deref()), (T, Some(metadata)), "{with}");
        }
    }

    #[test]
    fn metadata_of_nothing_but_the_time_is_gone() {
        for metadata in [None, Some("{}"), Some("{ }")] {
            let with = put(metadata, T).unwrap();
            assert_eq!(take(&with), Some((T.to_owned(), None)), "{with}");
        }
    }

    #[test]
    fn a_time_in_the_middle_or_at_the_end_is_taken_out() {
        let cases = [
            (format!(r#"{{"a":1,"$time":"{T}","b":2}}"#), r#"{"a":1,"b":2}"#),
            (format!(r#"{{"a":1, "$time" : "{T}" , "b":2}}"#), r#"{"a":1,  "b":2}"#),
            (format!(r#"{{"a":1,"$time":"{T}"}}"#), r#"{"a":1}"#),
            (format!(r#"{{"a":1,"\u0024time":"{T}"}}"#), r#"{"a":1}"#),
        ];
        for (metadata, rest) in cases {
            assert_eq!(take(&metadata), Some((T.to_owned(), Some(rest.to_owned()))));
        }
    }

    #[test]
    fn what_is_not_one_time_stays_metadata() {
        for metadata in [
            r#"{"$time":7}"#.to_owned(),
            r#"{"$time":"noon"}"#.to_owned(),
            r#"{"a":{"$time":"2016-02-27T16:07:26Z"}}"#.to_owned(),
            r#"["$time","2016-02-27T16:07:26Z"]"#.to_owned(),
            format!(r#"{{"$time":"{T}","$time":"{T}"}}"#),
            r#""time""#.to_owned(),
            "not json time\"".to_owned(),
        ] {
            assert_eq!(take(&metadata), None, "{metadata}");
        }
    }

    #[test]
    fn a_time_needs_an_object_without_one() {
        assert!(put(Some("[1]"), T).is_err());
        assert!(put(Some("7"), T).is_err());
        assert!(put(Some(r#"{"$time":7}"#), T).is_err());
    }
}
