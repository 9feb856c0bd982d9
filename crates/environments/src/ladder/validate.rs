//! What makes a domain spec sensible. Pure; reports every problem at once.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;

use super::spec::{DomainSpec, Problem};
use super::wording::placeholders;

/// Fewer references than this could leave a split without any.
const MIN_REFERENCES: f64 = 1000.0;

/// Every problem of `spec`, in the order of its keys.
pub(super) fn problems(spec: &DomainSpec) -> Vec<Problem> {
    let mut found = Problems(Vec::new());
    found.check(is_identifier(&spec.name), "name", format_args!("`{}` is not {IDENTIFIER}", spec.name));
    account(spec, &mut found);
    remedies(spec, &mut found);
    tools(spec, &mut found);
    issues(spec, &mut found);
    lookups(spec, &mut found);
    phrasings(spec, &mut found);
    wordings(spec, &mut found);
    mistakes(spec, &mut found);
    rungs(spec, &mut found);
    found.0
}

struct Problems(Vec<Problem>);

impl Problems {
    fn check(&mut self, holds: bool, path: impl Display, what: impl Display) {
        if !holds {
            self.0.push(Problem { path: path.to_string(), what: what.to_string() });
        }
    }

    fn named<T>(&mut self, among: &BTreeMap<String, T>, what: &str, name: &str, path: impl Display) {
        let known = || among.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
        if !among.contains_key(name) {
            self.check(false, path, format_args!("there is no {what} `{name}`; there is {}", known()));
        }
    }

    fn rate(&mut self, rate: f64, path: impl Display) {
        self.check((0.0..=1.0).contains(&rate), path, format_args!("{rate} is not in [0, 1]"));
    }
}

const IDENTIFIER: &str = "made of lower-case letters, digits and `_`";

fn is_identifier(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

fn account(spec: &DomainSpec, found: &mut Problems) {
    let alphabet = &spec.account.alphabet;
    let allowed = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit();
    for c in alphabet.chars().filter(|c| !allowed(*c)) {
        found.check(false, "account.alphabet", format_args!("`{c}` is not an upper-case letter or digit"));
    }
    let distinct: BTreeSet<char> = alphabet.chars().collect();
    found.check(distinct.len() == alphabet.chars().count(), "account.alphabet", "has a character twice");
    let references = (distinct.len() as f64).powi(i32::try_from(spec.account.length).unwrap_or(i32::MAX));
    let what = format_args!("gives {references} references; at least {MIN_REFERENCES} are needed");
    found.check(references >= MIN_REFERENCES, "account", what);
}

fn remedies(spec: &DomainSpec, found: &mut Problems) {
    for (name, remedy) in &spec.remedies {
        for (key, text) in [("wording", &remedy.wording), ("noun", &remedy.noun), ("proof", &remedy.proof)] {
            found.check(!text.trim().is_empty(), format_args!("remedies.{name}.{key}"), "is empty");
        }
        for (other, remedy_2) in spec.remedies.iter().filter(|(other, _)| *other != name) {
            let clash = !remedy.proof.is_empty() && remedy_2.proof.contains(&remedy.proof);
            let what = format_args!("`{}` occurs in the proof of `{other}`", remedy.proof);
            found.check(!clash, format_args!("remedies.{name}.proof"), what);
        }
        for text in spec.prose().filter(|text| !remedy.proof.is_empty() && text.contains(&remedy.proof)) {
            let what = format_args!("`{}` also occurs in `{text}`", remedy.proof);
            found.check(false, format_args!("remedies.{name}.proof"), what);
        }
    }
}

fn tools(spec: &DomainSpec, found: &mut Problems) {
    for (name, tool) in &spec.tools {
        let callable = !name.is_empty() && name.chars().all(|c| c.is_ascii_lowercase() || c == '_');
        let what = format_args!("`{name}` cannot be called: a tool's name is made of lower-case letters and `_`");
        found.check(callable, "tools", what);
        for (key, text) in [("argument", &tool.argument), ("field", &tool.field), ("unknown", &tool.unknown)] {
            found.check(!text.is_empty(), format_args!("tools.{name}.{key}"), "is empty");
        }
    }
}

fn issues(spec: &DomainSpec, found: &mut Problems) {
    found.check(!spec.issues.is_empty(), "issues", "needs at least one");
    for (name, issue) in &spec.issues {
        let path = format!("issues.{name}");
        found.named(&spec.remedies, "remedy", &issue.remedy, format_args!("{path}.remedy"));
        found.named(&spec.remedies, "remedy", &issue.instead, format_args!("{path}.instead"));
        found.check(issue.remedy != issue.instead, format_args!("{path}.instead"), "is the remedy that was refused");
        if let Some(habit) = &issue.habit {
            found.named(&spec.remedies, "remedy", &habit.remedy, format_args!("{path}.habit.remedy"));
            let wrong = ![&issue.remedy, &issue.instead].contains(&&habit.remedy);
            let what = format_args!("`{}` is a right remedy; a habit is a wrong one", habit.remedy);
            found.check(wrong, format_args!("{path}.habit.remedy"), what);
            found.rate(habit.rate, format_args!("{path}.habit.rate"));
        }
    }
}

fn lookups(spec: &DomainSpec, found: &mut Problems) {
    for (name, lookup) in &spec.lookups {
        let path = format!("lookups.{name}");
        found.named(&spec.tools, "tool", &lookup.tool, format_args!("{path}.tool"));
        found.check(lookup.outcomes.len() > 1, format_args!("{path}.outcomes"), "needs at least two");
        for (outcome, remedy) in &lookup.outcomes {
            found.named(&spec.remedies, "remedy", remedy, format_args!("{path}.outcomes.{outcome}"));
        }
    }
}

fn phrasings(spec: &DomainSpec, found: &mut Problems) {
    let issues = spec.issues.iter().map(|(name, issue)| (format!("issues.{name}.phrasings"), &issue.phrasings));
    let lookups = spec.lookups.iter().map(|(name, lookup)| (format!("lookups.{name}.phrasings"), &lookup.phrasings));
    let mut said = BTreeSet::new();
    for (path, phrasings) in issues.chain(lookups) {
        found.check(!phrasings.is_empty(), &path, "needs at least one");
        for text in phrasings {
            found.check(!text.trim().is_empty(), &path, "has an empty one");
            found.check(said.insert(text), &path, format_args!("`{text}` is also said elsewhere"));
        }
    }
}

fn wordings(spec: &DomainSpec, found: &mut Problems) {
    let words = &spec.wordings;
    let user: [(_, &[String], &[&str]); 4] = [
        ("opening", &words.opening, &["account", "issue"]),
        ("further", &words.further, &["issue"]),
        ("refusal", &words.refusal, &["issue", "noun"]),
        ("closing", &words.closing, &[]),
    ];
    let assistant: [(_, &[String], &[&str]); 2] = [
        ("reply", std::slice::from_ref(&words.reply), &["account", "proof", "wording"]),
        ("summary", std::slice::from_ref(&words.summary), &["account", "proofs"]),
    ];
    for (key, templates, wanted) in user.into_iter().chain(assistant) {
        let path = format!("wordings.{key}");
        found.check(!templates.is_empty(), &path, "needs at least one");
        for template in templates {
            let mut has = placeholders(template);
            has.sort_unstable();
            let what = format_args!("`{template}` has placeholders {has:?}; each of {wanted:?} is needed, once");
            found.check(has == wanted, &path, what);
        }
    }
}

fn mistakes(spec: &DomainSpec, found: &mut Problems) {
    let rates = &spec.mistakes;
    found.rate(rates.wrong_account, "mistakes.wrong_account");
    found.rate(rates.ignores_refusal, "mistakes.ignores_refusal");
    found.rate(rates.skips_tool, "mistakes.skips_tool");
    found.rate(rates.forgets_item, "mistakes.forgets_item");
}

fn rungs(spec: &DomainSpec, found: &mut Problems) {
    found.check(!spec.rungs.is_empty(), "rungs", "needs at least one");
    for (name, rung) in &spec.rungs {
        let path = format!("rungs.{name}");
        found.check(rung.issues > 0, format_args!("{path}.issues"), "needs at least one");
        found.check(!rung.lookups.is_empty(), format_args!("{path}.lookups"), "needs at least one number, such as 0");
        for &lookups in &rung.lookups {
            let most = spec.lookups.len().min(rung.issues);
            let what = format_args!("{lookups}, but at most {most} fit the rung's issues and the domain's lookups");
            found.check(lookups <= most, format_args!("{path}.lookups"), what);
            let (plain, there) = (rung.issues.saturating_sub(lookups), spec.issues.len());
            let what = format_args!("{lookups} leaves {plain} other issues, but the domain has {there}");
            found.check(plain <= there, format_args!("{path}.lookups"), what);
            let what = format_args!("{}, but {lookups} lookups leave only {plain} issues to refuse", rung.refusals);
            found.check(rung.refusals <= plain, format_args!("{path}.refusals"), what);
        }
    }
}
