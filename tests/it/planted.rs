//! Bugs planted in the store on purpose: each must make the test fail that is named here.
//!
//! Only in a build with `--cfg factlog_planted`. This binary starts itself again with one bug on
//! and one test asked for; without a bug, the same tests must pass.

use std::collections::BTreeSet;
use std::io::{Read, Seek};
use std::process::Command;
use std::sync::Mutex;
use std::time::{Duration, Instant};

const CUTS: &str = "crash::a_power_cut_at_any_operation_loses_nothing_acknowledged";

const REWRITES: &str = "reclaim::a_crash_at_any_operation_leaves_the_old_or_the_new_file";

/// The bug, as it is named in `src`, and the test that catches it.
const BUGS: &[(&str, &str)] = &[
    ("AnsweredBeforeSync", CUTS),
    ("ShownBeforeSync", "faults::a_failed_sync_is_final_and_its_batch_in_doubt_until_reopening"),
    ("AnotherFileSynced", CUTS),
    ("SealNotSynced", CUTS),
    ("LiveMarkBeforeSync", CUTS),
    ("FailedSyncRetried", "faults::a_failed_sync_is_final_and_its_batch_in_doubt_until_reopening"),
    ("PoisonForgotten", "faults::a_failed_sync_is_final_and_its_batch_in_doubt_until_reopening"),
    ("KeeperFailureIgnored", "races::a_failed_sync_in_the_background_is_final"),
    (
        "FailedGroupPartlyAnswered",
        "faults::a_failed_sync_is_final_and_its_batch_in_doubt_until_reopening",
    ),
    (
        "ReplayOfUnsyncedAnswered",
        "races::a_replay_of_a_staged_batch_waits_for_the_sync_it_asked_for",
    ),
    ("ShortWriteBelieved", "faults::any_call_may_fail_after_a_part_of_a_write"),
    (
        "RefusedBytesLeft",
        "classes::a_refused_group_never_turns_up_though_its_first_batch_was_written",
    ),
    (
        "PositionsSkipped",
        "faults::a_refused_append_never_turns_up_and_the_next_one_goes_on_when_there_is_space",
    ),
    ("IntervalForgotten", "append::an_interval_syncs_by_itself"),
    ("DirectoryNotSynced", CUTS),
    ("RenamedUnsynced", CUTS),
    ("HeadInPlace", CUTS),
    ("CheckpointNameNotSynced", CUTS),
    (
        "SavedEntriesNotCopied",
        "crash::a_checkpoint_whose_pages_were_dropped_is_not_answered_and_then_lost",
    ),
    (
        "SavedEntriesNotSettled",
        "crash::a_checkpoint_that_was_read_after_a_kill_survives_a_power_cut",
    ),
    ("DamageTruncated", "recovery::a_flipped_bit_in_the_tail_of_a_closed_store_is_damage"),
    ("CertifiedOneShort", "recovery::a_flipped_bit_in_the_tail_of_a_closed_store_is_damage"),
    (
        "LaterClaimsIgnored",
        "recovery::only_the_last_group_is_ambiguous_when_no_certificate_survives",
    ),
    (
        "LostOpeningTakenForNone",
        "verifier::a_log_whose_only_opening_frame_is_damaged_is_not_begun_anew",
    ),
    ("MissingSegmentPassed", "recovery::a_missing_file_is_the_same_log_or_a_typed_error"),
    ("ShortSegmentPassed", "recovery::every_cut_of_every_file_is_the_same_log_or_a_typed_error"),
    ("TornOverwritten", "recovery::what_is_set_aside_is_kept_byte_for_byte"),
    ("TornBytesThrownAway", "recovery::what_is_set_aside_is_kept_byte_for_byte"),
    ("CutBeforeSetAside", "recovery::what_is_set_aside_is_kept_byte_for_byte"),
    ("TornCopyNotSynced", "classes::what_was_set_aside_survives_a_power_cut"),
    ("CutBeforeCopied", CUTS),
    ("SurvivorsDropped", CUTS),
    ("SurvivorsNotCopied", "faults::any_call_may_fail_and_drop_what_it_should_have_synced"),
    ("FreshSegmentNotSynced", CUTS),
    ("EpochStays", "classes::every_opening_has_a_writer_epoch_of_its_own"),
    ("HalfBatchKept", "verifier::they_agree_on_an_unfinished_batch_over_several_frames"),
    ("BodyNotChecked", "recovery::a_flipped_bit_in_a_sealed_segment_is_never_served"),
    ("RecordHeadNotChecked", "recovery::a_flipped_bit_in_a_sealed_segment_is_never_served"),
    ("HeaderNotChecked", "recovery::a_flipped_bit_in_a_sealed_segment_is_never_served"),
    (
        "ChecksumsUnseeded",
        "recovery::a_swapped_duplicated_or_foreign_file_is_the_same_log_or_a_typed_error",
    ),
    ("PlaceNotInChecksum", "classes::a_payload_that_holds_frames_is_never_read_as_frames"),
    ("ChainNotChecked", "classes::a_frame_of_another_history_of_the_store_is_never_served"),
    (
        "ForeignSidecarTrusted",
        "recovery::a_swapped_duplicated_or_foreign_file_is_the_same_log_or_a_typed_error",
    ),
    ("SidecarNotChecked", "recovery::a_flipped_bit_in_a_sidecar_changes_nothing"),
    ("HeadsFileTrusted", "heads::a_file_from_another_store_or_of_a_later_end_is_doubted"),
    ("SettingsForgotten", "heads::the_file_is_there_and_believed_and_nothing_is_made_again"),
    ("IdsForgotten", CUTS),
    (
        "KeyNotSynced",
        "forget::crashes::a_power_cut_at_any_operation_leaves_no_event_without_its_key",
    ),
    (
        "ForgottenUnsynced",
        "forget::crashes::a_power_cut_at_any_operation_leaves_no_event_without_its_key",
    ),
    ("KeyBytesLeft", "forget::keys::a_destroyed_key_is_in_no_file_any_more"),
    ("CheckpointBeforeEvents", "append::in_the_weaker_modes_reads_run_ahead_of_what_is_synced"),
    ("RemovedComesBack", "subscriptions::checkpoints::of_saved_and_carried_the_later_counts"),
    ("ResetForgotten", "subscriptions::checkpoints::of_saved_and_carried_the_later_counts"),
    (
        "HistoryNotCompared",
        "subscriptions::checkpoints::a_checkpoint_of_another_history_is_an_error_and_not_a_skip",
    ),
    ("SnapshotNotChecked", "classes::a_snapshot_of_another_history_is_ignored"),
    ("RewrittenUnsynced", REWRITES),
    ("SidecarNotRebound", REWRITES),
    ("FollowerBeyondDurable", "classes::a_reader_beside_a_weak_writer_stops_at_what_is_synced"),
    ("TimeGoesBack", "classes::a_clock_that_jumps_changes_no_order"),
    ("BaseNotSynced", CUTS),
    ("UnmadeFileKept", "trim::a_full_disk_gets_back_what_could_not_be_made"),
    ("TrimmedBeforeMark", CUTS),
    ("OneHeadMarked", "trim::either_generation_of_the_head_may_be_lost_right_after_a_trim"),
    ("TrimmedIdsForgotten", "trim::a_trimmed_batch_that_is_sent_again_gets_its_first_answer"),
    ("CheckpointsForgotten", "trim::nothing_goes_that_a_checkpoint_has_not_come_to_unless_told"),
    ("LossNotListed", "mend::a_lost_segment_leaves_lost_positions_in_its_place"),
    ("RepairedBeforeKept", "mend::what_is_known_otherwise_is_mended_and_the_original_kept"),
    ("RewriteNotGuessed", "mend::a_rewritten_segment_is_given_its_header_back"),
    ("EndNotCompared", "damage::a_segment_of_another_history_is_not_read_as_the_next"),
    ("LockGivenBackEarly", "races::no_thread_of_a_closed_store_writes_beside_the_next_writer"),
    (
        "BranchHeadFirst",
        "branch_crashes::a_power_cut_at_any_operation_of_a_fork_leaves_no_store_or_a_whole_one",
    ),
    (
        "BackupHeadFirst",
        "branch_crashes::\
         a_power_cut_at_any_operation_of_a_later_backup_leaves_the_earlier_or_more",
    ),
    (
        "CopyNotSynced",
        "branch_crashes::a_power_cut_at_any_operation_of_a_restore_leaves_no_store_or_a_whole_one",
    ),
    ("TailLinked", "branches::a_recovery_of_the_origin_takes_nothing_from_a_fork"),
    ("OtherHistoryCarriedOn", "branches::a_backup_of_another_history_is_not_carried_on"),
    ("TrimFollowedUnasked", "trimmed::a_backup_is_carried_on_when_the_store_was_trimmed"),
    ("OneWaiterWoken", "classes::one_append_wakes_everybody_who_waits"),
    ("WakeUpLost", "classes::no_wake_up_of_a_task_is_lost"),
];

/// Longer than any of the tests takes on a busy machine; none of them waits that long for anything.
const PATIENCE: Duration = Duration::from_secs(120);

/// What one test did in a process of its own.
struct Ran {
    passed: bool,
    said: String,
    /// Stores opened until it ended, by the rig or by the explorer.
    states: u64,
    took: Duration,
}

/// Runs one test, with one bug or without.
fn run(test: &str, bug: Option<&str>) -> Ran {
    let mut said = tempfile::tempfile().unwrap();
    let begun = Instant::now();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--nocapture", "--test-threads=1"]);
    command.stdout(said.try_clone().unwrap()).stderr(said.try_clone().unwrap());
    command.env_remove("FACTLOG_CASES").env_remove("FACTLOG_STATES");
    match bug {
        Some(bug) => command.env("FACTLOG_PLANTED", bug),
        None => command.env_remove("FACTLOG_PLANTED"),
    };
    let mut child = command.spawn().unwrap();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if begun.elapsed() > PATIENCE {
            child.kill().unwrap();
            child.wait().unwrap();
            panic!("{test} with {bug:?} hangs");
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    let mut text = Vec::new();
    said.rewind().unwrap();
    said.read_to_end(&mut text).unwrap();
    let said = String::from_utf8_lossy(&text).into_owned();
    let ran = said.contains("running 1 test");
    assert!(ran && [Some(0), Some(101)].contains(&status.code()), "{test}, {bug:?}: {said}");
    let opened = said.matches(crate::rig::LOOKED).count() as u64;
    let explored = said.split_once("found after ").and_then(|(_, rest)| rest.split_once(" states"));
    let explored = explored.and_then(|(number, _)| number.parse().ok());
    let states = explored.unwrap_or(opened);
    Ran { passed: status.success(), said, states, took: begun.elapsed() }
}

/// On all cores.
fn for_each<T: Sync>(items: &[T], act: impl Fn(&T) + Sync) {
    let next = Mutex::new(items.iter());
    let work = || {
        while let Some(item) = { next.lock().unwrap().next() } {
            act(item);
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| (0..threads).for_each(|_| drop(scope.spawn(work))));
}

#[test]
fn every_planted_bug_is_caught_and_nothing_else_is() {
    let tests: Vec<&str> = BTreeSet::from_iter(BUGS.iter().map(|bug| bug.1)).into_iter().collect();
    for_each(&tests, |test| {
        let ran = run(test, None);
        assert!(ran.passed, "{test} fails without a bug: {}", ran.said);
    });
    println!("{} tests pass without a bug\n", tests.len());
    let missed = Mutex::new(Vec::new());
    for_each(BUGS, |(bug, test)| {
        let ran = run(test, Some(bug));
        let told = ran.said.contains("panicked at");
        if ran.passed || !told {
            missed.lock().unwrap().push(*bug);
        }
        let caught = if ran.passed { "NOT CAUGHT" } else { "caught" };
        let (states, took) = (ran.states, ran.took.as_secs_f64());
        println!("{bug:26} {caught} after {states:6} states and {took:5.1} s by {test}");
    });
    let missed = missed.into_inner().unwrap();
    assert!(missed.is_empty(), "not caught: {missed:?}");
    println!("\n{} planted bugs, all caught", BUGS.len());
}
