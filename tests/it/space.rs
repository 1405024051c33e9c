//! Space ahead of the writer: the next segment is made ready while this one is written, and what
//! was not used is given back.

use std::path::Path;
use std::time::Duration;

use factlog::{Durability, Expect, Store};

use crate::rig::event;

/// Header and zeros that every segment is made with.
const MADE_WITH: u64 = 4096 + (256 << 10);

fn bytes_of(folder: &Path, segment: u64) -> u64 {
    let file = folder.join(format!("{segment:020}.seg"));
    file.metadata().map_or(0, |metadata| metadata.len())
}

#[test]
fn the_next_segment_is_ready_before_it_is_begun_and_small_again_after_a_close() {
    let folder = tempfile::tempdir().unwrap();
    let options = Store::options().durability(Durability::Os).segment_bytes(2 << 20);
    let store = options.open(folder.path()).unwrap();
    let mut number = 0;
    let mut append = |size: usize| {
        number += 1;
        store.append("Order-1", Expect::Any, [event(number, size)]).unwrap();
    };
    (0..170).for_each(|_| append(10_000));
    // Whoever prepares does so in the background and is asked by appends.
    for _ in 0..1_000 {
        if bytes_of(folder.path(), 2) > MADE_WITH {
            break;
        }
        append(10);
        std::thread::sleep(Duration::from_millis(10));
    }
    let ready = bytes_of(folder.path(), 2);
    assert!(ready > MADE_WITH, "the next segment has {ready} bytes");
    store.close().unwrap();
    assert!(bytes_of(folder.path(), 1) < 2 << 20);
    let left = bytes_of(folder.path(), 2);
    assert!(left <= MADE_WITH, "a closed store keeps {left} bytes of a segment not begun");
    let store = Store::open(folder.path()).unwrap();
    assert_eq!(store.last_position().get(), number);
}
