//! Every family trains: all of its weights, and an adapter on them. The checkpoints are small and random, so what they are rewarded for is
//! what they can do: to speak in letters of the first half of the alphabet.

use std::path::PathBuf;

use stateset_agents::Runtime;
use stateset_agents::prelude::{FnReward, Trajectory};
use stateset_domain::Digest;
use stateset_models::{Autograd, HostWeights, PackedBatch};

use crate::lab::{Lab, expect, here, small, stateset, stderr, stdout, steps};

/// All but two variants whose sequences end at 16 tokens, where a customer has not said hello.
const FAMILIES: [&str; 15] = [
    "gemma2",
    "gemma3",
    "gpt_oss",
    "llama",
    "llama2",
    "llama_sharded",
    "llama_yarn",
    "mistral",
    "olmo2",
    "phi3",
    "qwen2",
    "qwen3",
    "qwen3_moe",
    "smollm2",
    "smollm3",
];

/// Nats between what the engine samples by and what the learner computes.
const GAP: f64 = 1e-4;

fn folder(family: &str) -> PathBuf {
    here().join("../parity/models/fixtures").join(family)
}

fn early_letters(episode: &Trajectory) -> f32 {
    let replies = episode.messages.iter().filter(|message| message.role == stateset_domain::Role::Assistant);
    let letters: Vec<char> = replies.flat_map(|reply| reply.content.chars()).collect();
    letters.iter().filter(|letter| ('a'..='m').contains(*letter)).count() as f32 / letters.len().max(1) as f32
}

/// Five steps of `family`; the lab it is in, and the digest of what came out.
async fn trained(family: &str, lora: bool) -> (Lab, Digest) {
    let lab = Lab::new();
    let output = serde_json::Value::from(lab.runs().to_str().unwrap());
    let mut sets = vec![
        format!("run.output_dir={output}"),
        format!("agent.model={}", folder(family).display()),
        "agent.sampling.max_tokens=6".into(),
        "evaluation.episodes=1".into(),
        "training.steps=5".into(),
    ];
    if lora {
        sets.extend(["training.lora.rank=4".into(), "training.learning_rate=1e-2".into()]);
    }
    let runtime = Runtime::builder().config_file(small(), &sets).unwrap().reward(FnReward(early_letters));
    let summary = runtime.build().unwrap().run().await.unwrap().summary;
    assert_eq!((summary.steps, summary.restarts), (5, 0), "{family}");
    for step in steps(&lab.run()) {
        let number = |key: &str| step[key].as_f64().unwrap_or(f64::NAN);
        assert!(number("loss").is_finite() && number("grad_norm") > 0.0, "{family}: {step}");
        assert!(number("log_prob_gap") < GAP, "{family}: {step}");
    }
    (lab, summary.policy_digest)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_family_trains_whole_and_by_an_adapter() {
    for family in FAMILIES {
        let base = stateset_agents::model::load(folder(family).to_str().unwrap()).unwrap();
        let base = stateset_domain::PolicySnapshot::digest_of(&base.weights.to_tensors());
        let ((_, whole), (_, adapted)) = (trained(family, false).await, trained(family, true).await);
        assert!(whole != base && adapted != base && whole != adapted, "{family}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_adapter_has_learnt_leaves_as_an_adapter_and_as_weights() {
    let (lab, digest) = trained("qwen2", true).await;
    let out = |name: &str| lab.runs().join(name);
    let export = |name: &str| {
        let mut command = stateset();
        command.arg("export").arg(lab.runs().join("small")).arg("--output-dir").arg(out(name));
        command
    };
    expect(0, &mut export("adapter"));
    expect(0, export("merged").arg("--merge"));
    expect(0, export("halved").args(["--merge", "--dtype", "bf16"]));
    let load = |name: &str| stateset_agents::model::load(out(name).to_str().unwrap()).unwrap();
    let merged = load("merged");
    let config = std::fs::read_to_string(out("halved").join("config.json")).unwrap();
    assert!(config.contains("\"bfloat16\""), "{config}");
    assert!(
        load("halved").weights.values.iter().zip(merged.weights.values.iter()).all(|(a, b)| a
            .to_f32()
            .iter()
            .zip(&*b.to_f32())
            .all(|(a, b)| (a - b).abs() <= b.abs() / 256.0))
    );
    let base = load(folder("qwen2").to_str().unwrap());
    let files = ["adapter_config.json", "adapter_model.safetensors"].map(|name| stateset_domain::Artifact {
        name: name.into(),
        bytes: std::fs::read(out("adapter").join(name)).unwrap(),
    });
    let adapter = stateset_models::HostAdapter::from_files(&base.weights.config, &files).unwrap();
    assert_eq!(stateset_domain::PolicySnapshot::digest_of(&adapter.to_tensors()), digest);
    let same = |a: &HostWeights, b: &HostWeights| a.to_tensors() == b.to_tensors();
    assert!(same(&adapter.merged(&base.weights), &merged.weights));
    assert!(same(&load("adapter").weights, &merged.weights), "an adapter's folder is a model too");
    let told = stderr(&expect(1, &mut export("adapter")));
    assert!(told.contains("exists already"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_adapter_is_kept_apart_from_its_model_and_misses_it_when_it_changes() {
    let lab = Lab::new();
    let model = lab.runs().join("model");
    std::fs::create_dir_all(&model).unwrap();
    for name in ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"] {
        std::fs::copy(folder("qwen2").join(name), model.join(name)).unwrap();
    }
    let named = format!("agent.model={}", model.display());
    let sets = [&named, "training.lora.rank=2", "training.steps=2", "agent.sampling.max_tokens=6"];
    expect(0, lab.train().args(sets.iter().flat_map(|set| ["--set", set])));
    let checkpoint = lab.runs().join("small/checkpoints/step-000002");
    assert!(!checkpoint.join("model.safetensors").exists() && checkpoint.join("adapter_model.safetensors").exists());
    let evaluate = || {
        let mut command = stateset();
        command.arg("evaluate").arg(lab.runs().join("small")).args(["--num-episodes", "4"]);
        command
    };
    expect(0, &mut evaluate());
    let weights = std::fs::read(model.join("model.safetensors")).unwrap();
    let mut others = weights.clone();
    *others.last_mut().unwrap() ^= 1;
    std::fs::write(model.join("model.safetensors"), others).unwrap();
    let told = stderr(&expect(1, &mut evaluate()));
    assert!(told.contains("not those that the adapter was learnt on"), "{told}");
    std::fs::remove_file(model.join("model.safetensors")).unwrap();
    let told = stderr(&expect(1, &mut evaluate()));
    assert!(told.contains(&format!("cannot load {}, which the adapter is for", model.display())), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_learns_an_adapter_goes_on_as_if_it_had_never_stopped() {
    let at_once = {
        let lab = Lab::new();
        expect(0, lab.train().args(LORA));
        stateset_agents::read_result(&lab.run()).unwrap().policy_digest
    };
    let lab = Lab::new();
    expect(0, lab.train().args(LORA).args(["--set", "training.steps=6"]));
    std::fs::remove_dir_all(lab.runs().join("small/checkpoints/step-000006")).unwrap();
    expect(0, lab.resume().args(LORA));
    assert_eq!(stateset_agents::read_result(&lab.run()).unwrap().policy_digest, at_once);
}

/// The environment that `tests/parity/setup.sh` makes, or the one that `PARITY_PYTHON` names.
fn python() -> PathBuf {
    std::env::var_os("PARITY_PYTHON").map_or_else(|| here().join("../../target/parity/venv/bin/python"), PathBuf::from)
}

/// The logits that we compute after every token of a family's sequence, and the sequence, as `check_ours.py` reads them.
fn answers(model: &HostWeights, ids: &[u32]) -> String {
    let mut batch = PackedBatch::default();
    batch.push(&[ids, &[0]].concat(), &vec![true; ids.len() + 1]);
    let autograd = Autograd::new(model).unwrap();
    let logits = autograd.logits(&autograd.states(&batch).unwrap()).unwrap().to_vec2::<f32>().unwrap();
    serde_json::json!({ "ids": ids, "logits": logits }).to_string()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs torch, transformers and PEFT: tests/parity/setup.sh"]
async fn peft_and_transformers_load_what_we_have_learnt_and_answer_alike() {
    for family in FAMILIES {
        let (lab, _) = trained(family, true).await;
        let out = |name: &str| lab.runs().join(name);
        let export = |name: &str, more: &[&str]| {
            let run = lab.runs().join("small");
            expect(0, stateset().arg("export").arg(run).arg("--output-dir").arg(out(name)).args(more));
        };
        export("adapter", &[]);
        export("merged", &["--merge"]);
        let merged = stateset_agents::model::load(out("merged").to_str().unwrap()).unwrap();
        let ids: Vec<u32> = (0..24).map(|i| (i * 37 + 11) % merged.weights.config.vocab_size as u32).collect();
        std::fs::write(out("answers.json"), answers(&merged.weights, &ids)).unwrap();
        let check = |kind: &str, folders: &[PathBuf]| {
            let mut command = std::process::Command::new(python());
            command.arg(here().join("../parity/models/check_ours.py")).arg(kind).args(folders).arg(out("answers.json"));
            eprintln!("{family}, {kind}: {}", stdout(&expect(0, &mut command)).trim());
        };
        check("adapter", &[folder(family), out("adapter")]);
        check("merged", &[out("merged")]);
    }
}

const LORA: [&str; 2] = ["--set", "training.lora.rank=4"];
