//! What a run's file may say.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use stateset_actors::policy::{AutoAdjust, Profile};
use stateset_algorithms::staleness::Rule;
use stateset_algorithms::{A2c, Algorithm, Critic, Dpo, Grpo, ImportanceSampling, Ppo, Schedule, Sft, Trpo};
use stateset_domain::Sampling;
use stateset_training::OptimizerKind;

use crate::device::Device;

use super::{EarlyStopping, Judge, Lora, Policy, Rollouts, Supervision, Topology, size};

/// A run. Every key has a default except `environment.domain`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Which revision of this format the file is written in. Only 1 exists.
    pub version: u32,
    /// The run as a whole.
    pub run: Run,
    /// The policy and how it speaks.
    pub agent: Agent,
    /// The world it is trained in.
    pub environment: Environment,
    /// How an episode becomes its reward.
    pub rewards: Rewards,
    /// How rewards become a better policy.
    pub training: Training,
    /// How the policy is measured, before and after.
    pub evaluation: Evaluation,
    /// Health rules, beside the standard ones. Default: none.
    pub policies: Vec<Policy>,
    /// What happens when something fails.
    pub supervision: Supervision,
    /// Who restarts whom, and who reaches whom.
    pub topology: Topology,
    /// What is printed.
    pub logging: Logging,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            version: 1,
            run: Run::default(),
            agent: Agent::default(),
            environment: Environment::default(),
            rewards: Rewards::default(),
            training: Training::default(),
            evaluation: Evaluation::default(),
            policies: Vec::new(),
            supervision: Supervision::default(),
            topology: Topology::default(),
            logging: Logging::default(),
        }
    }
}

/// The run as a whole.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Run {
    /// Names the run and its folder; letters, digits, `-`, `_` and `.`. Default: the file's name without its ending.
    pub name: String,
    /// Every random choice follows from it. Any whole number; the default 0 is as good as another.
    pub seed: u64,
    /// The folder that holds the runs' folders. Default `runs`.
    pub output_dir: PathBuf,
    /// Where the policy is computed: `cpu` (default), `cuda` (the first NVIDIA GPU, in a program built with `--features cuda`), or `auto` (a
    /// GPU if it can be used for all that is asked for, else the CPU, which is told).
    pub device: Device,
    /// The most that `events.jsonl` may take on disk, and `metrics.jsonl` too: beyond it the oldest lines go. At least `64KiB`; default
    /// `64MiB`.
    #[serde(with = "size")]
    pub log_size: u64,
}

impl Default for Run {
    fn default() -> Self {
        Self { name: String::new(), seed: 0, output_dir: "runs".into(), device: Device::default(), log_size: 64 << 20 }
    }
}

/// The policy and how it speaks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Agent {
    /// `builtin:tiny` (default: trains on two CPU cores in minutes), a folder with `config.json`, safetensors
    /// and `tokenizer.json`, or `org/name` of the Hugging Face hub, at a revision with `org/name@revision`.
    pub model: String,
    /// Standing instructions that open every conversation. Default: none.
    pub system: Option<String>,
    /// How the next token is chosen, in training and in the sampled evaluation.
    pub sampling: Sampling,
    /// The longest conversation, in tokens; an episode that outgrows it fails. At least 16; default 512, what the built-in policy holds.
    pub max_context: usize,
}

impl Default for Agent {
    fn default() -> Self {
        Self { model: "builtin:tiny".into(), system: None, sampling: Sampling::default(), max_context: 512 }
    }
}

/// The world the policy is trained in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Environment {
    /// The domain's YAML file, looked for beside this file, then in the working directory. Required.
    pub domain: PathBuf,
    /// Which of the domain's rungs (how long and how hard an episode is). Default `standard`.
    pub rung: String,
}

impl Default for Environment {
    fn default() -> Self {
        Self { domain: PathBuf::new(), rung: "standard".into() }
    }
}

/// How an episode becomes its reward: a weighted sum of its checks and, if there is a judge, of what that says. The defaults keep what the
/// checks earn within `[0, 1]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Rewards {
    /// What an episode earns in which every check passed. At least 0; default 0.5, as much as all turns together.
    pub success_weight: f32,
    /// What is earned by the share of turns that passed. At least 0; default 0.5, so that half a success is worth something early on.
    pub turn_weight: f32,
    /// A model that judges episodes, besides the checks. Default: none.
    pub judge: Option<Judge>,
}

impl Default for Rewards {
    fn default() -> Self {
        Self { success_weight: 0.5, turn_weight: 0.5, judge: None }
    }
}

/// How rewards become a better policy.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Training {
    /// The algorithm: `grpo` (default), `dr_grpo`, `dapo`, `gspo`, `gspo_token`, `cispo`, `sapo`, `gmpo`, `rloo`, `reinforce_pp`,
    /// `reinforce_pp_baseline`, `raft`, `ppo`, `a2c`, `trpo`, `dpo` or `sft`. It gives defaults to the sections that it looks at when a file is
    /// read, and refuses what is set in others.
    pub algorithm: Algorithm,
    /// A manner of training: `none` (default), `conservative`, `balanced`, `aggressive`, or `auto`, which plays a few episodes and
    /// chooses one. It gives defaults to other keys when a file is read, and limits to the standard health rules.
    pub profile: Profile,
    /// Which health rules act by themselves: `never` any, `faults` (default: those for what no healthy run does, and those of
    /// `policies`), or `always` all.
    pub auto_adjust: AutoAdjust,
    /// When the run ends early.
    pub early_stopping: EarlyStopping,
    /// Optimizer steps. At least 1; default 60.
    pub steps: u64,
    /// Scenarios a step. At least 1; default 16: enough that a step's direction is more signal than luck.
    pub groups_per_step: u32,
    /// Episodes for each scenario, compared with one another. At least 2; default 8.
    pub group_size: u32,
    /// How often, at the most, groups whose rewards are all equal are made up for before a step by as many further ones, of other scenarios;
    /// such groups are then not learned from. 0 (default) never: they take their place in the batch.
    pub max_resamples: u32,
    /// Step size of the optimizer, once warmed up. Above 0, at most 1; default 3e-4, which suits a model of a million parameters.
    pub learning_rate: f64,
    /// The learning rate's course.
    pub schedule: Schedule,
    /// Settings of GRPO and its relatives.
    pub grpo: Grpo,
    /// Settings of PPO.
    pub ppo: Ppo,
    /// Settings of A2C.
    pub a2c: A2c,
    /// Settings of TRPO.
    pub trpo: Trpo,
    /// The critic of those three.
    pub critic: Critic,
    /// Settings of DPO.
    pub dpo: Dpo,
    /// Settings of supervised fine-tuning. It samples no episodes, as DPO does not on pairs from a file: what is said about those is then
    /// refused.
    pub sft: Sft,
    /// Whether episodes are sampled while the learner takes a step: `synchronous` (default: the result is a function of the seed) or
    /// `asynchronous`.
    pub rollouts: Rollouts,
    /// How many versions older than the learner a token may be when it is learned from, in an asynchronous run: so many further rounds are
    /// sampled meanwhile. At least 1; default 1, where sampler and learner are never far apart.
    pub max_staleness: u64,
    /// What becomes of tokens that an older policy sampled: `drop`, `truncate` (default: they count by their importance ratio, cut off) or
    /// `keep`.
    pub staleness: Rule,
    /// How the importance ratio of a stale token becomes its weight, under `truncate`.
    pub importance_sampling: ImportanceSampling,
    /// What moves the weights by their gradients: `adamw` (default) or `rmsprop`, which heeds the second of `betas` only.
    pub optimizer: OptimizerKind,
    /// How strongly AdamW pulls weights to 0, per step and unit of learning rate. At least 0; default 0: a short run forgets nothing
    /// that it should.
    pub weight_decay: f64,
    /// How slowly AdamW's means of gradient and squared gradient move. Each in `[0, 1)`; default 0.9 and 0.95, as for language models.
    pub betas: [f64; 2],
    /// Keeps AdamW from dividing by 0. Above 0; default 1e-8.
    pub epsilon: f64,
    /// Gradients with a larger norm are scaled down to it. Above 0; default 1.
    pub max_grad_norm: f64,
    /// Tokens that go through the trainer at once; bounds its memory, not the result's meaning. At least 1; default 8192.
    pub micro_batch_tokens: usize,
    /// Whether the trainer keeps only the input of each block for the way back, and computes the block again: less memory, a third more
    /// arithmetic, the same weights. Default false.
    pub activation_checkpointing: bool,
    /// What the run may take of memory, such as `20GiB`. It takes the place of `micro_batch_tokens`: as many tokens go through the trainer at
    /// once as fit, and `activation_checkpointing` is turned on if nothing fits without it. Above 0. Default: no budget.
    #[serde(with = "size::optional")]
    pub memory_budget: Option<u64>,
    /// An adapter that is learnt in place of the weights. Default: none, and the weights are learnt.
    pub lora: Option<Lora>,
    /// Steps between two checkpoints; the last step always has one. At least 1; default 10.
    pub save_every: u64,
    /// How many checkpoints are kept, newest first. At least 1; default 3.
    pub keep_checkpoints: usize,
    /// Steps between two evaluations along the way. 0 (default) evaluates only the base and the final policy.
    pub eval_every: u64,
}

impl Default for Training {
    fn default() -> Self {
        Self {
            algorithm: Algorithm::Grpo,
            profile: Profile::None,
            auto_adjust: AutoAdjust::Faults,
            early_stopping: EarlyStopping::default(),
            steps: 60,
            groups_per_step: 16,
            group_size: 8,
            max_resamples: 0,
            learning_rate: 3e-4,
            schedule: Schedule::default(),
            grpo: Grpo::default(),
            ppo: Ppo::default(),
            a2c: A2c::default(),
            trpo: Trpo::default(),
            critic: Critic::default(),
            dpo: Dpo::default(),
            sft: Sft::default(),
            rollouts: Rollouts::default(),
            max_staleness: 1,
            staleness: Rule::default(),
            importance_sampling: ImportanceSampling::default(),
            optimizer: OptimizerKind::AdamW,
            weight_decay: 0.0,
            betas: [0.9, 0.95],
            epsilon: 1e-8,
            max_grad_norm: 1.0,
            micro_batch_tokens: 8192,
            activation_checkpointing: false,
            memory_budget: None,
            lora: None,
            save_every: 10,
            keep_checkpoints: 3,
            eval_every: 0,
        }
    }
}

/// How the policy is measured, before and after.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Evaluation {
    /// Held-out scenarios, each played once sampled and once greedily. At least 1; default 256, which tells rates apart that differ by
    /// about 9 points.
    pub episodes: u32,
}

impl Default for Evaluation {
    fn default() -> Self {
        Self { episodes: 256 }
    }
}

/// What is printed.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Logging {
    /// The least important lines that are still printed: `error`, `warn`, `info` (default), `debug` or `trace`.
    pub level: Verbosity,
}

/// How much is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verbosity {
    /// Only what broke.
    Error,
    /// And what looks wrong.
    Warn,
    /// And what a person following the run wants to know.
    #[default]
    Info,
    /// And what explains it.
    Debug,
    /// And every message.
    Trace,
}
