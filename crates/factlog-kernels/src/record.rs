//! Layer 0.2: what a caller knows when a run has ended: submitted, acknowledged, refused.
//!
//! Knows: what must, may and must not be found afterwards. Does not know: stores.

use std::collections::BTreeMap;

use super::said::Said;

/// One batch that was begun and not refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Submitted {
    pub batch: u64,
    /// Its first position, once it was answered.
    pub first: Option<u64>,
    /// It was answered that nobody knows.
    in_doubt: bool,
}

/// Values in the order they were saved in, and how many of them were acknowledged.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Saved {
    values: Vec<u64>,
    acknowledged: usize,
}

impl Saved {
    fn begins(&mut self, value: u64) {
        self.values.push(value);
    }

    fn answered(&mut self) {
        self.acknowledged = self.values.len();
    }

    /// Whether this can be what is found: the last acknowledged value or one begun after it.
    pub fn allows(&self, found: Option<u64>) -> bool {
        let from = self.acknowledged.saturating_sub(1);
        match found {
            None => self.acknowledged == 0,
            Some(found) => self.values.iter().skip(from).any(|value| *value == found),
        }
    }

    /// From now on this is the truth.
    pub fn settle(&mut self, found: Option<u64>) {
        self.values = found.into_iter().collect();
        self.acknowledged = self.values.len();
    }
}

/// Everything said by the processes that wrote to one store, one after the other.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Record {
    /// In the order of submission.
    pub batches: Vec<Submitted>,
    pub checkpoint: Saved,
    pub snapshots: BTreeMap<String, Saved>,
    /// Verdicts of the openings.
    pub opened: Vec<String>,
    /// Calls that failed, and how.
    pub failed: Vec<(String, String)>,
    pub done: bool,
    /// Writes may have been refused, also some whose answer nobody heard.
    pub disk_was_full: bool,
    /// What the batch under way carries.
    carries: u64,
}

impl Record {
    pub fn hear(&mut self, said: &Said) {
        match said {
            Said::Opened(verdict) => self.opened.push(verdict.clone()),
            Said::Begins { batch, carries } => self.begins(*batch, *carries),
            Said::Answered { batch, first } => {
                let begun = self.batches.iter_mut().rfind(|known| known.batch == *batch);
                if let Some(begun) = begun {
                    begun.first = Some(*first);
                }
                if self.carries > 0 {
                    self.checkpoint.answered();
                }
            }
            Said::Refused { batch, .. } => {
                let before = self.batches.len();
                // A retry of what was in doubt is still in doubt after its refusal.
                self.batches.retain(|known| known.batch != *batch || known.in_doubt);
                if self.batches.len() < before {
                    self.uncarried();
                }
            }
            Said::InDoubt { batch } => {
                let begun = self.batches.iter_mut().rfind(|known| known.batch == *batch);
                if let Some(begun) = begun {
                    begun.in_doubt = true;
                }
            }
            Said::SavesCheckpoint(to) => self.checkpoint.begins(*to),
            Said::SavedCheckpoint => self.checkpoint.answered(),
            Said::SavesSnapshot { stream, version } => {
                self.snapshots.entry(stream.clone()).or_default().begins(*version);
            }
            Said::SavedSnapshot { stream } => {
                self.snapshots.entry(stream.clone()).or_default().answered();
            }
            Said::Failed { call, kind } => self.failed.push((call.clone(), kind.clone())),
            Said::Done => self.done = true,
            Said::Opens | Said::MadeRoom | Said::Closed | Said::GaveUp => {}
        }
    }

    fn begins(&mut self, batch: u64, carries: u64) {
        // What is sent again keeps its place: it may have been there all the time.
        if !self.batches.iter().any(|known| known.batch == batch) {
            self.batches.push(Submitted { batch, first: None, in_doubt: false });
        }
        self.carries = carries;
        if carries > 0 {
            self.checkpoint.begins(carries);
        }
    }

    fn uncarried(&mut self) {
        if self.carries > 0 && self.checkpoint.values.len() > self.checkpoint.acknowledged {
            self.checkpoint.values.pop();
        }
    }

    /// The next process goes on here: with the first batch that got no answer, or the next one.
    pub fn resume_at(&self) -> u64 {
        let unanswered = self.batches.iter().filter(|known| known.first.is_none());
        let next = self.batches.iter().map(|known| known.batch + 1).max();
        unanswered.map(|known| known.batch).min().or(next).unwrap_or(0)
    }

    /// How many of the first batches must be there.
    pub fn promised(&self) -> usize {
        self.batches.iter().rposition(|batch| batch.first.is_some()).map_or(0, |last| last + 1)
    }

    /// How many batches were acknowledged.
    pub fn acknowledged(&self) -> usize {
        self.batches.iter().filter(|batch| batch.first.is_some()).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(lines: &[&str]) -> Record {
        let mut record = Record::default();
        lines.iter().for_each(|line| record.hear(&line.parse().unwrap()));
        record
    }

    #[test]
    fn what_was_answered_is_promised_and_what_was_refused_is_forgotten() {
        let record = heard(&["begins 0 0.", "answered 0 1.", "begins 1 0.", "refused 1 DiskFull."]);
        assert_eq!((record.promised(), record.batches.len(), record.resume_at()), (1, 1, 1));
        let record = heard(&["begins 0 0.", "in-doubt 0."]);
        assert_eq!((record.promised(), record.batches.len(), record.resume_at()), (0, 1, 0));
        let record = heard(&["begins 0 0.", "in-doubt 0.", "begins 0 0.", "refused 0 Poisoned."]);
        assert_eq!(record.batches.len(), 1, "it may be there all the same");
        let group = ["begins 0 0.", "begins 1 0.", "begins 2 0.", "answered 0 1."];
        let record = heard(&group);
        assert_eq!((record.promised(), record.batches.len(), record.resume_at()), (1, 3, 1));
    }

    #[test]
    fn a_saved_value_may_be_the_last_acknowledged_or_a_later_one() {
        let record = heard(&[
            "saves-checkpoint 3.",
            "saved-checkpoint.",
            "saves-checkpoint 5.",
            "begins 4 7.",
        ]);
        assert_eq!(
            [None, Some(3), Some(5), Some(7)].map(|at| record.checkpoint.allows(at)),
            [false, true, true, true]
        );
        let record =
            heard(&["saves-checkpoint 3.", "saved-checkpoint.", "begins 4 7.", "answered 4 9."]);
        assert_eq!(
            [None, Some(3), Some(7)].map(|at| record.checkpoint.allows(at)),
            [false, false, true]
        );
    }
}
