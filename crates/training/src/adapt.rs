//! Coefficients that follow what the policy does, before a step and after it.

use stateset_domain::StepReport;

use crate::PolicyLearner;

impl PolicyLearner {
    /// Sets the objective's coefficients for the step to come. A report of those that are adapted, and of nothing else.
    pub(crate) fn weigh(&mut self) -> StepReport {
        let Self { adapted, made, settings, kl_coef, .. } = self;
        let objective = &mut settings.objective;
        objective.set_kl_coef(*kl_coef * adapted.kl_scale());
        let mut report =
            StepReport { kl_coef: objective.kl_control().map(|_| objective.kl_coef()), ..Default::default() };
        if let Some(control) = objective.entropy_control() {
            let paid = control.paid(adapted.entropy_coef.unwrap_or(made.entropy_coef), adapted.entropy);
            objective.set_entropy_coef(paid);
            report.entropy_coef = Some(paid);
        }
        report
    }

    /// Moves coefficients towards their targets, after a step of so many `episodes`.
    pub(crate) fn adapt(&mut self, report: &StepReport, episodes: usize) {
        let Self { adapted, made, settings, .. } = self;
        let seen = report.train_tokens > 0;
        if let Some(control) = settings.objective.kl_control().filter(|_| seen) {
            adapted.kl_scale = Some(control.after(adapted.kl_scale(), report.kl, episodes));
        }
        if let Some(control) = settings.objective.entropy_control().filter(|_| seen) {
            let coef = adapted.entropy_coef.unwrap_or(made.entropy_coef);
            (adapted.entropy_coef, adapted.entropy) = (Some(control.after(coef, report.entropy)), Some(report.entropy));
        }
    }
}
