//! What can be changed, and taken back, in the middle of a run.

use stateset_algorithms::Dpo;
use stateset_domain::{Adjustments, Learner};
use stateset_training::Objective;

use crate::{flat, groups, learner, plain_descent, settings, stepped};

#[test]
fn a_scaled_learning_rate_takes_the_step_of_that_rate() {
    let (wanted, report) = stepped(learner(|settings| settings.learning_rate = 1e-4), &groups());
    let mut adjusted = learner(|_| {});
    adjusted.adjust(&Adjustments { lr_scale: 0.1, ..Adjustments::default() });
    let (weights, adjusted_report) = stepped(adjusted, &groups());
    assert!((report.lr - adjusted_report.lr).abs() < 1e-12);
    assert!(wanted.iter().zip(&weights).all(|(a, b)| (a - b).abs() < 1e-6));
}

#[test]
fn a_kl_term_that_is_switched_on_pulls_as_if_it_had_always_been_there() {
    let moved = |kl_coef: f64, adjustments: Adjustments| {
        let mut learner = learner(|settings| {
            plain_descent(settings);
            settings.learning_rate = 0.05;
            crate::grpo(settings).kl_coef = kl_coef;
        });
        learner.step(&groups()).unwrap();
        learner.adjust(&adjustments);
        stepped(learner, &groups())
    };
    let switched = Adjustments { kl_coef: Some(0.5), ..Adjustments::default() };
    let ((free, _), (pulled, report)) = (moved(0.0, Adjustments::default()), moved(0.0, switched));
    assert!(free != pulled && report.kl > 0.0);
    let none = Adjustments { kl_coef: Some(0.0), ..Adjustments::default() };
    assert_ne!(moved(0.5, none).0, moved(0.5, Adjustments::default()).0);
}

#[test]
fn an_adjusted_temperature_is_what_log_probs_are_taken_at() {
    let entropy = |adjustments: Adjustments| {
        let mut learner = learner(|_| {});
        learner.adjust(&adjustments);
        learner.step(&groups()).unwrap().entropy
    };
    let hot = Adjustments { temperature: Some(3.0), ..Adjustments::default() };
    assert!(entropy(hot) > entropy(Adjustments::default()));
}

#[test]
fn adjustments_replace_one_another_and_none_restores_what_it_was_made_with() {
    let mut learner = learner(|_| {});
    learner.adjust(&Adjustments { lr_scale: 0.5, kl_coef: Some(1.0), temperature: Some(2.0), max_staleness: None });
    learner.adjust(&Adjustments::default());
    assert_eq!(learner.step(&groups()).unwrap().lr, settings().learning_rate);
}

#[test]
fn a_step_that_is_taken_back_leaves_weights_and_optimizer_as_before_it_and_is_counted() {
    let mut learner = learner(|settings| settings.undoable = true);
    learner.step(&groups()).unwrap();
    let before = (flat(&learner), learner.save().unwrap());
    learner.step(&groups()).unwrap();
    assert_ne!(flat(&learner), before.0);
    learner.undo().unwrap();
    assert_eq!((flat(&learner), learner.snapshot().unwrap().version().0), (before.0, 2));
    let optimizer = |files: &[stateset_domain::Artifact]| {
        files.iter().find(|file| file.name == "optimizer.safetensors").unwrap().bytes.clone()
    };
    assert_eq!(optimizer(&learner.save().unwrap()), optimizer(&before.1));
}

#[test]
fn what_was_not_kept_cannot_be_taken_back() {
    let mut learner = learner(|_| {});
    learner.step(&groups()).unwrap();
    let after = flat(&learner);
    learner.undo().unwrap();
    assert_eq!(flat(&learner), after);
}

#[test]
fn the_weight_of_dpo_is_its_beta_and_is_never_let_go() {
    let dpo = |beta| Objective::Dpo(Dpo { beta, ..Dpo::default() });
    let norm = |made: f64, kl_coef: Option<f64>| {
        let mut learner = learner(|settings| settings.objective = dpo(made));
        learner.adjust(&Adjustments { kl_coef, ..Adjustments::default() });
        learner.step(&groups()).unwrap().grad_norm
    };
    assert_eq!(norm(0.1, Some(0.4)), norm(0.4, None));
    assert_eq!(norm(0.1, Some(0.0)), norm(0.1, None));
    assert_ne!(norm(0.4, None), norm(0.1, None));
}
