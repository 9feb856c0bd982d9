//! Every algorithm: its gradient through the whole model.

use candle_core::Tensor;
use stateset_algorithms::{ActorCritic, Advantage, Algorithm, Answer, Grpo, Sequence, Slopes, Valued};
use stateset_domain::{Group, Learner, Stream, Trajectory};
use stateset_models::{Autograd, HostWeights, PackedBatch, Recording, ValueHead};
use stateset_training::{Gradients, Objective};

use crate::{BASE, distance, flat, group, learner, plain_descent};

/// Two groups, as a batch that some policy near the model's has sampled.
struct Batch {
    packed: PackedBatch,
    lengths: Vec<usize>,
    old: Vec<f64>,
    advantages: Vec<f64>,
}

fn members(groups: &[Group]) -> impl Iterator<Item = &Trajectory> {
    groups.iter().flat_map(|group| &group.members)
}

impl Batch {
    fn new(advantage: Advantage) -> Self {
        let groups = [group(0, &[1.0, 0.0, 0.25, 0.0]), group(1, &[1.0, 0.5])];
        let mut packed = PackedBatch::default();
        members(&groups).for_each(|member| packed.push(&member.tokens, &member.mask));
        let lengths = members(&groups).map(Trajectory::sampled_tokens).collect::<Vec<_>>();
        let mut stream = Stream::new(5);
        let new = log_probs(&BASE.weights, &packed);
        let old = new.iter().map(|new| new + 0.1 * (stream.uniform() - 0.5)).collect();
        let answer =
            |member: &Trajectory| Answer { reward: f64::from(member.reward.unwrap()), tokens: member.sampled_tokens() };
        let answers: Vec<Vec<Answer>> = groups.iter().map(|it| it.members.iter().map(answer).collect()).collect();
        let advantages = advantage.estimate(&answers).concat();
        Self { packed, lengths, old, advantages }
    }

    /// The loss at `new`, and its slopes there. Preferences are measured from `old`.
    fn loss(&self, objective: &Objective, new: &[f64], old: &[f64]) -> (f64, Vec<f64>) {
        let longest = *self.lengths.iter().max().unwrap();
        let mask = vec![true; longest];
        let credit: Vec<Vec<f64>> = self.advantages.iter().map(|advantage| vec![*advantage; longest]).collect();
        let mut sequences = Vec::new();
        let mut at = 0;
        for (length, advantages) in self.lengths.iter().zip(&credit) {
            let own = at..at + length;
            at += length;
            let (new, old) = (&new[own.clone()], &old[own]);
            let (mask, advantages) = (&mask[..*length], &advantages[..*length]);
            sequences.push(Sequence {
                new,
                old,
                reference: Some(old),
                mask,
                advantages,
                weights: None,
                entropies: None,
            });
        }
        let mut slopes = Slopes::zeros(new.len());
        let evaluation = match objective {
            Objective::Grpo(grpo) | Objective::Sft(grpo) | Objective::ActorCritic(ActorCritic { policy: grpo, .. }) => {
                grpo.evaluate(&sequences, &grpo.normalizer(self.lengths.iter().copied()), &mut slopes)
            }
            Objective::Dpo(dpo) => dpo.evaluate_pairs(&sequences, self.lengths.len() / 2, &mut slopes.log_probs),
        };
        (evaluation.loss, slopes.log_probs)
    }
}

fn log_probs(weights: &HostWeights, packed: &PackedBatch) -> Vec<f64> {
    let [found, _] = Autograd::new(weights).and_then(|model| model.log_probs(packed, 1.0)).unwrap();
    found.into_iter().map(f64::from).collect()
}

fn gradient(packed: &PackedBatch, slopes: &[f64]) -> Gradients {
    let model = Autograd::new(&BASE.weights).unwrap();
    let variables = model.learnt();
    let slopes: Vec<f32> = slopes.iter().map(|slope| *slope as f32).collect();
    let mut gradients = Gradients::zeros(&variables);
    let mut recording = model.record(packed).unwrap();
    recording.score(1.0).unwrap();
    recording.pull_scores((&slopes, &vec![0.0; slopes.len()]), gradients.sums()).unwrap();
    recording.backward(gradients.sums()).unwrap();
    gradients
}

/// The base policy, so far along `direction`.
fn moved(direction: &Gradients, by: f64) -> HostWeights {
    let mut directions = direction.values().iter();
    BASE.weights.map(|values| {
        let direction = directions.next().expect("there is a direction for every weight");
        let step = |(value, slope): (&f32, &f32)| value + (by * f64::from(*slope)) as f32;
        values.iter().zip(direction).map(step).collect()
    })
}

#[test]
fn gradients_through_the_whole_model_are_those_of_the_loss() {
    for algorithm in Algorithm::ALL {
        // GSPO's own range is so narrow that a finite difference would leave it.
        let wide = |grpo| Grpo { clip_low: 0.3, clip_high: 0.3, ..grpo };
        let objective = match Objective::from(algorithm) {
            Objective::Grpo(grpo) => Objective::Grpo(wide(grpo)),
            Objective::ActorCritic(it) => Objective::ActorCritic(ActorCritic { policy: wide(it.policy.clone()), ..it }),
            other @ (Objective::Dpo(_) | Objective::Sft(_)) => other,
        };
        let batch = Batch::new(match &objective {
            Objective::Grpo(grpo) => grpo.advantage,
            Objective::ActorCritic(_) | Objective::Dpo(_) | Objective::Sft(_) => Advantage::Centred,
        });
        let new = log_probs(&BASE.weights, &batch.packed);
        let gradients = gradient(&batch.packed, &batch.loss(&objective, &new, &batch.old).1);
        let norm = gradients.norm();
        let step = 2e-3 / norm;
        let at = |by: f64| {
            let there = log_probs(&moved(&gradients, by), &batch.packed);
            // What is not differentiated through stays as it was: the ratio.
            let held = algorithm == Algorithm::Cispo;
            let old: Vec<f64> = match held {
                true => there.iter().zip(&new).zip(&batch.old).map(|((there, new), old)| old + there - new).collect(),
                false => batch.old.clone(),
            };
            batch.loss(&objective, &there, &old).0
        };
        let numeric = (at(step) - at(-step)) / (2.0 * step);
        assert!((numeric / norm.powi(2) - 1.0).abs() < 0.02, "{algorithm:?}: {numeric} is not {}", norm.powi(2));
    }
}

#[test]
fn a_critics_gradient_through_the_trunk_is_that_of_its_loss() {
    let batch = Batch::new(Advantage::Centred);
    let head = ValueHead::new(BASE.weights.config.hidden_size).unwrap();
    let mut stream = Stream::new(9);
    let drawn: Vec<f32> = (0..head.weight.elem_count()).map(|_| (0.1 * stream.normal()) as f32).collect();
    head.weight.set(&Tensor::from_vec(drawn, head.weight.shape(), head.weight.device()).unwrap()).unwrap();
    let values = |weights: &HostWeights| -> (Autograd, Recording, Tensor) {
        let model = Autograd::new(weights).unwrap();
        let recording = model.record(&batch.packed).unwrap();
        let values = head.values(recording.states().unwrap()).unwrap();
        (model, recording, values)
    };
    let returns: Vec<f64> = (0..batch.old.len()).map(|_| stream.uniform()).collect();
    let loss = |found: &Tensor| {
        let new: Vec<f64> = found.to_vec1::<f32>().unwrap().into_iter().map(f64::from).collect();
        let (mask, mut slopes) = (vec![true; new.len()], vec![0.0; new.len()]);
        let valued = Valued { new: &new, old: &new, returns: &returns, mask: &mask };
        (valued.evaluate(None, 1.0 / new.len() as f64, &mut slopes).loss, slopes)
    };
    let (model, mut recording, found) = values(&BASE.weights);
    let slopes: Vec<f32> = loss(&found).1.iter().map(|slope| *slope as f32).collect();
    let slopes = Tensor::from_slice(&slopes, slopes.len(), found.device()).unwrap();
    let mut back = (found * slopes).and_then(|loss| loss.sum_all()?.backward()).unwrap();
    let variables = model.learnt();
    let mut gradients = Gradients::zeros(&variables);
    gradients.add(&variables, &mut back).unwrap();
    recording.pull_states(&mut back).unwrap();
    recording.backward(gradients.sums()).unwrap();
    let norm = gradients.norm();
    let step = 2e-3 / norm;
    let at = |by: f64| loss(&values(&moved(&gradients, by)).2).0;
    let numeric = (at(step) - at(-step)) / (2.0 * step);
    assert!((numeric / norm.powi(2) - 1.0).abs() < 0.02, "{numeric} is not {}", norm.powi(2));
}

#[test]
fn a_pair_is_the_best_and_the_worst_of_a_group_and_never_parted() {
    let step = |micro_batch_tokens| {
        let mut learner = learner(|settings| {
            plain_descent(settings);
            settings.objective = Algorithm::Dpo.into();
            settings.micro_batch_tokens = micro_batch_tokens;
        });
        let report = learner.step(&[group(0, &[0.5, 1.0, 0.0, 0.25]), group(1, &[1.0, 1.0])]).unwrap();
        (flat(&learner), report)
    };
    let (whole, report) = step(100_000);
    // -log sigmoid(0), for the one pair of which one is better.
    assert!((report.loss - std::f64::consts::LN_2).abs() < 1e-6 && report.kl == 0.0, "{report:?}");
    assert_eq!(report.frac_zero_std_groups, 0.5);
    let (parted, _) = step(1);
    assert!(distance(&whole, &parted) < 1e-6 * distance(&whole, &flat(&learner(|_| {}))));
}
