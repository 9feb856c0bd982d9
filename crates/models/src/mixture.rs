//! Who goes where: the rows of a mixture of experts, put in the order of the experts.

use stateset_kernels::cpu::Routes;

/// Every visit of a row to an expert, expert after expert; rows in order within each.
pub(crate) struct Visits {
    /// The row of every visit.
    pub(crate) rows: Vec<u32>,
    /// Where its weight stands among the routes'.
    pub(crate) places: Vec<usize>,
    /// Where each expert's visits begin, and the end of the last.
    starts: Vec<usize>,
}

impl Visits {
    pub(crate) fn new(routes: &Routes, experts: usize) -> Self {
        let mut starts = vec![0; experts + 1];
        routes.experts.iter().for_each(|expert| starts[*expert as usize + 1] += 1);
        (0..experts).for_each(|expert| starts[expert + 1] += starts[expert]);
        let mut next = starts.clone();
        let (mut rows, mut places) = (vec![0; routes.experts.len()], vec![0; routes.experts.len()]);
        for (place, expert) in routes.experts.iter().enumerate() {
            let at = &mut next[*expert as usize];
            (rows[*at], places[*at]) = ((place / routes.each) as u32, place);
            *at += 1;
        }
        Self { rows, places, starts }
    }

    /// Each expert that is visited, and its visits.
    pub(crate) fn by_expert(&self) -> impl Iterator<Item = (usize, std::ops::Range<usize>)> {
        let each = self.starts.windows(2).map(|pair| pair[0]..pair[1]).enumerate();
        each.filter(|(_, visits)| !visits.is_empty())
    }

    /// Adds to every row of `out[rows, width]` what its visits brought, `found[visits, width]`, by their weights.
    pub(crate) fn bring(&self, found: &[f32], weights: impl Fn(usize) -> f32, out: &mut [f32], width: usize) {
        for ((found, row), place) in found.chunks_exact(width).zip(&self.rows).zip(&self.places) {
            let weight = weights(*place);
            let out = &mut out[*row as usize * width..][..width];
            out.iter_mut().zip(found).for_each(|(out, found)| *out += weight * found);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn visits_stand_expert_by_expert_and_row_by_row() {
        // Row 0 goes to experts 2 and 0, row 1 to 2 and 3.
        let routes = Routes { each: 2, experts: vec![2, 0, 2, 3], weights: vec![0.5, 0.25, 1.0, 2.0], normed: false };
        let visits = Visits::new(&routes, 5);
        assert_eq!((&visits.rows, &visits.places), (&vec![0, 0, 1, 1], &vec![1, 0, 2, 3]));
        assert_eq!(visits.by_expert().collect::<Vec<_>>(), [(0, 0..1), (2, 1..3), (3, 3..4)]);
        let mut out = vec![0.0; 2];
        visits.bring(&[1.0, 10.0, 100.0, 1000.0], |place| routes.weights[place], &mut out, 1);
        assert_eq!(out, [0.25 + 5.0, 100.0 + 2000.0]);
    }
}
