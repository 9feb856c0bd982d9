//! What a kernel is called with.

use std::ffi::c_void;

use super::array::{Array, Element};
use super::device::Device;

/// What is handed to a kernel, in the order of its parameters.
#[derive(Debug, Default)]
pub struct Arguments {
    values: Vec<u64>,
    kinds: Vec<u8>,
}

impl Arguments {
    /// An array; its letter is upper case.
    #[must_use]
    pub(super) fn array<D: Device, T: Element>(self, device: &D, array: &Array<D, T>) -> Self {
        self.with(device.address(&array.memory), T::KIND.to_ascii_uppercase())
    }

    /// An array without its first elements.
    #[must_use]
    pub(super) fn array_from<D: Device, T: Element>(self, device: &D, array: &Array<D, T>, first: usize) -> Self {
        let skipped = (first * size_of::<T>()) as u64;
        self.with(device.address(&array.memory) + skipped, T::KIND.to_ascii_uppercase())
    }

    /// An array, or null.
    #[must_use]
    pub(super) fn optional<D: Device, T: Element>(self, device: &D, array: Option<&Array<D, T>>) -> Self {
        self.with(array.map_or(0, |array| device.address(&array.memory)), T::KIND.to_ascii_uppercase())
    }

    /// A number of 32 bits.
    #[must_use]
    pub(super) fn float(self, value: f32) -> Self {
        self.with(u64::from(value.to_bits()), f32::KIND)
    }

    /// A count.
    #[must_use]
    pub(super) fn count(self, value: usize) -> Self {
        self.with(u64::from(u32::try_from(value).expect("kernels count rows and columns in 32 bits")), u32::KIND)
    }

    /// A count that may be larger than 32 bits.
    #[must_use]
    pub(super) fn long(self, value: usize) -> Self {
        self.with(value as u64, u64::KIND)
    }

    fn with(mut self, value: u64, kind: u8) -> Self {
        self.values.push(value);
        self.kinds.push(kind);
        self
    }

    /// Each of them; what is shorter than 64 bits is the lower part.
    #[must_use]
    pub fn values(&self) -> &[u64] {
        &self.values
    }

    /// A letter for each, and where each lies: a value of 32 bits is the lower half of 64, which comes first in memory.
    #[must_use]
    pub fn pointers(&mut self) -> (&[u8], Vec<*mut c_void>) {
        let pointers = self.values.iter_mut().map(|value| std::ptr::from_mut(value).cast()).collect();
        (&self.kinds, pointers)
    }
}

#[cfg(not(target_endian = "little"))]
compile_error!("kernels' arguments are laid out for little-endian hosts, which are all that CUDA has");
