//! How many tokens each request is fed in the next step. Pure.

use crate::slots::common;

/// Tokens below which a common beginning is sooner computed twice than waited for.
const WORTH_WAITING: usize = 8;

/// A live request: the tokens of its conversation, and how many of them its slot holds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reader<'a> {
    pub(crate) tokens: &'a [u32],
    pub(crate) held: usize,
}

impl Reader<'_> {
    fn pending(&self) -> usize {
        self.tokens.len() - self.held
    }

    /// Whether `self`, which is further back, had better copy the beginning that `other` is about to read.
    fn follows(&self, other: &Reader<'_>) -> bool {
        let shared = common(self.tokens, other.tokens).min(self.tokens.len() - 1);
        shared > other.held && shared >= self.held + WORTH_WAITING
    }
}

/// What each of `readers` has to be fed in the next step, at most: nothing while one further in front is reading what both begin with.
/// The first one never waits.
pub(crate) fn pending(readers: &[Reader<'_>]) -> Vec<usize> {
    let waits = |i: usize| {
        let reader = &readers[i];
        reader.pending() > WORTH_WAITING && readers[..i].iter().any(|other| reader.follows(other))
    };
    (0..readers.len()).map(|i| if waits(i) { 0 } else { readers[i].pending() }).collect()
}

/// Tokens to feed to each of `pending` requests, in order, so that their sum stays within `budget`: one token to every request first, so
/// that no reply waits behind a long prompt, then whole prompts from the front.
pub(crate) fn feed(pending: &[usize], budget: usize) -> Vec<usize> {
    let mut left = budget;
    let mut fed: Vec<usize> = pending
        .iter()
        .map(|&tokens| {
            let one = tokens.min(1).min(left);
            left -= one;
            one
        })
        .collect();
    for (fed, &tokens) in fed.iter_mut().zip(pending) {
        let more = (tokens - *fed).min(left);
        *fed += more;
        left -= more;
    }
    fed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn readers<'a>(all: &[(&'a [u32], usize)]) -> Vec<Reader<'a>> {
        all.iter().map(|(tokens, held)| Reader { tokens, held: *held }).collect()
    }

    #[test]
    fn of_those_who_begin_alike_the_first_reads_and_the_others_wait_until_it_has() {
        let (prompt, other): (Vec<u32>, Vec<u32>) = ((0..20).collect(), (50..70).collect());
        let longer: Vec<u32> = (0..15).chain(90..100).collect();
        assert_eq!(pending(&readers(&[(&prompt, 0), (&other, 0), (&prompt, 0), (&longer, 0)])), [20, 20, 0, 0]);
        assert_eq!(pending(&readers(&[(&prompt, 4), (&prompt, 0)])), [16, 0], "it reads in pieces");
        assert_eq!(pending(&readers(&[(&prompt, 16), (&prompt, 0), (&longer, 15)])), [4, 0, 10]);
        assert_eq!(pending(&readers(&[(&prompt, 20), (&prompt, 19), (&longer, 15)])), [0, 1, 10], "it has been copied");
    }

    #[test]
    fn nobody_waits_for_a_few_tokens() {
        let (one, two): (Vec<u32>, Vec<u32>) = ((0..20).collect(), (0..7).chain(50..60).collect());
        assert_eq!(pending(&readers(&[(&one, 0), (&two, 0)])), [20, 17]);
    }

    #[test]
    fn everyone_gets_a_token_before_anyone_gets_a_prompt() {
        assert_eq!(feed(&[10, 1, 1], 6), [4, 1, 1]);
        assert_eq!(feed(&[1, 1, 1], 2), [1, 1, 0]);
        assert_eq!(feed(&[3, 5], 100), [3, 5]);
        assert_eq!(feed(&[], 4), [0; 0]);
    }
}
