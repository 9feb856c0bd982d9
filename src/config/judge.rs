//! What a run's file may say about a model that judges.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use stateset_remote::Endpoint;
use stateset_resilience::Window;
use stateset_rewards::Criterion;

use super::findings::{Findings, above_zero, in_unit};
use super::{Problem, duration};

/// A model that judges finished episodes, at an OpenAI-compatible endpoint. While it is down scoring pauses; nothing is scored 0.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Judge {
    /// What `/chat/completions` is appended to, such as `http://127.0.0.1:8000/v1`. Required.
    pub endpoint: String,
    /// The model's name there. Required.
    pub model: String,
    /// The environment variable that holds the key. Default: none, and no key is sent.
    pub api_key_env: Option<String>,
    /// What it looks at. At least one.
    pub criteria: Vec<Criterion>,
    /// The best score of a criterion; the worst is 0. From 1 to 100; default 10.
    pub max_score: u32,
    /// What its judgement, a number in `[0, 1]`, is worth beside the checks. Above 0; default 0.5, as much as success.
    pub weight: f32,
    /// How freely it answers. 0 or more; default 0: the same conversation is then judged alike, as far as the model can.
    pub temperature: f32,
    /// The longest answer, in its tokens. At least 16; default 512.
    pub max_tokens: u32,
    /// How long an answer may take. Above 0; default `30s`.
    #[serde(with = "duration")]
    pub timeout: Duration,
    /// Episodes that it is asked about at once. At least 1; default 8.
    pub concurrency: usize,
    /// How often it is asked about an episode that it answers with nonsense, or fails while it answers others. At least 2, since the
    /// first call of an outage fails too; default 3.
    pub attempts: u32,
    /// Retries for each call, on the average: more than this share would be too much for a server in trouble. From 0 to 1; default 0.2.
    pub retry_budget: f64,
    /// When it is left alone.
    pub breaker: Breaker,
    /// Judgements that are remembered, by rubric, model and conversation. 0 remembers none; default 10000.
    pub cache: usize,
}

impl Default for Judge {
    fn default() -> Self {
        Self {
            endpoint: String::new(),
            model: String::new(),
            api_key_env: None,
            criteria: Vec::new(),
            max_score: 10,
            weight: 0.5,
            temperature: 0.0,
            max_tokens: 512,
            timeout: Duration::from_secs(30),
            concurrency: 8,
            attempts: 3,
            retry_budget: 0.2,
            breaker: Breaker::default(),
            cache: 10_000,
        }
    }
}

/// When a dependency is left alone: a circuit breaker.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Breaker {
    /// The calls that count: a number is the last so many, a duration those of the last so long. Default 20.
    #[serde(with = "window")]
    pub window: Window,
    /// Calls without which there is no opinion. At least 1, at most a window of calls; default 5.
    pub min_calls: u32,
    /// It is left alone when this share of them failed. Above 0, at most 1; default 0.5.
    pub failure_rate: f64,
    /// A call that takes as long is slow. Above 0; default `20s`.
    #[serde(with = "duration")]
    pub slow_call: Duration,
    /// It is left alone when this share of them was slow. Above 0, at most 1; default 1.
    pub slow_rate: f64,
    /// For how long, the first time; doubled while it does not come back, and less up to half of it by chance. Above 0; default `2s`.
    #[serde(with = "duration")]
    pub open: Duration,
    /// For how long at most. At least `open`, below `supervision.deadlines.stall`; default `30s`.
    #[serde(with = "duration")]
    pub open_max: Duration,
    /// Calls that are then let through, to see whether it is back. At least 1; default 2.
    pub probes: u32,
}

impl Default for Breaker {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self {
            window: Window::Calls(20),
            min_calls: 5,
            failure_rate: 0.5,
            slow_call: seconds(20),
            slow_rate: 1.0,
            open: seconds(2),
            open_max: seconds(30),
            probes: 2,
        }
    }
}

/// Everything that is wrong with `judge`. `stall` is how long a run may stand still.
pub(super) fn validate(judge: &Judge, stall: Duration, found: &mut Findings) {
    if let Err(reason) = Endpoint::parse(&judge.endpoint) {
        let problem = Problem::new("rewards.judge.endpoint", format!("`rewards.judge.endpoint` {reason}"));
        found.add(problem.allowed("the address of an OpenAI-compatible API, such as `http://127.0.0.1:8000/v1`"));
    }
    found.check(!judge.model.is_empty(), "rewards.judge.model", "empty", "the model's name at the endpoint");
    let named = judge.api_key_env.as_ref().is_none_or(|name| !name.is_empty() && !name.contains(['=', '\0']));
    let name = judge.api_key_env.as_deref().unwrap_or_default();
    found.check(named, "rewards.judge.api_key_env", format!("`{name}`"), "the name of an environment variable");
    criteria(&judge.criteria, found);
    found.check((1..=100).contains(&judge.max_score), "rewards.judge.max_score", judge.max_score, "from 1 to 100");
    found.check(above_zero(judge.weight.into()), "rewards.judge.weight", judge.weight, "above 0");
    let temperature = judge.temperature;
    found.check((0.0..=2.0).contains(&temperature), "rewards.judge.temperature", temperature, "from 0 to 2");
    found.check(judge.max_tokens >= 16, "rewards.judge.max_tokens", judge.max_tokens, "at least 16");
    found.positive("rewards.judge.timeout", judge.timeout);
    found.check(judge.concurrency >= 1, "rewards.judge.concurrency", judge.concurrency, "at least 1");
    found.check(
        judge.attempts >= 2,
        "rewards.judge.attempts",
        judge.attempts,
        "at least 2: the call that finds the judge down has failed, its episode has not",
    );
    let share = judge.retry_budget;
    found.check((0.0..=1.0).contains(&share), "rewards.judge.retry_budget", share, "from 0 to 1");
    breaker(&judge.breaker, stall, found);
}

fn criteria(criteria: &[Criterion], found: &mut Findings) {
    found.check(!criteria.is_empty(), "rewards.judge.criteria", "empty", "at least one criterion");
    for (place, criterion) in criteria.iter().enumerate() {
        let key = |field: &str| format!("rewards.judge.criteria.{place}.{field}");
        let Criterion { name, weight, description } = criterion;
        let plain = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        found.check(plain, &key("name"), format!("`{name}`"), "letters, digits and `_`");
        let twice = criteria[..place].iter().any(|earlier| earlier.name == *name);
        found.check(!twice, &key("name"), format!("`{name}`, which is there already"), "a name of its own");
        found.check(above_zero((*weight).into()), &key("weight"), weight, "above 0");
        let told = !description.trim().is_empty() && !description.contains('\n');
        found.check(told, &key("description"), "empty, or more than a line", "a line that the judge is told");
    }
}

fn breaker(breaker: &Breaker, stall: Duration, found: &mut Findings) {
    let key = |field: &str| format!("rewards.judge.breaker.{field}");
    let most = match breaker.window {
        Window::Calls(calls) => calls,
        Window::Time { span, .. } => u32::from(!span.is_zero()) * u32::MAX,
    };
    found.check(most >= 1, &key("window"), window::text(breaker.window), "above 0");
    let enough = (1..=most.max(1)).contains(&breaker.min_calls);
    found.check(enough, &key("min_calls"), breaker.min_calls, format!("from 1 to {most}, what the window holds"));
    for (field, rate) in [("failure_rate", breaker.failure_rate), ("slow_rate", breaker.slow_rate)] {
        found.check(in_unit(rate), &key(field), rate, "above 0, at most 1");
    }
    found.positive(&key("slow_call"), breaker.slow_call);
    found.positive(&key("open"), breaker.open);
    let bounds = format!(
        "at least open = {}, below supervision.deadlines.stall = {}",
        duration::text(breaker.open),
        duration::text(stall)
    );
    let patient = breaker.open_max >= breaker.open && breaker.open_max < stall;
    found.check(patient, &key("open_max"), duration::text(breaker.open_max), bounds);
    found.check(breaker.probes >= 1, &key("probes"), breaker.probes, "at least 1");
}

/// A window as people write it: a number of calls, or a duration.
mod window {
    use serde::de::{self, Visitor};
    use serde::{Deserializer, Serializer};

    use super::{Duration, Window, duration, fmt};

    /// Into how many pieces a window of time is divided, each forgotten at once.
    const BUCKETS: u32 = 20;

    pub(super) fn text(window: Window) -> String {
        match window {
            Window::Calls(calls) => calls.to_string(),
            Window::Time { span, .. } => duration::text(span),
        }
    }

    pub(super) fn serialize<S: Serializer>(window: &Window, serializer: S) -> Result<S::Ok, S::Error> {
        match window {
            Window::Calls(calls) => serializer.serialize_u32(*calls),
            Window::Time { span, .. } => duration::serialize(span, serializer),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Window, D::Error> {
        deserializer.deserialize_any(WindowVisitor)
    }

    struct WindowVisitor;

    impl Visitor<'_> for WindowVisitor {
        type Value = Window;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "a number of calls, or a duration with its unit, such as `30s`")
        }

        fn visit_u64<E: de::Error>(self, calls: u64) -> Result<Window, E> {
            u32::try_from(calls)
                .map(Window::Calls)
                .map_err(|_| E::invalid_value(de::Unexpected::Unsigned(calls), &self))
        }

        fn visit_i64<E: de::Error>(self, calls: i64) -> Result<Window, E> {
            let wrong = || E::invalid_value(de::Unexpected::Signed(calls), &self);
            u64::try_from(calls).map_err(|_| wrong()).and_then(|calls| self.visit_u64(calls))
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<Window, E> {
            let span: Option<Duration> = duration::parse(text);
            let span = span.ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))?;
            Ok(Window::Time { span, buckets: BUCKETS })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> Judge {
        let criterion =
            Criterion { name: "polite".into(), weight: 1.0, description: "Is the assistant polite?".into() };
        let endpoint = "http://127.0.0.1:8000/v1".into();
        Judge { endpoint, model: "small".into(), criteria: vec![criterion], ..Judge::default() }
    }

    fn problems(judge: &Judge) -> Vec<String> {
        let mut found = Findings::default();
        validate(judge, Duration::from_secs(300), &mut found);
        found.into_problems().into_iter().map(|problem| problem.key).collect()
    }

    #[test]
    fn only_where_who_and_what_must_be_said() {
        assert_eq!(problems(&good()), [""; 0]);
        let missing = ["endpoint", "model", "criteria"].map(|key| format!("rewards.judge.{key}"));
        assert_eq!(problems(&Judge::default()), missing);
    }

    #[test]
    fn every_value_out_of_range_is_named() {
        let criterion = |name: &str, weight| Criterion { name: name.into(), weight, description: "so".into() };
        let judge = Judge {
            endpoint: "ftp://host".into(),
            api_key_env: Some("A=B".into()),
            criteria: vec![criterion("a b", 1.0), criterion("a", 0.0), criterion("a", 1.0)],
            max_score: 0,
            weight: 0.0,
            temperature: -1.0,
            max_tokens: 1,
            timeout: Duration::ZERO,
            concurrency: 0,
            attempts: 1,
            retry_budget: 1.5,
            ..good()
        };
        let keys = "endpoint api_key_env criteria.0.name criteria.1.weight criteria.2.name max_score weight temperature \
                    max_tokens timeout concurrency attempts retry_budget";
        let keys: Vec<String> = keys.split(' ').map(|key| format!("rewards.judge.{key}")).collect();
        assert_eq!(problems(&judge), keys);
    }

    #[test]
    fn a_breaker_must_be_able_to_open_and_to_be_noticed() {
        let breaker = Breaker {
            window: Window::Calls(4),
            min_calls: 5,
            failure_rate: 0.0,
            slow_rate: 1.5,
            open: Duration::from_secs(10),
            open_max: Duration::from_secs(300),
            probes: 0,
            ..Breaker::default()
        };
        let keys = "min_calls failure_rate slow_rate open_max probes".split(' ');
        let keys: Vec<String> = keys.map(|key| format!("rewards.judge.breaker.{key}")).collect();
        assert_eq!(problems(&Judge { breaker, ..good() }), keys);
    }

    #[test]
    fn a_window_is_a_number_of_calls_or_a_duration() {
        let read = |text: &str| serde_saphyr::from_str::<Breaker>(text).map(|breaker| breaker.window);
        assert_eq!(read("window: 30").unwrap(), Window::Calls(30));
        assert_eq!(read("window: 30s").unwrap(), Window::Time { span: Duration::from_secs(30), buckets: 20 });
        assert!(read("window: -3").is_err() && read("window: soon").is_err());
        for window in ["30", "30s"] {
            let written =
                serde_saphyr::to_string(&serde_saphyr::from_str::<Breaker>(&format!("window: {window}")).unwrap());
            assert!(written.unwrap().contains(&format!("window: {window}\n")));
        }
    }
}
