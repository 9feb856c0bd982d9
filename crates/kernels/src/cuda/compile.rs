//! Kernels' machine code, by NVRTC.

use std::ffi::{CString, c_char};

use cudarc::nvrtc::{result, sys};

use super::device::DeviceError;
use super::probe::nvrtc_is_there;
use super::source::Unit;

/// A unit's machine code for one architecture.
#[derive(Debug, Clone)]
pub struct Compiled {
    /// What the driver loads.
    pub image: Vec<u8>,
    /// What the compiler said: of every kernel, its registers, its shared memory, and what it spills.
    pub log: String,
}

/// Compiles `unit` for a device's own architecture, such as `sm_90`: to machine code, so that the driver has nothing left to translate and a
/// kernel that does not fit the hardware is refused here.
///
/// # Errors
/// [`DeviceError::Compile`], or [`DeviceError::Unavailable`] without NVRTC.
pub fn compile(unit: &Unit, architecture: &str) -> Result<Compiled, DeviceError> {
    if !nvrtc_is_there() {
        return Err(DeviceError::Unavailable("NVRTC, which compiles kernels, is not there (libnvrtc)".to_owned()));
    }
    let refused = |log: String| DeviceError::Compile { unit: unit.name, architecture: architecture.to_owned(), log };
    let text = CString::new(unit.text).map_err(|error| refused(error.to_string()))?;
    let name = CString::new(format!("{}.cu", unit.name)).map_err(|error| refused(error.to_string()))?;
    let program = result::create_program(&text, Some(&name)).map_err(|error| refused(format!("{error:?}")))?;
    let program = Program(program);
    let options = [&format!("--gpu-architecture={architecture}"), "--std=c++17", "--ptxas-options=-v"];
    // SAFETY: the program was created above, and is destroyed when it is dropped.
    #[allow(unsafe_code)]
    let done = unsafe { result::compile_program(program.0, &options) };
    let log = program.log();
    match done {
        Ok(()) => Ok(Compiled { image: program.image().map_err(|error| refused(format!("{error:?}")))?, log }),
        Err(_) => Err(refused(log)),
    }
}

struct Program(sys::nvrtcProgram);

impl Program {
    fn log(&self) -> String {
        // SAFETY: the program lives.
        #[allow(unsafe_code)]
        let log = unsafe { result::get_program_log(self.0) }.unwrap_or_default();
        let bytes: Vec<u8> = log.iter().take_while(|c| **c != 0).map(|c| *c as u8).collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    fn image(&self) -> Result<Vec<u8>, result::NvrtcError> {
        let mut size = 0;
        // SAFETY: the program lives, and the second call writes as many bytes as the first has said.
        #[allow(unsafe_code)]
        unsafe {
            sys::nvrtcGetCUBINSize(self.0, &raw mut size).result()?;
            let mut image = vec![0u8; size];
            sys::nvrtcGetCUBIN(self.0, image.as_mut_ptr().cast::<c_char>()).result()?;
            Ok(image)
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // SAFETY: created once, destroyed once. A failure would leak it, and nobody is left to tell.
        #[allow(unsafe_code)]
        let _ = unsafe { result::destroy_program(self.0) };
    }
}
