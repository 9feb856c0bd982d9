//! An adapter that learns.

use candle_core::{Device, Result, Var};
use stateset_domain::Stream;

use super::{Factors, HostAdapter, LoraConfig};
use crate::Variable;
use crate::ops::with_floats;
use crate::tape::{Adapter, Held, Weight};

/// An adapter whose factors are variables, `A` and `B` in turns.
pub(crate) struct Adapted {
    adapter: HostAdapter,
    factors: Vec<[Var; 2]>,
}

impl Adapted {
    pub(crate) fn new(adapter: HostAdapter) -> Result<Self> {
        let rank = adapter.config.rank;
        let var = |values: &[f32], shape: (usize, usize)| Var::from_slice(values, shape, &Device::Cpu);
        let both = |it: &Factors| Ok([var(&it.a, (rank, it.a.len() / rank))?, var(&it.b, (it.b.len() / rank, rank))?]);
        let factors = adapter.factors.iter().map(both).collect::<Result<_>>()?;
        Ok(Self { adapter, factors })
    }

    pub(crate) fn variables(&self) -> Vec<Variable> {
        let named = self.adapter.names().zip(self.factors.iter().flatten());
        named.map(|(name, var)| Variable { name, decays: true, var: var.clone() }).collect()
    }

    /// A copy, with the factors as they are now.
    pub(crate) fn now(&self) -> Result<HostAdapter> {
        let mut adapter = self.adapter.clone();
        for (held, [a, b]) in adapter.factors.iter_mut().zip(&self.factors) {
            with_floats(a, |a| held.a.copy_from_slice(a))?;
            with_floats(b, |b| held.b.copy_from_slice(b))?;
        }
        Ok(adapter)
    }

    /// The adapters of weight `parameter`.
    pub(crate) fn of(&self, parameter: usize, draws: Option<Stream>) -> Vec<Adapter> {
        let LoraConfig { dropout, .. } = self.adapter.config;
        let (scale, draws) = (self.adapter.config.scale(), draws.filter(|_| dropout > 0.0));
        let plain = |sum, var: &Var| Weight { sum: Some(sum), values: Held::Learnt(var.clone()), adapters: [].into() };
        let own = |(i, (it, [a, b])): (usize, (&Factors, &[Var; 2]))| {
            let columns = it.target.columns.clone();
            let (a, b) = (plain(2 * i, a), plain(2 * i + 1, b));
            let dropout = draws.map(|draws| (dropout, draws.fork(i as u64)));
            (it.target.parameter == parameter).then(|| Adapter { a, b, scale, dropout, columns })
        };
        self.adapter.factors.iter().zip(&self.factors).enumerate().filter_map(own).collect()
    }
}
