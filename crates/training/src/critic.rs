//! The critic: values, and what moves them.
//!
//! | Network    | With `ppo`, `a2c`                                   | With `trpo`                                        |
//! |------------|-----------------------------------------------------|----------------------------------------------------|
//! | `trunk`    | a head on the policy's states; both move the trunk  | a head on the policy's states, which it leaves alone |
//! | `separate` | a network and an optimizer of its own               | the same                                           |

use candle_core::backprop::GradStore;
use candle_core::{Result, Tensor};
use stateset_algorithms::Network;
use stateset_domain::{LearnerError, NamedTensor};
use stateset_models::{Autograd, HostWeights, PackedBatch, Recording, ValueHead, read_tensors, write_tensors};

use crate::variables::{read, write};
use crate::{Gradients, Optimizer, OptimizerSettings, Variable};

/// Says what can be expected.
pub(crate) struct Critic {
    trunk: Option<Autograd>,
    head: ValueHead,
    variables: Vec<Variable>,
    /// Its own, if it learns apart from the policy.
    apart: Option<Optimizer>,
}

/// A critic as it was.
#[derive(Clone)]
pub(crate) struct CriticState {
    values: Vec<Vec<f32>>,
    apart: Option<Optimizer>,
}

impl Critic {
    /// A critic of the `policy` that begins as `base`.
    pub(crate) fn new(
        policy: &Autograd,
        base: &HostWeights,
        network: Network,
        apart: bool,
        optimizer: &OptimizerSettings,
    ) -> Result<Self> {
        let own = || Autograd::new(base).map(|it| it.like(policy));
        let trunk = (network == Network::Separate).then(own).transpose()?;
        let head = ValueHead::new(base.config.hidden_size)?;
        let named = |name: &str, decays, var: &candle_core::Var| Variable {
            name: format!("critic.{name}"),
            decays,
            var: var.clone(),
        };
        let mut variables = vec![named("head.weight", true, &head.weight), named("head.bias", false, &head.bias)];
        let own = trunk.as_ref().map(Autograd::learnt).unwrap_or_default();
        variables.extend(own.iter().map(|it| named(&it.name, it.decays, &it.var)));
        let apart = apart.then(|| Optimizer::new(&variables, optimizer.clone()));
        Ok(Self { trunk, head, variables, apart })
    }

    /// What the policy's optimizer has to move along with the policy.
    pub(crate) fn shared_variables(&self) -> &[Variable] {
        if self.apart.is_none() { &self.variables } else { &[] }
    }

    /// The values of a batch `[scored]`, given the policy's states of it; and what a trunk of its own recorded, if `record`.
    pub(crate) fn values(
        &self,
        states: &Tensor,
        batch: &PackedBatch,
        record: bool,
    ) -> Result<(Tensor, Option<Recording>)> {
        match (&self.trunk, &self.apart) {
            (Some(trunk), _) if record => {
                let recording = trunk.record(batch)?;
                Ok((self.head.values(recording.states()?)?, Some(recording)))
            }
            (Some(trunk), _) => Ok((self.head.values(&trunk.states(batch)?)?, None)),
            (None, Some(_)) => Ok((self.head.values(&states.detach())?, None)),
            (None, None) => Ok((self.head.values(states)?, None)),
        }
    }

    /// Gradients for what its own optimizer moves.
    pub(crate) fn gradients(&self) -> Gradients {
        Gradients::zeros(if self.apart.is_some() { &self.variables } else { &[] })
    }

    /// Adds what a backward pass found: to its `own` gradients if it learns apart, or else to the `policy`'s, of which it has the last.
    pub(crate) fn pull(
        &self,
        policy: &mut Gradients,
        own: Option<&mut Gradients>,
        recording: Option<Recording>,
        found: &mut GradStore,
    ) -> Result<()> {
        let gradients = match (&self.apart, own) {
            (Some(_), Some(own)) => {
                own.add(&self.variables, found)?;
                own
            }
            _ => policy,
        };
        let Some((trunk, mut recording)) = self.trunk.as_ref().zip(recording) else { return Ok(()) };
        let first = gradients.values().len() - trunk.learnt().len();
        recording.pull_states(found)?;
        recording.backward(&mut gradients.sums()[first..])
    }

    /// One update of a critic that learns apart.
    pub(crate) fn update(&mut self, gradients: &Gradients, lr: f64) -> Result<()> {
        match &mut self.apart {
            Some(optimizer) => optimizer.update(&self.variables, gradients, gradients.norm(), lr),
            None => Ok(()),
        }
    }

    pub(crate) fn state(&self) -> Result<CriticState> {
        Ok(CriticState { values: read(&self.variables)?, apart: self.apart.clone() })
    }

    pub(crate) fn set_state(&mut self, state: CriticState) -> Result<()> {
        write(&self.variables, &state.values)?;
        self.apart = state.apart;
        Ok(())
    }

    /// Its variables, and the state of its own optimizer, as a file; and how many updates that has made.
    pub(crate) fn save(&self) -> std::result::Result<(Vec<u8>, u64), LearnerError> {
        let state = |error: &dyn std::fmt::Display| LearnerError::State(error.to_string());
        let values = read(&self.variables).map_err(|error| state(&error))?;
        let tensor = |(variable, values): (&Variable, Vec<f32>)| NamedTensor {
            name: variable.name.clone(),
            shape: variable.var.dims().to_vec(),
            data: values.into(),
        };
        let mut tensors: Vec<NamedTensor> = self.variables.iter().zip(values).map(tensor).collect();
        tensors.extend(self.apart.iter().flat_map(Optimizer::to_tensors));
        let bytes = write_tensors(&tensors).map_err(|error| state(&error))?;
        Ok((bytes, self.apart.as_ref().map_or(0, Optimizer::updates)))
    }

    /// Goes back to what [`save`](Self::save) gave.
    pub(crate) fn restore(&mut self, bytes: &[u8], updates: u64) -> std::result::Result<(), LearnerError> {
        let tensors = read_tensors(bytes).map_err(|error| LearnerError::State(error.to_string()))?;
        let mut values = Vec::new();
        for variable in &self.variables {
            let fits = |it: &&NamedTensor| it.name == variable.name && it.data.len() == variable.len();
            let found = tensors.iter().find(fits);
            let missing = || LearnerError::State(format!("the critic's file has no fitting {}", variable.name));
            values.push(found.ok_or_else(missing)?.data.to_vec());
        }
        write(&self.variables, &values).map_err(|error| LearnerError::State(error.to_string()))?;
        self.apart.as_mut().map_or(Ok(()), |optimizer| optimizer.restore(&tensors, updates))
    }
}
