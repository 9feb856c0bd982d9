//! A world of fixed scenarios: the shortest way to a custom task.

use std::collections::BTreeSet;
use std::sync::Arc;

use stateset_domain::{Scenario, Split, Stream};

use crate::{Environment, EnvironmentError, Episode, Start, Tools};

/// An environment that goes round two fixed lists of scenarios.
#[derive(Debug, Clone)]
pub struct ScriptedEnvironment {
    train: Vec<Scenario>,
    held_out: Vec<Scenario>,
    tools: Tools,
}

impl ScriptedEnvironment {
    /// The world of these scenarios. The list a scenario stands in decides its split.
    ///
    /// # Errors
    /// If a list or a script is empty, or two scenarios share an id.
    pub fn new(train: Vec<Scenario>, held_out: Vec<Scenario>) -> Result<Self, EnvironmentError> {
        for (split, list) in [("train", &train), ("held-out", &held_out)] {
            if list.is_empty() {
                return Err(EnvironmentError(format!("there are no {split} scenarios")));
            }
        }
        let mut ids = BTreeSet::new();
        for scenario in train.iter().chain(&held_out) {
            if scenario.script.is_empty() {
                return Err(EnvironmentError(format!("scenario {} has an empty script", scenario.id)));
            }
            if !ids.insert(&scenario.id) {
                return Err(EnvironmentError(format!("two scenarios are called {}", scenario.id)));
            }
        }
        let steps = train.iter().chain(&held_out).flat_map(|s| &s.script).filter_map(|turn| turn.tool.as_ref());
        let tools = Arc::new(steps.map(|step| (step.call.name.clone(), "not found".to_owned())).collect());
        let assign = |list: Vec<Scenario>, split| list.into_iter().map(|s| Scenario { split, ..s }).collect();
        Ok(Self { train: assign(train, Split::Train), held_out: assign(held_out, Split::HeldOut), tools })
    }
}

impl Environment for ScriptedEnvironment {
    fn scenario(&self, split: Split, index: u64) -> Scenario {
        let list = match split {
            Split::Train => &self.train,
            Split::HeldOut => &self.held_out,
        };
        list[(index % list.len() as u64) as usize].clone()
    }

    fn start(&self, scenario: &Scenario, _stream: Stream) -> Result<Start, EnvironmentError> {
        if !self.train.iter().chain(&self.held_out).any(|known| known.id == scenario.id) {
            return Err(EnvironmentError(format!("there is no scenario {}", scenario.id)));
        }
        Episode::start(scenario, self.tools.clone())
    }
}

#[cfg(test)]
mod tests {
    use stateset_domain::{Check, ScriptedTurn};

    use super::*;
    use crate::Action;

    fn scenario(id: &str) -> Scenario {
        let check = Check { expect: vec!["4".into()], ..Check::default() };
        let script = vec![ScriptedTurn { user: "2 + 2?".into(), tool: None, check }];
        Scenario { id: id.into(), split: Split::Train, system: None, script, details: serde_json::Value::Null }
    }

    #[test]
    fn the_lists_are_gone_round_and_stay_apart() {
        let world = ScriptedEnvironment::new(vec![scenario("a"), scenario("b")], vec![scenario("c")]).unwrap();
        let ids: Vec<_> = (0..3).map(|index| world.scenario(Split::Train, index).id).collect();
        assert_eq!(ids, ["a", "b", "a"]);
        let held_out = world.scenario(Split::HeldOut, 5);
        assert_eq!((held_out.id.as_str(), held_out.split), ("c", Split::HeldOut));
    }

    #[test]
    fn a_scenario_is_played_and_checked() {
        let world = ScriptedEnvironment::new(vec![scenario("a")], vec![scenario("b")]).unwrap();
        let mut session = world.start(&world.scenario(Split::Train, 0), Stream::new(0)).unwrap().session;
        let step = session.step(&Action { text: "it is 4".into(), ..Action::default() }).unwrap();
        assert_eq!((step.reward, step.done), (Some(1.0), Some(true)));
        assert!(world.start(&scenario("z"), Stream::new(0)).is_err());
    }

    #[test]
    fn an_id_used_twice_is_refused() {
        let error = ScriptedEnvironment::new(vec![scenario("a")], vec![scenario("a")]).unwrap_err();
        assert_eq!(error.to_string(), "environment: two scenarios are called a");
        assert!(ScriptedEnvironment::new(vec![scenario("a")], vec![]).is_err());
    }
}
