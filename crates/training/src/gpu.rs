//! A policy on a GPU.

use std::any::Any;
use std::fmt::Display;
use std::sync::Arc;

use candle_core::{Error, Result};
use stateset_domain::NamedTensor;
use stateset_kernels::cuda::{self, Array, Clip, Device, DeviceError, Moments};
use stateset_models::gpu::{GpuDecoder, GpuError, GpuRecording};
use stateset_models::{HostWeights, PackedBatch, Parameter};

use crate::device::{DevicePolicy, Scores};
use crate::optimizer::constants;
use crate::{Optimizer, OptimizerSettings};

/// Weights, gradient and averages on `D`.
pub struct GpuPolicy<D: Device> {
    device: Arc<D>,
    decoder: GpuDecoder<D>,
    reference: GpuDecoder<D>,
    parameters: Vec<Parameter>,
    gradient: Vec<Array<D, f32>>,
    moments: Vec<Moments<D>>,
    clip: Clip<D>,
    updates: u64,
    recording: Option<GpuRecording<D>>,
    before: Option<Standing<D>>,
}

/// What an update moves.
struct Standing<D: Device> {
    weights: Vec<Array<D, f32>>,
    moments: Vec<Moments<D>>,
    updates: u64,
}

fn failed(error: impl Display) -> Error {
    Error::Msg(error.to_string())
}

impl<D: Device> GpuPolicy<D> {
    /// A policy that begins with `weights`, which is also what it is compared with.
    ///
    /// # Errors
    /// [`GpuError`] if the family is not run on a GPU, or there is not as much memory.
    pub fn new(device: &Arc<D>, weights: &HostWeights) -> std::result::Result<Self, GpuError> {
        let decoder = GpuDecoder::new(device.clone(), weights)?;
        let lengths: Vec<usize> = decoder.weights().values().iter().map(Array::len).collect();
        let zeros =
            || lengths.iter().map(|len| Array::zeros(&**device, *len)).collect::<std::result::Result<Vec<_>, _>>();
        let moments = zeros()?.into_iter().zip(zeros()?).map(|(mean, square)| Moments { mean, square }).collect();
        Ok(Self {
            reference: GpuDecoder::new(device.clone(), weights)?,
            parameters: weights.config.parameters().iter().cloned().collect(),
            gradient: zeros()?,
            moments,
            clip: Clip::new(&**device, &lengths)?,
            updates: 0,
            recording: None,
            before: None,
            decoder,
            device: device.clone(),
        })
    }

    fn copied(&self) -> std::result::Result<Standing<D>, DeviceError> {
        let device = &*self.device;
        let weights =
            self.decoder.weights().values().iter().map(|it| it.copy(device)).collect::<std::result::Result<_, _>>()?;
        let copy = |it: &Moments<D>| Ok(Moments { mean: it.mean.copy(device)?, square: it.square.copy(device)? });
        let moments = self.moments.iter().map(copy).collect::<std::result::Result<_, _>>()?;
        Ok(Standing { weights, moments, updates: self.updates })
    }
}

impl<D: Device + 'static> DevicePolicy for GpuPolicy<D> {
    fn score(&mut self, batch: &PackedBatch, temperature: f32, recorded: bool) -> Result<Scores> {
        if !recorded {
            return self.decoder.log_probs(batch, temperature).map_err(failed);
        }
        let recording = self.decoder.record(batch, temperature).map_err(failed)?;
        let scores = recording.found().map_err(failed)?;
        self.recording = Some(recording);
        Ok(scores)
    }

    fn score_by_reference(&mut self, batch: &PackedBatch, temperature: f32) -> Result<Scores> {
        self.reference.log_probs(batch, temperature).map_err(failed)
    }

    fn pull(&mut self, log_probs: &[f32], entropies: &[f32]) -> Result<()> {
        let recording = self.recording.take().expect("what pulls was recorded");
        self.decoder.backward(recording, (log_probs, entropies), &mut self.gradient).map_err(failed)
    }

    fn clear(&mut self) -> Result<()> {
        self.gradient.iter_mut().try_for_each(|gradient| gradient.clear(&*self.device)).map_err(failed)
    }

    fn spoil(&mut self) -> Result<()> {
        let first = self.gradient.first_mut().expect("a decoder has weights");
        let mut values = first.to_vec(&*self.device).map_err(failed)?;
        values[0] = f32::NAN;
        first.write(&*self.device, &values).map_err(failed)
    }

    fn norm(&mut self) -> Result<f64> {
        let gradient: Vec<&Array<D, f32>> = self.gradient.iter().collect();
        cuda::sum_of_squares(&*self.device, &gradient, &mut self.clip).map_err(failed)?;
        Ok(self.clip.total(&*self.device).map_err(failed)?.sqrt())
    }

    fn update(&mut self, with: &OptimizerSettings, lr: f64) -> Result<()> {
        self.updates += 1;
        let weights = self.decoder.weights_mut().values_mut().iter_mut();
        let all = weights.zip(&self.gradient).zip(&mut self.moments).zip(&self.parameters);
        for (((weight, gradient), moments), parameter) in all {
            let with_decay = constants(with, self.updates, lr, parameter.is_matrix());
            let clip = Some((&self.clip, with.max_grad_norm as f32));
            cuda::adamw(&*self.device, weight, gradient, moments, clip, with_decay).map_err(failed)?;
        }
        Ok(())
    }

    fn updates(&self) -> u64 {
        self.updates
    }

    fn remember(&mut self) -> Result<()> {
        self.before = Some(self.copied().map_err(failed)?);
        Ok(())
    }

    fn take_back(&mut self) -> Result<()> {
        let Some(Standing { weights, moments, updates }) = self.before.take() else { return Ok(()) };
        for (held, before) in self.decoder.weights_mut().values_mut().iter_mut().zip(weights) {
            *held = before;
        }
        (self.moments, self.updates) = (moments, updates);
        Ok(())
    }

    fn forget(&mut self) {
        self.before = None;
    }

    fn resident(&self) -> Result<Arc<dyn Any + Send + Sync>> {
        Ok(Arc::new(self.decoder.weights().copy(&*self.device).map_err(failed)?))
    }

    fn tensors(&self) -> Result<Vec<NamedTensor>> {
        self.decoder.weights().to_tensors(&*self.device).map_err(failed)
    }

    fn averages(&self) -> Result<Vec<NamedTensor>> {
        let read = |it: &Moments<D>| Ok((it.mean.to_vec(&*self.device)?, it.square.to_vec(&*self.device)?));
        let averages: std::result::Result<Vec<_>, DeviceError> = self.moments.iter().map(read).collect();
        Ok(Optimizer::tensors_of(self.parameters.iter().map(|it| it.name.as_str()), &averages.map_err(failed)?))
    }

    fn restore(&mut self, weights: &[Vec<f32>], averages: &[NamedTensor], updates: u64) -> Result<()> {
        let lengths = self.parameters.iter().map(|it| (it.name.as_str(), it.len()));
        let averages = Optimizer::averages_in(averages, lengths).map_err(failed)?;
        for (held, values) in self.decoder.weights_mut().values_mut().iter_mut().zip(weights) {
            held.write(&*self.device, values).map_err(failed)?;
        }
        for (held, (mean, square)) in self.moments.iter_mut().zip(averages) {
            held.mean.write(&*self.device, mean).map_err(failed)?;
            held.square.write(&*self.device, square).map_err(failed)?;
        }
        (self.updates, self.before) = (updates, None);
        Ok(())
    }
}
