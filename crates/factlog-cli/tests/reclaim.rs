//! The built binary: the disk space of hidden events.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod common;

use common::{Home, line};
use factlog::{Expect, NewEvent, Store};

#[test]
fn reclaiming_asks_takes_hidden_data_away_and_answers_with_a_receipt() {
    let home = Home::new();
    let large = format!(r#""data":"{}""#, "secret".repeat(100_000));
    // Segments are of 64 MiB: so many large events that two are sealed.
    let lines: Vec<String> =
        (0..250).map(|n| line(&format!("Cart-{}", n % 2), "T", &large)).collect();
    assert_eq!(home.on(&["append"], &lines.join("\n")).code, 0);
    assert_eq!(home.on(&["stream", "delete", "Cart-1"], "").code, 0);
    assert_eq!(home.on(&["reclaim"], "").code, 2, "it asks");
    let exported = home.on(&["export"], "").out;
    assert_eq!(home.lines(&["read", "--type", "T", "--fields", "position"]).len(), 250);
    let receipt = home.on(&["reclaim", "--yes", "--json"], "").json();
    let taken = receipt["events"].as_u64().unwrap();
    assert!((50..=125).contains(&taken), "{receipt}");
    assert!(receipt["bytes"].as_u64().unwrap() > taken * 590_000, "{receipt}");
    assert!(receipt["allocated_after"].as_u64() < receipt["allocated_before"].as_u64());
    let left = home.lines(&["read", "--fields", "position"]).len() as u64;
    assert_eq!(left, 250 - taken);
    let gone = home.on(&["get", "2"], "");
    assert_eq!(gone.code, 4, "{}", gone.err);
    assert!(gone.err.contains("reclaimed"), "{}", gone.err);
    assert_eq!(home.on(&["verify"], "").code, 0);
    // Marked, it is a line without data that cannot be taken for an event without data.
    for format in ["ndjson", "cloudevents"] {
        let marked = ["read", "--hidden", "mark", "--from", "2", "--to", "2", "-o", format];
        let marked = home.values(&marked).remove(0);
        assert!(marked.get("unreadable").is_some() && marked.get("data").is_none(), "{marked}");
    }
    // What was stored once is known, whatever became of it, and does not stop the rest.
    let more = exported + &line("New-1", "T", r#""data":1"#);
    let run = home.on(&["import", "--json"], &more);
    let told = (run.code, &run.json()["stored"], &run.json()["already_there"]);
    assert_eq!(told, (0, &1.into(), &250.into()), "{}", run.err);
    let again = home.on(&["reclaim", "--yes"], "");
    assert!(again.out.contains("nothing to reclaim"), "{}", again.out);
}

/// It said "nothing to reclaim", and 0: the deleted data was still there, in the damaged segment.
#[test]
fn a_damaged_segment_is_told_and_is_no_success() {
    let home = Home::new();
    let store = Store::options().segment_bytes(16 << 10).open(home.file("store")).unwrap();
    for _ in 0..60 {
        store.append("Cart-1", Expect::Any, [NewEvent::binary("T", vec![7; 800])]).unwrap();
    }
    store.delete_stream("Cart-1", Expect::Any).unwrap();
    store.close().unwrap();
    let mut bytes = std::fs::read(home.segment()).unwrap();
    bytes[4096 + 144 + 600] ^= 1;
    std::fs::write(home.segment(), bytes).unwrap();
    let run = home.on(&["reclaim", "--yes", "--json"], "");
    assert_eq!(run.code, 11, "{}", run.err);
    assert_eq!(run.json()["damage"][0]["file"], "00000000000000000001.seg");
    assert!(run.json()["events"].as_u64().unwrap() > 0, "the others are rewritten: {}", run.out);
    let text = home.on(&["reclaim", "--yes"], "");
    assert_eq!(text.code, 11);
    assert!(text.out.contains("damaged, and left as it is: 1 sealed segment"), "{}", text.out);
}
