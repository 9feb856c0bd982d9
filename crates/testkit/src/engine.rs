//! An engine that replies what a script says.

use std::sync::Arc;

use stateset_domain::{
    Completion, Digest, Engine, EngineError, Finish, Finished, GenerateRequest, NamedTensor, PolicySnapshot,
    PolicyVersion, Poll, Tokenizer,
};

use crate::CharTokenizer;

/// What to reply to a prompt, given as text, and its request.
type Script = Arc<dyn Fn(&str, &GenerateRequest) -> String + Send + Sync>;

/// Replies with the text that a closure returns, in characters, and ends each reply with the end token. Every request takes one step.
pub struct ScriptedEngine {
    script: Script,
    policy: Option<(PolicyVersion, Digest)>,
    live: Vec<GenerateRequest>,
}

impl ScriptedEngine {
    /// An engine that replies `script(prompt, request)`.
    pub fn new(script: impl Fn(&str, &GenerateRequest) -> String + Send + Sync + 'static) -> Self {
        Self { script: Arc::new(script), policy: None, live: Vec::new() }
    }

    fn complete(&self, request: GenerateRequest, version: PolicyVersion) -> Result<Finished, EngineError> {
        let text = |ids: &[u32]| CharTokenizer.decode(ids).map_err(|error| EngineError::Compute(error.to_string()));
        let reply = (self.script)(&text(&request.tokens)?, &request);
        let mut tokens = CharTokenizer.encode(&reply).map_err(|error| EngineError::Compute(error.to_string()))?;
        tokens.push(CharTokenizer::END);
        let finish = if tokens.len() > request.sampling.max_tokens { Finish::Length } else { Finish::Stop };
        tokens.truncate(request.sampling.max_tokens);
        let log_probs = (0..tokens.len() as u64).map(|at| -(request.stream.uniform_at(at) as f32)).collect();
        Ok(Finished { id: request.id, completion: Completion { tokens, log_probs, version, finish } })
    }
}

impl Engine for ScriptedEngine {
    fn load(&mut self, snapshot: &PolicySnapshot) -> Result<Digest, EngineError> {
        let digest = PolicySnapshot::digest_of(snapshot.tensors());
        self.policy = Some((snapshot.version(), digest));
        Ok(digest)
    }

    fn submit(&mut self, request: GenerateRequest) -> Result<(), EngineError> {
        if request.tokens.is_empty() || request.sampling.max_tokens == 0 {
            return Err(EngineError::Request("there is nothing to continue, or no room to do so".into()));
        }
        self.live.push(request);
        Ok(())
    }

    fn step(&mut self) -> Result<Poll, EngineError> {
        let (version, _) = self.policy.ok_or_else(|| EngineError::Compute("no weights are loaded".into()))?;
        let live = std::mem::take(&mut self.live);
        let finished = live.into_iter().map(|request| self.complete(request, version)).collect::<Result<_, _>>()?;
        Ok(Poll { finished, live: 0 })
    }

    fn release(&mut self, conversation: u64) {
        self.live.retain(|request| request.conversation != conversation);
    }
}

/// Loads other weights than it is given, and says so.
pub struct DeafEngine(pub ScriptedEngine);

impl Engine for DeafEngine {
    fn load(&mut self, snapshot: &PolicySnapshot) -> Result<Digest, EngineError> {
        let tensor = NamedTensor { name: "other".into(), shape: vec![0], data: Arc::new([]) };
        self.0.load(&PolicySnapshot::new(snapshot.version(), vec![tensor]))
    }

    fn submit(&mut self, request: GenerateRequest) -> Result<(), EngineError> {
        self.0.submit(request)
    }

    fn step(&mut self) -> Result<Poll, EngineError> {
        self.0.step()
    }

    fn release(&mut self, conversation: u64) {
        self.0.release(conversation);
    }
}
