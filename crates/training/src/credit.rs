//! What each token of a batch is credited, once what that depends on has been looked at.

use stateset_algorithms::{Earned, Played};

use crate::batch::Batch;
use crate::first::First;
use crate::{Example, Objective};

impl Batch {
    /// Gives credit by `objective`, given what is known of each example before the step.
    pub(crate) fn credit(&mut self, objective: &Objective, firsts: &[Option<First>]) {
        let charges: Vec<Vec<f64>> = self
            .examples
            .iter()
            .zip(firsts)
            .map(|(example, first)| charges(objective, example, first.as_ref()))
            .collect();
        match objective {
            Objective::Grpo(grpo) => {
                let mut members = self.examples.iter().zip(&charges);
                let mut take =
                    |size: &usize| members.by_ref().take(*size).map(|(it, charges)| earned(it, charges)).collect();
                let groups: Vec<Vec<Earned<'_>>> = self.sizes.iter().map(&mut take).collect();
                let found = grpo.credit(&groups);
                let examples = self.examples.iter_mut().zip(found.into_iter().flatten());
                examples.for_each(|(example, advantages)| example.advantages = advantages);
            }
            Objective::ActorCritic(it) => {
                let known: Vec<(usize, &First)> =
                    firsts.iter().enumerate().filter_map(|(i, first)| Some((i, first.as_ref()?))).collect();
                let played = known.iter().map(|(i, first)| {
                    let Example { turns, reward, .. } = &self.examples[*i];
                    Played { turns, reward: *reward, values: &first.values, penalties: &charges[*i] }
                });
                let credits = it.credit(&played.collect::<Vec<_>>());
                for ((i, _), credit) in known.into_iter().zip(credits) {
                    let example = &mut self.examples[i];
                    (example.advantages, example.returns, example.learned) =
                        (credit.advantages, credit.returns, credit.learned);
                }
            }
            // A pair says itself which of the two is better, and what is imitated is good.
            Objective::Dpo(_) | Objective::Sft(_) => {}
        }
    }
}

/// What each token of an example is charged for its distance from the reference.
fn charges(objective: &Objective, example: &Example, first: Option<&First>) -> Vec<f64> {
    match first.and_then(|first| Some((&first.old, first.reference.as_ref()?))) {
        Some((old, reference)) => old.iter().zip(reference).map(|(old, at)| objective.charge(*old, *at)).collect(),
        None => vec![0.0; example.scored_tokens()],
    }
}

fn earned<'a>(example: &'a Example, charges: &'a [f64]) -> Earned<'a> {
    Earned { reward: example.reward, terms: &example.terms, turns: &example.turns, charges }
}
