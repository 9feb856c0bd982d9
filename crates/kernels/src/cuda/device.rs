//! Where kernels run: a GPU, or in tests a CPU that plays one.

use std::ffi::c_void;
use std::fmt;
use std::marker::PhantomData;

use half::bf16;

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
pub trait Device {
    /// Some bytes of it, aligned to 16.
    type Memory;

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

/// What an array may hold: plain numbers, and structures of them without gaps, laid out as the kernels' C has them.
///
/// # Safety
/// All bytes of a value are initialised, and all patterns of bytes are values.
#[allow(unsafe_code)]
pub unsafe trait Element: Copy + fmt::Debug + 'static {
    /// A letter of its own.
    const KIND: u8;
}

macro_rules! elements {
    ($($type:ty = $kind:literal),+) => {
        $(
            // SAFETY: a number has no gaps, and every pattern of bits is one.
            #[allow(unsafe_code)]
            unsafe impl Element for $type {
                const KIND: u8 = $kind;
            }
        )+
    };
}

elements!(f32 = b'f', f64 = b'd', u8 = b'b', bf16 = b'h', u32 = b'u', u64 = b'q');

/// What weights, activations and logits are kept in.
pub trait Real: Element {
    /// Of a kernel's two names, the one for f32 and the one for bf16, its own.
    fn kernel(names: [&'static str; 2]) -> &'static str;
}

impl Real for f32 {
    fn kernel(names: [&'static str; 2]) -> &'static str {
        names[0]
    }
}

impl Real for bf16 {
    fn kernel(names: [&'static str; 2]) -> &'static str {
        names[1]
    }
}

/// Numbers on a device.
pub struct Array<D: Device, T> {
    memory: D::Memory,
    len: usize,
    of: PhantomData<T>,
}

impl<D: Device, T> fmt::Debug for Array<D, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Array of {} {}", self.len, std::any::type_name::<T>())
    }
}

impl<D: Device, T: Element> Array<D, T> {
    /// `len` numbers, whatever they are.
    ///
    /// # Errors
    /// [`DeviceError::Driver`] if there is not as much memory.
    pub fn new(device: &D, len: usize) -> Result<Self, DeviceError> {
        // A GPU does not give away nothing.
        let memory = device.allocate((len * size_of::<T>()).max(16))?;
        Ok(Self { memory, len, of: PhantomData })
    }

    /// A copy of `values`.
    ///
    /// # Errors
    /// [`DeviceError::Driver`].
    pub fn from_slice(device: &D, values: &[T]) -> Result<Self, DeviceError> {
        let mut array = Self::new(device, values.len())?;
        array.write(device, values)?;
        Ok(array)
    }

    /// Takes over `values`.
    ///
    /// # Errors
    /// [`DeviceError::Driver`].
    ///
    /// # Panics
    /// If there are not as many of them.
    pub fn write(&mut self, device: &D, values: &[T]) -> Result<(), DeviceError> {
        assert_eq!(values.len(), self.len, "an array is written whole");
        if values.is_empty() {
            return Ok(());
        }
        // SAFETY: an element's bytes are all initialised.
        #[allow(unsafe_code)]
        let bytes = unsafe { std::slice::from_raw_parts(values.as_ptr().cast::<u8>(), size_of_val(values)) };
        device.write(&mut self.memory, bytes)
    }

    /// What it holds once all kernels before have finished.
    ///
    /// # Errors
    /// [`DeviceError::Driver`], for earlier kernels too.
    pub fn to_vec(&self, device: &D) -> Result<Vec<T>, DeviceError> {
        let mut bytes = vec![0u8; self.len * size_of::<T>()];
        if !bytes.is_empty() {
            device.read(&self.memory, &mut bytes)?;
        }
        // SAFETY: each read lies within `bytes`, may be unaligned, and every pattern of bytes is an element.
        #[allow(unsafe_code)]
        let values = bytes.chunks_exact(size_of::<T>()).map(|it| unsafe { it.as_ptr().cast::<T>().read_unaligned() });
        Ok(values.collect())
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

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

#[cfg(not(target_endian = "little"))]
compile_error!("kernels' arguments are laid out for little-endian hosts, which are all that CUDA has");
