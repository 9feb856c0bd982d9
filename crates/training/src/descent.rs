//! A step as passes of gradient descent over its batch.

use candle_core::Result;
use stateset_domain::{StepReport, Stream};

use crate::batch::Batch;
use crate::first::First;
use crate::pass::Found;
use crate::{Example, PolicyLearner};

/// A step ends once the policy has moved this many times as far as it was meant to (Stable-Baselines3, Spinning Up).
const TOO_FAR: f64 = 1.5;

impl PolicyLearner {
    /// Looks at the whole batch before anything moves, where credit or the order of updates depends on it.
    pub(crate) fn look_first(&self, batch: &Batch, report: &mut StepReport) -> Result<Vec<Option<First>>> {
        let mut firsts: Vec<Option<First>> = batch.examples.iter().map(|_| None).collect();
        if !self.settings.objective.looks_first() {
            return Ok(firsts);
        }
        let scored: Vec<usize> = scored(&batch.examples).collect();
        self.look(&batch.examples, &scored, &mut firsts)?;
        report.train_tokens += tokens(&batch.examples, &scored);
        Ok(firsts)
    }

    /// Passes over the batch, each of one update or of several. A step whose loss or gradient is no number is marked as skipped, and the
    /// weights are left where the failure found them.
    pub(crate) fn descend(
        &mut self,
        batch: &Batch,
        mut firsts: Vec<Option<First>>,
        course: f64,
        report: &mut StepReport,
    ) -> Result<()> {
        let examples = &batch.examples;
        let critic_lr = course * self.settings.objective.critic().map_or(0.0, |critic| critic.learning_rate);
        let mut pull = self.no_pull();
        'passes: for epoch in 0..self.settings.objective.epochs() {
            let (mut sum, mut norms) = (Found::default(), Vec::new());
            for part in self.parts(examples.len(), epoch) {
                let counts = self.settings.objective.count(part.iter().map(|i| &examples[*i]));
                let chosen = self.computed(examples, &part);
                self.clear(&mut pull)?;
                let found = self.pass(examples, &chosen, &counts, &mut firsts, &mut pull)?;
                if std::mem::take(&mut self.spoilt) {
                    self.spoil(&mut pull)?;
                }
                let norm = self.norm(&pull)?;
                report.train_tokens += tokens(examples, &chosen);
                let loss = found.evaluation.loss + found.values.loss;
                if !(loss.is_finite() && norm.is_finite()) {
                    (report.loss, report.grad_norm, report.skipped) = (loss, norm, true);
                    return Ok(());
                }
                let target = self.settings.objective.target_kl();
                if target.is_some_and(|target| found.evaluation.mean_moved() > TOO_FAR * target) {
                    break 'passes;
                }
                self.move_policy(&pull, norm, report.lr)?;
                if let (Some(critic), Some(gradients)) = (&mut self.critic, &pull.critic) {
                    critic.update(gradients, critic_lr)?;
                }
                sum += found;
                norms.push(norm);
            }
            if epoch == 0 {
                report_first(examples, &firsts, report);
                report.tokens_dropped += sum.let_go as u64;
                report.loss = (sum.evaluation.loss + sum.values.loss) / norms.len().max(1) as f64;
                report.grad_norm = norms.iter().sum::<f64>() / norms.len().max(1) as f64;
                if self.critic.is_some() {
                    sum.describe_critic(report);
                }
            }
            sum.describe(report);
        }
        Ok(())
    }

    /// The batch's examples as a pass takes them: all at once, or in parts that are drawn anew for every pass.
    fn parts(&self, examples: usize, epoch: usize) -> Vec<Vec<usize>> {
        let parts = self.settings.objective.mini_batches();
        let order = match parts {
            1 => (0..examples).collect(),
            _ => Stream::new(self.step).fork(epoch as u64).sample_indices(examples, examples),
        };
        let size = examples.div_ceil(parts).max(1);
        if order.is_empty() { vec![Vec::new()] } else { order.chunks(size).map(<[usize]>::to_vec).collect() }
    }

    /// The examples of a part to compute. Unless something else pulls at it, one without advantage has no gradient at all: it is counted,
    /// and not computed, unless there are no others; then the first few are, so that entropy and KL are measured in every step.
    fn computed(&self, examples: &[Example], part: &[usize]) -> Vec<usize> {
        let all = self.settings.objective.moves_all();
        let scored: Vec<usize> = part.iter().copied().filter(|i| examples[*i].scored_tokens() > 0).collect();
        let teaches = |i: &usize| all || examples[*i].advantages.iter().any(|it| *it != 0.0);
        let teaching: Vec<usize> = scored.iter().copied().filter(teaches).collect();
        if !teaching.is_empty() {
            return teaching;
        }
        let first = self.micro_batches(examples, &scored).into_iter().next().unwrap_or(0..0);
        scored[first].to_vec()
    }
}

/// The examples in which something was sampled.
pub(crate) fn scored(examples: &[Example]) -> impl Iterator<Item = usize> {
    (0..examples.len()).filter(|i| examples[*i].scored_tokens() > 0)
}

/// How many tokens of conversation so many examples hold. What several of them begin with counts for each, though it is computed once: the
/// figure compares with others' and does not depend on how a batch is cut.
pub(crate) fn tokens(examples: &[Example], chosen: &[usize]) -> u64 {
    chosen.iter().map(|i| examples[*i].tokens.len() as u64).sum()
}

/// Reports how the policy that learns saw what was sampled.
pub(crate) fn report_first(examples: &[Example], firsts: &[Option<First>], report: &mut StepReport) {
    let known = || examples.iter().zip(firsts).filter_map(|(example, first)| Some((example, first.as_ref()?)));
    // The largest gap between sampler and trainer, over tokens that the very policy sampled which learns from them.
    let gap = |(example, First { old, .. }): (&Example, &First)| {
        let gap = |t: usize| if example.ages[t] == 0 { (example.sampler[t] - old[t]).abs() } else { 0.0 };
        (0..old.len()).map(gap).fold(0.0, f64::max)
    };
    report.log_prob_gap = known().map(gap).fold(0.0, f64::max);
    let weights = || known().flat_map(|(_, first)| first.weights.iter().flatten());
    report.tokens_dropped = weights().filter(|weight| **weight == 0.0).count() as u64;
    report.tokens_down_weighted = weights().filter(|weight| **weight > 0.0 && **weight < 1.0).count() as u64;
}
