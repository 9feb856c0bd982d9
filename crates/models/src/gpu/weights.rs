//! Weights on a device.

use std::convert::Infallible;
use std::sync::Arc;

use stateset_domain::NamedTensor;
use stateset_kernels::cuda::{Array, Device, DeviceError};

use super::GpuError;
use crate::weights::stacked;
use crate::{Decoder, HostWeights, ModelConfig, Stored};

/// The weights of a decoder, in the order of [`ModelConfig::parameters`].
pub struct GpuWeights<D: Device> {
    pub(super) config: ModelConfig,
    /// Where each weight of the decoder stands in the list.
    pub(super) places: Decoder<usize>,
    pub(super) values: Vec<Array<D, f32>>,
    /// How wide each weight's rows are.
    pub(super) columns: Vec<usize>,
}

impl<D: Device> GpuWeights<D> {
    /// A copy of `weights`.
    ///
    /// # Errors
    /// [`DeviceError::Driver`] if there is not as much memory.
    pub fn of(device: &D, weights: &HostWeights) -> Result<Self, DeviceError> {
        let upload = |values: &Arc<Stored>| Array::from_slice(device, &values.to_f32());
        let values = weights.values.iter().map(upload).collect::<Result<_, _>>()?;
        Ok(Self::holding(&weights.config, values))
    }

    /// The tensors of a decoder shaped like `config`, by their Hugging Face names.
    ///
    /// # Errors
    /// [`GpuError`]: of the tensors, or of the device if there is not as much memory.
    pub fn from_tensors(device: &D, config: &ModelConfig, tensors: &[NamedTensor]) -> Result<Self, GpuError> {
        let mut values = Vec::new();
        stacked(config, tensors, |parts| {
            values.push(match &parts[..] {
                [whole] => Array::from_slice(device, whole),
                _ => Array::from_slice(device, &parts.concat()),
            });
        })?;
        Ok(Self::holding(config, values.into_iter().collect::<Result<_, DeviceError>>()?))
    }

    fn holding(config: &ModelConfig, values: Vec<Array<D, f32>>) -> Self {
        let mut columns = Vec::new();
        let Ok(places) = config.parameters().try_map::<_, Infallible>(|parameter| {
            columns.push(*parameter.shape.last().expect("a weight has a shape"));
            Ok(columns.len() - 1)
        });
        Self { config: config.clone(), places, values, columns }
    }

    /// The weights under their Hugging Face names.
    ///
    /// # Errors
    /// [`DeviceError::Driver`].
    pub fn to_tensors(&self, device: &D) -> Result<Vec<NamedTensor>, DeviceError> {
        let parameters = self.config.parameters();
        let mut tensors: Vec<Vec<NamedTensor>> = self.values.iter().map(|_| Vec::new()).collect();
        // What has come is taken apart while the next is on its way.
        rayon::scope(|scope| {
            for ((parameter, values), own) in parameters.iter().zip(&self.values).zip(&mut tensors) {
                let values = values.to_vec(device)?;
                scope.spawn(move |_| *own = parameter.tensors(&values));
            }
            Ok::<(), DeviceError>(())
        })?;
        Ok(tensors.into_iter().flatten().collect())
    }

    /// The same weights once more.
    ///
    /// # Errors
    /// [`DeviceError::Driver`] if there is not as much memory.
    pub fn copy(&self, device: &D) -> Result<Self, DeviceError> {
        let values = self.values.iter().map(|values| values.copy(device)).collect::<Result<_, _>>()?;
        Ok(Self::holding(&self.config, values))
    }

    /// The weights, in order.
    #[must_use]
    pub fn values(&self) -> &[Array<D, f32>] {
        &self.values
    }

    /// The same, to be changed.
    #[must_use]
    pub fn values_mut(&mut self) -> &mut [Array<D, f32>] {
        &mut self.values
    }
}
