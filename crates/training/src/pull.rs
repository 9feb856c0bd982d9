//! Where a pass pulls the policy and its critic, and how it moves them: sums of gradients here, or those that a device keeps.

use candle_core::Result;

use crate::{Gradients, PolicyLearner};

/// Where a pass pulls.
pub(crate) struct Pull {
    pub(crate) policy: Gradients,
    /// For a critic that learns apart.
    pub(crate) critic: Option<Gradients>,
}

impl Pull {
    /// Back to none.
    fn clear(&mut self) {
        self.policy.clear();
        self.critic.iter_mut().for_each(Gradients::clear);
    }
}

impl PolicyLearner {
    /// No pull yet.
    pub(crate) fn no_pull(&self) -> Pull {
        let critic = self.critic.as_ref().map(crate::critic::Critic::gradients);
        Pull { policy: Gradients::zeros(&self.variables), critic }
    }

    /// Makes the pull none, wherever it is.
    pub(crate) fn clear(&self, pull: &mut Pull) -> Result<()> {
        pull.clear();
        self.device().map_or(Ok(()), |mut device| device.clear())
    }

    /// How far the policy is pulled.
    pub(crate) fn norm(&self, pull: &Pull) -> Result<f64> {
        self.device().map_or_else(|| Ok(pull.policy.norm()), |mut device| device.norm())
    }

    /// Makes the pull no number.
    pub(crate) fn spoil(&self, pull: &mut Pull) -> Result<()> {
        pull.policy.spoil();
        self.device().map_or(Ok(()), |mut device| device.spoil())
    }

    /// Moves the policy by one update.
    pub(crate) fn move_policy(&mut self, pull: &Pull, norm: f64, lr: f64) -> Result<()> {
        if let Some(mut device) = self.device() {
            return device.update(&self.settings.optimizer, lr);
        }
        self.optimizer.update(&self.variables, &pull.policy, norm, lr)
    }
}
