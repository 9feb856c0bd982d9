//! From files to a checked configuration.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::node::Node;
use super::problem::Sources;
use super::read::{Fault, Mistake, read};
use super::suggest::{nearest, quoted};
use super::validate::{Surroundings, validate};
use super::{Config, Pretraining, Problem, Problems, implied, overrides, pretrain};
use crate::data;
use crate::topology::Kinds;

impl Config {
    /// Reads the run at `path` and checks it, its domain included.
    ///
    /// # Errors
    /// [`Problems`]: all of them.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self, Problems> {
        load(path.as_ref(), &[], &Kinds::default(), crate::cli::validate::rungs)
    }
}

/// Reads the run at `path`, lays `sets` (each `key=value`) over it, and checks it. Its topology may place actors of `kinds`; `rungs` reads
/// a domain's file and names its rungs, or says what is wrong with it.
///
/// File names in the result are as found, so that they mean the same in the run's own `config.yaml`.
///
/// # Errors
/// [`Problems`]: all of them.
pub fn load(
    path: &Path,
    sets: &[String],
    kinds: &Kinds,
    rungs: impl Fn(&Path) -> Result<Vec<String>, String>,
) -> Result<Config, Problems> {
    let mut draft = Draft::<Config>::read(path, sets, implied::lay)?;
    let config = &mut draft.value;
    if config.run.name.is_empty() {
        config.run.name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    }
    let domain = resolve(path, &mut config.environment.domain, rungs);
    let mut model = PathBuf::from(&config.agent.model);
    let model_exists = find(path, &mut model);
    if model_exists {
        config.agent.model = model.to_string_lossy().into_owned();
    }
    for file in [&mut config.training.sft.file, &mut config.training.dpo.file].into_iter().flatten() {
        // One that is not there is told when it is read.
        let _ = find(path, file);
    }
    let data = data::problems(config);
    let found = validate(config, &Surroundings { model_exists, rungs: domain, data, kinds: kinds.clone() });
    draft.finish(found)
}

/// Reads the pre-training at `path` in the same way.
///
/// # Errors
/// [`Problems`]: all of them.
pub fn load_pretraining(
    path: &Path,
    sets: &[String],
    rungs: impl Fn(&Path) -> Result<Vec<String>, String>,
) -> Result<Pretraining, Problems> {
    let mut draft = Draft::<Pretraining>::read(path, sets, |_| {})?;
    let domain = resolve(path, &mut draft.value.domain, rungs);
    let found = pretrain::validate(&draft.value, domain.as_deref());
    draft.finish(found)
}

/// What could be read, with what could not.
pub(super) struct Draft<T> {
    value: T,
    root: Node,
    sources: Sources,
    problems: Vec<Problem>,
}

impl<T: DeserializeOwned + Default + Serialize> Draft<T> {
    /// `complete` adds to what is written down before it is interpreted.
    pub(super) fn read(path: &Path, sets: &[String], complete: impl FnOnce(&mut Node)) -> Result<Self, Problems> {
        let fatal = |problem| Problems { file: path.to_owned(), problems: vec![problem] };
        let text = fs::read_to_string(path)
            .map_err(|error| fatal(Problem::new("", format!("cannot read {}: {error}", path.display()))))?;
        let texts = std::iter::once(&text).chain(sets).cloned().collect();
        let sources = Sources { file: path.to_owned(), texts };
        let mut root = Node::parse(&text).map_err(|error| fatal(syntax(&sources, &error)))?;
        let laid = sets.iter().enumerate().filter_map(|(at, set)| overrides::apply(&mut root, at + 1, set));
        let mut problems: Vec<Problem> = laid.collect();
        complete(&mut root);
        let (value, mistakes) = read::<T>(&mut root);
        let known = known_keys::<T>();
        problems.extend(mistakes.iter().map(|mistake| describe(mistake, &sources, &known)));
        match value {
            Some(value) => Ok(Self { value, root, sources, problems }),
            None => Err(Problems { file: path.to_owned(), problems }),
        }
    }

    /// What could be read.
    pub(super) fn value(&self) -> &T {
        &self.value
    }

    /// Adds what [`validate`] found, unless it is about a value that could not be read in the first place.
    pub(super) fn finish(self, found: Vec<Problem>) -> Result<T, Problems> {
        let Self { value, root, sources, mut problems } = self;
        let unread: Vec<String> =
            problems.iter().map(|problem| problem.key.clone()).filter(|key| !key.is_empty()).collect();
        let told = |key: &str| {
            unread.iter().any(|it| key == it || key.strip_prefix(it.as_str()).is_some_and(|it| it.starts_with('.')))
        };
        problems.extend(found.into_iter().filter(|problem| !told(&problem.key)).map(|problem| {
            let excerpt = root.locate(&problem.key).map(|place| sources.excerpt(place));
            Problem { excerpt, ..problem }
        }));
        if problems.is_empty() {
            return Ok(value);
        }
        problems.sort_by_key(|problem| {
            problem.excerpt.as_ref().map(|excerpt| (excerpt.source.starts_with("--"), excerpt.line, excerpt.column))
        });
        Err(Problems { file: sources.file, problems })
    }
}

/// Replaces `file` by where it is: beside the configuration at `beside`, or in the working directory. Whether it is anywhere.
fn find(beside: &Path, file: &mut PathBuf) -> bool {
    let near = beside.parent().unwrap_or(Path::new("")).join(&*file);
    if file.as_os_str().is_empty() || !near.exists() {
        return !file.as_os_str().is_empty() && file.exists();
    }
    *file = near;
    true
}

fn resolve(
    beside: &Path,
    domain: &mut PathBuf,
    rungs: impl Fn(&Path) -> Result<Vec<String>, String>,
) -> Result<Vec<String>, String> {
    if domain.as_os_str().is_empty() {
        return Err("no domain is named".to_owned());
    }
    if !find(beside, domain) {
        let folder = beside.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        return Err(format!("there is no {} in {} or in the working directory", domain.display(), folder.display()));
    }
    rungs(domain)
}

fn syntax(sources: &Sources, error: &serde_saphyr::Error) -> Problem {
    let excerpt = error.location().map(|location| sources.excerpt(location.into()));
    Problem { excerpt, ..Problem::new("", format!("this is not YAML: {}", error.without_snippet())) }
}

fn known_keys<T: Default + Serialize>() -> Vec<String> {
    let yaml = serde_saphyr::to_string(&T::default()).expect("defaults are numbers and texts, which always serialise");
    Node::parse(&yaml).expect("what was just written can be read").leaves().into_iter().map(|(key, _)| key).collect()
}

/// Puts a reading mistake into words.
fn describe(mistake: &Mistake, sources: &Sources, known: &[String]) -> Problem {
    let key = mistake.path.join(".");
    let problem = match &mistake.fault {
        Fault::UnknownKey { allowed } => unknown_key(&mistake.path, allowed, known),
        Fault::UnknownName { found, allowed } => {
            let problem = Problem::new(&key, format!("`{key}` cannot be `{found}`")).allowed(quoted(allowed));
            match nearest(found, allowed.iter().copied()) {
                Some(name) => problem.help(format!("did you mean `{name}`?")),
                None => problem,
            }
        }
        Fault::Unexpected { found, expected } => {
            let subject = if key.is_empty() { "the file".to_owned() } else { format!("`{key}`") };
            let problem = Problem::new(&key, format!("{subject} is {found}")).allowed(expected);
            let bare = expected == "text" && !found.starts_with("a ") && !found.starts_with("nothing");
            if bare { problem.help(format!("write it in quotes: \"{found}\"")) } else { problem }
        }
        Fault::Other(message) => Problem::new(&key, format!("`{key}`: {message}")),
    };
    Problem { excerpt: mistake.place.map(|place| sources.excerpt(place)), ..problem }
}

fn unknown_key(path: &[String], allowed: &[&str], known: &[String]) -> Problem {
    let (name, sections) = path.split_last().expect("a key has a name");
    let section = if sections.is_empty() { "the file".to_owned() } else { format!("`{}`", sections.join(".")) };
    let problem = Problem::new(path.join("."), format!("unknown key `{name}` in {section}"));
    let elsewhere = known.iter().find(|key| key.rsplit('.').next() == Some(name));
    match (nearest(name, allowed.iter().copied()), elsewhere) {
        (Some(near), _) => problem.help(format!("did you mean `{near}`?")),
        (None, Some(key)) => problem.help(format!("did you mean `{key}`?")),
        (None, None) => problem.allowed(quoted(allowed)),
    }
}
