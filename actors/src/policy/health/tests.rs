//! Whole runs, as rows of metrics.

use std::time::Duration;

use stateset_domain::{Directive, Scaling, StepMetrics, StepReport};

use super::signals::tests::ordinary;
use super::*;

fn rule(name: &str, when: &str, directives: Vec<Directive>) -> Rule {
    let when = when.parse().unwrap();
    Rule { name: name.into(), when, hold: 1, directives, acts: true, cooldown: 0, clear: None, max: 2, doubt: None }
}

fn policies(rules: Vec<Rule>) -> Policies {
    Policies { rules, episodes_per_step: 100, groups_per_step: 25, ..Policies::default() }
}

fn with_kl(step: u64, kl: f64) -> StepMetrics {
    StepMetrics { learner: StepReport { kl, ..ordinary(step).learner }, ..ordinary(step) }
}

fn halve() -> Directive {
    Directive::ScaleLr(Scaling { by: 0.5, floor: None, ceiling: None })
}

#[test]
fn a_ruling_names_its_evidence_and_what_it_changed() {
    let policies = policies(vec![rule("far", "kl > 1 and not entropy > 2", vec![halve(), Directive::Evaluate])]);
    let mut health = Health::default();
    assert!(health.examine(&policies, &with_kl(1, 0.5), Beside::WELL).rulings.is_empty());
    let verdict = health.examine(&policies, &with_kl(2, 1.5), Beside::WELL);
    let ruling = &verdict.rulings[0];
    assert_eq!((ruling.rule.as_str(), ruling.step, ruling.when.as_str()), ("far", 2, "kl > 1 and not entropy > 2"));
    assert_eq!(
        ruling.evidence.iter().map(|(name, value)| (name.as_str(), *value)).collect::<Vec<_>>(),
        [("entropy", Some(1.0)), ("kl", Some(1.5))]
    );
    assert_eq!(
        ruling.to_string(),
        "far: multiply the learning rate by 0.5 (learning_rate 0.001 -> 0.0005); evaluate the policy"
    );
    assert_eq!((health.adjustments.lr_scale, health.evaluate_at, health.doubtful), (0.5, Some(2), true));
    assert_eq!(verdict.status.status, HealthLevel::Warning);
}

#[test]
fn steps_without_episodes_trip_no_standard_rule() {
    let rules = standard_rules(Profile::None, AutoAdjust::Always);
    let policies = Policies { rules, ..Policies::default() };
    let mut health = Health::default();
    for step in 1..=40 {
        let learner = StepReport { kl: f64::NAN, entropy: 1.0 / step as f64, ..ordinary(step).learner };
        let (reward_mean, reward_std, success_rate) = (f64::NAN, f64::NAN, f64::NAN);
        let (rollout_tokens, rollout_seconds) = (0, 0.0);
        let row = StepMetrics {
            reward_mean,
            reward_std,
            success_rate,
            rollout_tokens,
            rollout_seconds,
            learner,
            ..ordinary(step)
        };
        let verdict = health.examine(&policies, &row, Beside::WELL);
        assert_eq!((verdict.rulings, verdict.status.status), (vec![], HealthLevel::Healthy), "step {step}");
    }
}

#[test]
fn every_kind_of_course_is_told() {
    let directives = vec![
        Directive::SkipStep,
        Directive::Rewind,
        Directive::Pause { seconds: 2.0 },
        Directive::Stop { reason: "enough".into() },
    ];
    let mut health = Health::default();
    let verdict = health.examine(&policies(vec![rule("far", "kl > 1", directives)]), &with_kl(1, 2.0), Beside::WELL);
    assert_eq!((verdict.skip, verdict.rewind, verdict.pause), (true, Some(0), Some(Duration::from_secs(2))));
    assert_eq!((health.stopped.as_deref(), verdict.status.status), (Some("enough"), HealthLevel::Critical));
}

#[test]
fn a_rule_that_may_not_act_says_so_and_recommends() {
    let policies = policies(vec![Rule { acts: false, ..rule("far", "kl > 1", vec![halve(), Directive::Rewind]) }]);
    let mut health = Health::default();
    let verdict = health.examine(&policies, &with_kl(1, 2.0), Beside::WELL);
    assert_eq!((verdict.rewind, health.adjustments.lr_scale, health.doubtful), (None, 1.0, false));
    assert_eq!(verdict.rulings[0].actions[0].directive, Directive::Report);
    assert_eq!(
        verdict.status.recommended_actions,
        ["far: multiply the learning rate by 0.5", "far: go back to the newest healthy checkpoint"]
    );
    let quiet = health.examine(&policies, &with_kl(2, 2.0), Beside::WELL);
    assert!(quiet.rulings.is_empty() && quiet.status.issues[0].since_step == 1, "it is told once and stays an issue");
    assert_eq!(health.examine(&policies, &with_kl(3, 0.0), Beside::WELL).status.issues, []);
}

#[test]
fn a_condition_that_only_begins_to_hold_casts_doubt_already() {
    let policies = policies(vec![Rule { hold: 3, ..rule("far", "kl > 1", vec![Directive::Rewind]) }]);
    let mut health = Health::default();
    health.examine(&policies, &with_kl(1, 2.0), Beside::WELL);
    assert!(health.doubtful, "a checkpoint made now is no place to go back to");
}

#[test]
fn a_run_goes_back_to_before_there_was_any_doubt() {
    let doubt = Some("kl > 0.5".parse().unwrap());
    let policies = policies(vec![Rule { doubt, ..rule("far", "kl > 1", vec![Directive::Rewind]) }]);
    let mut health = Health::default();
    (1..=5).for_each(|step| drop(health.examine(&policies, &with_kl(step, 0.1), Beside::WELL)));
    assert!(!health.doubtful);
    (6..=8).for_each(|step| drop(health.examine(&policies, &with_kl(step, 0.7), Beside::WELL)));
    assert!(health.doubtful, "though nothing was done about it");
    // Step 6 shows what step 5 did, so the policy that four steps led to was the last good one.
    assert_eq!(health.examine(&policies, &with_kl(9, 2.0), Beside::WELL).rewind, Some(4));
}

#[test]
fn what_was_done_outlives_a_rewind_and_what_was_measured_does_not() {
    let policies = policies(vec![rule("far", "kl > 3 * median(kl)", vec![Directive::Rewind, halve()])]);
    let mut health = Health::default();
    (1..=8).for_each(|step| drop(health.examine(&policies, &with_kl(step, 1.0), Beside::WELL)));
    let then = health.clone();
    (9..=12).for_each(|step| drop(health.examine(&policies, &with_kl(step, 1.0), Beside::WELL)));
    assert_eq!(
        health.examine(&policies, &with_kl(13, 9.0), Beside::WELL).rewind,
        Some(11),
        "step 13 shows what step 12 did"
    );
    let health = health.rewound(Some(then.clone()));
    assert_eq!((health.rewinds, health.adjustments.lr_scale), (1, 0.5));
    let again = health.clone().rewound(None);
    assert_eq!((again.rewinds, again.adjustments.lr_scale), (2, 0.5));
    let mut health = health;
    assert!(
        health.examine(&policies, &with_kl(9, 9.0), Beside::WELL).rewind.is_some(),
        "the windows are those of step 8"
    );
}

#[test]
fn a_run_that_would_go_back_once_too_often_stops() {
    let policies = policies(vec![rule("far", "kl > 1", vec![Directive::Rewind])]);
    let mut health = Health::default();
    for _ in 0..2 {
        assert!(health.examine(&policies, &with_kl(1, 2.0), Beside::WELL).rewind.is_some());
        health = health.rewound(None);
    }
    let verdict = health.examine(&policies, &with_kl(1, 2.0), Beside::WELL);
    assert_eq!(verdict.rewind, None);
    assert_eq!(health.stopped.as_deref(), Some("far is still so after the run has gone back 2 times"));
    assert_eq!(health.rewound(None).stopped.as_deref(), Some("far is still so after the run has gone back 2 times"));
}

#[test]
fn what_is_remembered_survives_being_written_down() {
    let policies = policies(vec![rule("far", "kl > 3 * median(kl)", vec![halve()])]);
    let (mut whole, mut parts) = (Health::default(), Health::default());
    let kl = |step: u64| if step.is_multiple_of(9) { 9.0 } else { 1.0 };
    for step in 1..=40 {
        let told = whole.examine(&policies, &with_kl(step, kl(step)), Beside::WELL);
        parts = serde_json::from_slice(&serde_json::to_vec(&parts).unwrap()).unwrap();
        assert_eq!(parts.examine(&policies, &with_kl(step, kl(step)), Beside::WELL), told);
        if step % 10 == 0 {
            assert_eq!(whole.evaluated(&policies, step, 0.5), parts.evaluated(&policies, step, 0.5));
        }
    }
    assert_eq!(whole, parts);
    assert!(whole.adjustments.lr_scale < 0.3, "two rulings");
}

#[test]
fn an_evaluation_counts_once_and_ends_a_run_that_does_not_improve() {
    let early_stopping = Some(EarlyStopping { patience: 1, min_delta: 0.0 });
    let policies = Policies { early_stopping, ..policies(vec![]) };
    let mut health = Health::default();
    assert_eq!(health.evaluated(&policies, 0, 0.5), None);
    assert_eq!(health.evaluated(&policies, 0, 0.4), None, "it was looked at");
    let ruling = health.evaluated(&policies, 10, 0.4).unwrap();
    assert_eq!(ruling.rule, "early_stopping");
    assert!(health.stopped.unwrap().contains("no better than the 50.0 % of step 0"));
}

#[test]
fn an_ordinary_run_gives_the_standard_rules_nothing_to_say() {
    let policies = policies(standard_rules(Profile::Balanced, AutoAdjust::Always));
    let mut health = Health::default();
    for step in 1..=60 {
        // Reward and success rise, entropy falls, the gradient wanders: as in a run that learns.
        let share = step as f64 / 60.0;
        let wander = 1.0 + 0.3 * (step as f64).sin();
        let learner = StepReport {
            entropy: 0.5 - 0.4 * share,
            grad_norm: wander,
            kl: 0.3 * share,
            lr: 1e-3,
            ..StepReport::default()
        };
        let row =
            StepMetrics { reward_mean: 0.4 + 0.5 * share, success_rate: 0.2 + 0.7 * share, learner, ..ordinary(step) };
        let verdict = health.examine(&policies, &row, Beside::WELL);
        assert_eq!((verdict.rulings, verdict.status.status), (vec![], HealthLevel::Healthy), "step {step}");
    }
}

#[test]
fn the_standard_rules_recognise_a_collapse_and_steps_that_are_never_finite() {
    let policies = policies(standard_rules(Profile::None, AutoAdjust::Faults));
    let fired = |row: &dyn Fn(u64) -> StepMetrics| {
        let mut health = Health::default();
        (1..=10).for_each(|step| drop(health.examine(&policies, &ordinary(step), Beside::WELL)));
        (11..=14).find(|step| health.examine(&policies, &row(*step), Beside::WELL).rewind.is_some())
    };
    let collapsed = |step| StepMetrics { reward_mean: 0.1, success_rate: 0.0, ..with_kl(step, 4.0) };
    assert_eq!(fired(&collapsed), Some(12));
    let skipped =
        |step| StepMetrics { learner: StepReport { skipped: true, ..ordinary(step).learner }, ..ordinary(step) };
    assert_eq!(fired(&skipped), Some(13));
    assert_eq!(fired(&|step| with_kl(step, 4.0)), None, "far from the reference and well is no fault");
}
