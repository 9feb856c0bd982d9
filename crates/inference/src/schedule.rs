//! How many tokens each request is fed in the next step. Pure.

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

    #[test]
    fn everyone_gets_a_token_before_anyone_gets_a_prompt() {
        assert_eq!(feed(&[10, 1, 1], 6), [4, 1, 1]);
        assert_eq!(feed(&[1, 1, 1], 2), [1, 1, 0]);
        assert_eq!(feed(&[3, 5], 100), [3, 5]);
        assert_eq!(feed(&[], 4), [0; 0]);
    }
}
