//! `--auto`: a few episodes of the untrained policy choose how it is trained.
//!
//! | Mean reward | below 0.1 | below 0.3 | below 0.7 | else |
//! |-------------|-----------|-----------|-----------|------|
//! | difficulty  | very hard | hard      | moderate  | easy |
//!
//! A world in which rewards hardly differ, or that is hard, or in which next to nothing succeeds, is taken up in small steps; one that
//! is easy and nearly mastered in large ones; everything else in between. The episodes are functions of the seed, so the choice is too,
//! and it is written down: a run that is resumed does not choose again.

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use serde::Serialize;
use stateset_actors::policy::Profile;
use stateset_domain::Purpose;

use super::evaluate::Scratch;
use crate::config::Config;
use crate::resume::Recorded;
use crate::run_folder::RunFolder;
use crate::{Runtime, Update};

/// Episodes that are played to find out: enough to tell a mean reward of 0.3 from one of 0.1.
const EPISODES: u32 = 32;

/// How hard a world is for the policy as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Difficulty {
    VeryHard,
    Hard,
    Moderate,
    Easy,
}

/// What the episodes came to.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(super) struct Baseline {
    pub(super) episodes: u64,
    pub(super) reward_mean: f64,
    pub(super) reward_std: f64,
    pub(super) success_rate: f64,
}

/// What is chosen, and on what grounds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Choice {
    pub(super) profile: Profile,
    pub(super) difficulty: Difficulty,
    pub(super) because: &'static str,
    #[serde(flatten)]
    pub(super) baseline: Baseline,
}

impl Choice {
    fn of(baseline: Baseline) -> Self {
        let Baseline { reward_mean, reward_std, success_rate, .. } = baseline;
        let difficulty = match reward_mean {
            mean if mean < 0.1 => Difficulty::VeryHard,
            mean if mean < 0.3 => Difficulty::Hard,
            mean if mean < 0.7 => Difficulty::Moderate,
            _ => Difficulty::Easy,
        };
        let (profile, because) = match difficulty {
            Difficulty::VeryHard | Difficulty::Hard => (Profile::Conservative, "the world is hard for the policy"),
            _ if reward_std < 0.05 => (Profile::Conservative, "its rewards hardly differ"),
            _ if success_rate < 0.02 => (Profile::Conservative, "next to nothing succeeds"),
            Difficulty::Easy if reward_mean > 0.8 => (Profile::Aggressive, "the policy is nearly there"),
            Difficulty::Moderate | Difficulty::Easy => {
                (Profile::Balanced, "there is something to learn, and a way to it")
            }
        };
        Self { profile, difficulty, because, baseline }
    }

    /// The profile as a run's file names it.
    pub(super) fn name(profile: Profile) -> String {
        serde_json::to_value(profile).ok().and_then(|name| name.as_str().map(str::to_owned)).unwrap_or_default()
    }

    /// In a line.
    pub(super) fn told(&self) -> String {
        let Baseline { episodes, reward_mean, reward_std, success_rate } = self.baseline;
        format!(
            "profile {}: {} ({episodes} episodes: reward {reward_mean:.3} ± {reward_std:.3}, success {:.1} %)",
            Self::name(self.profile),
            self.because,
            100.0 * success_rate
        )
    }
}

/// The profile that the run to be resumed was begun with, if there is one.
pub(super) fn recorded(config: &Config) -> Result<Option<Profile>> {
    let newest = RunFolder::newest(&config.run.output_dir, &config.run.name)?;
    newest.map(|folder| Ok(Recorded::of(&folder.files())?.config.training.profile)).transpose()
}

/// Plays a few held-out episodes with the policy as it is, and chooses.
pub(super) fn choose(mut config: Config) -> Result<Choice> {
    let scratch = Scratch::new("auto")?;
    config.run.output_dir = scratch.path().to_owned();
    config.training.steps = 0;
    config.evaluation.episodes = EPISODES;
    let found = Arc::new(Mutex::new(None));
    let finding = found.clone();
    let listener = move |update: &Update| {
        if let Update::Evaluated(evaluation) = update
            && evaluation.purpose == Purpose::EvaluateSampled
        {
            let baseline = Baseline {
                episodes: evaluation.episodes,
                reward_mean: evaluation.reward_mean,
                reward_std: evaluation.reward_std,
                success_rate: evaluation.success_rate,
            };
            *finding.lock().unwrap_or_else(PoisonError::into_inner) = Some(baseline);
        }
    };
    let runtime = Runtime::builder().config(config).on_update(listener).build()?;
    super::async_runtime()?.block_on(runtime.run())?;
    let baseline = found.lock().unwrap_or_else(PoisonError::into_inner).take();
    Ok(Choice::of(baseline.context("no episode could be played to choose a profile by")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(reward_mean: f64, reward_std: f64, success_rate: f64) -> (Difficulty, Profile) {
        let choice = Choice::of(Baseline { episodes: 32, reward_mean, reward_std, success_rate });
        (choice.difficulty, choice.profile)
    }

    #[test]
    fn hard_flat_and_hopeless_worlds_are_taken_up_in_small_steps() {
        assert_eq!(chosen(0.05, 0.2, 0.1), (Difficulty::VeryHard, Profile::Conservative));
        assert_eq!(chosen(0.29, 0.2, 0.1), (Difficulty::Hard, Profile::Conservative));
        assert_eq!(chosen(0.5, 0.04, 0.2), (Difficulty::Moderate, Profile::Conservative));
        assert_eq!(chosen(0.5, 0.3, 0.0), (Difficulty::Moderate, Profile::Conservative));
    }

    #[test]
    fn what_is_nearly_mastered_is_taken_up_in_large_ones_and_the_rest_in_between() {
        assert_eq!(chosen(0.9, 0.2, 0.8), (Difficulty::Easy, Profile::Aggressive));
        assert_eq!(chosen(0.75, 0.2, 0.6), (Difficulty::Easy, Profile::Balanced));
        assert_eq!(chosen(0.4, 0.3, 0.24), (Difficulty::Moderate, Profile::Balanced));
    }

    #[test]
    fn a_choice_says_why() {
        let choice = Choice::of(Baseline { episodes: 32, reward_mean: 0.4, reward_std: 0.3, success_rate: 0.25 });
        let wanted = "profile balanced: there is something to learn, and a way to it (32 episodes: reward 0.400 ± 0.300, success 25.0 %)";
        assert_eq!(choice.told(), wanted);
    }
}
