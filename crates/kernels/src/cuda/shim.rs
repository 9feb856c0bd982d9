//! A CPU that plays a GPU, for tests: each thread of a block is a fiber.

use std::ffi::{CString, c_char, c_void};
use std::sync::{Mutex, PoisonError};

use super::arguments::Arguments;
use super::device::{Device, DeviceError, Grid};
use super::product::Product;
use super::source::Unit;

#[allow(unsafe_code)]
unsafe extern "C" {
    fn shim_launch(
        name: *const c_char,
        kinds: *const c_char,
        arguments: *mut *mut c_void,
        shape: *const u32,
        seed: u32,
    ) -> bool;
}

/// The shim's fibers and every kernel's shared memory are one process's.
static ALONE: Mutex<()> = Mutex::new(());

/// Bytes at either end of an allocation that no kernel may write. Read, they are NaN.
const MARGIN: usize = 256;
const BLANK: u8 = 0xFF;

/// Runs kernels as C++ on the calling thread. Fibers take turns in an order that `schedule` decides; results must not depend on it.
#[derive(Debug, Clone, Copy)]
pub struct Shim {
    /// 0 is the order of threads, 1 the reverse, others are random.
    pub schedule: u32,
}

/// Memory with a margin on either side, blank at first: what was never written reads as NaN, and what must not be written shows.
#[derive(Debug)]
pub struct Guarded {
    blocks: Vec<u128>,
    bytes: usize,
}

impl Guarded {
    fn all(&self) -> &[u8] {
        // SAFETY: a vector's own bytes, as long as it is borrowed.
        #[allow(unsafe_code)]
        unsafe {
            std::slice::from_raw_parts(self.blocks.as_ptr().cast(), self.blocks.len() * 16)
        }
    }

    fn all_mut(&mut self) -> &mut [u8] {
        // SAFETY: a vector's own bytes, as long as it is borrowed; every pattern is a number.
        #[allow(unsafe_code)]
        unsafe {
            std::slice::from_raw_parts_mut(self.blocks.as_mut_ptr().cast(), self.blocks.len() * 16)
        }
    }
}

impl Guarded {
    /// `len` numbers from number `first` on.
    fn floats(&self, first: usize, len: usize) -> Vec<f32> {
        let (words, _) = self.all()[MARGIN + 4 * first..][..4 * len].as_chunks::<4>();
        words.iter().map(|word| f32::from_le_bytes(*word)).collect()
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        let outside = [&self.all()[..MARGIN], &self.all()[MARGIN + self.bytes..]].concat();
        let intact = outside.iter().all(|byte| *byte == BLANK);
        assert!(intact || std::thread::panicking(), "a kernel wrote outside an array of {} bytes", self.bytes);
    }
}

impl Device for Shim {
    type Memory = Guarded;

    fn allocate(&self, bytes: usize) -> Result<Guarded, DeviceError> {
        Ok(Guarded { blocks: vec![u128::MAX; bytes.div_ceil(16) + 2 * MARGIN / 16], bytes })
    }

    fn address(&self, memory: &Guarded) -> u64 {
        memory.all()[MARGIN..].as_ptr().expose_provenance() as u64
    }

    fn write(&self, memory: &mut Guarded, bytes: &[u8]) -> Result<(), DeviceError> {
        memory.all_mut()[MARGIN..][..bytes.len()].copy_from_slice(bytes);
        Ok(())
    }

    fn read(&self, memory: &Guarded, bytes: &mut [u8]) -> Result<(), DeviceError> {
        bytes.copy_from_slice(&memory.all()[MARGIN..][..bytes.len()]);
        Ok(())
    }

    fn copy(&self, from: &Guarded, to: &mut Guarded) -> Result<(), DeviceError> {
        let bytes = from.bytes;
        to.all_mut()[MARGIN..][..bytes].copy_from_slice(&from.all()[MARGIN..][..bytes]);
        Ok(())
    }

    fn clear(&self, memory: &mut Guarded) -> Result<(), DeviceError> {
        let bytes = memory.bytes;
        memory.all_mut()[MARGIN..][..bytes].fill(0);
        Ok(())
    }

    fn multiply(&self, product: Product, a: &Guarded, b: &Guarded, c: &mut Guarded) -> Result<(), DeviceError> {
        let Product { m, n, k, a_turned, b_turned, add, at } = product;
        let (a, b, mut sums) = (a.floats(at[0], m * k), b.floats(0, k * n), c.floats(at[1], m * n));
        for (at, sum) in sums.iter_mut().enumerate() {
            let (row, column) = (at / n, at % n);
            let left = |i: usize| f64::from(a[if a_turned { i * m + row } else { row * k + i }]);
            let right = |i: usize| f64::from(b[if b_turned { column * k + i } else { i * n + column }]);
            let found = (0..k).map(|i| left(i) * right(i)).sum::<f64>();
            *sum = (found + if add { f64::from(*sum) } else { 0.0 }) as f32;
        }
        let bytes: Vec<u8> = sums.iter().flat_map(|sum| sum.to_le_bytes()).collect();
        c.all_mut()[MARGIN + 4 * at[1]..][..bytes.len()].copy_from_slice(&bytes);
        Ok(())
    }

    #[allow(unsafe_code)]
    unsafe fn launch(
        &self,
        _: &'static Unit,
        name: &'static str,
        grid: Grid,
        arguments: &mut Arguments,
    ) -> Result<(), DeviceError> {
        let refused =
            || DeviceError::Driver { call: "launch", reason: format!("{name} does not take these arguments") };
        let shape = [grid.blocks[0], grid.blocks[1], grid.blocks[2], grid.threads];
        assert!(shape.iter().all(|size| *size > 0) && grid.threads.is_multiple_of(32), "{name} on {shape:?}");
        let (kinds, mut pointers) = arguments.pointers();
        let (kinds, name) = (CString::new(kinds).map_err(|_| refused())?, CString::new(name).map_err(|_| refused())?);
        let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: both strings end, there are as many pointers as letters, and the shim refuses letters that the kernel does not have.
        // What the pointers reach is the caller's promise.
        let done =
            unsafe { shim_launch(name.as_ptr(), kinds.as_ptr(), pointers.as_mut_ptr(), shape.as_ptr(), self.schedule) };
        if done { Ok(()) } else { Err(refused()) }
    }
}
