//! Turns measured against turns.
//!
//! Episodes of one scenario begin alike and part ways as they go on. So the first turn of an episode is measured against the first turns of
//! its group, the second against the second, and so on: to an [`Advantage`] each place in each group is a group of its own. A turn that no
//! other episode of the group came to has nothing to be measured against.

use super::{Advantage, Answer};

impl Advantage {
    /// The advantage of every turn of a batch: group by group, episode by episode, in the turns' order.
    #[must_use]
    pub fn estimate_turns(self, groups: &[Vec<Vec<Answer>>]) -> Vec<Vec<Vec<f64>>> {
        let places = |group: &Vec<Vec<Answer>>| group.iter().map(Vec::len).max().unwrap_or(0);
        let there = groups.iter().flat_map(|group| (0..places(group)).map(move |place| (group, place)));
        let compared: Vec<Vec<Answer>> =
            there.map(|(group, place)| group.iter().filter_map(|turns| turns.get(place)).copied().collect()).collect();
        let mut found = self.estimate(&compared).into_iter();
        let part = |group: &Vec<Vec<Answer>>| {
            let mut credit: Vec<Vec<f64>> = group.iter().map(|turns| Vec::with_capacity(turns.len())).collect();
            for (place, advantages) in found.by_ref().take(places(group)).enumerate() {
                let came = credit.iter_mut().zip(group).filter(|(_, turns)| turns.len() > place);
                came.zip(advantages).for_each(|((own, _), advantage)| own.push(advantage));
            }
            credit
        };
        groups.iter().map(part).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn turns(returns: &[f64]) -> Vec<Answer> {
        returns.iter().map(|reward| Answer { reward: *reward, tokens: 2 }).collect()
    }

    #[test]
    fn a_turn_is_measured_against_the_turns_at_its_place() {
        let groups = [vec![turns(&[1.0, 3.0]), turns(&[0.0]), turns(&[2.0, 1.0])], vec![turns(&[5.0]), turns(&[1.0])]];
        let found = Advantage::Centred.estimate_turns(&groups);
        // First turns 1 0 2, mean 1; second turns 3 1, mean 2; and 5 1, mean 3.
        assert_eq!(found, [vec![vec![0.0, 1.0], vec![-1.0], vec![1.0, -1.0]], vec![vec![2.0], vec![-2.0]]]);
    }

    #[test]
    fn a_turn_that_nobody_else_came_to_teaches_nothing() {
        let found = Advantage::GroupStd.estimate_turns(&[vec![turns(&[1.0, 9.0]), turns(&[0.0]), vec![]]]);
        assert_eq!((found[0][0][1], found[0][2].len()), (0.0, 0));
    }

    proptest! {
        #[test]
        fn episodes_of_one_turn_are_measured_as_episodes(
            rewards in prop::collection::vec(prop::collection::vec(-1.0..1.0f64, 1..5), 1..4),
        ) {
            for advantage in Advantage::ALL {
                let whole: Vec<_> = rewards.iter().map(|group| turns(group)).collect();
                let apart: Vec<Vec<_>> =
                    rewards.iter().map(|group| group.iter().map(|reward| turns(&[*reward])).collect()).collect();
                prop_assert_eq!(advantage.estimate_turns(&apart).concat().concat(), advantage.estimate(&whole).concat());
            }
        }

        #[test]
        fn a_bonus_for_every_turn_at_a_place_changes_no_comparison(
            group in prop::collection::vec(prop::collection::vec(-1.0..1.0f64, 0..4), 1..6), bonus in -5.0..5.0f64,
        ) {
            let raised = |by: f64| -> Vec<Vec<Answer>> {
                let raise = |(place, reward): (usize, &f64)| reward + by * (place as f64 + 1.0);
                group.iter().map(|it| turns(&it.iter().enumerate().map(raise).collect::<Vec<_>>())).collect()
            };
            let relative = [Advantage::GroupStd, Advantage::GroupPopulationStd, Advantage::Centred, Advantage::LeaveOneOut];
            for advantage in relative {
                let plain = advantage.estimate_turns(&[raised(0.0)]).concat().concat();
                for (a, b) in plain.iter().zip(advantage.estimate_turns(&[raised(bonus)]).concat().concat()) {
                    prop_assert!((a - b).abs() < 1e-7 * a.abs().max(1.0), "{:?}: {} {}", advantage, a, b);
                }
            }
        }
    }
}
