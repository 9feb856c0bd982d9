//! Numbers on a device.

use std::fmt;
use std::marker::PhantomData;

use half::bf16;

use super::device::{Device, DeviceError};

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
    pub(super) memory: D::Memory,
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
        // SAFETY: zeros are a pattern of bytes, and all of those are elements.
        #[allow(unsafe_code)]
        let mut values = unsafe { Box::<[T]>::new_zeroed_slice(self.len).assume_init() }.into_vec();
        // SAFETY: the vector's own bytes, all of them initialised, of which any pattern may come out.
        #[allow(unsafe_code)]
        let bytes =
            unsafe { std::slice::from_raw_parts_mut(values.as_mut_ptr().cast::<u8>(), size_of_val(&values[..])) };
        if !bytes.is_empty() {
            device.read(&self.memory, bytes)?;
        }
        Ok(values)
    }

    /// `len` zeros.
    ///
    /// # Errors
    /// [`DeviceError::Driver`] if there is not as much memory.
    pub fn zeros(device: &D, len: usize) -> Result<Self, DeviceError> {
        let mut array = Self::new(device, len)?;
        array.clear(device)?;
        Ok(array)
    }

    /// Makes all of them 0.
    ///
    /// # Errors
    /// [`DeviceError::Driver`].
    pub fn clear(&mut self, device: &D) -> Result<(), DeviceError> {
        device.clear(&mut self.memory)
    }

    /// The same numbers once more.
    ///
    /// # Errors
    /// [`DeviceError::Driver`] if there is not as much memory.
    pub fn copy(&self, device: &D) -> Result<Self, DeviceError> {
        let mut copy = Self::new(device, self.len)?;
        device.copy(&self.memory, &mut copy.memory)?;
        Ok(copy)
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
