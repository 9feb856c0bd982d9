//! What is wrong with a configuration, as far as it was found.

use std::fmt::Display;
use std::time::Duration;

use stateset_algorithms::{Algorithm, Section};

use super::suggest::{nearest, quoted};
use super::{Problem, duration};

pub(super) fn above_zero(number: f64) -> bool {
    number > 0.0 && number.is_finite()
}

pub(super) fn at_least_zero(number: f64) -> bool {
    number >= 0.0 && number.is_finite()
}

pub(super) fn in_unit(number: f64) -> bool {
    number > 0.0 && number <= 1.0
}

/// What was found so far.
#[derive(Default)]
pub(super) struct Findings(Vec<Problem>);

impl Findings {
    pub(super) fn add(&mut self, problem: Problem) {
        self.0.push(problem);
    }

    pub(super) fn extend(&mut self, problems: impl IntoIterator<Item = Problem>) {
        self.0.extend(problems);
    }

    pub(super) fn into_problems(self) -> Vec<Problem> {
        self.0
    }

    pub(super) fn check(&mut self, holds: bool, key: &str, found: impl Display, allowed: impl Into<String>) {
        if !holds {
            self.0.push(Problem::new(key, format!("`{key}` is {found}")).allowed(allowed));
        }
    }

    pub(super) fn positive(&mut self, key: &str, time: Duration) {
        self.check(!time.is_zero(), key, duration::text(time), "above 0");
    }

    pub(super) fn version(&mut self, version: u32) {
        self.check(version == 1, "version", version, "1, the only one this program knows");
    }

    fn unknown<S: AsRef<str>>(&mut self, key: &str, name: &str, allowed: &[S]) {
        let problem = Problem::new(key, format!("`{key}` cannot be `{name}`")).allowed(quoted(allowed));
        self.0.push(match nearest(name, allowed.iter().map(AsRef::as_ref)) {
            Some(near) => problem.help(format!("did you mean `{near}`?")),
            None => problem,
        });
    }

    /// What `algorithm` has against one of the sections of settings.
    pub(super) fn section<S: Section>(&mut self, algorithm: Algorithm, settings: &S) {
        self.sentences(&format!("training.{}", S::NAME), algorithm.objections(settings));
    }

    /// Sentences about the keys of `section`, each beginning with the key it is about.
    pub(super) fn sentences(&mut self, section: &str, sentences: Vec<String>) {
        self.0.extend(sentences.into_iter().map(|sentence| {
            let (name, rest) = sentence.split_once(' ').unwrap_or((&sentence, ""));
            let key = format!("{section}.{name}");
            Problem::new(&key, format!("`{key}` {rest}"))
        }));
    }

    /// A domain that cannot be read is one problem, however many of its rungs are asked for.
    pub(super) fn domain(&mut self, key: &str, rungs: Result<&[String], &String>) {
        if let Err(reason) = rungs {
            let help = format!("`{key}` names a domain's YAML file, such as `domains/support_desk.yaml`");
            self.0.push(Problem::new(key, format!("`{key}`: {reason}")).help(help));
        }
    }

    pub(super) fn rung(&mut self, key: &str, name: &str, rungs: Result<&[String], &String>) {
        if let Ok(rungs) = rungs
            && !rungs.iter().any(|rung| rung == name)
        {
            self.unknown(key, name, rungs);
        }
    }
}
