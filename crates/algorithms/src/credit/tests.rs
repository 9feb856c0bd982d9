use proptest::prelude::*;

use super::*;
use crate::KlEstimator;

fn charging(advantage: Advantage) -> Grpo {
    Grpo { advantage, kl_coef: 0.5, kl_in: KlIn::Reward, kl: KlEstimator::K1, ..Grpo::default() }
}

/// An episode without turns that anybody asks about.
fn whole(reward: f64, charges: &[f64]) -> Earned<'_> {
    Earned { reward, terms: &[], turns: &[], charges }
}

fn assert_near(found: &[f64], expected: &[f64]) {
    let apart = found.iter().zip(expected).any(|(found, expected)| (found - expected).abs() > 1e-9);
    assert!(!apart && found.len() == expected.len(), "{found:?} is not {expected:?}");
}

#[test]
fn a_charge_is_the_coefficient_times_the_estimate_and_only_where_the_reward_pays() {
    assert_eq!(charging(Advantage::LeaveOneOut).charge(-1.0, -1.5), 0.25);
    assert_eq!(Grpo { kl_in: KlIn::Loss, ..charging(Advantage::LeaveOneOut) }.charge(-1.0, -1.5), 0.0);
    assert_eq!(Grpo { kl_coef: 0.0, ..charging(Advantage::LeaveOneOut) }.charge(-1.0, -1.5), 0.0);
}

#[test]
fn an_episode_is_compared_by_what_is_left_of_its_reward() {
    let group = vec![whole(1.0, &[0.1, 0.2, 0.1]), whole(0.5, &[0.0, -0.1])];
    // 0.6 and 0.6: what the first was worth more it has paid for
    let found = charging(Advantage::LeaveOneOut).credit(std::slice::from_ref(&group));
    assert_near(&found[0].concat(), &[0.0; 5]);
    let free = group.iter().map(|it| whole(it.reward, &[0.0; 2])).collect();
    assert_near(&charging(Advantage::LeaveOneOut).credit(&[free])[0].concat(), &[0.5, 0.5, -0.5, -0.5]);
}

#[test]
fn reinforce_pp_charges_each_token_from_where_it_stands() {
    let groups = [vec![whole(1.0, &[0.5, 0.25])], vec![whole(0.0, &[0.0; 2])]];
    // Ahead of the four tokens lie 0.25 0.75 0 0: mean 0.25, sample variance (0 + 0.25 + 2 x 0.0625) / 3
    let spread = (0.375f64 / 3.0 + 1e-8).sqrt();
    let found = charging(Advantage::ReinforcePp).credit(&groups).concat().concat();
    assert_near(&found, &[0.0, 0.5 / spread, -0.25 / spread, -0.25 / spread]);
}

/// Two turns of two tokens and one of one.
fn turns(rewards: &[f64]) -> Vec<Turn> {
    let tokens = [0..2, 2..4, 4..5];
    rewards.iter().zip(tokens).map(|(reward, tokens)| Turn { tokens, reward: *reward }).collect()
}

#[test]
fn a_turn_has_the_credit_of_what_came_of_it() {
    let grpo = Grpo {
        advantage: Advantage::Centred,
        credit: CreditFor::Turns,
        gamma: 0.5,
        turn_weight: 2.0,
        ..Grpo::default()
    };
    let (long, short) = (turns(&[0.0, 1.0, 0.0]), turns(&[1.0]));
    let group = vec![
        Earned { reward: 4.0, terms: &[], turns: &long, charges: &[0.0; 5] },
        Earned { reward: 1.0, terms: &[], turns: &short, charges: &[0.0; 2] },
    ];
    // Turns earn 0 2 4, of which come 2 4 4; and 2 + 1 = 3. First turns 2 and 3; nobody else came to a second one.
    assert_near(&grpo.credit(&[group]).concat().concat(), &[-0.5, -0.5, 0.0, 0.0, 0.0, 0.5, 0.5]);
}

#[test]
fn without_rewards_of_turns_the_last_one_earns_it_all_and_others_have_a_share() {
    let grpo = Grpo { advantage: Advantage::Centred, credit: CreditFor::Turns, gamma: 0.5, ..Grpo::default() };
    let both = turns(&[7.0, 7.0]);
    let episode = |reward| Earned { reward, terms: &[], turns: &both, charges: &[0.0; 4] };
    let found = grpo.credit(&[vec![episode(1.0), episode(0.0)]]).concat().concat();
    assert_near(&found, &[0.25, 0.25, 0.5, 0.5, -0.25, -0.25, -0.5, -0.5]);
}

#[test]
fn a_turn_pays_its_own_charges_and_those_of_what_came_of_it() {
    let grpo = Grpo { credit: CreditFor::Turns, gamma: 1.0, ..charging(Advantage::Centred) };
    let both = turns(&[0.0, 0.0]);
    let episode = |charges| Earned { reward: 1.0, terms: &[], turns: &both, charges };
    let group = vec![episode(&[0.1, 0.1, 0.0, 0.4]), episode(&[0.0; 4])];
    // 1 - .6 and 1 - .4, against 1 and 1
    assert_near(&grpo.credit(&[group])[0][0], &[-0.3, -0.3, -0.2, -0.2]);
}

#[test]
fn an_episode_that_is_only_compared_with_has_no_tokens_and_no_say_in_what_tokens_are_whitened() {
    let both = turns(&[0.0, 0.0]);
    let episode = |reward, charges| Earned { reward, terms: &[], turns: &both, charges };
    for credit in [CreditFor::Episode, CreditFor::Turns] {
        let group = [vec![episode(1.0, &[0.0; 4][..]), episode(0.0, &[]), episode(0.5, &[0.0; 4])]];
        let found = Grpo { advantage: Advantage::Centred, credit, ..Grpo::default() }.credit(&group).remove(0);
        // The mean is 0.5, not 0.75.
        assert_near(&found.concat(), &[0.5, 0.5, 0.5, 0.5, 0.0, 0.0, 0.0, 0.0]);
        assert!(found[1].is_empty());
        let whitened = Grpo { advantage: Advantage::ReinforcePp, credit, ..Grpo::default() }.credit(&group).concat();
        assert!(whitened.concat().iter().sum::<f64>().abs() < 1e-9, "{whitened:?}");
    }
}

#[test]
fn an_episode_that_grew_too_long_is_worth_less_even_if_nothing_is_learned_from_it() {
    let grpo = Grpo {
        advantage: Advantage::Centred,
        max_completion_tokens: 5,
        overlong_cache: Some(2),
        overlong_penalty: 0.5,
        ..Grpo::default()
    };
    let (long, middle) = (turns(&[0.0; 3]), turns(&[0.0; 2]));
    let episode = |turns, charges| Earned { reward: 1.0, terms: &[], turns, charges };
    let group = [vec![episode(&long, &[0.0; 5][..]), episode(&middle, &[0.0; 4]), episode(&middle[..1], &[0.0; 2])]];
    // 1 - .5, 1 - .25 and 1: mean .75
    let found = grpo.credit(&group).remove(0);
    assert_near(&found.iter().map(|credit| credit[0]).collect::<Vec<_>>(), &[-0.25, 0.0, 0.25]);
    let unlearned = [vec![episode(&long, &[]), group[0][1], group[0][2]]];
    assert_eq!(grpo.credit(&unlearned)[0][1..], found[1..]);
    let by_turn = Grpo { credit: CreditFor::Turns, ..grpo }.credit(&group).remove(0);
    assert_near(&[by_turn[0][0], by_turn[1][0], by_turn[2][0]], &[-0.25, 0.0, 0.25]);
}

#[test]
fn a_silent_episode_has_no_credit() {
    for credit in [CreditFor::Episode, CreditFor::Turns] {
        let grpo = Grpo { credit, ..Grpo::default() };
        assert!(grpo.credit(&[vec![whole(1.0, &[]), whole(0.0, &[])]]).concat().concat().is_empty());
    }
}

proptest! {
    #[test]
    fn without_charges_every_token_shares_its_episodes_advantage(
        group in prop::collection::vec((-1.0..1.0f64, 0..4usize), 1..6),
    ) {
        let zeros = [0.0; 4];
        let earned: Vec<_> =
            group.iter().map(|(reward, tokens)| whole(*reward, &zeros[..*tokens])).collect();
        let answers: Vec<_> = group.iter().map(|(reward, tokens)| Answer { reward: *reward, tokens: *tokens }).collect();
        for advantage in Advantage::ALL {
            let grpo = Grpo { advantage, ..Grpo::default() };
            let expected = advantage.estimate(std::slice::from_ref(&answers)).remove(0);
            let found = grpo.credit(std::slice::from_ref(&earned)).remove(0);
            for ((found, expected), (_, tokens)) in found.iter().zip(&expected).zip(&group) {
                prop_assert_eq!(found, &vec![*expected; *tokens]);
            }
        }
    }

    #[test]
    fn a_bonus_for_everyone_changes_no_comparison(
        group in prop::collection::vec((-1.0..1.0f64, -0.5..0.5f64), 2..6), bonus in -5.0..5.0f64,
    ) {
        let credit = |bonus: f64, advantage| {
            let charges: Vec<[f64; 2]> = group.iter().map(|(_, charge)| [*charge, 0.1]).collect();
            let earned = group.iter().zip(&charges);
            let earned = earned.map(|((reward, _), charges)| whole(reward + bonus, charges)).collect();
            charging(advantage).credit(&[earned]).concat().concat()
        };
        for advantage in Advantage::ALL {
            for (a, b) in credit(0.0, advantage).iter().zip(credit(bonus, advantage)) {
                // Charges at two tokens of the same episode are apart, but a bonus is ahead of both.
                prop_assert!((a - b).abs() < 1e-6 * a.abs().max(1.0), "{:?}: {} {}", advantage, a, b);
            }
        }
    }
}

#[test]
fn rewards_that_are_measured_apart_speak_equally_loud_whatever_their_size() {
    let grpo = Grpo { rewards: Rewards::Apart, ..Grpo::default() };
    let episode = |terms| Earned { reward: 0.0, terms, turns: &[], charges: &[0.0; 2] };
    // Of two rewards the second is a hundred times as large; both weigh 1. In the first group they contradict each other, in the second they
    // agree, so that the batch has a spread.
    let contrary = vec![episode(&[(1.0, 0.0), (1.0, 100.0)]), episode(&[(1.0, 1.0), (1.0, 0.0)])];
    let agreed = vec![episode(&[(1.0, 0.0), (1.0, 0.0)]), episode(&[(1.0, 1.0), (1.0, 100.0)])];
    let found = grpo.credit(&[contrary, agreed]).concat().concat();
    assert!(found[..4].iter().all(|it| it.abs() < 1e-3) && found[6] > 1.0, "{found:?}");
    // With twice the weight the first prevails: of two sums the sample std is sqrt(2) times half their distance.
    let group = vec![episode(&[(2.0, 0.0), (1.0, 100.0)]), episode(&[(2.0, 1.0), (1.0, 0.0)])];
    let found = grpo.credit(&[group]).concat().concat();
    assert!((found[3] - 0.5f64.sqrt()).abs() < 1e-3 && (found[0] + found[3]).abs() < 1e-9, "{found:?}");
}

#[test]
fn a_charge_is_a_reward_among_others_where_those_are_measured_apart() {
    let grpo = Grpo { rewards: Rewards::Apart, kl_coef: 0.1, kl_in: KlIn::Reward, ..Grpo::default() };
    let episode = |charges| Earned { reward: 1.0, terms: &[(1.0, 1.0)], turns: &[], charges };
    let found = grpo.credit(&[vec![episode(&[0.3]), episode(&[0.1])]]).concat().concat();
    assert!(found[0] < 0.0 && found[1] > 0.0, "{found:?}");
}
