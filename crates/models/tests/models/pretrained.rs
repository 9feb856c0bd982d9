//! A model as files.

use std::sync::Arc;

use stateset_domain::Artifact;
use stateset_models::{
    COMPANIONS, LlamaConfig, ModelError, Pretrained, Storage, StoredDtype, WEIGHTS, WEIGHTS_INDEX, read_index,
    read_tensors, tensors_of, train_tokenizer, write_tensors,
};
use tempfile::TempDir;

use crate::{llama, weights};

/// The files of a model whose vocabulary has `vocabulary` ids; its tokenizer has 258.
fn files(vocabulary: usize) -> Vec<Artifact> {
    let llama = LlamaConfig { vocab_size: vocabulary, ..llama(true) };
    let config = llama.decoder().unwrap();
    let weights = stateset_models::HostWeights::random(&config, 0.02, stateset_domain::Stream::new(1));
    let file = |name: &str, bytes| Artifact { name: name.into(), bytes };
    vec![
        file("config.json", serde_json::to_vec(&llama).unwrap()),
        file("model.safetensors", write_tensors(&weights.to_tensors()).unwrap()),
        file("tokenizer.json", train_tokenizer(&["a b".into()], &["<|end|>"], 258).unwrap()),
    ]
}

/// The same with its weights in several files.
fn sharded() -> Vec<Artifact> {
    let model = Pretrained::from_files(files(258)).unwrap();
    model.to_files(&model.weights.to_tensors(), Storage { most_bytes: 20_000, ..Storage::default() }).unwrap()
}

fn folder(files: &[Artifact]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for file in files {
        std::fs::write(folder.path().join(&file.name), &file.bytes).unwrap();
    }
    folder
}

/// Why `files` are no model.
fn refused(files: Vec<Artifact>) -> String {
    Pretrained::from_files(files).err().unwrap().to_string()
}

#[test]
fn a_model_is_its_files_and_its_files_are_the_model() {
    let model = Pretrained::from_files(files(258)).unwrap();
    let mut back = model.to_files(&model.weights.to_tensors(), Storage::default()).unwrap();
    back.sort_by(|a, b| a.name.cmp(&b.name));
    assert_eq!(back, files(258));
}

#[test]
fn a_folder_is_read_like_its_files() {
    let folder = folder(&files(258));
    let model = Pretrained::from_folder(folder.path()).unwrap();
    assert_eq!(model.weights.to_tensors(), Pretrained::from_files(files(258)).unwrap().weights.to_tensors());
    std::fs::remove_file(folder.path().join("tokenizer.json")).unwrap();
    let error = Pretrained::from_folder(folder.path()).err().unwrap();
    assert!(matches!(&error, ModelError::Read { path, .. } if path.ends_with("tokenizer.json")), "{error}");
}

#[test]
fn a_tokenizer_larger_than_the_embedding_is_refused() {
    let error = Pretrained::from_files(files(200)).err().unwrap();
    assert!(matches!(error, ModelError::Vocabulary { vocabulary: 200, .. }), "{error}");
}

#[test]
fn weights_of_another_shape_are_refused() {
    let mut files = files(258);
    files[1].bytes = write_tensors(&weights(true).to_tensors()).unwrap();
    assert!(matches!(Pretrained::from_files(files).err().unwrap(), ModelError::Weights(_)));
}

#[test]
fn shards_are_read_like_one_file_from_a_folder_and_from_memory() {
    let whole = Pretrained::from_files(files(258)).unwrap().weights.to_tensors();
    assert!(sharded().len() >= 6, "the weights are in several files");
    assert_eq!(Pretrained::from_files(sharded()).unwrap().weights.to_tensors(), whole);
    assert_eq!(Pretrained::from_folder(folder(&sharded()).path()).unwrap().weights.to_tensors(), whole);
}

#[test]
fn an_index_and_shards_that_disagree_are_told_by_tensor_and_shard() {
    let shards = sharded();
    let named = |name: &str| shards.iter().position(|file| file.name.starts_with(name)).unwrap();
    let (first, second) = (named("model-00001"), named("model-00002"));
    let name = shards[first].name.clone();
    let tensor = read_tensors(&shards[first].bytes).unwrap()[0].name.clone();

    let mut missing = shards.clone();
    missing.remove(first);
    assert!(refused(missing).contains(&format!("{tensor} is said to be in {name}, which is missing")));

    let mut swapped = shards.clone();
    swapped[first].bytes = shards[second].bytes.clone();
    assert!(refused(swapped).contains(&format!("{tensor} is said to be in {name}, but is not")));

    let name = shards[second].name.clone();
    let tensor = read_tensors(&shards[second].bytes).unwrap()[0].name.clone();
    let mut forgotten = shards.clone();
    let index = named(WEIGHTS_INDEX);
    let mut json: serde_json::Value = serde_json::from_slice(&shards[index].bytes).unwrap();
    json["weight_map"].as_object_mut().unwrap().remove(&tensor).unwrap();
    forgotten[index].bytes = serde_json::to_vec(&json).unwrap();
    assert!(refused(forgotten).contains(&format!("{tensor} is in {name}, but the index says nothing of it")));
}

#[test]
fn an_index_names_no_files_elsewhere() {
    for shard in ["../w.safetensors", "/w.safetensors", "a/w.safetensors", ".w.safetensors", "w.bin", ""] {
        let index = serde_json::json!({ "weight_map": { "w": shard } }).to_string();
        let error = read_index(index.as_bytes()).unwrap_err().to_string();
        assert!(error.contains(&format!("tensor w is said to be in {shard:?}")), "{error}");
    }
    let error = read_index(br#"{"weight_map":{"w":"a.safetensors","w":"b.safetensors"}}"#).unwrap_err();
    assert!(error.to_string().contains("two tensors are named w"), "{error}");
}

#[test]
fn weights_are_stored_in_bf16_rounded_to_even() {
    let mut model = Pretrained::from_files(files(258)).unwrap();
    // Between 1 and 1 + 2^-7 lies the middle 1 + 2^-8, which goes to 1; that above goes up to 1 + 2^-6.
    let (ulp, half) = (0.5_f32.powi(7), 0.5_f32.powi(8));
    let mut norm = model.weights.values.norm.to_f32().into_owned();
    norm[..3].copy_from_slice(&[1.0 + half, 1.0 + ulp + half, f32::MAX]);
    model.weights.values.norm = Arc::new(norm.into());
    let storage = Storage { dtype: StoredDtype::Bf16, ..Storage::default() };
    let files = model.to_files(&model.weights.to_tensors(), storage).unwrap();
    let stored = files.iter().find(|file| file.name == WEIGHTS).unwrap().bytes.len();
    let back = Pretrained::from_files(files).unwrap().weights;
    assert_eq!(back.values.norm.to_f32()[..3], [1.0, 1.0 + 2.0 * ulp, f32::INFINITY]);
    assert!(stored < write_tensors(&model.weights.to_tensors()).unwrap().len() * 6 / 10, "half the size");
}

#[test]
fn four_bit_blocks_and_their_scales_are_one_tensor_even_in_two_files() {
    let one = |name: &str, shape: &[usize], data: &[u8]| {
        let header = serde_json::json!({ name: { "dtype": "U8", "shape": shape, "data_offsets": [0, data.len()] } });
        let header = header.to_string();
        [&(header.len() as u64).to_le_bytes(), header.as_bytes(), data].concat()
    };
    // Two experts of one row and one block; every number 1, then every number -1.5; times 1, then times 4.
    let blocks = [[0x22; 16], [0xbb; 16]].concat();
    let file = |name: &str, bytes| Artifact { name: name.into(), bytes };
    let index = serde_json::json!({ "weight_map": { "w_blocks": "a.safetensors", "w_scales": "b.safetensors" } });
    let mut files = files(258);
    files.retain(|file| file.name != WEIGHTS);
    files.push(file(WEIGHTS_INDEX, index.to_string().into_bytes()));
    files.push(file("a.safetensors", one("w_blocks", &[2, 1, 1, 16], &blocks)));
    files.push(file("b.safetensors", one("w_scales", &[2, 1, 1], &[127, 129])));
    let read = tensors_of(folder(&files).path()).unwrap();
    assert_eq!((read[0].name.as_str(), read[0].shape.as_slice()), ("w", &[2, 32, 1][..]));
    assert_eq!(read[0].data[..], [[1.0; 32], [-6.0; 32]].concat());
}

#[test]
fn pickles_and_gguf_are_refused_with_the_way_out() {
    for (name, way) in [
        ("pytorch_model.bin", "save_pretrained"),
        ("pytorch_model-00001-of-00002.bin", "save_pretrained"),
        ("consolidated.00.pth", "save_pretrained"),
        ("policy.pt", "save_pretrained"),
        ("model-Q4_K_M.gguf", "safetensors"),
    ] {
        let mut files = files(258);
        files[1].name = name.into();
        let error = Pretrained::from_folder(folder(&files).path()).err().unwrap();
        assert!(matches!(error, ModelError::Refused(_)), "{error}");
        let error = error.to_string();
        assert!(error.starts_with(name) && error.contains(way), "{error}");
    }
}

#[test]
fn a_configuration_that_needs_code_of_its_own_is_refused_and_one_that_only_names_it_is_not() {
    let with = |architecture: &str| {
        let mut files = files(258);
        let mut config: serde_json::Value = serde_json::from_slice(&files[0].bytes).unwrap();
        config["auto_map"] = serde_json::json!({ "AutoModelForCausalLM": "modeling_own.OwnForCausalLM" });
        config["architectures"] = serde_json::json!([architecture]);
        config["model_type"] = architecture.to_lowercase().trim_end_matches("forcausallm").into();
        files[0].bytes = serde_json::to_vec(&config).unwrap();
        files
    };
    let error = refused(with("OwnForCausalLM"));
    assert!(error.contains("trust_remote_code") && error.contains("modeling_own.OwnForCausalLM"), "{error}");
    Pretrained::from_files(with("LlamaForCausalLM")).unwrap();
}

#[test]
fn what_travels_with_a_model_is_kept_and_code_is_left_behind() {
    let mut files = files(258);
    for name in COMPANIONS.into_iter().chain(["modeling_own.py", "README.md"]) {
        files.push(Artifact { name: name.into(), bytes: b"{}".to_vec() });
    }
    let model = Pretrained::from_folder(folder(&files).path()).unwrap();
    let kept: Vec<&str> = model.files.iter().map(|file| file.name.as_str()).collect();
    let mut expected: Vec<&str> = COMPANIONS.into_iter().chain(["config.json", "tokenizer.json"]).collect();
    expected.sort_unstable();
    assert_eq!(kept, expected);
}
