//! An episode played from a script: the user says the next line whatever the reply was, and every reply is checked.
//!
//! ```text
//! user line ─► reply ─┬─ a tool call ─► its result, or an error; the turn goes on, at most MAX_CALLS times
//!                     └─ anything else ─► checked: reward 1 or 0, then the next user line, or the end
//! ```
//!
//! A turn passes if the reply that ends it is whole, passes its check, and was preceded by the tool call the turn needs. Failing a
//! turn does not end the episode; the episode succeeds if every turn passed.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::json;
use stateset_domain::{Message, Role, Scenario, ScriptedTurn, ToolCall};

use crate::{Action, EnvironmentError, Session, Start, Step};

/// How many tool calls a turn answers. One more ends the turn, failed.
pub const MAX_CALLS: usize = 2;

/// The tools there are, each with the error it returns for a call it has no answer to.
pub type Tools = Arc<BTreeMap<String, String>>;

/// One scripted episode in progress.
#[derive(Debug, Clone)]
pub struct Episode {
    script: Vec<ScriptedTurn>,
    tools: Tools,
    turn: usize,
    calls: usize,
    looked_up: bool,
    all_passed: bool,
}

impl Episode {
    /// Begins the episode of `scenario`.
    ///
    /// # Errors
    /// If its script is empty.
    pub fn start(scenario: &Scenario, tools: Tools) -> Result<Start, EnvironmentError> {
        let Some(first) = scenario.script.first() else {
            return Err(EnvironmentError(format!("scenario {} has an empty script", scenario.id)));
        };
        let system = scenario.system.iter().map(|text| Message::new(Role::System, text.clone()));
        let opening = system.chain([Message::new(Role::User, first.user.clone())]).collect();
        let script = scenario.script.clone();
        let session = Self { script, tools, turn: 0, calls: 0, looked_up: false, all_passed: true };
        Ok(Start { opening, session: Box::new(session) })
    }

    fn answer(&mut self, call: &ToolCall) -> Step {
        self.calls += 1;
        let step = self.script[self.turn].tool.as_ref().filter(|step| step.call == *call);
        self.looked_up |= step.is_some();
        let result = match (step, self.tools.get(&call.name)) {
            (Some(step), _) => step.result.clone(),
            (None, Some(error)) => tool_error(error),
            (None, None) => tool_error(NO_SUCH_TOOL),
        };
        Step { observation: vec![Message::new(Role::Tool, result)], reward: None, done: None }
    }

    fn end_turn(&mut self, passed: bool) -> Step {
        self.all_passed &= passed;
        (self.turn, self.calls, self.looked_up) = (self.turn + 1, 0, false);
        let next = self.script.get(self.turn);
        Step {
            observation: next.iter().map(|turn| Message::new(Role::User, turn.user.clone())).collect(),
            reward: Some(if passed { 1.0 } else { 0.0 }),
            done: next.is_none().then_some(self.all_passed),
        }
    }
}

impl Session for Episode {
    fn step(&mut self, action: &Action) -> Result<Step, EnvironmentError> {
        let Some(turn) = self.script.get(self.turn) else {
            return Err(EnvironmentError("the episode is over".into()));
        };
        // A check may ask for a call as the turn's last word; any other call is a step on the way.
        let last_word = action.call.is_none() || action.call == turn.check.tool;
        match &action.call {
            Some(call) if !last_word && !action.truncated && self.calls < MAX_CALLS => Ok(self.answer(call)),
            _ => {
                let prepared = turn.tool.is_none() || self.looked_up;
                let checked = turn.check.run(&action.text, action.call.as_ref()).passed();
                Ok(self.end_turn(last_word && !action.truncated && prepared && checked))
            }
        }
    }
}

/// What a call of an unknown tool returns.
pub(crate) const NO_SUCH_TOOL: &str = "no such tool";

/// A tool's answer to a call it cannot serve.
pub(crate) fn tool_error(error: &str) -> String {
    json!({ "error": error }).to_string()
}

#[cfg(test)]
mod tests {
    use stateset_domain::{Check, Split, ToolStep};

    use super::*;

    fn call(name: &str, id: &str) -> ToolCall {
        ToolCall { name: name.into(), arguments: json!({ "id": id }) }
    }

    fn calls(name: &str, id: &str) -> Action {
        let call = call(name, id);
        Action { text: call.to_string(), call: Some(call), truncated: false }
    }

    fn says(text: &str) -> Action {
        Action { text: text.into(), ..Action::default() }
    }

    /// A turn that needs a look-up, then one that needs "bye".
    fn session() -> Box<dyn Session> {
        let check = |text: &str| Check { expect: vec![text.into()], ..Check::default() };
        let step = ToolStep { call: call("look", "A"), result: "found".into() };
        let script = vec![
            ScriptedTurn { user: "where?".into(), tool: Some(step), check: check("here") },
            ScriptedTurn { user: "thanks".into(), tool: None, check: check("bye") },
        ];
        let scenario = Scenario { id: "s".into(), split: Split::Train, system: None, script, details: json!(null) };
        Episode::start(&scenario, Arc::new([("look".into(), "unknown id".into())].into())).unwrap().session
    }

    fn play(actions: &[Action]) -> Vec<Step> {
        let mut session = session();
        actions.iter().map(|action| session.step(action).unwrap()).collect()
    }

    #[test]
    fn a_look_up_then_the_answer_passes_the_turn_with_one_reward() {
        let steps = play(&[calls("look", "A"), says("here"), says("bye")]);
        assert_eq!(steps[0].observation, [Message::new(Role::Tool, "found")]);
        assert_eq!(steps.iter().map(|step| step.reward).collect::<Vec<_>>(), [None, Some(1.0), Some(1.0)]);
        assert_eq!(steps[1].observation, [Message::new(Role::User, "thanks")]);
        assert_eq!((steps[1].done, steps[2].done), (None, Some(true)));
    }

    #[test]
    fn an_answer_without_the_look_up_fails_and_the_episode_goes_on() {
        let steps = play(&[says("here"), says("bye")]);
        assert_eq!((steps[0].reward, steps[1].reward, steps[1].done), (Some(0.0), Some(1.0), Some(false)));
    }

    #[test]
    fn a_wrong_call_gets_an_error_and_may_be_repaired() {
        let steps = play(&[calls("look", "B"), calls("look", "A"), says("here")]);
        assert_eq!(steps[0].observation[0].content, r#"{"error":"unknown id"}"#);
        assert_eq!(steps[2].reward, Some(1.0));
        let steps = play(&[calls("peek", "A")]);
        assert_eq!(steps[0].observation[0].content, r#"{"error":"no such tool"}"#);
    }

    #[test]
    fn a_turn_answers_two_calls_and_a_third_ends_it_failed() {
        let steps = play(&[calls("look", "A"), calls("look", "A"), calls("look", "here")]);
        assert_eq!((steps[1].reward, steps[2].reward), (None, Some(0.0)));
        assert_eq!(steps[2].observation, [Message::new(Role::User, "thanks")]);
    }

    #[test]
    fn a_truncated_reply_fails_its_turn() {
        let steps = play(&[calls("look", "A"), Action { truncated: true, ..says("here") }]);
        assert_eq!(steps[1].reward, Some(0.0));
    }

    #[test]
    fn a_finished_episode_takes_no_more_replies() {
        let mut session = session();
        session.step(&says("")).unwrap();
        session.step(&says("")).unwrap();
        assert!(session.step(&says("")).is_err());
    }
}
