//! One pass over some examples: what the policy and the critic make of them, and what the objective makes of that.

use std::ops::Range;

use candle_core::{Device, Result, Tensor};
use stateset_algorithms::{Evaluation, Sequence, Slopes, ValueEvaluation, Valued};
use stateset_domain::{StepReport, Stream};
use stateset_models::{PackedBatch, Recording};

use crate::device::Scores;
use crate::families::{pack, runs};
use crate::first::First;
use crate::objective::Counts;
use crate::pull::Pull;
use crate::{Example, PolicyLearner};

/// What a pass found, summed over its examples.
#[derive(Default)]
pub(crate) struct Found {
    pub(crate) evaluation: Evaluation,
    pub(crate) values: ValueEvaluation,
    pub(crate) entropy_sum: f64,
    /// Tokens whose KL from the reference is in the evaluation's sum.
    pub(crate) compared: usize,
    /// Tokens that counted before they were let go of.
    pub(crate) let_go: usize,
}

/// A micro-batch as the model sees it.
pub(crate) struct Scored {
    pub(crate) packed: PackedBatch,
    /// `[scored]` each.
    pub(crate) scores: Scores,
    /// `[scored]`.
    pub(crate) values: Option<Tensor>,
    /// For the way back, if there is one: of the policy's trunk, and of a critic's own.
    policy: Option<Recording>,
    critic: Option<Recording>,
}

impl std::ops::AddAssign for Found {
    fn add_assign(&mut self, other: Self) {
        let Self { evaluation, values, entropy_sum, compared, let_go } = other;
        self.evaluation += evaluation;
        self.values += values;
        self.entropy_sum += entropy_sum;
        self.compared += compared;
        self.let_go += let_go;
    }
}

impl Found {
    /// Reports what the policy did.
    pub(crate) fn describe(&self, report: &mut StepReport) {
        report.kl = self.evaluation.kl_sum / self.compared.max(1) as f64;
        report.clip_fraction = self.evaluation.clip_fraction();
        report.entropy = self.entropy_sum / self.evaluation.tokens.max(1) as f64;
    }

    /// Reports what the critic had expected.
    pub(crate) fn describe_critic(&self, report: &mut StepReport) {
        report.value_loss = Some(self.values.mean_loss());
        report.explained_variance = Some(self.values.explained_variance());
    }
}

impl PolicyLearner {
    /// Cuts the `chosen` examples into runs of few enough tokens. Examples that belong together are never apart, and those of a group are
    /// together as far as memory allows.
    pub(crate) fn micro_batches(&self, examples: &[Example], chosen: &[usize]) -> Vec<Range<usize>> {
        let chosen: Vec<&Example> = chosen.iter().map(|i| &examples[*i]).collect();
        runs(&chosen, self.settings.objective.together(), self.settings.micro_batch_tokens)
    }

    /// What an adapter's dropout is drawn from in this update, for a `run` of its examples.
    fn draws(&self, run: &Range<usize>) -> Stream {
        let root = self.settings.adapter.as_ref().map_or(Stream::new(0), |adapter| adapter.stream);
        root.fork(u64::from_le_bytes(*b"dropouts")).fork(self.updates()).fork(run.start as u64)
    }

    /// Scores `examples`, and records how, by these draws, if there is a way back.
    pub(crate) fn score(&self, examples: &[&Example], record: Option<Stream>) -> Result<Scored> {
        let packed = pack(examples);
        if let Some(mut device) = self.device() {
            let scores = device.score(&packed, self.settings.temperature, record.is_some())?;
            return Ok(Scored { packed, scores, values: None, policy: None, critic: None });
        }
        let (temperature, critic) = (self.settings.temperature, self.critic.as_ref());
        let (policy, scores, valued) = match record {
            Some(draws) => {
                let mut policy = self.model.record_dropping(&packed, Some(draws))?;
                let scores = policy.score(temperature)?;
                let valued = critic.map(|critic| critic.values(policy.states()?, &packed, true)).transpose()?;
                (Some(policy), scores, valued)
            }
            None => {
                let states = self.model.states(&packed)?;
                let scores = self.model.log_probs_of(&states, &packed, temperature)?;
                let valued = critic.map(|critic| critic.values(&states, &packed, false)).transpose()?;
                (None, scores, valued)
            }
        };
        let (values, critic) = valued.unzip();
        Ok(Scored { packed, scores, values, policy, critic: critic.flatten() })
    }

    /// Evaluates the `chosen` examples and adds what they pull to `pull`. What was not known of them before is remembered in `firsts`.
    pub(crate) fn pass(
        &self,
        examples: &[Example],
        chosen: &[usize],
        counts: &Counts,
        firsts: &mut [Option<First>],
        pull: &mut Pull,
    ) -> Result<Found> {
        let mut sum = Found::default();
        for run in self.micro_batches(examples, chosen) {
            let at = &chosen[run.clone()];
            let part: Vec<&Example> = at.iter().map(|i| &examples[*i]).collect();
            let scored = self.score(&part, Some(self.draws(&run)))?;
            if at.iter().any(|i| firsts[*i].is_none()) {
                for (i, first) in at.iter().zip(self.firsts(&part, &scored, &run)?) {
                    firsts[*i] = Some(first);
                }
            }
            let known: Vec<&First> = at.iter().filter_map(|i| firsts[*i].as_ref()).collect();
            sum += self.pull(&part, &known, scored, counts, pull)?;
        }
        Ok(sum)
    }

    fn pull(
        &self,
        examples: &[&Example],
        firsts: &[&First],
        scored: Scored,
        counts: &Counts,
        pull: &mut Pull,
    ) -> Result<Found> {
        let [new, entropies] = scored.scores.each_ref().map(|scores| lists_of(examples, scores));
        let mask = vec![true; new.iter().map(Vec::len).max().unwrap_or(0)];
        let objective = &self.settings.objective;
        let weights = |i: usize| firsts[i].weights.as_deref();
        let let_go: Vec<Option<Vec<f64>>> =
            (0..examples.len()).map(|i| objective.let_go(examples[i], &new[i], weights(i))).collect();
        let sequence = |i: usize| Sequence {
            new: &new[i],
            old: &firsts[i].old,
            reference: firsts[i].reference.as_deref(),
            mask: &mask[..new[i].len()],
            advantages: &examples[i].advantages,
            weights: let_go[i].as_deref().or(weights(i)),
            entropies: Some(&entropies[i]),
        };
        let sequences: Vec<Sequence<'_>> = (0..examples.len()).map(sequence).collect();
        let mut slopes = Slopes::zeros(scored.packed.targets.len());
        let mut found = Found {
            evaluation: objective.evaluate(&sequences, counts, &mut slopes),
            compared: sequences.iter().filter(|it| it.reference.is_some()).map(|it| it.new.len()).sum(),
            entropy_sum: entropies.iter().flatten().sum(),
            let_go: let_go.iter().enumerate().map(|(i, now)| let_go_of(weights(i), now.as_deref())).sum(),
            ..Found::default()
        };
        let narrow = |slopes: &[f64]| slopes.iter().map(|slope| *slope as f32).collect::<Vec<f32>>();
        let (log_probs, entropies) = (narrow(&slopes.log_probs), narrow(&slopes.entropies));
        let Some(mut recording) = scored.policy else {
            self.device().map_or(Ok(()), |mut device| device.pull(&log_probs, &entropies))?;
            return Ok(found);
        };
        let Pull { policy, critic: own } = pull;
        recording.pull_scores((&log_probs, &entropies), policy.sums())?;
        if let Some((critic, values)) = self.critic.as_ref().zip(scored.values) {
            let mut slopes = Vec::new();
            found.values = self.value(examples, firsts, &per_example(examples, &values)?, counts, &mut slopes);
            let mut back = along(&values, &slopes)?.backward()?;
            policy.add(&self.variables, &mut back)?;
            recording.pull_states(&mut back)?;
            critic.pull(policy, own.as_mut(), scored.critic, &mut back)?;
        }
        recording.backward(policy.sums())?;
        Ok(found)
    }

    /// The critic's loss. A natural step moves the policy alone, and its critic afterwards.
    pub(crate) fn value(
        &self,
        examples: &[&Example],
        firsts: &[&First],
        values: &[Vec<f64>],
        counts: &Counts,
        slopes: &mut Vec<f64>,
    ) -> ValueEvaluation {
        let mut sum = ValueEvaluation::default();
        let Some(it) = self.settings.objective.actor_critic() else { return sum };
        let weight = counts.value_weight() * if it.critic_is_apart() { 1.0 } else { it.critic.coef };
        for ((example, first), new) in examples.iter().zip(firsts).zip(values) {
            let Example { returns, learned, .. } = example;
            let mut own = vec![0.0; new.len()];
            sum +=
                Valued { new, old: &first.values, returns, mask: learned }.evaluate(it.critic.clip, weight, &mut own);
            slopes.extend(own);
        }
        sum
    }
}

/// How many tokens counted, and do so no longer.
fn let_go_of(before: Option<&[f64]>, now: Option<&[f64]>) -> usize {
    let counted = |t: usize| before.is_none_or(|before| before[t] != 0.0);
    now.unwrap_or_default().iter().enumerate().filter(|(t, weight)| **weight == 0.0 && counted(*t)).count()
}

/// A scalar whose gradient with respect to `found` is `slopes`.
pub(crate) fn along(found: &Tensor, slopes: &[f64]) -> Result<Tensor> {
    let slopes: Vec<f32> = slopes.iter().map(|slope| *slope as f32).collect();
    (found * Tensor::from_slice(&slopes, slopes.len(), &Device::Cpu)?)?.sum_all()
}

/// The numbers of a micro-batch `[scored]`, example by example.
pub(crate) fn per_example(examples: &[&Example], numbers: &Tensor) -> Result<Vec<Vec<f64>>> {
    Ok(lists_of(examples, &numbers.to_vec1()?))
}

/// The same, of plain numbers.
pub(crate) fn lists_of(examples: &[&Example], numbers: &[f32]) -> Vec<Vec<f64>> {
    let mut all = numbers.iter().copied().map(f64::from);
    examples.iter().map(|example| all.by_ref().take(example.scored_tokens()).collect()).collect()
}
