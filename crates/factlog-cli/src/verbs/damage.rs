//! How damage is told, by every verb that finds any.
//!
//! Knows: its sentence and its JSON. Does not know: who found it.

use factlog::{Damage, Position};
use serde::Serialize;

/// Damage in JSON.
#[derive(Serialize)]
pub struct Damaged<'a> {
    file: &'a str,
    offset: u64,
    first_position: Option<u64>,
    last_position: Option<u64>,
    what: &'a str,
}

/// All of it in JSON.
pub fn places(damage: &[Damage]) -> Vec<Damaged<'_>> {
    let places = damage.iter().map(|damage| Damaged {
        file: &damage.file,
        offset: damage.offset,
        first_position: damage.first_position.map(Position::get),
        last_position: damage.last_position.map(Position::get),
        what: &damage.what,
    });
    places.collect()
}

/// One in a sentence.
pub fn said(damage: &Damage) -> String {
    let positions = match (damage.first_position, damage.last_position) {
        (Some(first), Some(last)) if first == last => format!(", position {first}"),
        (Some(first), Some(last)) => format!(", positions {first} to {last}"),
        (Some(first), None) => format!(", from position {first}"),
        _ => String::new(),
    };
    let (file, what) = (&damage.file, &damage.what);
    // At 0 it is the file as a whole, or a file that is not there.
    let byte = match damage.offset {
        0 => String::new(),
        offset => format!(" at byte {offset}"),
    };
    format!("damage in {file}{byte}{positions}: {what}")
}
