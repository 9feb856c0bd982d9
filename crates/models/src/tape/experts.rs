//! A mixture of experts and its walk back.
//!
//! Rows are gathered expert by expert, so that each expert is a few products over all of its rows. With `t` a visit's gradient, `w` its
//! weight and `g` what its gate let through, `dw = t . y = (W^T t) . g + t . b`, so that `y` need not be made again.

use candle_core::Result;
use stateset_kernels::cpu::{self, Routes};

use super::{Tape, Weight};
use crate::buffers::Buffer;
use crate::config::Experts as Mixture;
use crate::decoder::{Experts, Linear};
use crate::mixture::Visits;

/// What is kept of a mixture.
pub(super) struct Mixed {
    logits: Buffer,
    routes: Routes,
    visits: Visits,
    gate_up: Buffer,
}

/// One expert's part of the matrices that stand above one another.
fn of<T>(all: &[T], expert: usize, count: usize) -> &[T] {
    &all[expert * (all.len() / count)..][..all.len() / count]
}

fn of_mut(all: &mut [f32], expert: usize, count: usize) -> &mut [f32] {
    let len = all.len() / count;
    &mut all[expert * len..][..len]
}

impl Tape {
    fn mixture(&self) -> Mixture {
        self.pass.config.experts.expect("layers with experts have a mixture")
    }

    /// What the experts find for every row of `x[rows, hidden]`.
    pub(super) fn mix(&self, x: &[f32], experts: &Experts<Weight>) -> Result<(Buffer, Mixed)> {
        let (Mixture { count, each, intermediate: inner, normed, .. }, hidden) =
            (self.mixture(), self.pass.config.hidden_size);
        let rows = x.len() / hidden;
        let mut logits = self.pass.buffers.take(rows * count);
        self.pass.read(&experts.router.weight, |w| cpu::linear(x, w, &mut logits, (rows, hidden, count)))?;
        if let Some(bias) = &experts.router.bias {
            self.pass.read(bias, |bias| cpu::add_bias(&mut logits, bias))?;
        }
        let routes = cpu::route(&logits, count, each, normed);
        let visits = Visits::new(&routes, count);
        let gathered = self.gathered(x, &visits, hidden);
        let gate_up = self.per_expert(&gathered, &visits, &experts.gate_up, (hidden, 2 * inner))?;
        let gated = self.gated(&gate_up, inner);
        let found = self.per_expert(&gated, &visits, &experts.down, (inner, hidden))?;
        let mut out = self.pass.buffers.zeros(x.len());
        visits.bring(&found, |place| routes.weights[place], &mut out, hidden);
        Ok((out, Mixed { logits, routes, visits, gate_up }))
    }

    fn gathered(&self, x: &[f32], visits: &Visits, width: usize) -> Buffer {
        let mut gathered = self.pass.buffers.take(visits.rows.len() * width);
        cpu::gather_rows(x, &visits.rows, &mut gathered, width);
        gathered
    }

    fn gated(&self, gate_up: &[f32], inner: usize) -> Buffer {
        let mut gated = self.pass.buffers.take(gate_up.len() / 2);
        cpu::gate(self.pass.config.gating, gate_up, &mut gated, inner);
        gated
    }

    /// Every visit's projection by its expert, from `k` to `n` numbers.
    fn per_expert(
        &self,
        x: &[f32],
        visits: &Visits,
        linear: &Linear<Weight>,
        (k, n): (usize, usize),
    ) -> Result<Buffer> {
        let (count, buffers) = (self.mixture().count, &self.pass.buffers);
        let mut out = buffers.take(visits.rows.len() * n);
        for (expert, at) in visits.by_expert() {
            let (x, out) = (&x[at.start * k..at.end * k], &mut out[at.start * n..at.end * n]);
            linear.weight.values.with_part((expert, count), buffers, |w| cpu::linear(x, w, out, (at.len(), k, n)))?;
            if let Some(bias) = &linear.bias {
                bias.values.with_part((expert, count), buffers, |bias| cpu::add_bias(out, bias))?;
            }
        }
        Ok(out)
    }

    /// The gradient of `x`, from that of what was found.
    pub(super) fn mix_backward(
        &self,
        x: &[f32],
        experts: &Experts<Weight>,
        mixed: &Mixed,
        d_out: &[f32],
        sums: &mut [Vec<f32>],
    ) -> Result<Buffer> {
        let (Mixture { count, intermediate: inner, .. }, hidden) = (self.mixture(), self.pass.config.hidden_size);
        let Mixed { logits, routes, visits, gate_up } = mixed;
        let weight = |visit: usize| routes.weights[visits.places[visit]];
        let gated = self.gated(gate_up, inner);
        let mut pulls = self.gathered(d_out, visits, hidden);
        let mut d_gated = self.pass.buffers.take(gated.len());
        self.inputs_backward(&pulls, visits, &experts.down, &mut d_gated, (inner, hidden))?;
        let mut d_weights = vec![0.0; routes.weights.len()];
        self.weigh_visits(visits, &experts.down, (&d_gated, &gated, &pulls), &mut d_weights)?;
        for (visit, (pull, d)) in pulls.chunks_exact_mut(hidden).zip(d_gated.chunks_exact_mut(inner)).enumerate() {
            pull.iter_mut().chain(d).for_each(|it| *it *= weight(visit));
        }
        self.weights_backward(&pulls, &gated, visits, &experts.down, sums, (inner, hidden));
        let mut d_gate_up = self.pass.buffers.copy(gate_up);
        cpu::gate_backward(self.pass.config.gating, &d_gated, &mut d_gate_up, inner);
        let gathered = self.gathered(x, visits, hidden);
        self.weights_backward(&d_gate_up, &gathered, visits, &experts.gate_up, sums, (hidden, 2 * inner));
        let mut d_gathered = self.pass.buffers.take(gathered.len());
        self.inputs_backward(&d_gate_up, visits, &experts.gate_up, &mut d_gathered, (hidden, 2 * inner))?;
        let mut d_logits = self.pass.buffers.take(logits.len());
        cpu::route_backward(logits, count, routes, &d_weights, &mut d_logits);
        let shape = (x.len() / hidden, hidden, count);
        if let Some(sum) = experts.router.weight.sum {
            cpu::linear_weight_gradient_add(&d_logits, x, &mut sums[sum], shape);
        }
        if let Some(sum) = experts.router.bias.as_ref().and_then(|bias| bias.sum) {
            cpu::bias_backward(&d_logits, &mut sums[sum]);
        }
        let mut dx = self.pass.buffers.take(x.len());
        self.pass.read(&experts.router.weight, |w| cpu::linear_input_gradient(&d_logits, w, &mut dx, shape))?;
        visits.bring(&d_gathered, |_| 1.0, &mut dx, hidden);
        Ok(dx)
    }

    /// The gradient of what every visit was projected from.
    fn inputs_backward(
        &self,
        dy: &[f32],
        visits: &Visits,
        linear: &Linear<Weight>,
        dx: &mut [f32],
        (k, n): (usize, usize),
    ) -> Result<()> {
        let (count, buffers) = (self.mixture().count, &self.pass.buffers);
        for (expert, at) in visits.by_expert() {
            let (dy, dx) = (&dy[at.start * n..at.end * n], &mut dx[at.start * k..at.end * k]);
            let shape = (at.len(), k, n);
            linear.weight.values.with_part((expert, count), buffers, |w| {
                cpu::linear_input_gradient(dy, w, dx, shape);
            })?;
        }
        Ok(())
    }

    fn weights_backward(
        &self,
        dy: &[f32],
        x: &[f32],
        visits: &Visits,
        linear: &Linear<Weight>,
        sums: &mut [Vec<f32>],
        (k, n): (usize, usize),
    ) {
        let count = self.mixture().count;
        for (expert, at) in visits.by_expert() {
            let (dy, x) = (&dy[at.start * n..at.end * n], &x[at.start * k..at.end * k]);
            if let Some(sum) = linear.weight.sum {
                cpu::linear_weight_gradient_add(dy, x, of_mut(&mut sums[sum], expert, count), (at.len(), k, n));
            }
            if let Some(sum) = linear.bias.as_ref().and_then(|bias| bias.sum) {
                cpu::bias_backward(dy, of_mut(&mut sums[sum], expert, count));
            }
        }
    }

    /// What every visit's weight is worth.
    fn weigh_visits(
        &self,
        visits: &Visits,
        down: &Linear<Weight>,
        (through, gated, pulls): (&[f32], &[f32], &[f32]),
        d_weights: &mut [f32],
    ) -> Result<()> {
        let (Mixture { count, intermediate: inner, .. }, hidden) = (self.mixture(), self.pass.config.hidden_size);
        let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
        let at = |all, visit: usize, width: usize| -> &[f32] { &<&[f32]>::clone(all)[visit * width..][..width] };
        for (visit, place) in visits.places.iter().enumerate() {
            d_weights[*place] = dot(at(&through, visit, inner), at(&gated, visit, inner));
        }
        let Some(bias) = &down.bias else { return Ok(()) };
        self.pass.read(bias, |bias| {
            for (expert, visits_of) in visits.by_expert() {
                for visit in visits_of {
                    d_weights[visits.places[visit]] += dot(at(&pulls, visit, hidden), of(bias, expert, count));
                }
            }
        })
    }
}
