//! Layer 6.4: what the store promises of a change to a stream's life, as tables.

use super::*;

impl Ask {
    fn change(mut self, stream: &str, expect: Expect, change: StreamChange) -> Self {
        let at = self.0.streams.iter().position(|known| known.name.as_str() == stream);
        let at = at.unwrap_or(self.0.streams.len());
        if at == self.0.streams.len() {
            self = self.check(stream, expect);
        }
        self.0.changes.push((at, change));
        self
    }
}

fn change(stream: &str, expect: Expect, change: StreamChange) -> Ask {
    Ask::default().change(stream, expect, change)
}

/// The states of the changed streams afterwards; `-` when nothing is to be written, the kind of the
/// error when it is refused.
fn outcome(world: &World, ask: Ask) -> String {
    let batch = ask.0;
    match decide(&world.known, &world.staged, &batch).decision {
        Decision::Accept(accepted) if accepted.settings.is_empty() => "-".into(),
        Decision::Accept(accepted) => {
            let after = |write: &SettingsWrite| {
                let (last, _) = world.known.stream(write.stream.as_str());
                let added = batch.streams.iter().find(|stream| stream.name == write.stream);
                let last = last.plus(added.map_or(0, |stream| stream.events));
                format!("{:?}", write.lifecycle.state(last))
            };
            accepted.settings.iter().map(after).collect::<Vec<_>>().join(" ")
        }
        Decision::Refuse(error) => format!("{:?}", error.kind()),
        Decision::Replay(..) => "replay".into(),
    }
}

const KEEP: StreamChange =
    StreamChange::Retain(Retention { truncate_before: None, keep_last: Some(2), max_age: None });

/// What is asked; then what comes of it for streams N, E, S and T.
#[test]
fn a_change_is_judged_by_the_table_of_states() {
    let (soft, hard) = ("SoftDeleted(Version(3))", "Tombstoned(Version(3))");
    let table: [(StreamChange, Expect, [&str; 4]); 12] = [
        (StreamChange::Delete, Expect::Any, ["NotFound", soft, "-", "Deleted"]),
        (StreamChange::Delete, Expect::NoStream, ["NotFound", "Conflict", "-", "Deleted"]),
        (StreamChange::Delete, Expect::StreamExists, ["Conflict", soft, "Deleted", "Deleted"]),
        (StreamChange::Delete, version(3), ["Conflict", soft, "-", "Deleted"]),
        (StreamChange::Delete, version(2), ["Conflict", "Conflict", "Conflict", "Deleted"]),
        (StreamChange::Tombstone, Expect::Any, ["Tombstoned(Version(0))", hard, hard, "-"]),
        (
            StreamChange::Tombstone,
            Expect::NoStream,
            ["Tombstoned(Version(0))", "Conflict", hard, "-"],
        ),
        (StreamChange::Tombstone, Expect::StreamExists, ["Conflict", hard, "Deleted", "Deleted"]),
        (StreamChange::Tombstone, version(3), ["Conflict", hard, hard, "Deleted"]),
        (KEEP, Expect::Any, ["Never", "Live(Version(3))", soft, "Deleted"]),
        (KEEP, Expect::StreamExists, ["Conflict", "Live(Version(3))", "Deleted", "Deleted"]),
        (KEEP, version(3), ["Conflict", "Live(Version(3))", soft, "Deleted"]),
    ];
    let world = states();
    for (asked, expect, wanted) in table {
        for (stream, wanted) in ["N", "E", "S", "T"].into_iter().zip(wanted) {
            let said = outcome(&world, change(stream, expect, asked));
            assert_eq!(said, wanted, "{asked:?} {expect} on {stream}");
        }
    }
}

#[test]
fn a_deletion_counts_after_the_events_of_its_batch() {
    let world = states();
    let ask = write("E", version(3), &[20, 21]).change("E", version(3), StreamChange::Delete);
    assert_eq!(outcome(&world, ask), "SoftDeleted(Version(5))");
    let ask = write("N", Expect::NoStream, &[20]).change("N", Expect::Any, StreamChange::Delete);
    assert_eq!(outcome(&world, ask), "SoftDeleted(Version(1))");
    let ask = write("T", Expect::Any, &[20]).change("T", Expect::Any, StreamChange::Tombstone);
    assert_eq!(outcome(&world, ask), "Deleted", "an event cannot be added to a tombstoned stream");
}

#[test]
fn what_a_staged_batch_changed_counts_for_the_next() {
    let mut world = states();
    assert_eq!(world.stage(change("E", Expect::Any, StreamChange::Delete)), "ok");
    assert_eq!(world.say(check("E", Expect::StreamExists)), "Deleted");
    assert_eq!(world.say(check("E", Expect::NoStream)), "ok");
    assert_eq!(world.stage(write("E", Expect::NoStream, &[20])), "ok E:4-4 @10-10");
    assert_eq!(world.say(check("E", Expect::StreamExists)), "ok");
    assert_eq!(world.stage(change("E", version(4), StreamChange::Tombstone)), "ok");
    assert_eq!(world.say(write("E", Expect::Any, &[21])), "Deleted");
    let judged = world.judge(change("E", Expect::Any, StreamChange::Tombstone));
    assert!(judged.depends_on_staged, "it says nothing new only if the staged one is committed");
}

#[test]
fn of_several_changes_to_a_stream_each_goes_on_from_the_one_before() {
    let world = states();
    let both = change("E", Expect::Any, KEEP).change("E", Expect::Any, StreamChange::Delete);
    let Decision::Accept(accepted) = world.judge(both).decision else { panic!() };
    let [write] = &accepted.settings[..] else { panic!("{:?}", accepted.settings) };
    assert_eq!(write.lifecycle.retention.keep_last, Some(2));
    assert_eq!(write.lifecycle.deleted_at, Version::new(3));
}

#[test]
fn a_stream_cannot_be_truncated_beyond_its_end() {
    let world = states();
    let before =
        |first| StreamChange::Retain(Retention::default().truncate_before(Version::new(first)));
    assert_eq!(outcome(&world, change("E", Expect::Any, before(4))), "Live(Version(3))");
    assert_eq!(outcome(&world, change("E", Expect::Any, before(5))), "Invalid");
    let with = write("E", Expect::Any, &[20]).change("E", Expect::Any, before(5));
    assert_eq!(outcome(&world, with), "Live(Version(4))");
    assert_eq!(outcome(&world, change("N", Expect::Any, before(2))), "Invalid");
}

#[test]
fn a_replayed_batch_changes_nothing_again() {
    let mut world = states();
    let ask = || write("E", version(3), &[20]).change("E", Expect::Any, StreamChange::Delete);
    world.commit(ask());
    assert_eq!(outcome(&world, ask()), "replay");
    world.commit(write("E", Expect::NoStream, &[21]));
    assert_eq!(outcome(&world, ask()), "replay");
    assert_eq!(world.say(check("E", Expect::StreamExists)), "ok", "it lives on");
}

#[test]
fn a_stream_that_is_only_changed_needs_no_expectation() {
    let ask = change("E", Expect::Any, StreamChange::Delete);
    assert!(check_shape(&ask.0, false).is_ok());
    assert!(check_shape(&check("E", Expect::Any).0, false).is_err());
}
