//! Layer 3.0: is the end of the log clean, torn or damaged: one pure table.
//!
//! Knows: the facts of a walk. Does not know: files, or how a verdict is carried out
//! (`log/recover.rs`). W is the highest frame that anything which checks names as durable; a bad
//! frame at or below W is damage, one above W that nothing certifies is torn (`docs/FORMAT.md`).

use crate::format::Bad;

/// What the walk of the tail saw where it stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct EndFacts {
    /// Why there is no further good frame; `None`: it checks but needs a newer build.
    pub bad: Option<Bad>,
    /// The frame number expected there.
    pub number: u64,
    /// W.
    pub certified: u64,
    /// The number of the first frame of a batch whose last frame never came.
    pub open_batch: Option<u64>,
    /// Nothing but zeros from there to the end of this segment and of the next.
    pub blank_to_end: bool,
    /// Good frames of whole batches above W.
    pub survivors: bool,
}

/// What the end of the log is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EndVerdict {
    /// The log ends here; go on writing here.
    Clean,
    /// Whole batches survive that nothing certifies; copy them into a fresh segment.
    Rescue,
    /// Unacknowledged bytes: set them aside, go on in a fresh segment (with the survivors, if any).
    Torn,
    /// Acknowledged bytes do not check.
    Damaged,
    /// A newer build wrote this.
    Unsupported,
}

/// A row of the table: its name, when it applies, what it says.
type Row = (&'static str, fn(&EndFacts) -> bool, EndVerdict);

const TABLE: [Row; 7] = [
    ("needs a newer build", |f| f.bad.is_none(), EndVerdict::Unsupported),
    ("a certified frame is bad or missing", |f| f.number <= f.certified, EndVerdict::Damaged),
    (
        "a certified batch is unfinished",
        |f| f.open_batch.is_some_and(|first| first <= f.certified),
        EndVerdict::Damaged,
    ),
    ("an uncertified frame is bad", |f| !f.blank_to_end, EndVerdict::Torn),
    ("a batch is unfinished", |f| f.open_batch.is_some(), EndVerdict::Torn),
    ("whole batches are uncertified", |f| f.survivors, EndVerdict::Rescue),
    ("everything is certified", |_| true, EndVerdict::Clean),
];

/// The first row that applies.
pub(crate) fn judge_end(facts: &EndFacts) -> (&'static str, EndVerdict) {
    let row = TABLE.iter().find(|(_, applies, _)| applies(facts));
    let (name, verdict) = row.map_or(("no row", EndVerdict::Damaged), |row| (row.0, row.2));
    match verdict {
        EndVerdict::Damaged if planted!(DamageTruncated) => (name, EndVerdict::Torn),
        EndVerdict::Torn if planted!(TornOverwritten) => (name, EndVerdict::Clean),
        EndVerdict::Rescue if planted!(SurvivorsNotCopied) => (name, EndVerdict::Clean),
        verdict => (name, verdict),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every combination of facts, by brute force.
    fn all() -> Vec<EndFacts> {
        let bads = [
            None,
            Some(Bad::Blank),
            Some(Bad::Header),
            Some(Bad::Cut),
            Some(Bad::Misplaced),
            Some(Bad::Record),
            Some(Bad::Batch),
        ];
        let mut facts = Vec::new();
        for bad in bads {
            for certified in [0, 8, 9, 10, 11] {
                for open_batch in [None, Some(8), Some(9)] {
                    for blank_to_end in [false, true] {
                        for survivors in [false, true] {
                            let number = 10;
                            facts.push(EndFacts {
                                bad,
                                number,
                                certified,
                                open_batch,
                                blank_to_end,
                                survivors,
                            });
                        }
                    }
                }
            }
        }
        facts
    }

    #[test]
    fn a_bad_frame_at_or_below_w_is_damage_and_never_torn() {
        for facts in all().iter().filter(|f| f.bad.is_some() && f.number <= f.certified) {
            assert_eq!(judge_end(facts).1, EndVerdict::Damaged, "{facts:?}");
        }
    }

    #[test]
    fn nothing_above_w_is_damage_unless_a_certified_batch_is_cut() {
        for facts in all().iter().filter(|f| f.bad.is_some() && f.number > f.certified) {
            let cut = facts.open_batch.is_some_and(|first| first <= facts.certified);
            assert_eq!(judge_end(facts).1 == EndVerdict::Damaged, cut, "{facts:?}");
        }
    }

    #[test]
    fn writing_goes_on_in_place_only_after_zeros_with_everything_certified() {
        for facts in all() {
            if judge_end(&facts).1 == EndVerdict::Clean {
                assert!(facts.blank_to_end && !facts.survivors && facts.open_batch.is_none());
            }
        }
    }

    #[test]
    fn what_a_newer_build_wrote_is_never_called_damaged() {
        for facts in all().iter().filter(|f| f.bad.is_none()) {
            assert_eq!(judge_end(facts).1, EndVerdict::Unsupported, "{facts:?}");
        }
    }

    #[test]
    fn every_row_is_the_first_for_some_combination() {
        for (name, _, _) in TABLE {
            assert!(all().iter().any(|facts| judge_end(facts).0 == name), "{name}");
        }
    }
}
