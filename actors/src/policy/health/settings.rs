//! What a run's settings are, and what directives make of them.

use stateset_domain::{Action, Adjustments, Change, Directive};

/// The settings that directives change, as a run's file has them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Configured {
    /// Weight of the KL term.
    pub kl_coef: f64,
    /// Temperature of training episodes.
    pub temperature: f32,
    /// Staleness that is allowed, in steps; 0 in a synchronous run.
    pub max_staleness: u64,
}

impl Default for Configured {
    fn default() -> Self {
        Self { kl_coef: 0.0, temperature: 1.0, max_staleness: 0 }
    }
}

/// Carries out what `directive` says about settings, beginning from `adjustments`; `lr` is the learning rate of the step.
pub(super) fn carry_out(
    directive: &Directive,
    configured: &Configured,
    adjustments: &mut Adjustments,
    lr: f64,
) -> Action {
    let change = |setting: &str, before: f64, after: f64| Some(Change { setting: setting.into(), before, after });
    let kl_before = adjustments.kl_coef.unwrap_or(configured.kl_coef);
    let change = match directive {
        Directive::ScaleLr(scaling) => {
            let after = scaling.of(lr);
            adjustments.lr_scale *= if lr > 0.0 { after / lr } else { scaling.by };
            change("learning_rate", lr, after)
        }
        Directive::ScaleKl(scaling) => {
            let after = scaling.of(kl_before);
            adjustments.kl_coef = Some(after);
            change("kl_coef", kl_before, after)
        }
        Directive::SetKl { to } => {
            adjustments.kl_coef = Some(*to);
            change("kl_coef", kl_before, *to)
        }
        Directive::ScaleTemperature(scaling) => {
            let before = adjustments.temperature.unwrap_or(configured.temperature);
            let after = scaling.of(f64::from(before)) as f32;
            adjustments.temperature = Some(after);
            change("temperature", f64::from(before), f64::from(after))
        }
        Directive::TightenStaleness => {
            let before = adjustments.max_staleness.unwrap_or(configured.max_staleness);
            let after = before.saturating_sub(1);
            adjustments.max_staleness = Some(after);
            change("max_staleness", before as f64, after as f64)
        }
        Directive::Report
        | Directive::SkipStep
        | Directive::Rewind
        | Directive::Evaluate
        | Directive::Pause { .. }
        | Directive::Stop { .. } => None,
    };
    Action { directive: directive.clone(), change }
}

#[cfg(test)]
mod tests {
    use stateset_domain::Scaling;

    use super::*;

    fn changed(directive: &Directive, adjustments: &mut Adjustments) -> (f64, f64) {
        let configured = Configured { max_staleness: 2, ..Configured::default() };
        let change = carry_out(directive, &configured, adjustments, 1e-3).change.unwrap();
        (change.before, change.after)
    }

    #[test]
    fn a_learning_rate_is_scaled_as_it_is_now_down_to_its_floor() {
        let mut adjustments = Adjustments { lr_scale: 0.5, ..Adjustments::default() };
        let scaling = Scaling { by: 0.1, floor: Some(4e-4), ceiling: None };
        assert_eq!(changed(&Directive::ScaleLr(scaling), &mut adjustments), (1e-3, 4e-4));
        assert!((adjustments.lr_scale - 0.2).abs() < 1e-12);
    }

    #[test]
    fn settings_change_from_where_they_are_not_from_where_they_began() {
        let mut adjustments = Adjustments::default();
        assert_eq!(changed(&Directive::SetKl { to: 0.1 }, &mut adjustments), (0.0, 0.1));
        let double = Scaling { by: 2.0, floor: None, ceiling: None };
        assert_eq!(changed(&Directive::ScaleKl(double), &mut adjustments), (0.1, 0.2));
        assert_eq!(changed(&Directive::ScaleTemperature(double), &mut adjustments), (1.0, 2.0));
        assert_eq!(changed(&Directive::ScaleTemperature(double), &mut adjustments), (2.0, 4.0));
        for (before, after) in [(2.0, 1.0), (1.0, 0.0), (0.0, 0.0)] {
            assert_eq!(changed(&Directive::TightenStaleness, &mut adjustments), (before, after));
        }
    }
}
