//! Vector loops without intrinsics: fixed lanes that the compiler turns into whatever registers the chosen instruction set has.
//!
//! Lanes are summed in a fixed tree, so that the width of the registers changes nothing. What may change a last bit is a multiply fused
//! with an add, which Rust never does unasked. Exponentials ask for it where it is one instruction ([`mul_add`]): AVX2 and AVX-512 then
//! agree bit by bit, and both with the baseline within the error that each kernel states.

/// The instruction sets that loops are compiled for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    Baseline,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

impl Level {
    /// The best that this CPU has.
    pub(crate) fn best() -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            use std::is_x86_feature_detected as has;
            let avx2 = has!("avx2") && has!("fma");
            if avx2 && has!("avx512f") && has!("avx512bw") && has!("avx512dq") && has!("avx512vl") {
                return Self::Avx512;
            }
            if avx2 {
                return Self::Avx2;
            }
        }
        Self::Baseline
    }

    /// The one to use: the best, unless a test has asked for another on this thread.
    #[inline]
    pub(crate) fn chosen() -> Self {
        #[cfg(test)]
        if let Some(level) = levels::asked() {
            return level;
        }
        Self::best()
    }
}

/// The widest vector instructions that kernels use on this CPU, by their name.
#[must_use]
pub fn vectors() -> &'static str {
    match Level::best() {
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 => "AVX-512",
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => "AVX2",
        Level::Baseline if cfg!(target_arch = "x86_64") => "SSE2",
        Level::Baseline if cfg!(target_arch = "aarch64") => "NEON",
        Level::Baseline => "the baseline's vectors",
    }
}

/// Whether the baseline has a fused multiply-add. Elsewhere it would be a call to libm.
pub(crate) const FMA_AT_BASELINE: bool = cfg!(target_arch = "aarch64");

/// Compiles a function once per instruction set and picks one at run time.
///
/// `#[target_feature]` reaches only what is inlined into the function, hence the inner `body`. A function declared with
/// `<const FMA: bool>` learns whether a multiply-add is one instruction.
macro_rules! multiversion {
    ($(#[$meta:meta])* $vis:vis fn $name:ident($($arg:ident: $ty:ty),* $(,)?) $(-> $ret:ty)? $body:block) => {
        $crate::cpu::simd::multiversion! {
            $(#[$meta])* $vis fn $name<const _FMA: bool>($($arg: $ty),*) $(-> $ret)? $body
        }
    };
    ($(#[$meta:meta])* $vis:vis fn $name:ident<const $fma:ident: bool>($($arg:ident: $ty:ty),* $(,)?) $(-> $ret:ty)? $body:block) => {
        $(#[$meta])*
        #[allow(unsafe_code, clippy::too_many_arguments)]
        $vis fn $name($($arg: $ty),*) $(-> $ret)? {
            use $crate::cpu::simd::{FMA_AT_BASELINE, Level};
            #[inline(always)]
            fn body<const $fma: bool>($($arg: $ty),*) $(-> $ret)? $body
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
            fn avx512($($arg: $ty),*) $(-> $ret)? { body::<true>($($arg),*) }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma")]
            fn avx2($($arg: $ty),*) $(-> $ret)? { body::<true>($($arg),*) }
            match Level::chosen() {
                // SAFETY: a level is chosen only if the CPU has its features.
                #[cfg(target_arch = "x86_64")]
                Level::Avx512 => unsafe { avx512($($arg),*) },
                // SAFETY: as above.
                #[cfg(target_arch = "x86_64")]
                Level::Avx2 => unsafe { avx2($($arg),*) },
                Level::Baseline => body::<FMA_AT_BASELINE>($($arg),*),
            }
        }
    };
}
pub(crate) use multiversion;

#[cfg(test)]
pub(crate) mod levels;

pub(crate) const LANES: usize = 32;

/// `a * b + c`, rounded once where that is one instruction, else twice.
#[inline(always)]
pub(crate) fn mul_add<const FMA: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FMA { a.mul_add(b, c) } else { a * b + c }
}

/// Adding it rounds to an integer, which then stands in the low bits: 1.5 * 2^23.
const ROUND: f32 = 12_582_912.0;

/// `1 + r (c[0] + r (c[1] + ...))`. Exactly 1 at 0, so that a certain token has log-probability 0.
#[inline(always)]
fn polynomial<const FMA: bool, const N: usize>(r: f32, c: &[f32; N]) -> f32 {
    let inner = c.iter().rev().copied().reduce(|p, c| mul_add::<FMA>(p, r, c));
    mul_add::<FMA>(inner.unwrap_or(0.0), r, 1.0)
}

/// `e^x` to 2 ulp on [-87, 88], clamped outside; NaN stays NaN. Branch-free, so it vectorises.
#[inline(always)]
pub(crate) fn exp<const FMA: bool>(x: f32) -> f32 {
    // Minimax in the relative error on [-ln 2 / 2, ln 2 / 2]: 2e-9, a thirtieth of an ulp.
    const E: [f32; 6] = [1.000_000_03, 0.499_999_94, 0.166_664_31, 0.041_668, 0.008_374_155, 0.001_384_365_1];
    let x = x.clamp(-87.0, 88.0);
    let rounded = mul_add::<FMA>(x, std::f32::consts::LOG2_E, ROUND);
    let n = rounded - ROUND;
    // ln 2 in two parts, the first short enough for its product with n to be exact.
    let r = mul_add::<FMA>(n, -0.693_359_4, x);
    let r = mul_add::<FMA>(n, 2.121_944_4e-4, r);
    polynomial::<FMA, _>(r, &E) * f32::from_bits((rounded.to_bits() << 23).wrapping_add(127 << 23))
}

/// `2^(x y)` for products in [-125, 126], not clamped, and anything for a NaN. Fused, it is right to 2.5 ulp; else the rounding of the
/// product comes on top.
///
/// Three instructions fewer than [`exp`]: the product's remainder is exact in one step, the power is added to the exponent bits, and the
/// polynomial is shorter. Loops over logits are bound by how many there are.
#[inline(always)]
pub(crate) fn exp2_product<const FMA: bool>(x: f32, y: f32) -> f32 {
    // Minimax in the relative error on [-1/2, 1/2]: 9e-8, an ulp and a half at most. The first is near ln 2, and is not.
    #[allow(clippy::approx_constant)]
    const TWO: [f32; 5] = [0.693_147, 0.240_222_42, 0.055_507_337, 0.009_671_513, 0.001_326_473_3];
    let rounded = mul_add::<FMA>(x, y, ROUND);
    let r = mul_add::<FMA>(x, y, ROUND - rounded);
    f32::from_bits(polynomial::<FMA, _>(r, &TWO).to_bits().wrapping_add(rounded.to_bits() << 23))
}

/// Folds the upper half of the lanes onto the lower one, until one is left.
#[inline(always)]
pub(crate) fn fold_lanes<const N: usize>(mut lanes: [f32; N], fold: impl Fn(f32, f32) -> f32) -> f32 {
    let mut width = N / 2;
    while width > 0 {
        for i in 0..width {
            lanes[i] = fold(lanes[i], lanes[i + width]);
        }
        width /= 2;
    }
    lanes[0]
}

#[inline(always)]
pub(crate) fn sum_lanes<const N: usize>(lanes: &[f32; N]) -> f32 {
    fold_lanes(*lanes, |a, b| a + b)
}

/// The larger of two; `b` if `a` is NaN. One instruction, unlike `f32::max`.
#[inline(always)]
pub(crate) fn larger(a: f32, b: f32) -> f32 {
    if a > b { a } else { b }
}

#[inline(always)]
pub(crate) fn dot(a: &[f32], b: &[f32]) -> f32 {
    let b = &b[..a.len()];
    let mut lanes = [0f32; LANES];
    let (chunks_a, chunks_b) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let tail: f32 = chunks_a.remainder().iter().zip(chunks_b.remainder()).map(|(x, y)| x * y).sum();
    for (x, y) in chunks_a.zip(chunks_b) {
        for i in 0..LANES {
            lanes[i] += x[i] * y[i];
        }
    }
    sum_lanes(&lanes) + tail
}

/// The largest element; negative infinity for an empty slice.
#[inline(always)]
pub fn max(a: &[f32]) -> f32 {
    let mut filled_up = [f32::NEG_INFINITY; LANES];
    // The last lanes, of which some may have been seen.
    let last = a.last_chunk::<LANES>().unwrap_or_else(|| {
        filled_up[..a.len()].copy_from_slice(a);
        &filled_up
    });
    let mut lanes = last.map(|x| larger(x, f32::NEG_INFINITY));
    for x in a.as_chunks::<LANES>().0 {
        for i in 0..LANES {
            lanes[i] = larger(x[i], lanes[i]);
        }
    }
    fold_lanes(lanes, larger)
}

/// `x = e^(x - shift)`; returns the sum.
#[inline(always)]
pub(crate) fn exp_sum<const FMA: bool>(x: &mut [f32], shift: f32) -> f32 {
    // Fewer lanes than elsewhere: the polynomial needs the registers.
    const WIDE: usize = 16;
    let mut lanes = [0f32; WIDE];
    let (chunks, rest) = x.as_chunks_mut::<WIDE>();
    for chunk in chunks {
        for i in 0..WIDE {
            chunk[i] = exp::<FMA>(chunk[i] - shift);
            lanes[i] += chunk[i];
        }
    }
    // The rest is filled up to a whole chunk: one by one, exponentials cost several times as much.
    let mut tail = [0f32; WIDE];
    tail[..rest.len()].copy_from_slice(rest);
    for i in 0..WIDE {
        tail[i] = exp::<FMA>(tail[i] - shift);
        lanes[i] += if i < rest.len() { tail[i] } else { 0.0 };
    }
    rest.copy_from_slice(&tail[..rest.len()]);
    sum_lanes(&lanes)
}

multiversion! {
    /// `x = e^(x - shift)`; returns the sum.
    pub fn exp_in_place<const FMA: bool>(x: &mut [f32], shift: f32) -> f32 {
        exp_sum::<FMA>(x, shift)
    }
}
