//! MXFP4, the four-bit format of the OCP Microscaling specification, in the layout of gpt-oss checkpoints.
//!
//! A matrix `[rows, columns]` is stored by blocks of 32 columns: 16 bytes with two E2M1 numbers each, the lower half of a byte first, and
//! one E8M0 scale, a power of two. Experts are used the other way round: the result is transposed, as in transformers
//! (`convert_moe_packed_tensors`).

/// The numbers of E2M1, by code: a sign, two bits of exponent and one of mantissa.
const E2M1: [f32; 16] = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, -0.0, -0.5, -1.0, -1.5, -2.0, -3.0, -4.0, -6.0];
/// Bytes of a block.
pub(super) const BLOCK: usize = 16;

/// Dequantises one matrix into `out`, transposed.
///
/// `blocks` is `[rows, columns / 32, 16]` bytes, `scales` `[rows, columns / 32]`, `out` `[columns, rows]`.
///
/// # Panics
/// If their lengths do not belong together.
pub fn dequantize_mxfp4(blocks: &[u8], scales: &[u8], rows: usize, out: &mut [f32]) {
    assert_eq!(blocks.len(), scales.len() * BLOCK, "a scale for every block");
    assert_eq!(out.len(), blocks.len() * 2, "two numbers in every byte");
    if out.is_empty() {
        return;
    }
    let (packed, _) = blocks.as_chunks::<BLOCK>();
    let blocks_per_row = scales.len() / rows;
    for (index, (block, scale)) in packed.iter().zip(scales).enumerate() {
        let (row, first) = (index / blocks_per_row, index % blocks_per_row * 2 * BLOCK);
        let scale = power_of_two(*scale);
        for (byte, column) in block.iter().zip((first..).step_by(2)) {
            out[column * rows + row] = E2M1[usize::from(byte & 0x0f)] * scale;
            out[(column + 1) * rows + row] = E2M1[usize::from(byte >> 4)] * scale;
        }
    }
}

/// E8M0: 2^(code - 127), and no number for 255.
fn power_of_two(code: u8) -> f32 {
    match code {
        // Below the smallest normal number.
        0 => f32::from_bits(1 << 22),
        255 => f32::NAN,
        code => f32::from_bits(u32::from(code) << 23),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_holds_two_numbers_the_lower_half_first() {
        let mut blocks = [0; BLOCK];
        // Codes 1 (0.5) and 15 (-6), then 2 (1) and 9 (-0.5); 128 stands for 2.
        (blocks[0], blocks[1]) = (0xf1, 0x92);
        let mut out = [9.0; 32];
        dequantize_mxfp4(&blocks, &[128], 1, &mut out);
        assert_eq!(out[..5], [1.0, -12.0, 2.0, -1.0, 0.0]);
    }

    #[test]
    fn rows_become_columns_each_block_with_its_own_scale() {
        // Two rows of two blocks, every number 1 (code 2), scales 1, 2, 4 and 8.
        let mut out = [0.0; 128];
        dequantize_mxfp4(&[0x22; 4 * BLOCK], &[127, 128, 129, 130], 2, &mut out);
        assert_eq!(out[..4], [1.0, 4.0, 1.0, 4.0], "columns 0 and 1");
        assert_eq!(out[62..66], [1.0, 4.0, 2.0, 8.0], "columns 31 and 32");
    }

    #[test]
    fn scales_reach_from_the_smallest_power_to_the_largest() {
        assert_eq!([0, 1, 127, 254].map(power_of_two), [-127, -126, 0, 127].map(|e| 2_f64.powi(e) as f32));
        assert!(power_of_two(255).is_nan());
    }
}
