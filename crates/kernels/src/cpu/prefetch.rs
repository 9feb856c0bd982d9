//! Asking memory for what is needed soon.

/// Numbers that memory gives at a time.
const LINE: usize = 16;

/// Asks for `n` numbers from `from` on, as far as they exist, to lie in the innermost cache.
#[inline(always)]
#[allow(unsafe_code)]
pub(super) fn prefetch(values: &[f32], from: usize, n: usize) {
    #[cfg(target_arch = "x86_64")]
    for line in values.get(from..).unwrap_or_default().chunks(LINE).take(n.div_ceil(LINE)) {
        // SAFETY: an address within a slice may be asked for.
        unsafe { std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(line.as_ptr().cast()) };
    }
}
