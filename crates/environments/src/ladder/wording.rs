//! How a domain says things: its templates filled in, and every text it can say.

use serde_json::json;
use stateset_domain::{Stream, ToolCall};

use super::spec::{DomainSpec, Remedy, Tool};
use crate::episode::{NO_SUCH_TOOL, tool_error};

/// `template` with each `{name}` replaced by its value.
pub(super) fn fill(template: &str, values: &[(&str, &str)]) -> String {
    values.iter().fold(template.to_owned(), |text, (name, value)| text.replace(&format!("{{{name}}}"), value))
}

/// The names between braces, in order.
pub(super) fn placeholders(template: &str) -> Vec<&str> {
    template.split('{').skip(1).filter_map(|rest| rest.split_once('}')).map(|(name, _)| name).collect()
}

impl DomainSpec {
    /// The assistant's reply that does `remedy`.
    pub(super) fn reply(&self, remedy: &Remedy, account: &str) -> String {
        let values = [("wording", remedy.wording.as_str()), ("account", account), ("proof", &remedy.proof)];
        fill(&self.wordings.reply, &values)
    }

    /// The assistant's summary of what was done.
    pub(super) fn summary(&self, proofs: &[&str], account: &str) -> String {
        fill(&self.wordings.summary, &[("account", account), ("proofs", &proofs.join(" "))])
    }

    /// Everything that is said besides proofs, unfilled.
    pub(super) fn prose(&self) -> impl Iterator<Item = &String> {
        let words = &self.wordings;
        let user = [&words.opening, &words.further, &words.refusal, &words.closing].into_iter().flatten();
        let assistant = [&words.reply, &words.summary].into_iter();
        let remedies = self.remedies.values().flat_map(|remedy| [&remedy.wording, &remedy.noun]);
        let tools = self.tools.values().flat_map(|tool| [&tool.argument, &tool.field, &tool.unknown]);
        let outcomes = self.lookups.values().flat_map(|lookup| lookup.outcomes.keys());
        user.chain(assistant).chain(remedies).chain(tools).chain(outcomes).chain(self.phrasings()).chain(&self.system)
    }

    fn phrasings(&self) -> impl Iterator<Item = &String> {
        let issues = self.issues.values().flat_map(|issue| &issue.phrasings);
        issues.chain(self.lookups.values().flat_map(|lookup| &lookup.phrasings))
    }

    /// Every text that user, assistant and tools can say, with account references drawn afresh for each: what a tokenizer for this
    /// domain is trained on. Always the same.
    #[must_use]
    pub fn corpus(&self) -> Vec<String> {
        let mut stream = Stream::new(0);
        let mut texts: Vec<String> = self.system.iter().cloned().collect();
        for issue in self.phrasings().cloned().chain(self.refused_phrasings()) {
            let account = self.account.draw(&mut stream);
            let values = [("account", account.as_str()), ("issue", issue.as_str())];
            texts.extend(self.wordings.opening.iter().chain(&self.wordings.further).map(|t| fill(t, &values)));
        }
        texts.extend(self.wordings.closing.iter().cloned());
        for remedy in self.remedies.values() {
            let account = self.account.draw(&mut stream);
            texts.push(self.reply(remedy, &account));
            texts.push(self.summary(&[&remedy.proof, &remedy.proof], &account));
        }
        for lookup in self.lookups.values() {
            let tool = &self.tools[&lookup.tool];
            texts.push(tool.call(&lookup.tool, &self.account.draw(&mut stream)).to_string());
            texts.extend(lookup.outcomes.keys().map(|outcome| tool.result(outcome)));
        }
        texts.extend(self.tools.values().map(|tool| tool_error(&tool.unknown)).chain([tool_error(NO_SUCH_TOOL)]));
        texts.extend(self.account.alphabet.chars().map(String::from));
        texts
    }

    fn refused_phrasings(&self) -> impl Iterator<Item = String> {
        self.issues.values().flat_map(move |issue| {
            let noun = self.remedies[&issue.remedy].noun.as_str();
            let refused = move |text: &str, template: &str| fill(template, &[("issue", text), ("noun", noun)]);
            let pairs = issue.phrasings.iter().flat_map(|text| self.wordings.refusal.iter().map(move |t| (text, t)));
            pairs.map(move |(text, template)| refused(text, template))
        })
    }
}

impl Tool {
    /// The call that looks up `account` with this tool, which is called `name`.
    pub(super) fn call(&self, name: &str, account: &str) -> ToolCall {
        ToolCall { name: name.into(), arguments: json!({ &self.argument: account }) }
    }

    /// What it returns when it finds `outcome`.
    pub(super) fn result(&self, outcome: &str) -> String {
        json!({ &self.field: outcome }).to_string()
    }
}
