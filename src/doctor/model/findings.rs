//! What is said of a model.

use super::super::diagnosis::{Finding, size};
use super::super::memory::Memory;
use super::{Loaded, Model, Trial};

/// Nats beyond which sampler and trainer do not compute the same.
const GAP: f64 = 1e-3;

/// Every check of the model, in the order in which it is told.
pub(in crate::doctor) fn findings(model: &Model, memory: Option<Memory>) -> Vec<Finding> {
    let model = match model {
        Model::Broken { name, reason } => {
            let advice = format!("a model is {}", crate::model::FORMS);
            return vec![Finding::problem("model", format!("{name} cannot be used: {reason}"), advice)];
        }
        Model::Loaded(model) => model,
    };
    let mut findings = vec![described(model), tokenizer(model), template(model)];
    match &model.trial {
        Ok(trial) => findings.extend(tried(trial)),
        Err(reason) => {
            let advice = "the files may be damaged: download the model again, or choose another";
            findings.push(Finding::problem("generation", format!("it does not run: {reason}"), advice));
        }
    }
    findings.push(plan(model, memory));
    findings
}

fn described(model: &Loaded) -> Finding {
    let Loaded { name, family, parameters, stored, context, .. } = model;
    let stored = stored.iter().copied().collect::<Vec<_>>().join(" and ");
    let count = match *parameters as f64 {
        few if few < 1e6 => format!("{:.0} thousand", few / 1e3),
        many => format!("{:.1} million", many / 1e6),
    };
    let found = format!("{name}: {family}, {count} weights, stored as {stored}; {context} tokens at most");
    Finding::ok("model", found)
}

fn tokenizer(model: &Loaded) -> Finding {
    let ids = format!("{} ids, of {} rows of the embedding", model.tokens, model.vocabulary);
    match &model.changed {
        None => Finding::ok("tokenizer", format!("{ids}; a text comes back as it went in")),
        Some(back) => Finding::note("tokenizer", format!("{ids}; {:?} comes back as {back:?}", super::SAMPLE)),
    }
}

fn template(model: &Loaded) -> Finding {
    match &model.rendered {
        Ok(tokens) => Finding::ok("template", format!("a greeting is rendered to {tokens} tokens")),
        Err(reason) => {
            let advice = "a run needs a model whose conversations can be rendered";
            Finding::problem("template", format!("conversations cannot be rendered: {reason}"), advice)
        }
    }
}

fn tried(trial: &Trial) -> [Finding; 3] {
    let Trial { reply, log_prob_gap, compared, prefill_per_second, decode_per_second } = trial;
    let gap =
        format!("of {compared} sampled tokens, sampler and trainer differ by {log_prob_gap:.1e} nats at the most");
    let gap = match *log_prob_gap <= GAP {
        true => Finding::ok("log-probs", gap),
        false => {
            let advice = format!("more than {GAP:e} is no rounding: compare with `stateset score`, and report it");
            Finding::problem("log-probs", gap, advice)
        }
    };
    let speed =
        format!("reads {prefill_per_second:.0} and samples {decode_per_second:.0} tokens/s in one conversation");
    [Finding::ok("generation", format!("{reply:?}")), gap, Finding::ok("speed", speed)]
}

fn plan(model: &Loaded, memory: Option<Memory>) -> Finding {
    let total = model.plan.total();
    let found = format!("training all weights takes about {}", size(total));
    match memory {
        Some(Memory { free, .. }) if free < total => {
            let advice = "let `training.memory_budget` choose how much is held at once";
            Finding::note("memory plan", format!("{found}, and {} are free", size(free))).advising(advice)
        }
        _ => Finding::ok("memory plan", found),
    }
}
