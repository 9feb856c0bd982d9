//! A small world with an obvious right answer.

use stateset_domain::{Check, Message, Role, Scenario, ScriptedTurn, Split, Stream, Trajectory};
use stateset_environments::{Action, Environment, EnvironmentError, Session, Start, Step};
use stateset_rewards::{Reward, RewardError, Score};

/// The user says a word each turn; the right reply repeats it. A turn's reward is 1 or 0.
#[derive(Debug, Clone, Copy)]
pub struct EchoEnvironment {
    /// Turns an episode.
    pub turns: usize,
}

impl Environment for EchoEnvironment {
    fn scenario(&self, split: Split, index: u64) -> Scenario {
        let letter = match split {
            Split::Train => 't',
            Split::HeldOut => 'h',
        };
        let turn = |n| {
            let user = format!("{letter}{index}-{n}");
            ScriptedTurn { check: Check { expect: vec![user.clone()], ..Check::default() }, user, tool: None }
        };
        let script = (0..self.turns).map(turn).collect();
        Scenario { id: format!("echo/{letter}/{index}"), split, system: None, script, details: Default::default() }
    }

    fn start(&self, scenario: &Scenario, _stream: Stream) -> Result<Start, EnvironmentError> {
        let mut turns = scenario.script.clone();
        turns.reverse();
        let first = turns.last().ok_or_else(|| EnvironmentError("the scenario has no turns".into()))?;
        let opening = vec![Message::new(Role::User, first.user.as_str())];
        Ok(Start { opening, session: Box::new(EchoSession { turns, success: true }) })
    }
}

/// The turns to come, last first; the current one is the last.
struct EchoSession {
    turns: Vec<ScriptedTurn>,
    success: bool,
}

impl Session for EchoSession {
    fn step(&mut self, action: &Action) -> Result<Step, EnvironmentError> {
        let turn = self.turns.pop().ok_or_else(|| EnvironmentError("the episode is over".into()))?;
        let passed = turn.check.run(&action.text, action.call.as_ref()).passed();
        self.success &= passed;
        let observation: Vec<_> =
            self.turns.last().map(|next| Message::new(Role::User, next.user.as_str())).into_iter().collect();
        let done = observation.is_empty().then_some(self.success);
        Ok(Step { observation, reward: Some(f32::from(u8::from(passed))), done })
    }
}

/// The mean of the turn rewards.
#[derive(Debug, Clone, Copy, Default)]
pub struct MeanTurnReward;

impl Reward for MeanTurnReward {
    fn score(&self, trajectory: &Trajectory) -> Result<Score, RewardError> {
        let rewards = &trajectory.turn_rewards;
        if rewards.is_empty() {
            return Err(RewardError(format!("{} has no turns", trajectory.episode)));
        }
        Ok(Score { total: rewards.iter().sum::<f32>() / rewards.len() as f32, ..Score::default() })
    }
}
