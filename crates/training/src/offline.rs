//! A learner that learns from what it is given in place of episodes.

use std::collections::BTreeMap;

use stateset_domain::LearnerError;
use stateset_models::Pretrained;

use crate::batch::Batch;
use crate::families::pack;
use crate::pass::lists_of;
use crate::{Dataset, Demonstration, Example, Items, LearnerSettings, Objective, PolicyLearner, PreferencePair};

/// What a learner was given, and what it has found out about it.
pub(crate) struct Offline {
    dataset: Dataset,
    references: References,
}

/// What the reference makes of both sides of each pair. It never changes its mind, so it is asked once; and about one pair at a time, so
/// that what it says does not depend on which others it is asked about with it.
#[derive(Default)]
struct References(BTreeMap<usize, [Vec<f64>; 2]>);

impl References {
    fn of<E>(&mut self, pair: usize, ask: impl FnOnce() -> Result<[Vec<f64>; 2], E>) -> Result<[Vec<f64>; 2], E> {
        if let Some(known) = self.0.get(&pair) {
            return Ok(known.clone());
        }
        let found = ask()?;
        self.0.insert(pair, found.clone());
        Ok(found)
    }
}

impl Example {
    /// A conversation that nobody sampled, with the same credit for all that the assistant says in it.
    pub(crate) fn given(demonstration: &Demonstration, credit: f64, group: usize) -> Self {
        let Demonstration { tokens, spoken } = demonstration;
        // Nothing precedes the first token, so nothing predicts it.
        let scored: Vec<bool> = spoken.iter().enumerate().map(|(at, spoken)| at > 0 && *spoken).collect();
        let count = scored.iter().filter(|scored| **scored).count();
        Self {
            group,
            tokens: tokens.clone(),
            forks: Vec::new(),
            scored,
            sampler: vec![f64::NAN; count],
            ages: vec![0; count],
            reward: 0.0,
            terms: Vec::new(),
            turns: Vec::new(),
            advantages: vec![credit; count],
            returns: Vec::new(),
            learned: Vec::new(),
            reference: None,
        }
    }
}

impl PolicyLearner {
    /// Starts from `base`, which is also the frozen reference, and learns from `dataset`: whatever groups a step is given are left alone.
    ///
    /// # Errors
    /// [`LearnerError::Compute`] if a tensor cannot be made; [`LearnerError::Batch`] if there is nothing in `dataset`, or nothing that the
    /// objective could learn from.
    pub fn offline(base: Pretrained, settings: LearnerSettings, dataset: Dataset) -> Result<Self, LearnerError> {
        let fits = match (&settings.objective, &dataset.items) {
            (Objective::Sft(_), Items::Conversations(list)) => !list.is_empty(),
            (Objective::Sft(_), Items::Endless(_)) => true,
            (Objective::Dpo(_), Items::Pairs(list)) => !list.is_empty(),
            _ => false,
        };
        if !fits || dataset.batch == 0 {
            let batch = dataset.batch;
            return Err(LearnerError::Batch(format!(
                "nothing can be learned from {:?}, {batch} a step",
                dataset.items
            )));
        }
        let mut learner = Self::new(base, settings)?;
        learner.offline = Some(Offline { dataset, references: References::default() });
        Ok(learner)
    }

    /// What this step is made from, if it is given.
    pub(crate) fn given(&mut self) -> Result<Option<Batch>, LearnerError> {
        let Some(mut offline) = self.offline.take() else { return Ok(None) };
        let examples = self.examples(&mut offline);
        self.offline = Some(offline);
        Ok(Some(Batch { examples: examples?, sizes: Vec::new(), frac_zero_std_groups: 0.0 }))
    }

    fn examples(&self, Offline { dataset, references }: &mut Offline) -> Result<Vec<Example>, LearnerError> {
        let used = dataset.of_step(self.step);
        match &dataset.items {
            Items::Conversations(list) => Ok(used.into_iter().map(|at| Example::given(&list[at], 1.0, at)).collect()),
            Items::Endless(draw) => used.into_iter().map(|at| Ok(Example::given(&draw(at as u64)?, 1.0, at))).collect(),
            Items::Pairs(list) => {
                let pairs = used.into_iter().map(|at| self.pair(at, &list[at], references));
                Ok(pairs.collect::<Result<Vec<_>, _>>()?.concat())
            }
        }
    }

    /// Both sides of a pair, the chosen one first.
    fn pair(
        &self,
        at: usize,
        pair: &PreferencePair,
        references: &mut References,
    ) -> Result<[Example; 2], LearnerError> {
        let mut sides = [Example::given(&pair.chosen, 1.0, at), Example::given(&pair.rejected, -1.0, at)];
        let ask = || {
            let sides = sides.each_ref();
            let [found, _] = self.reference.log_probs(&pack(&sides), self.settings.temperature)?;
            let mut lists = lists_of(&sides, &found).into_iter();
            Ok([lists.next().unwrap_or_default(), lists.next().unwrap_or_default()])
        };
        let known =
            references.of(at, ask).map_err(|error: candle_core::Error| LearnerError::Compute(error.to_string()))?;
        for (side, reference) in sides.iter_mut().zip(known) {
            side.reference = Some(reference);
        }
        Ok(sides)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reference_is_asked_once_about_each_pair() {
        let (mut references, mut asked) = (References::default(), Vec::new());
        for pair in [3, 1, 3, 3, 1] {
            let ask = || {
                asked.push(pair);
                Ok::<_, ()>([vec![pair as f64], vec![]])
            };
            assert_eq!(references.of(pair, ask), Ok([vec![pair as f64], vec![]]));
        }
        assert_eq!(asked, [3, 1]);
    }

    #[test]
    fn a_reference_that_failed_is_asked_again() {
        let mut references = References::default();
        assert_eq!(references.of(0, || Err("no memory")), Err("no memory"));
        assert!(references.of(0, || Ok::<_, &str>([vec![], vec![]])).is_ok());
    }

    #[test]
    fn only_what_the_assistant_says_is_scored_and_never_the_first_token() {
        let said = Demonstration { tokens: vec![7, 8, 9, 7], spoken: vec![true, false, true, true] };
        let example = Example::given(&said, -1.0, 0);
        assert_eq!(example.scored, [false, false, true, true]);
        assert_eq!((example.scored_tokens(), example.advantages), (2, vec![-1.0; 2]));
    }
}
