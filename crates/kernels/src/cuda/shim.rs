//! A CPU that plays a GPU, for tests: each thread of a block is a fiber.

use std::ffi::{CString, c_char, c_void};
use std::sync::{Mutex, PoisonError};

use super::arguments::Arguments;
use super::device::{Device, DeviceError, Grid};
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
