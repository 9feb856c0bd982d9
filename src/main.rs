//! The `stateset` command.

/// Keeps pages that were given back: a training step asks for the same ones again and again, and the kernel hands out cleared ones
/// slowly.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    stateset_agents::cli::run()
}
