//! A GPU, through the driver and NVRTC. Both are looked for when they are first needed; nothing of CUDA is linked.

use std::collections::HashMap;
use std::ffi::c_void;
use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use cudarc::cublas::{CudaBlas, result::gemm_ex, sys as blas};
use cudarc::driver::{
    CudaContext, CudaFunction, CudaSlice, CudaStream, DevicePtr, DriverError, LaunchConfig, PushKernelArg,
};
use cudarc::nvrtc::Ptx;

use super::arguments::Arguments;
use super::compile::compile;
use super::device::{Device, DeviceError, Grid};
use super::probe::{blas_is_there, driver_is_there, nvrtc_is_there};
use super::product::Product;
use super::source::Unit;

/// One device, and a stream on which everything happens in the order of the calls.
pub struct Gpu {
    stream: Arc<CudaStream>,
    architecture: String,
    functions: Mutex<HashMap<&'static str, CudaFunction>>,
    blas: OnceLock<Result<CudaBlas, DeviceError>>,
}

impl fmt::Debug for Gpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Gpu {} ({})", self.stream.context().ordinal(), self.architecture)
    }
}

impl Gpu {
    /// The device of that number, from 0.
    ///
    /// # Errors
    /// [`DeviceError::Unavailable`] without a driver, NVRTC or such a device.
    pub fn new(ordinal: usize) -> Result<Self, DeviceError> {
        let unavailable = |reason: &str| DeviceError::Unavailable(reason.to_owned());
        // Asked first, because the driver's and NVRTC's functions panic where their libraries are missing.
        if !driver_is_there() {
            return Err(unavailable("the driver's library, libcuda, is not there"));
        }
        if !nvrtc_is_there() {
            return Err(unavailable("NVRTC, which compiles kernels, is not there (libnvrtc)"));
        }
        let context = CudaContext::new(ordinal).map_err(|error| DeviceError::Unavailable(driver_says(error)))?;
        // SAFETY: everything this value allocates is used on its one stream, where nothing overtakes anything.
        #[allow(unsafe_code)]
        unsafe {
            context.disable_event_tracking();
        }
        let stream = context.new_stream().map_err(failed("cuStreamCreate"))?;
        let (major, minor) = context.compute_capability().map_err(failed("cuDeviceGetAttribute"))?;
        keep_freed_memory(&context)?;
        let architecture = format!("sm_{major}{minor}");
        Ok(Self { stream, architecture, functions: Mutex::default(), blas: OnceLock::new() })
    }

    /// The stream on which kernels run, for timing and for libraries that are to run in between.
    #[must_use]
    pub fn stream(&self) -> &Arc<CudaStream> {
        &self.stream
    }

    fn blas(&self) -> Result<&CudaBlas, DeviceError> {
        let made = self.blas.get_or_init(|| {
            // Asked first, because its functions panic where the library is missing.
            if !blas_is_there() {
                let reason = "cuBLAS, which multiplies matrices, is not there (libcublas)";
                return Err(DeviceError::Unavailable(reason.to_owned()));
            }
            CudaBlas::new(self.stream.clone())
                .map_err(|error| DeviceError::Driver { call: "cublasCreate", reason: format!("{:?}", error.0) })
        });
        made.as_ref().map_err(Clone::clone)
    }

    /// The kernel of that name; the first one of a unit has all of them compiled.
    fn function(&self, unit: &'static Unit, name: &'static str) -> Result<CudaFunction, DeviceError> {
        let mut functions = self.functions.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(function) = functions.get(name) {
            return Ok(function.clone());
        }
        let image = compile(unit, &self.architecture)?.image;
        let module = self.stream.context().load_module(Ptx::from_binary(image)).map_err(failed("cuModuleLoadData"))?;
        for entry in unit.entries() {
            functions.insert(entry, module.load_function(entry).map_err(failed("cuModuleGetFunction"))?);
        }
        let missing =
            || DeviceError::Driver { call: "cuModuleGetFunction", reason: format!("{} has no {name}", unit.name) };
        functions.get(name).cloned().ok_or_else(missing)
    }
}

/// What is freed stays with the process, as the next step asks for as much; else every wait for the device would give it back.
#[allow(unsafe_code)]
fn keep_freed_memory(context: &CudaContext) -> Result<(), DeviceError> {
    use cudarc::driver::sys::{self, CUmemPool_attribute_enum::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD};

    let (mut pool, mut threshold) = (std::ptr::null_mut(), u64::MAX);
    // SAFETY: the driver writes a handle of the device's own pool, and reads a number of the kind that the attribute has.
    unsafe {
        sys::cuDeviceGetDefaultMemPool(&raw mut pool, context.cu_device())
            .result()
            .map_err(failed("cuDeviceGetDefaultMemPool"))?;
        sys::cuMemPoolSetAttribute(pool, CU_MEMPOOL_ATTR_RELEASE_THRESHOLD, (&raw mut threshold).cast())
            .result()
            .map_err(failed("cuMemPoolSetAttribute"))
    }
}

impl Device for Gpu {
    type Memory = CudaSlice<u8>;

    #[allow(unsafe_code)]
    fn allocate(&self, bytes: usize) -> Result<CudaSlice<u8>, DeviceError> {
        // SAFETY: bytes may be anything, and so may an array's numbers before a kernel or the host has written them.
        unsafe { self.stream.alloc::<u8>(bytes) }.map_err(failed("cuMemAllocAsync"))
    }

    fn address(&self, memory: &CudaSlice<u8>) -> u64 {
        // One stream uses it, so there is no other whose work would have to be waited for.
        memory.device_ptr(&self.stream).0
    }

    fn write(&self, memory: &mut CudaSlice<u8>, bytes: &[u8]) -> Result<(), DeviceError> {
        self.stream.memcpy_htod(bytes, memory).map_err(failed("cuMemcpyHtoDAsync"))
    }

    fn read(&self, memory: &CudaSlice<u8>, bytes: &mut [u8]) -> Result<(), DeviceError> {
        self.stream.memcpy_dtoh(&memory.slice(..bytes.len()), bytes).map_err(failed("cuMemcpyDtoHAsync"))?;
        self.stream.synchronize().map_err(failed("cuStreamSynchronize"))
    }

    fn copy(&self, from: &CudaSlice<u8>, to: &mut CudaSlice<u8>) -> Result<(), DeviceError> {
        self.stream.memcpy_dtod(from, to).map_err(failed("cuMemcpyDtoDAsync"))
    }

    fn clear(&self, memory: &mut CudaSlice<u8>) -> Result<(), DeviceError> {
        self.stream.memset_zeros(memory).map_err(failed("cuMemsetD8Async"))
    }

    #[allow(unsafe_code)]
    fn multiply(
        &self,
        product: Product,
        a: &CudaSlice<u8>,
        b: &CudaSlice<u8>,
        c: &mut CudaSlice<u8>,
    ) -> Result<(), DeviceError> {
        use blas::cublasComputeType_t::CUBLAS_COMPUTE_32F_FAST_TF32;
        use blas::cublasGemmAlgo_t::CUBLAS_GEMM_DFALT;
        use blas::cublasOperation_t::{CUBLAS_OP_N, CUBLAS_OP_T};
        use blas::cudaDataType::CUDA_R_32F;

        let handle = *self.blas()?.handle();
        self.stream.context().bind_to_thread().map_err(failed("cuCtxSetCurrent"))?;
        let Product { m, n, k, a_turned, b_turned, add, at } = product;
        let size = |value: usize| i32::try_from(value).expect("matrices have fewer than 2^31 rows and columns");
        let turned = |it: bool| if it { CUBLAS_OP_T } else { CUBLAS_OP_N };
        let (one, kept) = (1.0f32, if add { 1.0f32 } else { 0.0 });
        let from = |memory: &CudaSlice<u8>, first: usize| self.address(memory) + (first * size_of::<f32>()) as u64;
        // Read column by column, as the library does, every matrix is its own transpose: c^T = b^T a^T.
        // SAFETY: the memories are as long as the shapes say, which callers assert; the scalars are read before the call returns.
        unsafe {
            gemm_ex(
                handle,
                turned(b_turned),
                turned(a_turned),
                size(n),
                size(m),
                size(k),
                (&raw const one).cast(),
                from(b, 0) as *const c_void,
                CUDA_R_32F,
                size(if b_turned { k } else { n }),
                from(a, at[0]) as *const c_void,
                CUDA_R_32F,
                size(if a_turned { m } else { k }),
                (&raw const kept).cast(),
                from(c, at[1]) as *mut c_void,
                CUDA_R_32F,
                size(n),
                CUBLAS_COMPUTE_32F_FAST_TF32,
                CUBLAS_GEMM_DFALT,
            )
        }
        .map_err(|error| DeviceError::Driver { call: "cublasGemmEx", reason: format!("{:?}", error.0) })
    }

    #[allow(unsafe_code)]
    unsafe fn launch(
        &self,
        unit: &'static Unit,
        name: &'static str,
        grid: Grid,
        arguments: &mut Arguments,
    ) -> Result<(), DeviceError> {
        let function = self.function(unit, name)?;
        let [x, y, z] = grid.blocks;
        let config = LaunchConfig { grid_dim: (x, y, z), block_dim: (grid.threads, 1, 1), shared_mem_bytes: 0 };
        let mut launch = self.stream.launch_builder(&function);
        // A kernel reads as many bytes of each as its parameter has; the lower ones come first.
        arguments.values().iter().for_each(|value| {
            launch.arg(value);
        });
        // SAFETY: the caller's promise.
        unsafe { launch.launch(config) }.map(|_| ()).map_err(failed("cuLaunchKernel"))
    }
}

fn failed(call: &'static str) -> impl Fn(DriverError) -> DeviceError {
    move |error| DeviceError::Driver { call, reason: driver_says(error) }
}

/// The driver's own words if it has any: looking them up fails where the driver did not start.
pub(super) fn driver_says(error: DriverError) -> String {
    match error.error_string() {
        Ok(text) => text.to_string_lossy().into_owned(),
        Err(_) => format!("{:?}", error.0),
    }
}
