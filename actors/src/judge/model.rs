//! A model that judges: what it is asked, how carefully, and what it said before.

use std::future::{Future, Ready};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use stateset_domain::{Dependency, DependencyReading, Message, Trajectory};
use stateset_resilience::CallFailure;
use stateset_rewards::{Judgement, JudgementCache, Rubric, Score, question_digest};

use super::drift::{Anchor, Drift};
use crate::Guard;

/// Asks a model once, without retries or patience.
pub type Ask =
    Arc<dyn Fn(Vec<Message>) -> Pin<Box<dyn Future<Output = Result<String, CallFailure>> + Send>> + Send + Sync>;

/// What a [`ModelJudge`] is made of.
pub struct ModelJudgeSettings {
    /// What it looks at.
    pub rubric: Rubric,
    /// The model's name; with what it is asked it names a judgement.
    pub model: String,
    /// What its judgement, in `[0, 1]`, is worth beside the checks.
    pub weight: f32,
    /// Judgements that are remembered; 0 remembers none.
    pub remembered: usize,
}

/// Has finished episodes scored by a model.
pub struct ModelJudge {
    settings: ModelJudgeSettings,
    ask: Ask,
    guard: Guard,
    cache: Mutex<JudgementCache>,
    /// What was answered last.
    known: Mutex<Option<Vec<Message>>>,
    drift: Mutex<Drift>,
    asked: AtomicU64,
}

impl ModelJudge {
    /// A judge that asks through `guard`.
    #[must_use]
    pub fn new(settings: ModelJudgeSettings, ask: Ask, guard: Guard) -> Self {
        let cache = Mutex::new(JudgementCache::new(settings.remembered));
        Self { settings, ask, guard, cache, known: Mutex::default(), drift: Mutex::default(), asked: AtomicU64::new(0) }
    }

    /// What `trajectory` earned whose checks earned `checks`.
    ///
    /// # Errors
    /// [`CallFailure`] if the model refuses, does not judge this episode, or answers something else. Not if it is down: that is
    /// waited out.
    pub async fn score(&self, checks: Score, trajectory: &Trajectory) -> Result<Score, CallFailure> {
        let judgement = self.judge(trajectory).await?;
        Ok(judgement.on_top_of(checks, self.settings.weight))
    }

    async fn judge(&self, trajectory: &Trajectory) -> Result<Judgement, CallFailure> {
        let ModelJudgeSettings { rubric, model, .. } = &self.settings;
        let messages = rubric.messages(trajectory);
        let question = question_digest(model, &messages);
        if let Some(remembered) = lock(&self.cache).get(&question) {
            return Ok(remembered);
        }
        let canary = || {
            let known = lock(&self.known).clone()?;
            Some(async { self.ask(known).await.map(drop) })
        };
        let judgement = self.guard.call(|| self.attempt(&messages), canary).await?;
        lock(&self.cache).put(question, judgement.clone());
        lock(&self.drift).judged(&messages, judgement.total);
        *lock(&self.known) = Some(messages);
        Ok(judgement)
    }

    /// Makes a judgement again that was made before, if it is time for one, and says if the model has changed its mind. No episode waits
    /// for that.
    pub(super) async fn judge_again(&self) {
        let Some(Anchor { question, judged }) = lock(&self.drift).due() else { return };
        let again = self.guard.call(|| self.attempt(&question), || None::<Ready<_>>).await;
        // What is wrong with the model shows in what depends on its answers.
        let Ok(again) = again else { return };
        if let Some(drift) = lock(&self.drift).judged_again(judged, again.total) {
            self.guard.instruments().health.judge_drifted(drift);
        }
    }

    async fn attempt(&self, messages: &[Message]) -> Result<Judgement, CallFailure> {
        let answer = self.ask(messages.to_vec()).await?;
        self.settings.rubric.read(&answer).map_err(|error| CallFailure::Garbled(error.to_string()))
    }

    async fn ask(&self, messages: Vec<Message>) -> Result<String, CallFailure> {
        self.asked.fetch_add(1, Relaxed);
        (self.ask)(messages).await
    }

    /// How often the model was asked, and how often it did not need to be.
    #[must_use]
    pub fn asked_and_remembered(&self) -> (u64, u64) {
        (self.asked.load(Relaxed), lock(&self.cache).hits())
    }
}

impl Dependency for ModelJudge {
    fn read(&self) -> DependencyReading {
        self.guard.read()
    }
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
