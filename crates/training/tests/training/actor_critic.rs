//! Credit by a critic: PPO, A2C and TRPO.

use stateset_algorithms::{A2c, ActorCritic, Algorithm, Critic, KlEstimator, Network, Ppo, Trpo, Unit};
use stateset_domain::{Group, Learner, StepReport};
use stateset_models::{Autograd, HostWeights, PackedBatch};
use stateset_training::{LearnerSettings, Objective, OptimizerKind, PolicyLearner};

use crate::{BASE, distance, flat, group, groups, learner, plain_descent, stepped};

fn ppo(change: impl FnOnce(&mut Ppo, &mut Critic)) -> PolicyLearner {
    with(|_| {}, change)
}

fn with(settings: impl FnOnce(&mut LearnerSettings), change: impl FnOnce(&mut Ppo, &mut Critic)) -> PolicyLearner {
    let (mut ppo, mut critic): (Ppo, Critic) = (Ppo::default(), Algorithm::Ppo.settings());
    change(&mut ppo, &mut critic);
    learner(|it| {
        it.objective = Objective::ActorCritic(ActorCritic::ppo(&ppo, critic));
        settings(it);
    })
}

fn trpo(trpo: &Trpo, network: Network) -> PolicyLearner {
    let critic = Critic { network, ..Algorithm::Trpo.settings() };
    learner(|it| it.objective = Objective::ActorCritic(ActorCritic::trpo(trpo, critic)))
}

/// Episodes of which every other is good.
fn halves() -> Vec<Group> {
    (0..4).map(|index| group(index, &[1.0, 0.0])).collect()
}

#[test]
fn a_critic_learns_what_to_expect() {
    for network in [Network::Trunk, Network::Separate] {
        let mut learner = ppo(|_, critic| {
            (critic.network, critic.learning_rate, critic.coef, critic.lambda) = (network, 5e-3, 1.0, 1.0);
        });
        let mut losses = Vec::new();
        for _ in 0..12 {
            // All of them are worth 1: nothing could be simpler.
            let report = learner.step(&[group(0, &[1.0; 4])]).unwrap();
            losses.push(report.value_loss.unwrap());
        }
        assert!((losses[0] - 0.5).abs() < 1e-6, "it begins by expecting nothing: {losses:?}");
        assert!(losses[11] < 0.1, "{network:?}: {losses:?}");
    }
}

#[test]
fn a_critic_of_its_own_leaves_the_gradient_of_the_policy_alone_and_one_on_the_trunk_does_not() {
    let moved = |network, coef| {
        let learner = with(plain_descent, |ppo, critic| {
            (critic.network, critic.coef, ppo.epochs) = (network, coef, 2);
        });
        stepped(learner, &halves()).0
    };
    assert_eq!(moved(Network::Separate, 0.1), moved(Network::Separate, 5.0));
    assert_ne!(moved(Network::Trunk, 0.1), moved(Network::Trunk, 5.0));
}

#[test]
fn in_the_first_pass_every_ratio_is_one_and_whitened_advantages_come_to_nothing() {
    let report = stepped(ppo(|ppo, critic| (ppo.epochs, critic.coef) = (1, 0.0)), &halves()).1;
    assert_eq!(report.clip_fraction, 0.0);
    // The mean of -r A over the tokens, with a mean A of 0.
    assert!(report.loss.abs() < 1e-9 && report.grad_norm > 0.0, "{report:?}");
}

#[test]
fn the_gradient_does_not_depend_on_micro_batches() {
    let step = |micro_batch_tokens| {
        let learner = with(
            |settings| {
                plain_descent(settings);
                settings.learning_rate = 0.05;
                settings.micro_batch_tokens = micro_batch_tokens;
            },
            |ppo, _| ppo.epochs = 2,
        );
        let before = flat(&learner);
        let after = stepped(learner, &halves()).0;
        (distance(&before, &after), after)
    };
    let (far, whole) = step(100_000);
    let apart = distance(&whole, &step(1).1);
    assert!(far > 0.0 && apart < 1e-4 * far, "{apart:e} of {far:e}");
}

#[test]
fn a_pass_may_be_of_several_updates_and_every_example_is_in_one() {
    let step = |mini_batches| stepped(ppo(|ppo, _| (ppo.epochs, ppo.mini_batches) = (1, mini_batches)), &halves());
    let ((one, first), (four, second)) = (step(1), step(4));
    assert_ne!(one, four);
    assert_eq!(first.train_tokens, second.train_tokens);
    assert_eq!(four, step(4).0, "the order is drawn, and drawn alike");
}

#[test]
fn a_step_ends_once_the_policy_has_moved_too_far() {
    let step = |target_kl| {
        let learner =
            with(|settings| settings.learning_rate = 0.02, |ppo, _| (ppo.epochs, ppo.target_kl) = (8, target_kl));
        stepped(learner, &halves()).1.train_tokens
    };
    assert!(step(Some(0.01)) < step(None));
    assert_eq!(step(Some(100.0)), step(None));
}

#[test]
fn straying_from_the_reference_costs_reward_and_not_loss() {
    let stray = |kl_coef| {
        let mut learner = ppo(|ppo, _| (ppo.kl, ppo.kl_coef, ppo.epochs) = (KlEstimator::K3, kl_coef, 1));
        learner.step(&halves()).unwrap();
        stepped(learner, &halves())
    };
    let ((free, _), (held, report)) = (stray(0.0), stray(0.5));
    assert!(report.kl > 0.0);
    assert_ne!(free, held);
    // As long as the policy is the reference there is nothing to pay.
    let first = |kl_coef| stepped(ppo(|ppo, _| (ppo.kl_coef, ppo.epochs) = (kl_coef, 1)), &halves()).0;
    assert_eq!(first(0.0), first(0.5));
}

#[test]
fn credit_may_be_for_turns() {
    let step = |over| stepped(ppo(|_, critic| (critic.over, critic.lambda) = (over, 0.5)), &halves()).0;
    assert_ne!(step(Unit::Tokens), step(Unit::Turns));
}

#[test]
fn the_first_update_of_a2c_is_that_of_ppo() {
    let a2c = A2c { whiten_advantages: true, ..A2c::default() };
    let critic: Critic = Algorithm::Ppo.settings();
    let by_a2c = learner(|it| it.objective = Objective::ActorCritic(ActorCritic::a2c(&a2c, critic)));
    let (a, b) = (stepped(by_a2c, &halves()).0, stepped(ppo(|ppo, _| ppo.epochs = 1), &halves()).0);
    let begun = flat(&learner(|_| {}));
    assert!(distance(&a, &b) < 1e-4 * distance(&a, &begun), "{} of {}", distance(&a, &b), distance(&a, &begun));
}

#[test]
fn rmsprop_moves_by_the_gradients_sign_at_first() {
    // After one update the mean of squares is a hundredth of the square: the step is ten times the learning rate, whatever the gradient.
    let learner = learner(|settings| {
        settings.objective = Algorithm::A2c.into();
        settings.learning_rate = 1e-3;
        settings.optimizer.kind = OptimizerKind::RmsProp;
        settings.optimizer.betas = (0.9, 0.99);
        settings.optimizer.max_grad_norm = 1e9;
    });
    let before = flat(&learner);
    let after = stepped(learner, &halves()).0;
    let moved: Vec<f32> = before.iter().zip(&after).map(|(a, b)| (a - b).abs()).collect();
    let usual = moved.iter().filter(|it| (**it - 1e-2).abs() < 1e-4).count();
    assert!(usual as f64 > 0.5 * moved.len() as f64, "{usual} of {}", moved.len());
}

#[test]
fn a_natural_step_stays_within_its_bound_and_gains() {
    for network in [Network::Trunk, Network::Separate] {
        let settings = Trpo { max_kl: 1e-3, fisher_share: 1.0, ..Trpo::default() };
        let mut learner = trpo(&settings, network);
        let before = flat(&learner);
        let report = learner.step(&halves()).unwrap();
        assert!(report.lr > 0.0 && !report.skipped, "{report:?}");
        assert_ne!(flat(&learner), before);
        let kl = kl(&learner, &halves());
        // The step is a whole one, cut back by no more than a bend of the surface asks for.
        assert!(kl > 3e-4 && kl < 1e-3, "{kl}");
    }
}

/// The mean KL of a learner's policy from the one that it began with, over whole distributions.
fn kl(learner: &PolicyLearner, groups: &[Group]) -> f64 {
    let mut packed = PackedBatch::default();
    groups.iter().flat_map(|group| &group.members).for_each(|member| packed.push(&member.tokens, &member.mask));
    let log_p = |weights: &HostWeights| -> Vec<Vec<f32>> {
        let model = Autograd::new(weights).unwrap();
        let logits = model.states(&packed).and_then(|states| model.logits(&states)).unwrap();
        candle_nn::ops::log_softmax(&logits, 1).unwrap().to_vec2().unwrap()
    };
    let snapshot = learner.snapshot().unwrap();
    let now = log_p(&HostWeights::from_tensors(&BASE.weights.config, snapshot.tensors()).unwrap());
    let then = log_p(&BASE.weights);
    let kl = |(now, then): (&Vec<f32>, &Vec<f32>)| -> f64 {
        now.iter().zip(then).map(|(now, then)| f64::from(now.exp()) * f64::from(now - then)).sum()
    };
    now.iter().zip(&then).map(kl).sum::<f64>() / now.len() as f64
}

#[test]
fn fisher_products_foretell_the_kl_of_a_step() {
    // Almost undamped, a step of length sqrt(2 d / x^T F x) has a KL of d: the first part of it that is within the bound is (nearly) all of it.
    let settings = Trpo { max_kl: 1e-4, damping: 1e-4, fisher_share: 1.0, ..Trpo::default() };
    let mut learner = trpo(&settings, Network::Trunk);
    let part = learner.step(&halves()).unwrap().lr;
    let (kl, foretold) = (kl(&learner, &halves()), 1e-4 * part * part);
    assert!(part >= 0.8 && (kl / foretold - 1.0).abs() < 0.05, "{kl:e} is not {foretold:e}; {part} of it");
}

#[test]
fn a_natural_step_without_credit_moves_nothing_but_the_critic() {
    let mut learner = trpo(&Trpo::default(), Network::Trunk);
    let before = flat(&learner);
    let report = learner.step(&[]).unwrap();
    assert_eq!((flat(&learner), report.lr), (before, 0.0));
}

#[test]
fn a_spoilt_gradient_skips_the_step_and_its_critics() {
    for algorithm in [Algorithm::Ppo, Algorithm::A2c, Algorithm::Trpo] {
        let mut learner = learner(|settings| settings.objective = algorithm.into());
        learner.step(&halves()).unwrap();
        let before = learner.save().unwrap();
        learner.spoil_gradient();
        assert!(learner.step(&halves()).unwrap().skipped, "{algorithm:?}");
        let after = learner.save().unwrap();
        for name in ["model.safetensors", "critic.safetensors", "optimizer.safetensors"] {
            let file =
                |files: &[stateset_domain::Artifact]| files.iter().find(|it| it.name == name).unwrap().bytes.clone();
            assert_eq!(file(&before), file(&after), "{algorithm:?}: {name}");
        }
    }
}

#[test]
fn a_restored_learner_has_its_critic_back() {
    for (algorithm, network) in
        [(Algorithm::Ppo, Network::Trunk), (Algorithm::Ppo, Network::Separate), (Algorithm::Trpo, Network::Trunk)]
    {
        let make = || {
            let critic = Critic { network, ..algorithm.settings() };
            learner(|it| {
                let objective = match algorithm {
                    Algorithm::Trpo => ActorCritic::trpo(&Trpo::default(), critic),
                    _ => ActorCritic::ppo(&Ppo::default(), critic),
                };
                it.objective = Objective::ActorCritic(objective);
                it.undoable = true;
            })
        };
        let step = |learner: &mut PolicyLearner| -> StepReport { learner.step(&halves()).unwrap() };
        let mut uninterrupted = make();
        step(&mut uninterrupted);
        let saved = uninterrupted.save().unwrap();
        let mut restored = make();
        restored.restore(&saved).unwrap();
        assert_eq!(restored.save().unwrap(), saved);
        assert_eq!(step(&mut restored), step(&mut uninterrupted));
        assert_eq!(restored.save().unwrap(), uninterrupted.save().unwrap());
        // And a step that is taken back takes the critic back.
        restored.undo().unwrap();
        let critic =
            |files: Vec<stateset_domain::Artifact>| files.into_iter().find(|it| it.name == "critic.safetensors");
        assert_eq!(critic(restored.save().unwrap()), critic(saved));
    }
}

#[test]
fn a_checkpoint_without_the_critic_is_refused_by_name() {
    let mut learner = ppo(|_, _| {});
    let saved = learner.save().unwrap();
    let rest: Vec<_> = saved.into_iter().filter(|file| file.name != "critic.safetensors").collect();
    assert!(learner.restore(&rest).unwrap_err().to_string().contains("critic.safetensors"));
}

#[test]
fn an_episode_that_was_not_judged_is_refused() {
    let mut groups = groups();
    groups[1].members[0].reward = None;
    assert!(ppo(|_, _| {}).step(&groups).unwrap_err().to_string().contains("without a reward"));
}
