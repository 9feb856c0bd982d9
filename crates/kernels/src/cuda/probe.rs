//! What of CUDA there is on this machine. Never panics: the driver's bindings do where its library is missing, so libraries are tried first.

use cudarc::driver::{CudaContext, result, sys};
use libloading::Library;

use super::gpu::driver_says;

/// Names under which the driver and NVRTC are looked for, as the bindings look for them.
const DRIVER: [&str; 2] = ["libcuda.so.1", "libcuda.so"];
const NVRTC: [&str; 3] = ["libnvrtc.so.13", "libnvrtc.so.12", "libnvrtc.so"];
const BLAS: [&str; 3] = ["libcublas.so.13", "libcublas.so.12", "libcublas.so"];

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The newest CUDA that the driver speaks, such as `(13, 0)`, and its devices; or what keeps them from being used.
    pub driver: Result<((i32, i32), Vec<Found>), Missing>,
    /// The version of NVRTC, without which kernels cannot be compiled.
    pub nvrtc: Option<(i32, i32)>,
    /// Whether cuBLAS is there, without which matrices cannot be multiplied.
    pub cublas: bool,
}

/// A device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// What NVIDIA calls it.
    pub name: String,
    /// Its compute capability, such as `(9, 0)`.
    pub compute_capability: (i32, i32),
    /// Bytes of memory.
    pub memory: usize,
}

/// Why there is no device to use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Missing {
    /// The driver is not installed.
    #[error("the driver's library is not there (libcuda.so.1)")]
    Library,
    /// The driver is there, and does not start.
    #[error("the driver does not start: {0}")]
    Driver(String),
    /// The driver is there, and there is no device.
    #[error("the driver finds no device")]
    Device,
    /// A device is there, and cannot be asked about itself.
    #[error("device {ordinal} does not answer: {reason}")]
    Answer {
        /// Its number, from 0.
        ordinal: usize,
        /// What the driver says.
        reason: String,
    },
}

/// Looks for the driver, its devices, NVRTC and cuBLAS.
#[must_use]
pub fn probe() -> Report {
    let nvrtc = nvrtc_is_there().then(nvrtc_version).flatten();
    Report { driver: devices(), nvrtc, cublas: blas_is_there() }
}

fn devices() -> Result<((i32, i32), Vec<Found>), Missing> {
    if !driver_is_there() {
        return Err(Missing::Library);
    }
    let silent = |error| Missing::Driver(driver_says(error));
    let count = CudaContext::device_count().map_err(silent)?;
    let mut version = 0;
    // SAFETY: the driver writes one number.
    #[allow(unsafe_code)]
    unsafe { sys::cuDriverGetVersion(&raw mut version) }.result().map_err(silent)?;
    let found: Result<Vec<Found>, Missing> = (0..count).map(found).collect();
    let found = found?;
    if found.is_empty() { Err(Missing::Device) } else { Ok(((version / 1000, version % 1000 / 10), found)) }
}

fn found(ordinal: i32) -> Result<Found, Missing> {
    use sys::CUdevice_attribute::{
        CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR,
    };

    let silent = |error| Missing::Answer { ordinal: ordinal as usize, reason: driver_says(error) };
    let device = result::device::get(ordinal).map_err(silent)?;
    let name = result::device::get_name(device).map_err(silent)?;
    // SAFETY: the driver has just given the device out.
    #[allow(unsafe_code)]
    let (major, minor, memory) = unsafe {
        (
            result::device::get_attribute(device, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR).map_err(silent)?,
            result::device::get_attribute(device, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR).map_err(silent)?,
            result::device::total_mem(device).map_err(silent)?,
        )
    };
    Ok(Found { name, compute_capability: (major, minor), memory })
}

fn nvrtc_version() -> Option<(i32, i32)> {
    let (mut major, mut minor) = (0, 0);
    // SAFETY: NVRTC writes two numbers.
    #[allow(unsafe_code)]
    let status = unsafe { cudarc::nvrtc::sys::nvrtcVersion(&raw mut major, &raw mut minor) };
    status.result().ok().map(|()| (major, minor))
}

pub(super) fn driver_is_there() -> bool {
    DRIVER.iter().any(|name| opens(name))
}

pub(super) fn nvrtc_is_there() -> bool {
    NVRTC.iter().any(|name| opens(name))
}

pub(super) fn blas_is_there() -> bool {
    BLAS.iter().any(|name| opens(name))
}

fn opens(name: &str) -> bool {
    // SAFETY: what runs when a vendor's library is opened is the vendor's; the bindings open the same one.
    #[allow(unsafe_code)]
    unsafe { Library::new(name) }.is_ok()
}
