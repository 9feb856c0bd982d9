//! Where kernels run: a GPU, or in tests a CPU that plays one.

use super::arguments::Arguments;
use super::product::Product;
use super::source::Unit;

/// What a device can fail at.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeviceError {
    /// There is no device to run on.
    #[error("no GPU can be used: {0}")]
    Unavailable(String),
    /// A kernel's source was refused.
    #[error("the kernels of {unit} do not compile for {architecture}: {log}")]
    Compile {
        /// Which source.
        unit: &'static str,
        /// What it was compiled for, such as `sm_90`.
        architecture: String,
        /// What the compiler said.
        log: String,
    },
    /// The driver refused a call, or reports that an earlier one failed.
    #[error("{call}: {reason}")]
    Driver {
        /// What was attempted.
        call: &'static str,
        /// The driver's name for what went wrong.
        reason: String,
    },
}

/// How many blocks are started, and of how many threads (a multiple of 32) each is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grid {
    /// Blocks in each direction; none may be 0.
    pub blocks: [u32; 3],
    /// Threads of a block.
    pub threads: u32,
}

impl Grid {
    /// So many blocks in a row.
    pub(super) fn of(blocks: usize, threads: u32) -> Self {
        Self { blocks: [u32::try_from(blocks).expect("a grid has at most 2^31 blocks"), 1, 1], threads }
    }
}

/// Memory, and kernels run over it, one after the other in the order of the calls.
pub trait Device: Send + Sync {
    /// Some bytes of it, aligned to 16.
    type Memory: Send + Sync;

    /// `bytes` bytes that hold anything.
    ///
    /// # Errors
    /// [`DeviceError::Driver`] if there is not as much.
    fn allocate(&self, bytes: usize) -> Result<Self::Memory, DeviceError>;

    /// Where kernels find `memory`.
    fn address(&self, memory: &Self::Memory) -> u64;

    /// Copies `bytes` to the start of `memory`.
    ///
    /// # Errors
    /// [`DeviceError::Driver`].
    fn write(&self, memory: &mut Self::Memory, bytes: &[u8]) -> Result<(), DeviceError>;

    /// Copies from the start of `memory`, once all kernels before have finished.
    ///
    /// # Errors
    /// [`DeviceError::Driver`], for earlier kernels too.
    fn read(&self, memory: &Self::Memory, bytes: &mut [u8]) -> Result<(), DeviceError>;

    /// Copies all of `from` to the start of `to`.
    ///
    /// # Errors
    /// [`DeviceError::Driver`].
    fn copy(&self, from: &Self::Memory, to: &mut Self::Memory) -> Result<(), DeviceError>;

    /// Makes all bytes 0.
    ///
    /// # Errors
    /// [`DeviceError::Driver`].
    fn clear(&self, memory: &mut Self::Memory) -> Result<(), DeviceError>;

    /// Multiplies matrices of f32, which the memories are long enough for.
    ///
    /// # Errors
    /// [`DeviceError::Unavailable`] without a library for it, or [`DeviceError::Driver`].
    fn multiply(
        &self,
        product: Product,
        a: &Self::Memory,
        b: &Self::Memory,
        c: &mut Self::Memory,
    ) -> Result<(), DeviceError>;

    /// Runs the kernel `name` of `unit`.
    ///
    /// # Errors
    /// [`DeviceError::Compile`] or [`DeviceError::Driver`].
    ///
    /// # Safety
    /// `arguments` are those that the kernel takes, and its pointers reach as much memory as the kernel touches on this grid.
    #[allow(unsafe_code)]
    unsafe fn launch(
        &self,
        unit: &'static Unit,
        name: &'static str,
        grid: Grid,
        arguments: &mut Arguments,
    ) -> Result<(), DeviceError>;
}

/// Runs a kernel, unless there is nothing to do. Callers have held the arrays' lengths to the shapes that the kernel is given; that the
/// arguments are those that it takes is what the shim refuses otherwise, for every kernel.
pub(super) fn launch<D: Device>(
    device: &D,
    unit: &'static Unit,
    name: &'static str,
    grid: Grid,
    mut arguments: Arguments,
) -> Result<(), DeviceError> {
    if grid.blocks.contains(&0) {
        return Ok(());
    }
    // SAFETY: arrays are as long as the shapes say, which the callers assert, and kernels reach no further than their shapes.
    #[allow(unsafe_code)]
    unsafe {
        device.launch(unit, name, grid, &mut arguments)
    }
}
