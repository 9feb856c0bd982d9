//! Memory that circulates.
//!
//! A step writes activations, and in training gradients, that are of the same sizes in the next step. Fresh memory would be
//! zeroed by the kernel page by page at every first touch, which costs a third as much as the arithmetic; so buffers come back here.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, PoisonError};

use rayon::prelude::*;

/// Floats that a thread clears or copies at a time.
const CHUNK: usize = 1 << 16;

/// Hands out buffers. It never holds much more than were out at once: an eighth, and up to a factor of two for what fits loosely.
#[derive(Debug, Clone, Default)]
pub(crate) struct Buffers(Arc<Mutex<Idle>>);

#[derive(Debug, Default)]
struct Idle {
    buffers: Vec<Vec<f32>>,
    /// Floats of the buffers that are out, and the most there have been.
    out: usize,
    most: usize,
}

impl Buffers {
    /// `len` floats of whatever was there before.
    pub(crate) fn take(&self, len: usize) -> Buffer {
        let values = self.idle(|idle| idle.take(len)).unwrap_or_else(|| vec![0.0; len]);
        Buffer { values, len, home: self.clone() }
    }

    /// `len` zeros.
    pub(crate) fn zeros(&self, len: usize) -> Buffer {
        let mut buffer = self.take(len);
        buffer.par_chunks_mut(CHUNK).for_each(|buffer| buffer.fill(0.0));
        buffer
    }

    /// A copy of `values`.
    pub(crate) fn copy(&self, values: &[f32]) -> Buffer {
        let mut buffer = self.take(values.len());
        buffer.par_chunks_mut(CHUNK).zip(values.par_chunks(CHUNK)).for_each(|(to, from)| to.copy_from_slice(from));
        buffer
    }

    fn idle<R>(&self, f: impl FnOnce(&mut Idle) -> R) -> R {
        // A list of buffers is whole whoever panicked while holding it.
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Idle {
    /// Floats that lie idle.
    fn idle(&self) -> usize {
        self.buffers.iter().map(Vec::len).sum()
    }

    /// A buffer that fits; loosely only where plenty lies idle. Else what a step keeps would take hold of larger ones that each layer
    /// passes on to the next.
    fn take(&mut self, len: usize) -> Option<Vec<f32>> {
        let largest = if self.idle() < 2 * len { len + len / 4 } else { 2 * len };
        let fits = |buffer: &&Vec<f32>| (len..=largest).contains(&buffer.len());
        let best = self.buffers.iter().filter(fits).map(Vec::len).min();
        let at = best.and_then(|best| self.buffers.iter().position(|buffer| buffer.len() == best));
        let found = at.map(|at| self.buffers.remove(at));
        self.out += found.as_ref().map_or(len, Vec::len);
        self.most = self.most.max(self.out);
        self.forget();
        found
    }

    fn give(&mut self, buffer: Vec<f32>) {
        self.out -= buffer.len();
        self.buffers.push(buffer);
        self.forget();
    }

    /// Lets go of the buffers that have lain about longest, while there are too many. With nothing to spare, sizes that take turns would
    /// drive each other out, step after step.
    fn forget(&mut self) {
        let mut idle = self.idle();
        while idle + self.out > self.most + self.most / 8 {
            idle -= self.buffers.remove(0).len();
        }
    }
}

/// Floats on loan; they go back when this is dropped.
#[derive(Debug)]
pub struct Buffer {
    values: Vec<f32>,
    len: usize,
    home: Buffers,
}

impl Deref for Buffer {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.values[..self.len]
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.values[..self.len]
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let values = std::mem::take(&mut self.values);
        self.home.idle(|idle| idle.give(values));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_back_is_handed_out_again() {
        let buffers = Buffers::default();
        let first = buffers.copy(&[1.0, 2.0, 3.0, 4.0, 5.0]);
        let at = first.as_ptr();
        drop(first);
        let again = buffers.take(4);
        assert_eq!((again.as_ptr(), &again[..]), (at, &[1.0, 2.0, 3.0, 4.0][..]));
        drop(again);
        assert_eq!(buffers.zeros(5)[..], [0.0; 5]);
    }

    #[test]
    fn what_fits_loosely_is_lent_where_plenty_lies_idle() {
        let buffers = Buffers::default();
        let [one, others @ ..] = [8, 8, 8].map(|len| buffers.take(len));
        drop(one);
        let kept = buffers.take(5);
        assert_eq!(kept.values.len(), 5, "the only idle one would be missed");
        drop(others);
        assert_eq!(buffers.take(5).values.len(), 8);
    }

    #[test]
    fn little_more_is_held_than_was_out_at_once() {
        let buffers = Buffers::default();
        for len in [4, 100, 7, 1000, 3, 500] {
            let held = [buffers.take(len), buffers.take(len)];
            assert!(held.iter().all(|buffer| buffer.len() == len));
        }
        buffers.idle(|idle| {
            assert_eq!((idle.out, idle.most), (0, 2000));
            assert!(idle.buffers.iter().map(Vec::len).sum::<usize>() <= 2250);
        });
    }

    #[test]
    fn sizes_that_take_turns_do_not_drive_each_other_out() {
        let buffers = Buffers::default();
        let places = |held: &[Buffer]| {
            let mut places: Vec<*const f32> = held.iter().map(|it| it.as_ptr()).collect();
            places.sort_unstable();
            places
        };
        let turn = || {
            let many = places(&[100; 10].map(|len| buffers.take(len)));
            (many, places(&[buffers.take(110)]))
        };
        assert_eq!(turn(), turn());
    }
}
