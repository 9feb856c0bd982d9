//! Demonstrations: whole conversations for imitation, as an assistant would hold them who means well and errs at known rates.
//!
//! A demonstrator's summary lists what it did, right or wrong, so what imitation learns about summaries stays true once the replies
//! before them become right.

use stateset_domain::{Message, Role, Scenario, Stream};

use super::plan::{Need, Plan};
use super::spec::DomainSpec;
use crate::EnvironmentError;

/// Someone who answers; `slips` decides where they err, and without it they never do.
pub(super) struct Demonstrator<'a> {
    pub(super) spec: &'a DomainSpec,
    pub(super) slips: Option<&'a mut Stream>,
}

impl<'a> Demonstrator<'a> {
    /// The whole conversation of `scenario`, the user's and the tools' messages included.
    pub(super) fn converse(&mut self, scenario: &Scenario) -> Result<Vec<Message>, EnvironmentError> {
        let plan = Plan::of(scenario, self.spec)?;
        let mut messages: Vec<Message> = scenario.system.iter().map(|text| Message::new(Role::System, text)).collect();
        let mut done = Vec::with_capacity(plan.needs.len());
        for (need, turn) in plan.needs.iter().zip(&scenario.script) {
            messages.push(Message::new(Role::User, &turn.user));
            let account = if done.is_empty() { plan.account.clone() } else { self.recall(&plan.account) };
            let guesses = turn.tool.is_some() && self.slip(self.spec.mistakes.skips_tool);
            if let Some(step) = turn.tool.as_ref().filter(|_| !guesses) {
                messages.push(Message::new(Role::Assistant, step.call.to_string()));
                messages.push(Message::new(Role::Tool, &step.result));
            }
            let remedy = &self.spec.remedies[self.choose(need, guesses)];
            messages.push(Message::new(Role::Assistant, self.spec.reply(remedy, &account)));
            done.push(remedy.proof.as_str());
        }
        if let Some(closing) = scenario.script.get(plan.needs.len()) {
            messages.push(Message::new(Role::User, &closing.user));
            let account = self.recall(&plan.account);
            messages.push(Message::new(Role::Assistant, self.summarise(&done, &account)));
        }
        Ok(messages)
    }

    /// The remedy they choose.
    fn choose(&mut self, need: &Need, guesses: bool) -> &'a str {
        let spec = self.spec;
        match need {
            Need::Issue { name, refused } => {
                let issue = &spec.issues[name];
                if *refused && self.slip(spec.mistakes.ignores_refusal) {
                    return &issue.remedy;
                }
                match &issue.habit {
                    Some(habit) if self.slip(habit.rate) => &habit.remedy,
                    _ => need.due(spec),
                }
            }
            Need::Lookup { name, .. } => match &mut self.slips {
                Some(stream) if guesses => {
                    let remedies: Vec<&str> = spec.lookups[name].outcomes.values().map(String::as_str).collect();
                    stream.choose::<&str>(&remedies)
                }
                _ => need.due(spec),
            },
        }
    }

    /// The account reference as they remember it.
    fn recall(&mut self, account: &str) -> String {
        if let Some(stream) = &mut self.slips
            && stream.chance(self.spec.mistakes.wrong_account)
        {
            return self.spec.account.garble(account, stream);
        }
        account.to_owned()
    }

    fn summarise(&mut self, done: &[&str], account: &str) -> String {
        let mut told = done.to_vec();
        if let Some(stream) = &mut self.slips
            && stream.chance(self.spec.mistakes.forgets_item)
        {
            let forgotten = *stream.choose(done);
            told.retain(|proof| *proof != forgotten);
        }
        self.spec.summary(&told, account)
    }

    fn slip(&mut self, rate: f64) -> bool {
        self.slips.as_mut().is_some_and(|stream| stream.chance(rate))
    }
}
