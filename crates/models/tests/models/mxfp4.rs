//! Experts of gpt-oss, four bits a number.

use stateset_domain::NamedTensor;
use stateset_models::tensors_of;

use crate::fixture::folder;

/// Made by `convert_moe_packed_tensors` of transformers in float32: shape, sum, sum of each value times its place from 1, and `[1, 2, :4]`.
#[test]
fn four_bit_experts_are_those_of_transformers() {
    let tensors = tensors_of(&folder("gpt_oss")).unwrap();
    let assert_is = |name: &str, shape: [usize; 3], sum: f64, placed: f64, row: [f32; 4]| {
        let name = format!("model.layers.1.mlp.experts.{name}");
        let NamedTensor { shape: found, data, .. } = tensors.iter().find(|tensor| tensor.name == name).unwrap();
        assert_eq!(found[..], shape);
        let values = || data.iter().map(|x| f64::from(*x));
        assert_eq!(values().sum::<f64>(), sum);
        assert_eq!(values().zip(1..).map(|(x, place)| x * f64::from(place)).sum::<f64>(), placed);
        let at = (shape[1] + 2) * shape[2];
        assert_eq!(data[at..at + 4], row);
    };
    assert_is("gate_up_proj", [4, 64, 64], 8.742_187_5, 134_725.007_812_5, [0.0625, -0.046_875, -0.046_875, -0.031_25]);
    assert_is("down_proj", [4, 32, 64], -1.203_125, 23_261.359_375, [-0.093_75, -0.0625, 0.375, -0.015_625]);
}
