//! From a configuration to a model that judges: the one place where who asks and who is asked meet.

use std::sync::Arc;

use anyhow::{Context, Result};
use stateset_actors::protocol::Instruments;
use stateset_actors::{Ask, Guard, GuardSettings, ModelJudge, ModelJudgeSettings};
use stateset_domain::Stream;
use stateset_remote::{ChatClient, ChatSettings, Endpoint};
use stateset_resilience::{BreakerSettings, Retry};
use stateset_rewards::Rubric;
use thiserror::Error;

use crate::config::{Backoff, Config, Judge};

/// The key that a configuration refers to is not there.
#[derive(Debug, Error)]
#[error("`rewards.judge.api_key_env` names the environment variable {0}, which is not set")]
pub struct KeyMissing(pub String);

/// A model that could be asked, by nobody yet.
pub(crate) struct Prospect {
    settings: Judge,
    client: ChatClient,
}

impl Prospect {
    /// What `config` says; `None` if it says nothing. Nothing is sent.
    ///
    /// # Errors
    /// [`KeyMissing`], or if there can be no client.
    pub(crate) fn of(config: &Config) -> Result<Option<Self>> {
        let Some(settings) = config.rewards.judge.clone() else { return Ok(None) };
        let key = |name: &String| std::env::var(name).map_err(|_| KeyMissing(name.clone()));
        let endpoint = Endpoint::parse(&settings.endpoint);
        let client = ChatClient::new(ChatSettings {
            endpoint: endpoint.with_context(|| format!("`rewards.judge.endpoint` {}", settings.endpoint))?,
            model: settings.model.clone(),
            api_key: settings.api_key_env.as_ref().map(key).transpose()?,
            temperature: settings.temperature,
            max_tokens: settings.max_tokens,
        });
        Ok(Some(Self { client: client.context("cannot ask a judge")?, settings }))
    }

    /// The judge, who reports through `instruments`.
    pub(crate) fn engage(self, config: &Config, instruments: &Instruments) -> Arc<ModelJudge> {
        let Self { settings, client } = self;
        let random = Stream::new(config.run.seed).fork(u64::from_le_bytes(*b"breakers"));
        let guard = guard_settings(&settings, &config.supervision.backoff);
        let guard = Guard::new("judge", guard, random, instruments.clone());
        let ask: Ask = Arc::new(move |messages| {
            let client = client.clone();
            Box::pin(async move { client.ask(&messages).await })
        });
        let Judge { criteria, max_score, model, weight, cache, .. } = settings;
        let about = ModelJudgeSettings { rubric: Rubric { criteria, max_score }, model, weight, remembered: cache };
        Arc::new(ModelJudge::new(about, ask, guard))
    }
}

fn guard_settings(judge: &Judge, backoff: &Backoff) -> GuardSettings {
    let crate::config::Breaker { window, min_calls, failure_rate, slow_call, slow_rate, open, open_max, probes } =
        judge.breaker;
    GuardSettings {
        concurrency: judge.concurrency,
        deadline: judge.timeout,
        breaker: BreakerSettings { window, min_calls, failure_rate, slow_call, slow_rate, open, open_max, probes },
        retry: Retry { attempts: judge.attempts, first: backoff.min, longest: backoff.max },
        retry_share: judge.retry_budget,
    }
}
