//! A plan: the choices a scenario is made of, before they are put into words.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use stateset_domain::{Check, Scenario, ScriptedTurn, Split, Stream, ToolStep};

use super::spec::{DomainSpec, Rung};
use super::wording::fill;
use crate::EnvironmentError;

/// What a scenario is made of. Kept in [`Scenario::details`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Plan {
    /// The user's account reference.
    pub(super) account: String,
    /// What the user needs, in order.
    pub(super) needs: Vec<Need>,
}

/// One thing the user needs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Need {
    /// An issue, perhaps with its first remedy refused.
    Issue {
        /// Its name.
        name: String,
        /// The user refuses the first remedy.
        refused: bool,
    },
    /// Something to look up.
    Lookup {
        /// Its name.
        name: String,
        /// What the tool finds.
        outcome: String,
    },
}

impl Plan {
    /// Draws a plan for `rung`.
    pub(super) fn draw(spec: &DomainSpec, rung: &Rung, split: Split, stream: &mut Stream) -> Self {
        let account = spec.account.draw_for(split, stream);
        let lookups = *stream.choose(&rung.lookups);
        let (issue_names, lookup_names): (Vec<_>, Vec<_>) =
            (spec.issues.keys().collect(), spec.lookups.keys().collect());
        let mut needs = Vec::with_capacity(rung.issues);
        let plain = stream.sample_indices(issue_names.len(), rung.issues - lookups);
        for (place, index) in plain.into_iter().enumerate() {
            needs.push(Need::Issue { name: issue_names[index].clone(), refused: place < rung.refusals });
        }
        for index in stream.sample_indices(lookup_names.len(), lookups) {
            let outcomes: Vec<_> = spec.lookups[lookup_names[index]].outcomes.keys().collect();
            needs
                .push(Need::Lookup { name: lookup_names[index].clone(), outcome: (*stream.choose(&outcomes)).clone() });
        }
        let order = stream.sample_indices(needs.len(), needs.len());
        Self { account, needs: order.into_iter().map(|index| needs[index].clone()).collect() }
    }

    /// Reads the plan of `scenario` back.
    ///
    /// # Errors
    /// If it has none, or one that `spec` does not know.
    pub(super) fn of(scenario: &Scenario, spec: &DomainSpec) -> Result<Self, EnvironmentError> {
        let broken = |why: String| EnvironmentError(format!("scenario {} has no usable plan: {why}", scenario.id));
        let plan: Self = Self::deserialize(&scenario.details).map_err(|error| broken(error.to_string()))?;
        match plan.needs.iter().find(|need| !need.is_known(spec)) {
            Some(need) => Err(broken(format!("unknown {need:?}"))),
            None => Ok(plan),
        }
    }

    /// The plan as a scenario's details.
    pub(super) fn details(&self) -> Value {
        serde_json::to_value(self).expect("a plan is plain data with string keys")
    }

    /// The plan in words: what the user says, and what each reply must do.
    pub(super) fn script(&self, spec: &DomainSpec, stream: &mut Stream) -> Vec<ScriptedTurn> {
        let mut script: Vec<ScriptedTurn> = Vec::with_capacity(self.needs.len() + 1);
        for need in &self.needs {
            let issue = need.say(spec, stream);
            let templates = if script.is_empty() { &spec.wordings.opening } else { &spec.wordings.further };
            let user = fill(stream.choose::<String>(templates), &[("account", &self.account), ("issue", &issue)]);
            let check = self.check(spec, &[need.due(spec)]);
            script.push(ScriptedTurn { user, tool: need.tool_step(spec, &self.account), check });
        }
        let due: Vec<&str> = self.needs.iter().map(|need| need.due(spec)).collect();
        let user = stream.choose(&spec.wordings.closing).clone();
        script.push(ScriptedTurn { user, tool: None, check: self.check(spec, &due) });
        script
    }

    /// The reply names the account and shows that the `due` remedies, and no others, were done.
    fn check(&self, spec: &DomainSpec, due: &[&str]) -> Check {
        let (done, not_done): (Vec<_>, Vec<_>) =
            spec.remedies.iter().partition(|(name, _)| due.contains(&name.as_str()));
        let proof = |(_, remedy): (_, &super::spec::Remedy)| remedy.proof.clone();
        let expect = [self.account.clone()].into_iter().chain(done.into_iter().map(proof)).collect();
        Check { expect, forbid: not_done.into_iter().map(proof).collect(), tool: None }
    }
}

impl Need {
    /// The name of the right remedy.
    pub(super) fn due<'a>(&self, spec: &'a DomainSpec) -> &'a str {
        match self {
            Self::Issue { name, refused: false } => &spec.issues[name].remedy,
            Self::Issue { name, refused: true } => &spec.issues[name].instead,
            Self::Lookup { name, outcome } => &spec.lookups[name].outcomes[outcome],
        }
    }

    fn is_known(&self, spec: &DomainSpec) -> bool {
        match self {
            Self::Issue { name, .. } => spec.issues.contains_key(name),
            Self::Lookup { name, outcome } => {
                spec.lookups.get(name).is_some_and(|lookup| lookup.outcomes.contains_key(outcome))
            }
        }
    }

    fn say(&self, spec: &DomainSpec, stream: &mut Stream) -> String {
        match self {
            Self::Issue { name, refused } => {
                let issue = &spec.issues[name];
                let text = stream.choose(&issue.phrasings);
                let noun = &spec.remedies[&issue.remedy].noun;
                let refusal = stream.choose(&spec.wordings.refusal);
                if *refused { fill(refusal, &[("issue", text), ("noun", noun)]) } else { text.clone() }
            }
            Self::Lookup { name, .. } => stream.choose(&spec.lookups[name].phrasings).clone(),
        }
    }

    fn tool_step(&self, spec: &DomainSpec, account: &str) -> Option<ToolStep> {
        match self {
            Self::Issue { .. } => None,
            Self::Lookup { name, outcome } => {
                let name = &spec.lookups[name].tool;
                let tool = &spec.tools[name];
                Some(ToolStep { call: tool.call(name, account), result: tool.result(outcome) })
            }
        }
    }
}
