//! Running the same code at every level that this CPU has.

use std::cell::Cell;

use rayon::ThreadPoolBuilder;

use super::Level;

thread_local! {
    static ASKED: Cell<Option<Level>> = const { Cell::new(None) };
}

/// The level that a test wants on this thread.
pub(crate) fn asked() -> Option<Level> {
    ASKED.get()
}

/// What `f` gives at every level that this CPU has, the baseline first; what it lacks is said and left out.
pub(crate) fn at_each<R: Send>(f: impl Fn() -> R + Sync) -> Vec<(Level, R)> {
    #[cfg(target_arch = "x86_64")]
    let all = [Level::Baseline, Level::Avx2, Level::Avx512];
    #[cfg(not(target_arch = "x86_64"))]
    let all = [Level::Baseline];
    let (here, lacking): (Vec<Level>, Vec<Level>) = all.into_iter().partition(|level| *level <= Level::best());
    lacking.iter().for_each(|level| eprintln!("skipped: this CPU lacks {level:?}"));
    here.into_iter().map(|level| (level, at(level, &f))).collect()
}

fn at<R: Send>(level: Level, f: &(impl Fn() -> R + Sync)) -> R {
    let pool = ThreadPoolBuilder::new().num_threads(1).start_handler(move |_| ASKED.set(Some(level))).build();
    pool.expect("a thread can be had").install(f)
}
