//! The readers, and what their inputs are made from.

use std::path::Path;
use std::sync::Arc;

use stateset_chat::{ChatFormat, ChatTemplate, Conversation};
use stateset_domain::{Artifact, Stream, Tokenizer};
use stateset_models::{
    ADAPTER_CONFIG, HfTokenizer, HostAdapter, HostWeights, LoraConfig, ModelConfig, Pretrained, Targets, WEIGHTS,
    read_index, read_tensors, train_tokenizer, write_tensors,
};

/// Reads an input.
type Reader = dyn Fn(&[u8]) -> bool;

/// A reader.
pub(crate) struct Target {
    pub(crate) name: &'static str,
    /// In words.
    pub(crate) reads: &'static str,
    /// Of ten million executions.
    pub(crate) share: u64,
    pub(crate) seeds: Vec<Vec<u8>>,
    /// Whether it accepted the input.
    pub(crate) run: Box<Reader>,
}

const CONFIG: &str = r#"{"architectures":["LlamaForCausalLM"],"model_type":"llama","vocab_size":258,"hidden_size":8,"intermediate_size":16,
"num_hidden_layers":1,"num_attention_heads":2,"num_key_value_heads":1,"max_position_embeddings":64,"rms_norm_eps":1e-5,"rope_theta":10000.0,
"tie_word_embeddings":true,"hidden_act":"silu","attention_bias":false,"eos_token_id":0,"torch_dtype":"float32"}"#;
const TEXT: &str = "Refund AB12, please: it's 3 days late. \u{e9}\u{1f600}<|end|>";

/// All of them.
pub(crate) fn targets() -> Vec<Target> {
    let tokenizer = train_tokenizer(&["a b, please".into()], &["<|end|>"], 258).unwrap();
    vec![config(), header(), index(), tokenizer_target(&tokenizer), model(tokenizer), adapter(), template(), declared()]
}

/// A file of one of the small checkpoints that the families are tested with.
fn fixture(path: &str) -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/parity/models/fixtures").join(path)).unwrap()
}

fn target(
    name: &'static str,
    reads: &'static str,
    share: u64,
    seeds: Vec<Vec<u8>>,
    run: impl Fn(&[u8]) -> bool + 'static,
) -> Target {
    Target { name, reads, share, seeds, run: Box::new(run) }
}

fn config() -> Target {
    let run = |input: &[u8]| match ModelConfig::from_json(&String::from_utf8_lossy(input)) {
        Ok(config) => {
            // Layers are alike: a few show what thousands would, in a fraction of the time.
            if config.num_hidden_layers() <= 8 {
                HostWeights::from_tensors(&config, &[]).unwrap_err();
            }
            true
        }
        Err(_) => false,
    };
    let families = ["gemma2", "gemma3", "gpt_oss", "llama", "phi3_longrope", "qwen3_moe", "smollm3", "llama_yarn"];
    let seeds = families.map(|family| fixture(&format!("{family}/config.json"))).into_iter().chain([CONFIG.into()]);
    target("config", "`config.json`, and what weights it asks for", 4_900_000, seeds.collect(), run)
}

/// A safetensors file from a header and so many bytes of data.
fn file(header: &str, data: usize) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.resize(bytes.len() + data, 0x40);
    bytes
}

fn header() -> Target {
    let seeds = vec![
        file(r#"{"__metadata__":{"format":"pt"},"a":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]}}"#, 16),
        file(
            r#"{"a":{"dtype":"BF16","shape":[3],"data_offsets":[0,6]},"b":{"dtype":"F16","shape":[1],"data_offsets":[6,8]}}"#,
            8,
        ),
        file(
            r#"{"w_blocks":{"dtype":"U8","shape":[2,1,1,16],"data_offsets":[0,32]},"w_scales":{"dtype":"U8","shape":[2,1,1],"data_offsets":[32,34]}}"#,
            34,
        ),
    ];
    // Most inputs say truthfully how long their header is, or few would come any further.
    let run = |input: &[u8]| {
        let mut input = input.to_vec();
        let end = input.iter().rposition(|c| *c == b'}').map_or(0, |end| end + 1);
        if let (Some(bytes), true) = (input.get_mut(..8), end > 8 && end % 8 != 0) {
            bytes.copy_from_slice(&(end as u64 - 8).to_le_bytes());
        }
        read_tensors(&input).is_ok()
    };
    target("header", "a safetensors file, MXFP4 included", 4_000_000, seeds, run)
}

fn index() -> Target {
    let seed = br#"{"metadata":{"total_size":8},"weight_map":{"a":"model-00001-of-00002.safetensors","b":"model-00002-of-00002.safetensors"}}"#;
    let run = |input: &[u8]| read_index(input).is_ok();
    target("index", "`model.safetensors.index.json`", 600_000, vec![seed.to_vec()], run)
}

fn tokenizer_target(tokenizer: &[u8]) -> Target {
    let padded = String::from_utf8(tokenizer.to_vec()).unwrap().replacen(
        "\"padding\": null",
        r#""padding": {"strategy":{"Fixed":8},"direction":"Right","pad_to_multiple_of":8,"pad_id":0,"pad_type_id":0,"pad_token":"<|end|>"}"#,
        1,
    );
    let run = |input: &[u8]| match HfTokenizer::from_json(input) {
        Ok(tokenizer) => {
            let ids = tokenizer.encode(TEXT).unwrap_or_default();
            let _ = tokenizer.decode(&ids);
            let _ = (tokenizer.special("<|end|>"), tokenizer.vocab_size());
            true
        }
        Err(_) => false,
    };
    target(
        "tokenizer",
        "`tokenizer.json`, and a text through it and back",
        60_000,
        vec![tokenizer.to_vec(), padded.into()],
        run,
    )
}

fn model(tokenizer: Vec<u8>) -> Target {
    let config = ModelConfig::from_json(CONFIG).unwrap();
    let weights = write_tensors(&HostWeights::random(&config, 0.02, Stream::new(1)).to_tensors()).unwrap();
    let file = |name: &str, bytes: &[u8]| Artifact { name: name.into(), bytes: bytes.to_vec() };
    // Configuration and weights in one input, so that changes of either meet the other unchanged, or changed.
    let seed = [CONFIG.as_bytes(), b"\0", &weights].concat();
    let run = move |input: &[u8]| {
        let at = input.iter().position(|c| *c == 0).unwrap_or(input.len());
        let (config, weights) = input.split_at(at);
        let weights = weights.get(1..).unwrap_or_default();
        let files = vec![file("config.json", config), file(WEIGHTS, weights), file("tokenizer.json", &tokenizer)];
        Pretrained::from_files(files).is_ok()
    };
    target("model", "configuration, weights and tokenizer together", 40_000, vec![seed], run)
}

fn adapter() -> Target {
    let model = ModelConfig::from_json(CONFIG).unwrap();
    let lora = LoraConfig { rank: 2, alpha: 4.0, stabilised: false, dropout: 0.0, targets: Targets::Attention };
    let files = HostAdapter::fresh(&model, lora, Stream::new(1)).unwrap().to_files("base").unwrap();
    let seed = files[0].bytes.clone();
    let run = move |input: &[u8]| {
        let config = Artifact { name: ADAPTER_CONFIG.into(), bytes: input.to_vec() };
        HostAdapter::from_files(&model, &[config, files[1].clone()]).is_ok()
    };
    target("adapter", "`adapter_config.json`", 400_000, vec![seed], run)
}

/// A conversation with everything that templates look for.
fn conversation() -> Conversation {
    let messages = r#"[{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hi \"there\""},
        {"role": "assistant", "content": "hello"}, {"role": "user", "content": "?"}]"#;
    Conversation { messages: serde_json::from_str(messages).unwrap(), ..Conversation::default() }
}

fn template() -> Target {
    let source = |family: &str| {
        let config: serde_json::Value =
            serde_json::from_slice(&fixture(&format!("{family}/tokenizer_config.json"))).unwrap();
        config["chat_template"]
            .as_str()
            .map_or_else(|| fixture(&format!("{family}/chat_template.jinja")), |text| text.into())
    };
    let conversation = conversation();
    let run = move |input: &[u8]| {
        let template = ChatTemplate::new("chat_template.jinja", &String::from_utf8_lossy(input), [].into());
        template.is_ok_and(|template| template.render(&conversation, true).is_ok())
    };
    let seeds = ["smollm2", "mistral", "gemma3"].map(source).to_vec();
    target("template", "a chat template, and a conversation through it", 20_000, seeds, run)
}

fn declared() -> Target {
    let tokenizer = Arc::new(HfTokenizer::from_json(&fixture("qwen2/tokenizer.json")).unwrap());
    let run = move |input: &[u8]| {
        let at = input.iter().position(|c| *c == 0).unwrap_or(input.len());
        let (tokens, generation) = input.split_at(at);
        let file = |name: &str, bytes: &[u8]| Artifact { name: name.into(), bytes: bytes.to_vec() };
        let generation = generation.get(1..).unwrap_or_default();
        let files = [file("tokenizer_config.json", tokens), file("generation_config.json", generation)];
        ChatFormat::declared(tokenizer.clone(), &files, false, None).is_ok()
    };
    let seed = [fixture("qwen2/tokenizer_config.json"), vec![0], fixture("qwen2/generation_config.json")].concat();
    target("declared", "`tokenizer_config.json` and `generation_config.json` together", 20_000, vec![seed], run)
}
