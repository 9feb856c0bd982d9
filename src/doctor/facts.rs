//! Everything that is looked up, before anything is said of it.

use std::path::Path;

use serde::Serialize;

use super::folder::Folder;
use super::gpu::Gpu;
use super::huge_pages;
use super::memory::Memory;
use super::model::Model;
use crate::machine::Machine;

/// What there is.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Facts {
    /// The program's version.
    pub(super) version: &'static str,
    /// The processor, and how the program was built.
    pub(super) machine: Machine,
    /// Threads that kernels use.
    pub(super) threads: usize,
    /// `None` where the system does not tell.
    pub(super) memory: Option<Memory>,
    /// Who gets transparent huge pages: `always`, `madvise` or `never`; `None` where there are none.
    pub(super) huge_pages: Option<String>,
    /// Where runs go.
    pub(super) output_dir: Folder,
    /// What there is of CUDA.
    pub(super) gpu: Gpu,
    /// The model that was asked about.
    pub(super) model: Option<Model>,
}

impl Facts {
    /// Looks around, and at `model`. What is tried out on `output_dir` leaves nothing behind.
    pub(crate) fn look(output_dir: &Path, model: Option<&str>) -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION"),
            machine: Machine::here(),
            threads: rayon::current_num_threads(),
            memory: Memory::look(),
            huge_pages: huge_pages::look(),
            output_dir: Folder::look(output_dir),
            gpu: Gpu::look(),
            model: model.map(Model::look),
        }
    }
}
