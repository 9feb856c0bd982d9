//! What was still to come.

/// Of the rewards of an episode, one for each of its decisions: what each decision had ahead of it, its own included,
/// `R_t = reward_t + gamma R_(t+1)`.
///
/// Only what the policy decided has an entry. What others say in between costs no discount and interrupts nothing. (In older versions of
/// verl's REINFORCE++ a tool's answer sets the return of everything before it to 0.)
#[must_use]
pub fn return_to_go(rewards: &[f64], gamma: f64) -> Vec<f64> {
    let mut returns = rewards.to_vec();
    for t in (1..returns.len()).rev() {
        returns[t - 1] += gamma * returns[t];
    }
    returns
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reward_at_the_end_is_what_every_token_had_ahead_of_it_whoever_spoke_in_between() {
        // Rewards 0 0 0 1 under the mask 1 1 0 1: OpenRLHF finds 1 1 1 1, older versions of verl 0 0 1 1.
        let (rewards, mask) = ([0.0, 0.0, 0.0, 1.0], [true, true, false, true]);
        let sampled: Vec<f64> = rewards.into_iter().zip(mask).filter(|(_, sampled)| *sampled).map(|it| it.0).collect();
        assert_eq!(return_to_go(&sampled, 1.0), [1.0; 3]);
    }

    #[test]
    fn a_reward_is_worth_less_the_longer_it_takes() {
        // 1 + .5 x (2 + .5 x 4)
        assert_eq!(return_to_go(&[1.0, 2.0, 4.0], 0.5), [3.0, 4.0, 4.0]);
        assert_eq!(return_to_go(&[1.0, 2.0, 4.0], 0.0), [1.0, 2.0, 4.0]);
        assert!(return_to_go(&[], 1.0).is_empty());
    }
}
