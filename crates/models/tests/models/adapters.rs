//! Adapters: PEFT's answers and gradients with PEFT's files, and merged weights that answer alike.

use candle_core::Result;
use stateset_domain::{Artifact, Stream};
use stateset_kernels::cpu::Row;
use stateset_models::{
    ADAPTER_CONFIG, ADAPTER_WEIGHTS, AdapterError, Autograd, Decode, HostAdapter, HostWeights, LoraConfig, PackedBatch,
    Pretrained, Recording, ServedWeights, Targets,
};

use crate::fixture::{ALL, Expected, assert_near, folder, load};

fn files(family: &str) -> Vec<Artifact> {
    let read = |name: &str| {
        let bytes = std::fs::read(folder(family).join("adapter").join(name)).unwrap();
        Artifact { name: name.into(), bytes }
    };
    [ADAPTER_CONFIG, ADAPTER_WEIGHTS].map(read).to_vec()
}

/// Every family that has an adapter of a kind that is supported, with it; and how far its sequences may go.
fn adapted() -> impl Iterator<Item = (&'static str, Pretrained, HostAdapter)> {
    ALL.into_iter().filter(|family| *family != "llama_yarn").map(|family| {
        let model = load(family);
        let adapter = HostAdapter::from_files(&model.weights.config, &files(family));
        (family, model, adapter.unwrap_or_else(|error| panic!("{family}: {error}")))
    })
}

fn batch(ids: &[u32]) -> PackedBatch {
    let mut batch = PackedBatch::default();
    batch.push(ids, &vec![true; ids.len()]);
    batch
}

/// The logits after every token but the last.
fn logits(weights: &HostWeights, adapter: Option<&HostAdapter>, ids: &[u32]) -> Result<Vec<f32>> {
    let model = match adapter {
        Some(adapter) => Autograd::adapted(weights, adapter.clone())?,
        None => Autograd::new(weights)?,
    };
    model.logits(&model.states(&batch(ids))?)?.flatten_all()?.to_vec1()
}

#[test]
fn an_adapter_of_peft_answers_as_in_peft_on_the_weights_and_in_them_and_when_it_generates() -> Result<()> {
    for (family, model, adapter) in adapted() {
        let ids = Expected::of(family).ids("ids");
        if ids.len() > model.weights.config.max_position_embeddings {
            continue;
        }
        let right = Expected::read(&folder(family).join("adapter/expected.safetensors"));
        let right = &right.floats("adapter_logits")[..(ids.len() - 1) * model.weights.config.vocab_size];
        assert_near(family, &logits(&model.weights, Some(&adapter), &ids)?, right, 1e-4);
        let served = ServedWeights::of(&model.weights).adapted(&adapter);
        let rows: Vec<Row> = (0..ids.len() - 1).map(|position| Row { position, slot: 0 }).collect();
        let all: Vec<usize> = (0..rows.len()).collect();
        let decoded = Decode::new(&model.weights.config, 1, 32).step(&served, &ids[..rows.len()], &rows, &all);
        assert_near(&format!("{family}, generating"), &decoded, right, 1e-4);
        let merged = adapter.merged(&model.weights);
        assert_near(&format!("{family}, merged"), &logits(&merged, None, &ids)?, right, 1e-4);
    }
    Ok(())
}

/// The gradients of the factors, from those of log-probabilities that were scored.
fn gradients(model: &Autograd, mut recording: Recording, along: &[f32]) -> Result<Vec<Vec<f32>>> {
    let mut sums: Vec<Vec<f32>> = model.learnt().iter().map(|it| vec![0.0; it.len()]).collect();
    recording.pull_scores((along, &vec![0.0; along.len()]), &mut sums)?;
    recording.backward(&mut sums)?;
    Ok(sums)
}

#[test]
fn gradients_of_the_factors_are_those_of_torch_and_nothing_else_has_one() -> Result<()> {
    for (family, model, adapter) in adapted() {
        let expected = Expected::of(family);
        let ids = expected.ids("ids");
        if ids.len() > model.weights.config.max_position_embeddings {
            continue;
        }
        let (batch, model) = (batch(&ids), Autograd::adapted(&model.weights, adapter)?);
        let mut recording = model.record(&batch)?;
        let along = &expected.floats("coefficients")[1..];
        recording.score(1.0)?;
        let sums = gradients(&model, recording, along)?;
        let right = Expected::read(&folder(family).join("adapter/gradients.safetensors"));
        assert_eq!(right.all().len(), sums.len(), "{family}");
        for (learnt, sum) in model.learnt().iter().zip(&sums) {
            assert_near(&format!("{family}: {}", learnt.name), sum, right.floats(&learnt.name), 1e-3);
        }
    }
    Ok(())
}

#[test]
fn an_adapter_survives_its_files() {
    for (family, model, adapter) in adapted() {
        let config = &model.weights.config;
        let back = HostAdapter::from_files(config, &adapter.to_files("base").unwrap()).unwrap();
        assert_eq!((back.factors, back.config.scale()), (adapter.factors, adapter.config.scale()), "{family}");
    }
}

#[test]
fn a_fresh_adapter_changes_nothing_and_depends_on_its_stream_alone() -> Result<()> {
    let (model, ids) = (load("qwen3"), Expected::of("qwen3").ids("ids"));
    let config = |targets| LoraConfig { rank: 3, alpha: 6.0, stabilised: false, dropout: 0.0, targets };
    let fresh = |seed, targets| HostAdapter::fresh(&model.weights.config, config(targets), Stream::new(seed)).unwrap();
    let adapter = fresh(1, Targets::AllLinear);
    assert_eq!(logits(&model.weights, Some(&adapter), &ids)?, logits(&model.weights, None, &ids)?);
    assert_eq!(adapter, fresh(1, Targets::AllLinear));
    assert_ne!(adapter, fresh(2, Targets::AllLinear));
    // Two layers of q, k, v and o; three more of the feed-forward.
    assert_eq!(fresh(1, Targets::Attention).factors.len(), 8);
    assert_eq!(adapter.factors.len(), 14);
    Ok(())
}

#[test]
fn dropout_has_the_gradient_of_what_it_left_in_and_nothing_is_left_out_without_draws() -> Result<()> {
    let (model, ids) = (load("qwen3"), Expected::of("qwen3").ids("ids"));
    let mut adapter = HostAdapter::from_files(&model.weights.config, &files("qwen3")).unwrap();
    let plain = Autograd::adapted(&model.weights, adapter.clone())?;
    adapter.config.dropout = 0.4;
    let (batch, draws) = (batch(&ids), Stream::new(7));
    let total = |[log_probs, _]: [Vec<f32>; 2]| log_probs.iter().copied().map(f64::from).sum::<f64>();
    let value = |adapter: &HostAdapter| -> Result<f64> {
        let model = Autograd::adapted(&model.weights, adapter.clone())?;
        Ok(total(model.record_dropping(&batch, Some(draws))?.score(1.0)?))
    };
    let dropping = Autograd::adapted(&model.weights, adapter.clone())?;
    let whole = total(plain.log_probs(&batch, 1.0)?);
    assert_eq!(total(dropping.log_probs(&batch, 1.0)?), whole);
    assert_eq!(value(&adapter)?, value(&adapter)?);
    assert!((value(&adapter)? - whole).abs() > 1e-3, "something is left out");
    let mut recording = dropping.record_dropping(&batch, Some(draws))?;
    recording.score(1.0)?;
    let sums = gradients(&dropping, recording, &vec![1.0; batch.targets.len()])?;
    for (at, pair) in sums.chunks(2).enumerate() {
        let length = pair.iter().flatten().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
        let moved = |by: f64| {
            let (mut moved, step) = (adapter.clone(), by / length);
            let nudge = |x: &mut f32, d: &f32| *x = (f64::from(*x) + step * f64::from(*d)) as f32;
            moved.factors[at].a.iter_mut().zip(&pair[0]).for_each(|(x, d)| nudge(x, d));
            moved.factors[at].b.iter_mut().zip(&pair[1]).for_each(|(x, d)| nudge(x, d));
            value(&moved)
        };
        let slope = (moved(4e-3)? - moved(-4e-3)?) / 8e-3;
        assert!(
            (slope - length).abs() < 0.02 * length + 5e-3,
            "{}: {slope} is not {length}",
            adapter.factors[at].module()
        );
    }
    Ok(())
}

#[test]
fn what_an_adapter_asks_for_in_vain_is_named() {
    let config = load("qwen3").weights.config;
    let refused = |field: &str, value: serde_json::Value| {
        let mut files = files("qwen3");
        let mut json: serde_json::Value = serde_json::from_slice(&files[0].bytes).unwrap();
        json[field] = value;
        files[0].bytes = serde_json::to_vec(&json).unwrap();
        HostAdapter::from_files(&config, &files).unwrap_err()
    };
    let unsupported = refused("use_dora", true.into());
    assert!(matches!(&unsupported, AdapterError::Unsupported { field, .. } if field == "use_dora"), "{unsupported}");
    let stray = refused("target_modules", serde_json::json!(["qproj"]));
    assert!(stray.to_string().contains("named qproj; there are down_proj, gate_proj, k_proj"), "{stray}");
    assert!(matches!(refused("r", 5.into()), AdapterError::Weights(_)));
    assert!(matches!(refused("r", 0.into()), AdapterError::Config(_)));
    let beside = refused("target_modules", serde_json::json!(["q_proj"])).to_string();
    assert!(beside.contains("is of no projection that is adapted"), "{beside}");
}
