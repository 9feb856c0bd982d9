//! Whether rules can be read, and whether they may do what they say.

use std::time::Duration;

use stateset_actors::policy::{Condition, ConditionError, signals};
use stateset_domain::{Directive, Scaling};

use super::Policy;
use crate::config::findings::{Findings, above_zero, at_least_zero};
use crate::config::suggest::{nearest, quoted};
use crate::config::{Config, Problem, duration};

/// What the file says about the run's health, alone and beside the rest.
pub(in crate::config) fn validate(config: &Config, found: &mut Findings) {
    let stopping = &config.training.early_stopping;
    let key = "training.early_stopping";
    found.check(stopping.patience >= 1, &format!("{key}.patience"), stopping.patience, "at least 1");
    let delta = stopping.min_delta;
    found.check((0.0..1.0).contains(&delta), &format!("{key}.min_delta"), delta, "0 or more, below 1");
    let blind = config.training.eval_every == 0;
    let evaluates = "a run that is evaluated along the way: set `training.eval_every`";
    found.check(!(stopping.enabled && blind), &format!("{key}.enabled"), "true", evaluates);
    for (at, policy) in config.policies.iter().enumerate() {
        let key = |name: &str| format!("policies.{at}.{name}");
        condition(&key("when"), &policy.when, found);
        if let Some(clear) = &policy.clear {
            condition(&key("clear"), clear, found);
        }
        found.check(policy.hold >= 1, &key("for"), policy.hold, "at least 1");
        found.check(policy.max >= 1, &key("max"), policy.max, "at least 1");
        let again = config.policies[..at].iter().any(|other| other.name() == policy.name());
        found.check(!again, &key("name"), format!("`{}` again", policy.name()), "a name that no other policy has");
        let (conditions, reads) = reads(policy);
        let timed = conditions && policy.acts() && reads.iter().any(|name| signals::TIMED.contains(&name.as_str()));
        let may_only = "`report` for a signal that depends on the machine: a run is a function of its seed";
        found.check(!timed, &key("do"), "an action", may_only);
        let unseen = blind && reads.iter().any(|name| signals::EVALUATED.contains(&name.as_str()));
        found.check(!unseen, &key("when"), "about held-out scenarios", evaluates);
        found.check(!policy.directives.0.is_empty(), &key("do"), "empty", "at least one directive");
        for it in &policy.directives.0 {
            directive(&key("do"), it, config.supervision.deadlines.stall, found);
        }
    }
}

/// Whether the policy's conditions can be read, and the signals in them.
fn reads(policy: &Policy) -> (bool, Vec<String>) {
    match policy.rule(true) {
        Ok(rule) => {
            let conditions = [Some(&rule.when), rule.clear.as_ref()];
            let names = conditions.into_iter().flatten().flat_map(|condition| condition.signals()).map(str::to_owned);
            (true, names.collect())
        }
        Err(_) => (false, Vec::new()),
    }
}

fn condition(key: &str, text: &str, found: &mut Findings) {
    let Err(ConditionError { column, message, unknown }) = text.parse::<Condition>() else {
        return;
    };
    let problem = Problem::new(key, format!("`{key}`: {message}, in column {column} of `{text}`"));
    found.add(match unknown.as_deref().map(|name| nearest(name, signals::names())) {
        Some(Some(near)) => problem.help(format!("did you mean `{near}`?")),
        Some(None) => problem.allowed(quoted(&signals::names().collect::<Vec<_>>())),
        None => problem,
    });
}

fn directive(key: &str, directive: &Directive, stall: Duration, found: &mut Findings) {
    match directive {
        Directive::ScaleLr(scaling) | Directive::ScaleKl(scaling) | Directive::ScaleTemperature(scaling) => {
            let Scaling { by, floor, ceiling } = *scaling;
            found.check(above_zero(by), key, format!("to scale by {by}"), "a factor above 0");
            let (low, high) = (floor.unwrap_or(0.0), ceiling.unwrap_or(f64::MAX));
            found.check(low >= 0.0 && low <= high, key, format!("between {low} and {high}"), "0 <= floor <= ceiling");
        }
        Directive::SetKl { to } => found.check(at_least_zero(*to), key, format!("to set_kl to {to}"), "0 or more"),
        Directive::Pause { seconds } => {
            let bounded = *seconds > 0.0 && *seconds < stall.as_secs_f64();
            let limit = format!("above 0 and below supervision.deadlines.stall = {}", duration::text(stall));
            found.check(bounded, key, format!("to pause for {seconds} seconds"), limit);
        }
        Directive::Stop { reason } => found.check(!reason.is_empty(), key, "to stop without a reason", "a reason"),
        Directive::Report
        | Directive::SkipStep
        | Directive::TightenStaleness
        | Directive::Rewind
        | Directive::Evaluate => {}
    }
}
