//! A step of the natural gradient: TRPO, without second derivatives.
//!
//! The Fisher matrix of a softmax policy is the Gauss-Newton matrix of its logits `z`: `F v = mean over tokens of J^T (diag p - p p^T) J v`
//! with `J = dz/dtheta` (Schraudolph 2002; Martens, arXiv:1412.1193). `J v` is a central difference of two forward passes, `J^T w` one
//! backward pass over a graph that is kept: no operation needs a second derivative, nor forward-mode rules.
//!
//! Exact KL means over whole distributions, so the old log-probabilities of the batch `[scored, vocab]` are kept while a step is searched for. That is
//! what a policy with a small vocabulary, or few tokens a step, affords.

use candle_core::{Result, Tensor};
use stateset_algorithms::{Landing, Sequence, Slopes, Trpo};
use stateset_domain::{StepReport, Stream};
use stateset_models::{PackedBatch, Recording};

use crate::batch::Batch;
use crate::descent::{report_first, scored, tokens};
use crate::distributions::Distributions;
use crate::families::pack;
use crate::first::First;
use crate::objective::Counts;
use crate::pass::{along, per_example};
use crate::variables::{read, write};
use crate::{Example, Gradients, PolicyLearner};

/// How far weights are moved to find a derivative, as a share of their length: rounding in f32 and curvature err about equally there.
const NUDGE: f64 = 1e-3;

/// A part of the batch as the policy saw it when the step began.
struct Part {
    /// Its examples.
    at: Vec<usize>,
    packed: PackedBatch,
    old: Distributions,
}

/// The same, with all that leads back from its logits, for any number of backward passes.
struct Recorded {
    part: Part,
    logits: Tensor,
    recording: Recording,
}

/// The batch, as it was before the policy moved.
struct Begun<'a> {
    examples: &'a [Example],
    /// Those in which something was sampled.
    chosen: &'a [usize],
    counts: &'a Counts,
    firsts: &'a [Option<First>],
    loss: f64,
}

impl PolicyLearner {
    /// One natural step of the policy, if a wise one is found, and updates of its critic. `course` shortens the step.
    pub(crate) fn step_naturally(
        &mut self,
        trpo: &Trpo,
        batch: &Batch,
        mut firsts: Vec<Option<First>>,
        course: f64,
        report: &mut StepReport,
    ) -> Result<()> {
        let examples = &batch.examples;
        let chosen: Vec<usize> = scored(examples).collect();
        let counts = self.settings.objective.count(examples.iter());
        let mut pull = self.no_pull();
        let found = self.pass(examples, &chosen, &counts, &mut firsts, &mut pull)?;
        if std::mem::take(&mut self.spoilt) {
            pull.policy.spoil();
        }
        report_first(examples, &firsts, report);
        report.train_tokens += tokens(examples, &chosen);
        report.loss = found.evaluation.loss;
        report.grad_norm = pull.policy.norm();
        found.describe(report);
        found.describe_critic(report);
        if !(report.loss.is_finite() && report.grad_norm.is_finite()) {
            report.skipped = true;
            return Ok(());
        }
        let uphill: Vec<f64> = pull.policy.values().iter().flatten().map(|slope| -f64::from(*slope)).collect();
        let begun = Begun { examples, chosen: &chosen, counts: &counts, firsts: &firsts, loss: report.loss };
        report.lr = self.climb(trpo, &begun, &uphill, course, &mut report.train_tokens)?;
        let lr = course * self.settings.objective.critic().map_or(0.0, |critic| critic.learning_rate);
        if let (Some(critic), Some(gradients)) = (&mut self.critic, &pull.critic) {
            critic.update(gradients, lr)?;
        }
        report.train_tokens += tokens(examples, &chosen);
        self.teach_critic(&begun, lr)
    }

    /// Moves the policy uphill, as far as is wise. Returns the part of the whole step that was taken.
    fn climb(
        &self,
        trpo: &Trpo,
        begun: &Begun<'_>,
        uphill: &[f64],
        course: f64,
        train_tokens: &mut u64,
    ) -> Result<f64> {
        let Begun { examples, chosen, .. } = *begun;
        let from = read(&self.variables)?;
        let direction = {
            let sample = self.sample(trpo, chosen);
            let (runs, drawn) = (self.micro_batches(examples, &sample).into_iter(), tokens(examples, &sample));
            let sample = runs.map(|run| self.recorded(examples, &sample[run])).collect::<Result<Vec<_>>>()?;
            *train_tokens += drawn;
            trpo.direction(uphill, |v| {
                *train_tokens += 2 * drawn;
                self.fisher(&sample, &from, v)
            })?
        };
        let Some(direction) = direction else { return Ok(0.0) };
        let runs = self.micro_batches(examples, chosen).into_iter();
        let all = runs.map(|run| self.part(examples, &chosen[run])).collect::<Result<Vec<_>>>()?;
        *train_tokens += tokens(examples, chosen);
        let landed = trpo.search(|part| {
            write(&self.variables, &moved(&from, &direction.step, course * part))?;
            *train_tokens += tokens(examples, chosen);
            self.land(&all, begun)
        })?;
        match landed {
            Some((part, _)) => Ok(course * part),
            None => write(&self.variables, &from).map(|()| 0.0),
        }
    }

    /// The examples that the Fisher matrix is estimated from: as many as asked for, another draw in every step.
    fn sample(&self, trpo: &Trpo, chosen: &[usize]) -> Vec<usize> {
        let count = (trpo.fisher_share * chosen.len() as f64).ceil() as usize;
        let drawn = Stream::new(self.step).sample_indices(chosen.len(), count.min(chosen.len()));
        drawn.into_iter().map(|i| chosen[i]).collect()
    }

    fn part(&self, examples: &[Example], at: &[usize]) -> Result<Part> {
        let packed = pack(&at.iter().map(|i| &examples[*i]).collect::<Vec<_>>());
        let logits = self.model.logits(&self.model.states(&packed)?)?;
        Ok(Part { at: at.to_vec(), packed, old: Distributions::of(&logits, self.settings.temperature)? })
    }

    fn recorded(&self, examples: &[Example], at: &[usize]) -> Result<Recorded> {
        let packed = pack(&at.iter().map(|i| &examples[*i]).collect::<Vec<_>>());
        let recording = self.model.record(&packed)?;
        let logits = self.model.logits(recording.states()?)?;
        let old = Distributions::of(&logits, self.settings.temperature)?;
        Ok(Recorded { part: Part { at: at.to_vec(), packed, old }, logits, recording })
    }

    /// The Fisher matrix of `parts`, times `v`. The weights are `from` before and after.
    fn fisher(&self, parts: &[Recorded], from: &[Vec<f32>], v: &[f64]) -> Result<Vec<f64>> {
        let length = |squares: f64| squares.sqrt();
        let weights = length(from.iter().flatten().map(|it| f64::from(*it).powi(2)).sum());
        let along_v = length(v.iter().map(|it| it * it).sum());
        let nudge = NUDGE * weights / along_v.max(f64::MIN_POSITIVE);
        let look = |by: f64| -> Result<Vec<Vec<f32>>> {
            write(&self.variables, &moved(from, v, by))?;
            let logits =
                |it: &Recorded| self.model.logits(&self.model.states(&it.part.packed)?)?.flatten_all()?.to_vec1();
            parts.iter().map(logits).collect()
        };
        let (ahead, behind) = (look(nudge)?, look(-nudge)?);
        write(&self.variables, from)?;
        let rows: usize = parts.iter().map(|it| it.part.old.rows()).sum();
        let temperature = self.settings.temperature;
        let scale = 1.0 / (temperature * temperature * rows.max(1) as f32);
        let mut product = Gradients::zeros(&self.variables);
        for ((Recorded { part, logits, recording }, mut change), behind) in parts.iter().zip(ahead).zip(behind) {
            change.iter_mut().zip(behind).for_each(|(z, behind)| *z = (*z - behind) / (2.0 * nudge) as f32);
            part.old.spread(&mut change, scale);
            let change = Tensor::from_vec(change, logits.shape(), logits.device())?;
            let mut back = (logits * change)?.sum_all()?.backward()?;
            product.add(&self.variables, &mut back)?;
            let mut recording = recording.again();
            recording.pull_states(&mut back)?;
            recording.backward(product.sums())?;
        }
        Ok(product.values().iter().flatten().map(|it| f64::from(*it)).collect())
    }

    /// Where the policy is now.
    fn land(&self, parts: &[Part], begun: &Begun<'_>) -> Result<Landing> {
        let (mut kl, mut rows, mut loss) = (0.0, 0, 0.0);
        for Part { at, packed, old } in parts {
            let logits = self.model.logits(&self.model.states(packed)?)?;
            let now = Distributions::of(&logits, self.settings.temperature)?;
            kl += now.kl_sum(old);
            rows += now.rows();
            let new = now.select(&packed.targets);
            let mask = vec![true; new.len()];
            let mut from = 0;
            let sequences = at.iter().filter_map(|i| {
                let (example, first) = (&begun.examples[*i], begun.firsts[*i].as_ref()?);
                let own = from..from + example.scored_tokens();
                from = own.end;
                Some(Sequence {
                    mask: &mask[own.clone()],
                    new: &new[own],
                    old: &first.old,
                    reference: None,
                    advantages: &example.advantages,
                    weights: first.weights.as_deref(),
                    entropies: None,
                })
            });
            let sequences: Vec<Sequence<'_>> = sequences.collect();
            loss += self.settings.objective.evaluate(&sequences, begun.counts, &mut Slopes::zeros(new.len())).loss;
        }
        Ok(Landing { kl: kl / rows.max(1) as f64, gain: begun.loss - loss })
    }

    /// Updates of the critic, over the whole batch each; the first was made with the policy's step.
    fn teach_critic(&mut self, begun: &Begun<'_>, lr: f64) -> Result<()> {
        let Begun { examples, chosen, counts, firsts, .. } = *begun;
        let passes = self.settings.objective.critic().map_or(1, |critic| critic.passes);
        let look = |run: std::ops::Range<usize>| {
            let (part, known): (Vec<&Example>, Vec<&First>) =
                chosen[run].iter().filter_map(|i| Some((&examples[*i], firsts[*i].as_ref()?))).unzip();
            let packed = pack(&part);
            Ok((self.model.states(&packed)?, packed, part, known))
        };
        let looked = self.micro_batches(examples, chosen).into_iter().map(look).collect::<Result<Vec<_>>>()?;
        for _ in 1..passes {
            let Some(critic) = &self.critic else { return Ok(()) };
            let mut pull = self.no_pull();
            for (states, packed, part, known) in &looked {
                let ((values, recording), mut slopes) = (critic.values(states, packed, true)?, Vec::new());
                self.value(part, known, &per_example(part, &values)?, counts, &mut slopes);
                let mut back = along(&values, &slopes)?.backward()?;
                critic.pull(&mut pull.policy, pull.critic.as_mut(), recording, &mut back)?;
            }
            if let (Some(critic), Some(gradients)) = (&mut self.critic, &pull.critic) {
                critic.update(gradients, lr)?;
            }
        }
        Ok(())
    }
}

/// `from`, so far along `direction`.
fn moved(from: &[Vec<f32>], direction: &[f64], by: f64) -> Vec<Vec<f32>> {
    let mut direction = direction.iter();
    let step = |value: &f32| value + direction.next().map_or(0.0, |it| by * it) as f32;
    let mut flat = from.iter().flatten().map(step).collect::<Vec<f32>>().into_iter();
    from.iter().map(|values| flat.by_ref().take(values.len()).collect()).collect()
}
