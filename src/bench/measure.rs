//! Repeating what is measured.

use std::time::Instant;

use anyhow::Result;

/// How often something is measured, after one time that does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Repeats(pub(crate) usize);

/// Where a measurement is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Progress {
    /// The model and its inputs are being made.
    Preparing,
    /// The first time, which does not count.
    WarmingUp,
    /// So many times have been measured; the last one took so many seconds.
    Measured(usize, f64),
    /// The machine's roof is being measured.
    Roof,
}

/// Hears where a measurement is.
pub(crate) type Listener<'a> = &'a mut dyn FnMut(Progress);

/// What was measured: the seconds of each phase, by repetition.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Laps {
    phases: Vec<&'static str>,
    laps: Vec<Vec<f64>>,
}

/// A watch that is read at the end of each phase of one repetition.
pub(crate) struct Watch {
    last: Instant,
    lap: Vec<f64>,
}

impl Watch {
    /// A phase has ended, and the next begins.
    pub(crate) fn phase(&mut self) {
        let now = Instant::now();
        self.lap.push((now - self.last).as_secs_f64());
        self.last = now;
    }

    /// What has happened since the last phase is not measured.
    pub(crate) fn skip(&mut self) {
        self.last = Instant::now();
    }
}

impl Repeats {
    /// Does `once` for repetition 0, which does not count, and for every one that does. It ends each of `phases` on the watch.
    pub(crate) fn run(
        self,
        phases: &[&'static str],
        listener: Listener<'_>,
        mut once: impl FnMut(usize, &mut Watch) -> Result<()>,
    ) -> Result<Laps> {
        let mut laps = Vec::new();
        listener(Progress::WarmingUp);
        for repetition in 0..=self.0 {
            let mut watch = Watch { last: Instant::now(), lap: Vec::new() };
            once(repetition, &mut watch)?;
            assert_eq!(watch.lap.len(), phases.len(), "every phase is measured");
            if repetition > 0 {
                listener(Progress::Measured(repetition, watch.lap.iter().sum()));
                laps.push(watch.lap);
            }
        }
        Ok(Laps { phases: phases.to_vec(), laps })
    }
}

impl Laps {
    fn totals(&self) -> Vec<f64> {
        self.laps.iter().map(|lap| lap.iter().sum()).collect()
    }

    /// Seconds of the fastest repetition.
    pub(crate) fn least(&self) -> f64 {
        self.totals().into_iter().fold(f64::INFINITY, f64::min)
    }

    /// Seconds of the repetition in the middle; of an even number, the mean of the two.
    pub(crate) fn median(&self) -> f64 {
        middle(self.totals())
    }

    /// How many repetitions there are.
    pub(crate) fn len(&self) -> usize {
        self.laps.len()
    }

    /// Every phase by name: least and median seconds.
    pub(crate) fn phases(&self) -> impl Iterator<Item = (&'static str, f64, f64)> + '_ {
        self.phases.iter().enumerate().map(|(at, name)| {
            let seconds: Vec<f64> = self.laps.iter().map(|lap| lap[at]).collect();
            (*name, seconds.iter().copied().fold(f64::INFINITY, f64::min), middle(seconds))
        })
    }
}

fn middle(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let (low, high) = ((values.len() - 1) / 2, values.len() / 2);
    (values[low] + values[high]) / 2.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_time_does_not_count_and_phases_are_told_apart() {
        let mut told = Vec::new();
        let mut listener = |progress| told.push(progress);
        let laps = Repeats(3).run(&["rollout", "step"], &mut listener, |repetition, watch| {
            let numbers = [[9.0, 9.0], [1.0, 5.0], [3.0, 2.0], [2.0, 2.0]][repetition];
            watch.lap.extend(numbers);
            Ok(())
        });
        let laps = laps.unwrap();
        assert_eq!((laps.least(), laps.median(), laps.len()), (4.0, 5.0, 3));
        assert_eq!(laps.phases().collect::<Vec<_>>(), [("rollout", 1.0, 2.0), ("step", 2.0, 2.0)]);
        assert_eq!(told[0], Progress::WarmingUp);
        assert_eq!(
            told[1..],
            [6.0, 5.0, 4.0]
                .map(|s| s)
                .iter()
                .enumerate()
                .map(|(i, s)| Progress::Measured(i + 1, *s))
                .collect::<Vec<_>>()
        );
    }

    #[test]
    fn the_middle_of_an_even_number_lies_between_two() {
        assert_eq!((middle(vec![4.0, 1.0, 3.0, 2.0]), middle(vec![5.0])), (2.5, 5.0));
    }
}
