//! How a domain says things: its templates filled in, and every text it can say.

use serde_json::json;
use stateset_domain::{Stream, ToolCall};

use super::spec::{DomainSpec, Lookup, Remedy, Tool};
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
        fill(&self.wordings.summary, &[("account", account), ("proofs", &proofs.join(" "))]).trim_end().to_owned()
    }

    /// Everything that is said besides proofs, unfilled.
    pub(super) fn prose(&self) -> impl Iterator<Item = &String> {
        let words = &self.wordings;
        let user = [&words.opening, &words.further, &words.refusal, &words.closing].into_iter().flatten();
        let assistant = [&words.reply, &words.summary].into_iter();
        let remedies = self.remedies.values().flat_map(|remedy| [&remedy.wording, &remedy.noun]);
        let tools = self.tools.values().flat_map(|tool| [&tool.argument, &tool.field, &tool.unknown]);
        let issues = self.issues.values().flat_map(|issue| &issue.phrasings);
        let lookups = self.lookups.values().flat_map(|lookup| lookup.phrasings.iter().chain(lookup.outcomes.keys()));
        user.chain(assistant).chain(remedies).chain(tools).chain(issues).chain(lookups).chain(&self.system)
    }

    /// Every text that user, assistant and tools can say, about as often as they say it, with account references drawn afresh for
    /// each: what a tokenizer for this domain is trained on. Always the same.
    ///
    /// # Panics
    /// If the spec is not valid.
    #[must_use]
    pub fn corpus(&self) -> Vec<String> {
        let mut stream = Stream::new(0);
        let mut texts: Vec<String> = self.system.iter().chain(&self.wordings.closing).cloned().collect();
        for issue in self.issues.values() {
            let refused = &self.remedies[&issue.remedy].noun;
            for phrasing in &issue.phrasings {
                self.exchange(phrasing, &issue.remedy, &mut stream, &mut texts);
                for template in &self.wordings.refusal {
                    let phrasing = fill(template, &[("issue", phrasing), ("noun", refused)]);
                    self.exchange(&phrasing, &issue.instead, &mut stream, &mut texts);
                }
            }
        }
        for lookup in self.lookups.values() {
            let tool = &self.tools[&lookup.tool];
            for (phrasing, (outcome, remedy)) in lookup.cases() {
                texts.push(tool.call(&lookup.tool, &self.account.draw(&mut stream)).to_string());
                texts.push(tool.result(outcome));
                self.exchange(phrasing, remedy, &mut stream, &mut texts);
            }
        }
        // Habits may use remedies that are never right.
        texts.extend(self.remedies.values().map(|remedy| self.reply(remedy, &self.account.draw(&mut stream))));
        texts.extend(self.tools.values().map(|tool| tool_error(&tool.unknown)).chain([tool_error(NO_SUCH_TOOL)]));
        texts.extend(self.account.alphabet.chars().map(String::from));
        texts
    }

    /// An issue in every place it can be said, the reply to it, and a summary.
    fn exchange(&self, issue: &str, remedy: &str, stream: &mut Stream, texts: &mut Vec<String>) {
        let remedy = &self.remedies[remedy];
        for template in self.wordings.opening.iter().chain(&self.wordings.further) {
            texts.push(fill(template, &[("account", &self.account.draw(stream)), ("issue", issue)]));
        }
        texts.push(self.reply(remedy, &self.account.draw(stream)));
        texts.push(self.summary(&[&remedy.proof, &remedy.proof], &self.account.draw(stream)));
    }
}

impl Lookup {
    /// Every way to ask with everything that may be found.
    fn cases(&self) -> impl Iterator<Item = (&String, (&String, &String))> {
        self.phrasings.iter().flat_map(|phrasing| self.outcomes.iter().map(move |outcome| (phrasing, outcome)))
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
