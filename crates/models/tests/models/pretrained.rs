//! A model as files.

use stateset_domain::Artifact;
use stateset_models::{LlamaConfig, ModelError, Pretrained, train_tokenizer, write_tensors};

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

#[test]
fn a_model_is_its_files_and_its_files_are_the_model() {
    let model = Pretrained::from_files(files(258)).unwrap();
    let mut back = model.to_files(&model.weights).unwrap();
    back.sort_by(|a, b| a.name.cmp(&b.name));
    assert_eq!(back, files(258));
}

#[test]
fn a_folder_is_read_like_its_files() {
    let folder = tempfile::tempdir().unwrap();
    for file in files(258) {
        std::fs::write(folder.path().join(file.name), file.bytes).unwrap();
    }
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
