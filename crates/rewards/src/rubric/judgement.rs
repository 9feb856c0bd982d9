//! From a judge's answer to scores.

use std::fmt;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use stateset_domain::RewardTerm;
use thiserror::Error;

use super::Rubric;
use crate::Score;

/// What a judge found.
#[derive(Debug, Clone, PartialEq)]
pub struct Judgement {
    /// The weighted mean of all scores, in `[0, 1]`.
    pub total: f32,
    /// Each criterion's score, in `[0, 1]`, in the rubric's order.
    pub scores: Vec<(String, f32)>,
    /// Why, in the judge's words.
    pub reason: String,
}

impl Judgement {
    /// What an episode earned whose checks earned `checks`, if a judgement is worth `weight`.
    #[must_use]
    pub fn on_top_of(&self, checks: Score, weight: f32) -> Score {
        let Score { total, mut terms, mut parts } = checks;
        terms.push(RewardTerm { weight, value: self.total });
        parts.push(("judge".into(), self.total));
        parts.extend(self.scores.iter().map(|(name, score)| (format!("judge.{name}"), *score)));
        Score { total: total + weight * self.total, terms, parts }
    }
}

/// Why an answer is no judgement.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum JudgementError {
    /// It is not JSON of the right shape.
    #[error("the judge's answer is not the JSON that was asked for ({cause}): {start}")]
    NotJson {
        /// What the parser says.
        cause: String,
        /// How it begins.
        start: String,
    },
    /// Something follows the JSON.
    #[error("the judge's answer goes on after its JSON: {rest}")]
    ExtraText {
        /// How that begins.
        rest: String,
    },
    /// A criterion has no score.
    #[error("the judge gave no score for `{0}`")]
    Missing(String),
    /// Something has a score that is no criterion, or for the second time.
    #[error("the judge scored `{0}`, which it was not asked for, or not twice")]
    Unasked(String),
    /// A score is no whole number in range.
    #[error("the judge scored `{criterion}` {found}, not a whole number from 0 to {max}")]
    OutOfRange {
        /// Which criterion.
        criterion: String,
        /// What it was given.
        found: String,
        /// The best score there is.
        max: u32,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Answer {
    scores: Pairs,
    reason: String,
}

/// An object as written: a map would keep one of two entries with the same name.
struct Pairs(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Pairs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct PairsVisitor;

        impl<'de> Visitor<'de> for PairsVisitor {
            type Value = Pairs;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of scores")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Pairs(pairs))
            }
        }

        deserializer.deserialize_map(PairsVisitor)
    }
}

pub(super) fn read(rubric: &Rubric, answer: &str) -> Result<Judgement, JudgementError> {
    let Answer { scores: Pairs(mut given), reason } = parse(answer)?;
    let (mut scores, mut sum, mut weights) = (Vec::new(), 0.0, 0.0);
    for criterion in &rubric.criteria {
        let place = given.iter().position(|(name, _)| *name == criterion.name);
        let (_, value) = given.swap_remove(place.ok_or_else(|| JudgementError::Missing(criterion.name.clone()))?);
        let score = value.as_u64().filter(|score| *score <= u64::from(rubric.max_score));
        let score = score.ok_or_else(|| JudgementError::OutOfRange {
            criterion: criterion.name.clone(),
            found: beginning(&value.to_string()),
            max: rubric.max_score,
        })?;
        let share = score as f64 / f64::from(rubric.max_score);
        sum += f64::from(criterion.weight) * share;
        weights += f64::from(criterion.weight);
        scores.push((criterion.name.clone(), share as f32));
    }
    match given.pop() {
        Some((name, _)) => Err(JudgementError::Unasked(beginning(&name))),
        None => Ok(Judgement { total: (sum / weights) as f32, scores, reason }),
    }
}

fn parse(answer: &str) -> Result<Answer, JudgementError> {
    let mut values = serde_json::Deserializer::from_str(answer).into_iter::<Answer>();
    let not_json = |cause: String| JudgementError::NotJson { cause, start: beginning(answer) };
    let first = values.next().ok_or_else(|| not_json("it is empty".into()))?;
    let first = first.map_err(|error| not_json(error.to_string()))?;
    match answer[values.byte_offset()..].trim() {
        "" => Ok(first),
        rest => Err(JudgementError::ExtraText { rest: beginning(rest) }),
    }
}

/// Enough of `text` to recognise it by.
fn beginning(text: &str) -> String {
    let start: String = text.chars().take(80).collect();
    if start.len() < text.len() { format!("{start}…") } else { start }
}
