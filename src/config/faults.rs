//! A plan of faults, as a file.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use stateset_faults::{Fault, Kind, Plan, Site};

use super::load::Draft;
use super::{Problem, Problems, duration, quoted};

/// What a plan's file may say.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FaultFile {
    /// Which revision of this format the file is written in. Only 1 exists.
    pub version: u32,
    /// The faults; each is known by its place in the list, from 0.
    pub faults: Vec<FaultEntry>,
}

/// One fault of a plan.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FaultEntry {
    /// Optimizer steps that have been taken when it is due. Below the run's steps; default 0.
    pub step: u64,
    /// The visit of the site, within the step, at which it is due. At least 1, the default.
    pub after: u64,
    /// Where. Required.
    pub site: Option<Site>,
    /// What. Required.
    pub kind: Option<Kind>,
    /// How long, for what lasts. Default: what is usual for the kind.
    pub lasts: Option<Lasting>,
}

/// A duration as people write it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Lasting(#[serde(with = "duration")] pub Duration);

impl fmt::Display for Lasting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&duration::text(self.0))
    }
}

impl Default for FaultFile {
    fn default() -> Self {
        Self { version: 1, faults: Vec::new() }
    }
}

impl Default for FaultEntry {
    fn default() -> Self {
        Self { step: 0, after: 1, site: None, kind: None, lasts: None }
    }
}

impl From<&Plan> for FaultFile {
    fn from(plan: &Plan) -> Self {
        let entry = |fault: &Fault| FaultEntry {
            step: fault.step,
            after: fault.after,
            site: Some(fault.site),
            kind: Some(fault.kind),
            lasts: fault.kind.lasts(fault.site).map(|_| Lasting(fault.lasts)),
        };
        Self { faults: plan.0.iter().map(entry).collect(), ..Self::default() }
    }
}

impl FaultFile {
    /// The plan as YAML, one fault a line.
    #[must_use]
    pub fn to_yaml(&self) -> String {
        serde_saphyr::to_string(self).expect("a plan is numbers and names, which always serialise")
    }
}

/// Reads the plan at `path` for a run of `steps` steps.
///
/// # Errors
/// [`Problems`]: all of them.
pub fn load_faults(path: &Path, steps: u64) -> Result<Plan, Problems> {
    let draft = Draft::<FaultFile>::read(path, &[], |_| {})?;
    let found = validate(draft.value(), steps);
    Ok(plan(&draft.finish(found)?))
}

fn plan(file: &FaultFile) -> Plan {
    let fault = |entry: &FaultEntry| {
        let usual = Fault::new(entry.step, entry.after, entry.site?, entry.kind?);
        Some(Fault { lasts: entry.lasts.map_or(usual.lasts, |lasting| lasting.0), ..usual })
    };
    Plan(file.faults.iter().filter_map(fault).collect())
}

/// Everything that is wrong with `file` for a run of `steps` steps.
fn validate(file: &FaultFile, steps: u64) -> Vec<Problem> {
    let mut found = Vec::new();
    if file.version != 1 {
        let problem = Problem::new("version", format!("`version` is {}", file.version));
        found.push(problem.allowed("1, the only one this program knows"));
    }
    for (at, entry) in file.faults.iter().enumerate() {
        let key = |name: &str| format!("faults.{at}.{name}");
        if entry.step >= steps {
            let problem = Problem::new(key("step"), format!("`step` is {}, and the run has {steps} steps", entry.step));
            found.push(problem.allowed(format!("0 to {}: a later fault would never come", steps.saturating_sub(1))));
        }
        if entry.after == 0 {
            found.push(Problem::new(key("after"), "`after` is 0").allowed("at least 1: the first visit"));
        }
        match (entry.site, entry.kind) {
            (Some(site), Some(kind)) if !kind.sites().contains(&site) => {
                let sites: Vec<&str> = kind.sites().into_iter().map(Site::name).collect();
                let problem = Problem::new(key("site"), format!("there is no {kind} at `{site}`"));
                found.push(problem.allowed(quoted(&sites)));
            }
            (Some(site), Some(kind)) if entry.lasts.is_some() && kind.lasts(site).is_none() => {
                found.push(Problem::new(key("lasts"), format!("`lasts` makes no sense: a {kind} is over at once")));
            }
            (Some(_), Some(_)) => {}
            (site, kind) => {
                let names: Vec<&str> = Site::ALL.into_iter().map(Site::name).collect();
                let kinds: Vec<&str> = Kind::ALL.into_iter().map(Kind::name).collect();
                let missing = |name| Problem::new(key(name), format!("fault {at} has no `{name}`"));
                found.extend(site.is_none().then(|| missing("site").allowed(quoted(&names))));
                found.extend(kind.is_none().then(|| missing("kind").allowed(quoted(&kinds))));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Plan, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("plan.yaml");
        std::fs::write(&path, text).unwrap();
        load_faults(&path, 6).map_err(|problems| problems.to_string())
    }

    #[test]
    fn a_plan_is_read_and_written_alike() {
        let text =
            "faults:\n  - {step: 2, after: 5, site: judge, kind: hang, lasts: 4s}\n  - {site: process, kind: kill}\n";
        let plan = read(text).unwrap();
        let hang = Fault { lasts: Duration::from_secs(4), ..Fault::new(2, 5, Site::Judge, Kind::Hang) };
        assert_eq!(plan.0, [hang, Fault::new(0, 1, Site::Process, Kind::Kill)]);
        assert_eq!(read(&FaultFile::from(&plan).to_yaml()), Ok(plan));
    }

    #[test]
    fn everything_that_is_wrong_is_told_at_its_line() {
        let text = "faults:\n  - {step: 9, site: judge, kind: panic}\n  - {site: judge, kind: kill}\n  - {kind: drop, site: to_jugde}\n  - {site: store}\n";
        let told = read(text).unwrap_err();
        for wanted in [
            "plan.yaml:2:12",
            "`step` is 9, and the run has 6 steps",
            "there is no kill at `judge`",
            "allowed: `process`",
            "did you mean `to_judge`?",
            "fault 3 has no `kind`",
            "4 problems",
        ] {
            assert!(told.contains(wanted), "{wanted} is not in\n{told}");
        }
    }
}
