//! The `stateset` command.

/// A training step asks for the same large blocks again and again; this allocator hands them back from what was freed, where the system's
/// would ask the kernel for cleared pages each time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The number of the allocator's option for how long freed pages are kept, milliseconds; -1 is for ever.
const PURGE_DELAY: libmimalloc_sys::mi_option_t = 15;

/// Lets the allocator keep the pages it has. Blocks lie free for longer than its delay and are wanted again in the next step, and clearing
/// what went back to the kernel takes up to an eighth of a step. The environment's `MIMALLOC_PURGE_DELAY` has precedence.
#[allow(unsafe_code)]
fn keep_pages() {
    // SAFETY: no other thread runs yet, and the number is that option's in both versions of the allocator that the crate carries.
    unsafe { libmimalloc_sys::mi_option_set_default(PURGE_DELAY, -1) }
}

fn main() -> std::process::ExitCode {
    keep_pages();
    stateset_agents::cli::run()
}
