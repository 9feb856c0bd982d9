//! Weights by their outside names, and the files they are kept in.

use stateset_domain::NamedTensor;
use stateset_models::{HostWeights, TensorError, WeightError, read_tensors, write_tensors};

use crate::{config, weights};

fn refused(change: impl FnOnce(&mut Vec<NamedTensor>)) -> WeightError {
    let mut tensors = weights(true).to_tensors();
    change(&mut tensors);
    HostWeights::from_tensors(&config(true), &tensors).unwrap_err()
}

#[test]
fn weights_survive_the_way_out_and_back_in_any_order() {
    for tied in [true, false] {
        let mut tensors = weights(tied).to_tensors();
        tensors.reverse();
        let back = HostWeights::from_tensors(&config(tied), &tensors).unwrap();
        assert!(back.values.iter().eq(weights(tied).values.iter()));
    }
}

#[test]
fn fused_projections_leave_under_hugging_face_names() {
    let tensors = weights(false).to_tensors();
    let shape = |name: &str| tensors.iter().find(|t| t.name == name).unwrap().shape.clone();
    assert_eq!(shape("model.layers.1.self_attn.q_proj.weight"), [24, 24]);
    assert_eq!(shape("model.layers.1.self_attn.k_proj.weight"), [12, 24]);
    assert_eq!(shape("model.layers.0.mlp.up_proj.weight"), [40, 24]);
    assert_eq!(shape("lm_head.weight"), [37, 24]);
    assert_eq!(tensors.len(), 2 * 9 + 3);
}

#[test]
fn a_missing_a_stray_and_a_misshapen_tensor_are_named() {
    let missing = refused(|tensors| tensors.retain(|t| t.name != "model.layers.1.self_attn.v_proj.weight"));
    assert_eq!(missing, WeightError::Missing("model.layers.1.self_attn.v_proj.weight".into()));
    let stray = NamedTensor { name: "model.layers.2.bias".into(), shape: vec![1], data: [0.0].into() };
    assert_eq!(refused(|tensors| tensors.push(stray)), WeightError::Unknown("model.layers.2.bias".into()));
    let misshapen = refused(|tensors| tensors[0].shape = vec![24, 37]);
    let name = "model.embed_tokens.weight".into();
    assert_eq!(misshapen, WeightError::Shape { name, found: vec![24, 37], expected: vec![37, 24] });
}

#[test]
fn fresh_weights_depend_on_their_stream_alone() {
    let fresh = |seed| HostWeights::random(&config(true), 0.02, stateset_domain::Stream::new(seed)).to_tensors();
    assert_eq!(fresh(1), fresh(1));
    assert_ne!(fresh(1), fresh(2));
}

#[test]
fn safetensors_keep_every_bit_and_sort_by_name() {
    let mut tensors = weights(true).to_tensors();
    let bytes = write_tensors(&tensors).unwrap();
    tensors.sort_by(|a, b| a.name.cmp(&b.name));
    assert_eq!(read_tensors(&bytes).unwrap(), tensors);
    assert_eq!(write_tensors(&tensors).unwrap(), bytes, "equal tensors give equal bytes");
}

#[test]
fn a_safetensors_file_cut_anywhere_is_refused() {
    let bytes = write_tensors(&weights(true).to_tensors()).unwrap();
    for length in [0, 4, 8, 100, bytes.len() / 2, bytes.len() - 1] {
        assert!(read_tensors(&bytes[..length]).is_err(), "{length} bytes were read");
    }
}

/// A safetensors file with one tensor.
fn file(name: &str, dtype: &str, shape: &[usize], data: &[u8]) -> Vec<u8> {
    let header = serde_json::json!({ name: { "dtype": dtype, "shape": shape, "data_offsets": [0, data.len()] } });
    let header = header.to_string();
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), data].concat()
}

#[test]
fn halves_of_both_kinds_become_f32() {
    // 1, -2 and the largest below 1, by sign, exponent (8 bits for bf16, 5 for f16) and mantissa.
    let read = |dtype, numbers: [u16; 3]| {
        let bytes: Vec<u8> = numbers.iter().flat_map(|x| x.to_le_bytes()).collect();
        read_tensors(&file("w", dtype, &[3], &bytes)).unwrap()[0].data.to_vec()
    };
    assert_eq!(read("BF16", [0x3f80, 0xc000, 0x3f7f]), [1.0, -2.0, 1.0 - 0.5_f32.powi(8)]);
    assert_eq!(read("F16", [0x3c00, 0xc000, 0x3bff]), [1.0, -2.0, 1.0 - 0.5_f32.powi(11)]);
}

#[test]
fn tensors_of_other_types_are_refused_by_name() {
    for (name, dtype, bytes) in [("mask", "I64", 8), ("bytes", "U8", 1), ("w_scales", "U8", 1)] {
        let error = read_tensors(&file(name, dtype, &[1], &vec![0; bytes])).unwrap_err();
        assert_eq!(error, TensorError::Dtype { name: name.into(), dtype: dtype.into() });
    }
    let error = read_tensors(&file("w_blocks", "U8", &[1, 1, 16], &[0; 16])).unwrap_err();
    assert_eq!(error.to_string(), "tensor w_blocks: w_scales is missing");
}

#[test]
fn two_tensors_of_one_name_are_not_written() {
    let twin = NamedTensor { name: "w".into(), shape: vec![1], data: [0.0].into() };
    assert!(write_tensors(&[twin.clone(), twin]).unwrap_err().to_string().contains("named w"));
}
