//! The rules of a run that names none, written as a run's file would write them.
//!
//! | Kind    | What                                                  | Acts                                                     |
//! |---------|-------------------------------------------------------|----------------------------------------------------------|
//! | faults  | what no healthy run does, whatever it is trained on   | unless told never to                                     |
//! | care    | what a profile would rather not see                   | if told to adjust by itself; else it is only recommended |
//! | reports | what a person may want to look at                     | never                                                    |

use serde::{Deserialize, Serialize};
use stateset_domain::{Directive, Scaling};

use super::expression::Condition;
use super::rule::Rule;

/// How a run is trained if its file does not say so in detail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Profile {
    /// As the single settings say.
    #[default]
    None,
    /// In small, well-measured steps.
    Conservative,
    /// In between.
    Balanced,
    /// In large steps.
    Aggressive,
    /// One of the others: whichever a few episodes of the untrained policy speak for.
    Auto,
}

/// How much rules may do by themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AutoAdjust {
    /// They report, whatever they say.
    Never,
    /// Those for faults act, and those that a run's file names.
    #[default]
    Faults,
    /// All of them act.
    Always,
}

/// The limits that profiles differ in.
struct Limits {
    /// KL from the reference that is too much, nats.
    kl: f64,
    /// How far above its median a gradient may be, in spreads.
    spike: f64,
    /// What the learning rate is multiplied by when steps are too large.
    slower: f64,
}

impl Profile {
    fn limits(self) -> Limits {
        match self {
            Self::Conservative => Limits { kl: 1.0, spike: 20.0, slower: 0.5 },
            Self::None | Self::Balanced | Self::Auto => Limits { kl: 3.0, spike: 30.0, slower: 0.5 },
            Self::Aggressive => Limits { kl: 5.0, spike: 50.0, slower: 0.7 },
        }
    }
}

/// The rules of a run with `profile`, of which those act that `auto_adjust` lets.
#[must_use]
pub fn standard_rules(profile: Profile, auto_adjust: AutoAdjust) -> Vec<Rule> {
    let mut rules = faults();
    rules.iter_mut().for_each(|rule| rule.acts = auto_adjust != AutoAdjust::Never);
    let mut cares = care(&profile.limits());
    cares.iter_mut().for_each(|rule| rule.acts = auto_adjust == AutoAdjust::Always);
    rules.extend(cares);
    rules.extend(reports());
    rules
}

fn rule(name: &str, when: &str, hold: u64, directives: &[Directive]) -> Rule {
    Rule {
        name: name.into(),
        when: condition(name, when),
        hold,
        directives: directives.to_vec(),
        acts: false,
        cooldown: 5,
        clear: None,
        max: 3,
        doubt: None,
    }
}

fn condition(rule: &str, text: &str) -> Condition {
    text.parse().unwrap_or_else(|error| panic!("the standard rule {rule}: {error}"))
}

fn scale(by: f64, floor: Option<f64>, ceiling: Option<f64>) -> Scaling {
    Scaling { by, floor, ceiling }
}

fn faults() -> Vec<Rule> {
    let slower = Directive::ScaleLr(scale(0.1, Some(1e-8), None));
    vec![
        rule(
            "never_finite",
            "non_finite > 0",
            3,
            &[Directive::Rewind, Directive::ScaleLr(scale(0.5, Some(1e-8), None))],
        ),
        rule(
            "broken_weights",
            "broken_weights > 0",
            1,
            &[Directive::Rewind, Directive::ScaleLr(scale(0.5, Some(1e-8), None))],
        ),
        rule("collapse", "reward_drop > 0.5", 2, &[Directive::Rewind, slower]),
    ]
}

fn care(limits: &Limits) -> Vec<Rule> {
    let slower = Directive::ScaleLr(scale(limits.slower, Some(1e-8), None));
    let tether = Directive::ScaleKl(scale(2.0, Some(0.01), Some(0.5)));
    // By the time it is certain, much is lost; what was learned since it began is not to be gone back to.
    let hacked = |signal: &str, hold: u64| {
        let reason = "the reward rises while what it stands for falls: it rewards something else".to_owned();
        let doubt = Some(condition(signal, &format!("{signal} > 0.1")));
        let when = format!("{signal} > 0.4");
        Rule { doubt, ..rule(signal, &when, hold, &[Directive::Rewind, Directive::Stop { reason }]) }
    };
    vec![
        rule("kl_drift", &format!("kl > {}", limits.kl), 3, &[tether, slower.clone()]),
        rule("gradient_spike", &format!("grad_norm_spike > {}", limits.spike), 1, &[Directive::SkipStep]),
        rule("clipping", "clip_fraction > 0.5", 3, &[slower]),
        rule(
            "entropy_cliff",
            "entropy_drop > 0.6 and success_rate < 0.7",
            3,
            &[
                Directive::ScaleTemperature(scale(1.1, None, Some(1.5))),
                Directive::ScaleLr(scale(0.5, Some(1e-8), None)),
            ],
        ),
        rule(
            "no_exploration",
            "entropy < 0.02 and success_rate < 0.7",
            1,
            &[Directive::ScaleTemperature(scale(8.0, None, Some(1.0)))],
        ),
        hacked("reward_without_success", 3),
        hacked("reward_hacking", 1),
    ]
}

fn reports() -> Vec<Rule> {
    let report = |name, when, hold| Rule { max: u32::MAX, ..rule(name, when, hold, &[Directive::Report]) };
    vec![
        report("step_not_finite", "non_finite > 0", 1),
        report("no_group_differs", "frac_zero_std_groups >= 1 and success_rate < 0.7", 1),
        report("rewards_alike", "reward_std < 0.01 and success_rate < 0.7", 3),
        report("log_prob_gap", "log_prob_gap > 1e-3", 1),
        report("episodes_failed", "failed_share > 0.1", 1),
        report("entropy_collapse", "entropy < 0.01 and success_rate < 0.7", 1),
        report("kl_from_reference", "kl > 5", 1),
        report("judge_drift", "judge_drift > 0.1 or judge_drift < -0.1", 1),
        report("length_drift", "length_drift > 0.5 or length_drift < -0.5", 3),
        report("throughput_stall", "throughput_stall > 3", 3),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn acting(profile: Profile, auto_adjust: AutoAdjust) -> Vec<String> {
        let rules = standard_rules(profile, auto_adjust);
        rules.into_iter().filter(|rule| rule.acts).map(|rule| rule.name).collect()
    }

    #[test]
    fn unless_told_otherwise_only_faults_are_acted_on() {
        assert_eq!(acting(Profile::Balanced, AutoAdjust::Faults), ["never_finite", "broken_weights", "collapse"]);
        assert!(acting(Profile::Balanced, AutoAdjust::Never).is_empty());
        assert_eq!(acting(Profile::Balanced, AutoAdjust::Always).len(), 10);
    }

    #[test]
    fn every_standard_rule_reads_and_has_a_name_of_its_own() {
        for profile in [Profile::None, Profile::Conservative, Profile::Balanced, Profile::Aggressive, Profile::Auto] {
            let rules = standard_rules(profile, AutoAdjust::Always);
            let names: std::collections::BTreeSet<&str> = rules.iter().map(|rule| rule.name.as_str()).collect();
            assert_eq!(names.len(), rules.len());
        }
    }
}
