//! The learner, from what was sampled to weights on disk.

// Clippy lets only functions marked #[test] unwrap, not what they call.
#![allow(clippy::unwrap_used)]

mod actor_critic;
mod adjustments;
mod algorithms;
mod checkpoints;
mod credit;
mod entropy;
mod failures;
mod families;
mod forks;
#[cfg(feature = "shim")]
mod gpu;
mod kl;
mod learning;
mod offline;
mod persistence;
mod rollout;
mod staleness;
mod step;
mod supervised;
mod update;

use std::sync::LazyLock;

use stateset_algorithms::staleness::Rule;
use stateset_algorithms::{Answer, Grpo, Schedule, Staleness};
use stateset_domain::{
    Artifact, EpisodeId, Group, GroupId, Learner, PolicyVersion, Purpose, Role, StepReport, Stream, Trajectory,
};
use stateset_models::{HostWeights, LlamaConfig, ModelConfig, Pretrained, train_tokenizer, write_tensors};
use stateset_training::{LearnerSettings, Objective, OptimizerSettings, PolicyLearner};

fn config(vocab_size: usize) -> ModelConfig {
    llama(vocab_size).decoder().unwrap()
}

fn llama(vocab_size: usize) -> LlamaConfig {
    LlamaConfig {
        architectures: vec!["LlamaForCausalLM".into()],
        model_type: "llama".into(),
        vocab_size,
        hidden_size: 32,
        intermediate_size: 48,
        num_hidden_layers: 2,
        num_attention_heads: 4,
        num_key_value_heads: 2,
        max_position_embeddings: 160,
        rms_norm_eps: 1e-5,
        rope_theta: 10_000.0,
        tie_word_embeddings: true,
        hidden_act: "silu".into(),
        attention_bias: false,
        mlp_bias: false,
        rope_scaling: None,
        eos_token_id: 0,
        torch_dtype: "float32".into(),
    }
}

const SPECIAL: [&str; 5] = ["<|system|>", "<|user|>", "<|assistant|>", "<|tool|>", "<|end|>"];
const VOCAB: usize = 288;

fn model(llama: &LlamaConfig) -> Pretrained {
    let texts = ["where is my order".to_string(), "please send the order again".into()];
    let weights = HostWeights::random(&llama.decoder().unwrap(), 0.15, Stream::new(1));
    let file = |name: &str, bytes| Artifact { name: name.into(), bytes };
    let files = vec![
        file("config.json", serde_json::to_vec(llama).unwrap()),
        file("tokenizer.json", train_tokenizer(&texts, &SPECIAL, VOCAB).unwrap()),
        file("model.safetensors", write_tensors(&weights.to_tensors()).unwrap()),
    ];
    Pretrained::from_files(files).unwrap()
}

/// The policy that every test starts from.
static BASE: LazyLock<Pretrained> = LazyLock::new(|| model(&llama(VOCAB)));

fn settings() -> LearnerSettings {
    LearnerSettings {
        objective: Objective::Grpo(Grpo::default()),
        total_steps: 10,
        learning_rate: 1e-3,
        schedule: Schedule::default(),
        staleness: Staleness { rule: Rule::Keep, ..Staleness::default() },
        optimizer: OptimizerSettings::default(),
        temperature: 1.0,
        micro_batch_tokens: 128,
        activation_checkpointing: false,
        adapter: None,
        undoable: false,
    }
}

fn grpo(settings: &mut LearnerSettings) -> &mut Grpo {
    match &mut settings.objective {
        Objective::Grpo(grpo) => grpo,
        Objective::Dpo(_) | Objective::ActorCritic(_) | Objective::Sft(_) => panic!("not GRPO"),
    }
}

fn learner(change: impl FnOnce(&mut LearnerSettings)) -> PolicyLearner {
    let mut settings = settings();
    change(&mut settings);
    PolicyLearner::new(BASE.clone(), settings).unwrap()
}

/// Settings under which an update is the gradient itself, or nearly: `g / (1 + |g|)`.
fn plain_descent(settings: &mut LearnerSettings) {
    settings.learning_rate = 1.0;
    settings.optimizer =
        OptimizerSettings { betas: (0.0, 0.0), epsilon: 1.0, max_grad_norm: 1e9, ..Default::default() };
}

/// A conversation of two replies among tokens of others; its tokens depend on `index` and `member` alone.
fn trajectory(index: u32, member: u32, reward: f32) -> Trajectory {
    let group = GroupId { purpose: Purpose::Train, step: 1, index };
    let episode = EpisodeId { group, member };
    let mut stream = episode.stream(3);
    let mut trajectory = Trajectory::new(episode, "made-up");
    for _ in 0..2 {
        let mut draw = || -> Vec<u32> { (0..2 + stream.below(9)).map(|_| stream.below(VOCAB) as u32).collect() };
        trajectory.push_context(Role::User, &draw());
        let sampled = draw();
        trajectory.push_sampled(&[2], &sampled, &vec![-5.0; sampled.len()], PolicyVersion(0), &[4]);
    }
    trajectory.push_context(Role::User, &[9, 8, 7]);
    trajectory.reward = Some(reward);
    trajectory
}

fn group(index: u32, rewards: &[f32]) -> Group {
    let members = rewards.iter().enumerate().map(|(member, reward)| trajectory(index, member as u32, *reward));
    Group { id: GroupId { purpose: Purpose::Train, step: 1, index }, members: members.collect() }
}

/// Two groups in which every member has credit.
fn groups() -> Vec<Group> {
    vec![group(0, &[1.0, 0.0, 0.25, 0.0]), group(1, &[0.0, 0.5, 1.0])]
}

/// The weights after one step on `groups`, which must not be skipped.
fn stepped(mut learner: PolicyLearner, groups: &[Group]) -> (Vec<f32>, StepReport) {
    let report = learner.step(groups).unwrap();
    assert!(!report.skipped);
    (flat(&learner), report)
}

/// Every weight, end to end.
fn flat(learner: &PolicyLearner) -> Vec<f32> {
    learner.snapshot().unwrap().tensors().iter().flat_map(|tensor| tensor.data.to_vec()).collect()
}

/// The norm of `a - b`.
fn distance(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>().sqrt()
}

/// What the members of a group are credited by default.
fn advantages(group: &Group) -> Vec<f64> {
    let answer = |reward: &f64| Answer { reward: *reward, tokens: 1 };
    Grpo::default().advantage.estimate(&[group.rewards().iter().map(answer).collect()]).concat()
}
