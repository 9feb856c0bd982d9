//! What is found about examples before the weights move.
//!
//! They do not move before a step's first update, so what its first pass finds *is* the old policy's: the ratio is exactly 1 and no extra
//! pass is needed. Later passes reuse it.

use std::ops::Range;

use candle_core::Result;
use stateset_models::PackedBatch;

use crate::families::{pack, runs};
use crate::pass::{Scored, lists_of, per_example};
use crate::{Example, PolicyLearner};

/// How many tokens of `tokens` the reference is asked about, at the beginning of a pass, where KL from it is only watched: enough for an
/// average, and few enough not to be felt.
fn watched(tokens: usize) -> usize {
    (tokens / 16).clamp(256, 1024)
}

/// What was found about an example before the weights moved, one entry per scored token.
pub(crate) struct First {
    /// Under the policy that the step begins with.
    pub(crate) old: Vec<f64>,
    /// Under the reference, if it was asked.
    pub(crate) reference: Option<Vec<f64>>,
    /// By the critic; empty without one.
    pub(crate) values: Vec<f64>,
    /// What each token counts; `None` if all count in full.
    pub(crate) weights: Option<Vec<f64>>,
}

impl PolicyLearner {
    /// What the reference makes of the first of `examples` (`None` of the rest), of which `run` of a pass consists and `packed`.
    fn ask_reference(
        &self,
        examples: &[&Example],
        run: &Range<usize>,
        packed: &PackedBatch,
    ) -> Result<Vec<Option<Vec<f64>>>> {
        let objective = &self.settings.objective;
        let known = examples.iter().all(|example| example.reference.is_some());
        let asked = match (known, objective.compares()) {
            (true, _) => 0,
            (false, true) => examples.len(),
            (false, false) if run.start == 0 && objective.watches_kl() => {
                runs(examples, objective.together(), watched(packed.tokens.len())).first().map_or(0, |first| first.end)
            }
            (false, false) => 0,
        };
        let mut lists: Vec<Option<Vec<f64>>> = examples.iter().map(|example| example.reference.clone()).collect();
        if asked > 0 {
            let part = &examples[..asked];
            let own = (asked < examples.len()).then(|| pack(part));
            let (batch, temperature) = (own.as_ref().unwrap_or(packed), self.settings.temperature);
            let [found, _] = match self.device() {
                Some(mut device) => device.score_by_reference(batch, temperature)?,
                None => self.reference.log_probs(batch, temperature)?,
            };
            for (list, found) in lists.iter_mut().zip(lists_of(part, &found)) {
                list.get_or_insert(found);
            }
        }
        Ok(lists)
    }

    /// What is remembered of the micro-batch `run` of a pass, which was scored before anything moved.
    pub(crate) fn firsts(&self, examples: &[&Example], scored: &Scored, run: &Range<usize>) -> Result<Vec<First>> {
        let old = lists_of(examples, &scored.scores[0]);
        let mut references = self.ask_reference(examples, run, &scored.packed)?;
        let values = scored.values.as_ref().map(|values| per_example(examples, values)).transpose()?;
        let first = |(i, old): (usize, Vec<f64>)| First {
            weights: self.settings.staleness.weights(&old, &examples[i].sampler, &examples[i].ages),
            reference: references[i].take(),
            values: values.as_ref().map(|lists| lists[i].clone()).unwrap_or_default(),
            old,
        };
        Ok(old.into_iter().enumerate().map(first).collect())
    }

    /// Looks at every `chosen` example without moving anything.
    pub(crate) fn look(&self, examples: &[Example], chosen: &[usize], firsts: &mut [Option<First>]) -> Result<()> {
        for run in self.micro_batches(examples, chosen) {
            let part: Vec<&Example> = chosen[run.clone()].iter().map(|i| &examples[*i]).collect();
            let found = self.firsts(&part, &self.score(&part, None)?, &run)?;
            for (i, first) in chosen[run].iter().zip(found) {
                firsts[*i] = Some(first);
            }
        }
        Ok(())
    }
}
