//! Whether a model still judges as it did.
//!
//! What is behind a model's name can be replaced without a word, and a reward then stands for something else from one step to the next.
//! So a few early questions are kept with their judgements, and are asked again now and then. A model that is merely undecided differs
//! from itself now one way, now the other; one that has drifted differs in one direction.

use std::collections::VecDeque;

use stateset_domain::Message;

/// Questions that are kept.
const ANCHORS: usize = 16;
/// One judgement in so many is followed by one that is made again.
const EVERY: u64 = 32;
/// Differences that are averaged.
const LATEST: usize = 8;

/// An early judgement.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Anchor {
    pub(super) question: Vec<Message>,
    /// In `[0, 1]`.
    pub(super) judged: f32,
}

/// What is known of a model's constancy.
#[derive(Debug, Default)]
pub(super) struct Drift {
    anchors: Vec<Anchor>,
    judgements: u64,
    /// How many were made again, or are about to be.
    turns: usize,
    /// The latest differences, later judgement less earlier one.
    latest: VecDeque<f64>,
}

impl Drift {
    /// Takes note of a judgement.
    pub(super) fn judged(&mut self, question: &[Message], judged: f32) {
        self.judgements += 1;
        if self.anchors.len() < ANCHORS {
            self.anchors.push(Anchor { question: question.to_vec(), judged });
        }
    }

    /// An earlier judgement that is to be made again, if it is time for one.
    pub(super) fn due(&mut self) -> Option<Anchor> {
        if self.judgements / EVERY <= self.turns as u64 {
            return None;
        }
        self.turns += 1;
        Some(self.anchors[self.turns % self.anchors.len()].clone())
    }

    /// An earlier judgement was made again. Returns by how much the model judges higher than it did, in `[-1, 1]`, if that is known.
    pub(super) fn judged_again(&mut self, before: f32, now: f32) -> Option<f64> {
        self.latest.push_back(f64::from(now) - f64::from(before));
        if self.latest.len() > LATEST {
            self.latest.pop_front();
        }
        (self.latest.len() == LATEST).then(|| self.latest.iter().sum::<f64>() / LATEST as f64)
    }
}

#[cfg(test)]
mod tests {
    use stateset_domain::Role;

    use super::*;

    fn question(n: u64) -> Vec<Message> {
        vec![Message::new(Role::User, n.to_string())]
    }

    #[test]
    fn early_questions_are_asked_again_one_after_the_other_and_not_often() {
        let mut drift = Drift::default();
        let again = (1..=32 * 20).filter_map(|n| {
            drift.judged(&question(n), 0.5);
            drift.due()
        });
        let again: Vec<String> = again.map(|anchor| anchor.question[0].content.clone()).collect();
        assert_eq!(again.len(), 20);
        assert_eq!((again[0].as_str(), again[14].as_str(), again[15].as_str()), ("2", "16", "1"));
    }

    #[test]
    fn an_undecided_model_has_not_drifted_and_a_stricter_one_has() {
        let mut drift = Drift::default();
        let mut known =
            (0..9).map(|n| drift.judged_again(0.5, if n % 2 == 0 { 0.75 } else { 0.25 })).collect::<Vec<_>>();
        assert_eq!((known[6], known[7], known.pop().flatten()), (None, Some(0.0), Some(0.0)));
        let stricter = (0..8).map(|_| drift.judged_again(0.75, 0.25)).last().flatten();
        assert_eq!(stricter, Some(-0.5));
    }
}
