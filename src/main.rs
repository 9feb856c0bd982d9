//! The `stateset` command.

/// A training step asks for the same large blocks again and again; this allocator hands them back from what was freed, where the system's
/// would ask the kernel for cleared pages each time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    stateset_agents::cli::run()
}
