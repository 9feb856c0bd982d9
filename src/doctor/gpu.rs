//! What there is of CUDA, as far as this build can tell.

use serde::Serialize;

/// Driver, devices and compiler, or why there is nothing to tell.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "status", rename_all = "snake_case")]
#[allow(
    dead_code,
    reason = "which of them a build can find depends on its features; what is said of each is the same in all"
)]
pub(crate) enum Gpu {
    /// The program was built without the feature `cuda`, and does not look.
    NotBuilt,
    /// There is no device that could be used.
    Missing {
        /// Why not.
        reason: String,
        /// The version of NVRTC, if it is there.
        nvrtc: Option<String>,
    },
    /// There are devices.
    Found {
        /// The newest CUDA that the driver speaks.
        driver: String,
        /// In the driver's order.
        devices: Vec<Device>,
        /// The version of NVRTC, without which kernels cannot be compiled.
        nvrtc: Option<String>,
        /// Whether cuBLAS is there, without which matrices cannot be multiplied.
        cublas: bool,
    },
}

/// A device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Device {
    /// What NVIDIA calls it.
    pub(super) name: String,
    /// Such as `9.0`.
    pub(super) compute_capability: String,
    /// Bytes.
    pub(super) memory: usize,
}

impl Gpu {
    /// Asks the driver.
    #[cfg(feature = "cuda")]
    pub(super) fn look() -> Self {
        let version = |(major, minor): (i32, i32)| format!("{major}.{minor}");
        let found = stateset_kernels::cuda::probe();
        let nvrtc = found.nvrtc.map(version);
        match found.driver {
            Err(missing) => Self::Missing { reason: missing.to_string(), nvrtc },
            Ok((driver, devices)) => {
                let device = |found: stateset_kernels::cuda::Found| Device {
                    name: found.name,
                    compute_capability: version(found.compute_capability),
                    memory: found.memory,
                };
                let (driver, devices) = (version(driver), devices.into_iter().map(device).collect());
                Self::Found { driver, devices, nvrtc, cublas: found.cublas }
            }
        }
    }

    /// Does not look.
    #[cfg(not(feature = "cuda"))]
    pub(super) fn look() -> Self {
        Self::NotBuilt
    }
}
