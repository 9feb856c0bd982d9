//! What a model is called.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::BUILTIN;
use crate::config::nearest;

/// The forms of a name, as an error lists them.
pub(crate) const FORMS: &str = "`builtin:tiny`, a folder with a model (`./models/my-model`), or a model of the Hugging Face hub \
                                (`org/name`, or `org/name@revision`)";

/// A name, understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ModelName {
    /// The policy that is part of the program.
    Builtin,
    /// A folder.
    Folder(PathBuf),
    /// A model of the hub.
    Hub(Repo),
}

/// A repository of the hub, at a revision. Both are safe as parts of a path and of an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Repo {
    /// `org/name`.
    pub(super) id: String,
    /// A branch, a tag or a commit.
    pub(super) revision: String,
}

/// A name in none of the forms.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("there is no model `{name}`{}; a model is {FORMS}", near.as_ref().map_or(String::new(), |near| format!(" (did you mean `{near}`?)")))]
pub(crate) struct UnknownName {
    /// As it was given.
    pub(crate) name: String,
    /// What was probably meant.
    pub(crate) near: Option<String>,
}

impl ModelName {
    /// Understands `name`. A folder that exists goes before a model of the hub that is called the same.
    pub(crate) fn parse(name: &str) -> Result<Self, UnknownName> {
        if name == BUILTIN {
            return Ok(Self::Builtin);
        }
        if let Some(rest) = name.strip_prefix("~/") {
            return Ok(Self::Folder(env::home_dir().unwrap_or_default().join(rest)));
        }
        if name.starts_with(['.', '/', '~']) || !name.is_empty() && Path::new(name).is_dir() {
            return Ok(Self::Folder(name.into()));
        }
        Repo::parse(name).map(Self::Hub).ok_or_else(|| UnknownName { name: name.into(), near: near(name) })
    }
}

/// The built-in model or the folder here whose name is nearest.
fn near(name: &str) -> Option<String> {
    let folders = fs::read_dir(".").into_iter().flatten().flatten().filter(|entry| entry.path().is_dir());
    let mut names: Vec<String> = folders.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.push(BUILTIN.into());
    nearest(name, names.iter().map(String::as_str)).map(str::to_owned)
}

impl Repo {
    /// Reads `org/name` or `org/name@revision`.
    fn parse(text: &str) -> Option<Self> {
        let (id, revision) = text.split_once('@').unwrap_or((text, "main"));
        let (org, name) = id.split_once('/')?;
        let plain = |part: &str| {
            let letters = part.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
            let ends = part.starts_with(['-', '.']) || part.ends_with(['-', '.']);
            letters && !ends && !part.is_empty() && part.len() <= 96 && !part.contains("..") && !part.contains("--")
        };
        let branch = |part: &str| {
            let letters = part.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
            letters && !part.is_empty() && part.len() <= 200 && !part.starts_with('.')
        };
        let good = plain(org) && plain(name) && revision.split('/').all(branch);
        good.then(|| Self { id: id.into(), revision: revision.into() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hub(id: &str, revision: &str) -> ModelName {
        ModelName::Hub(Repo { id: id.into(), revision: revision.into() })
    }

    #[test]
    fn names_are_told_apart_by_their_form() {
        let parse = |name| ModelName::parse(name).unwrap();
        assert_eq!(parse("builtin:tiny"), ModelName::Builtin);
        assert_eq!(parse("org/name"), hub("org/name", "main"));
        assert_eq!(parse("org/name-1.5_B@refs/pr/1"), hub("org/name-1.5_B", "refs/pr/1"));
        for folder in ["./model", "../org/name", "/org/name", "."] {
            assert_eq!(parse(folder), ModelName::Folder(folder.into()));
        }
        assert!(matches!(parse("~/model"), ModelName::Folder(path) if path.ends_with("model") && path.is_absolute()));
        assert_eq!(parse("src/model"), ModelName::Folder("src/model".into()), "it exists");
    }

    #[test]
    fn any_other_name_is_refused_with_the_forms_and_the_nearest() {
        for name in ["", "name", "a/b/c", "org/", "a/..", "org/na me", "org/n@", "org/n@../x", "o--o/n"] {
            let error = ModelName::parse(name).unwrap_err().to_string();
            assert!(error.contains(FORMS), "{name}: {error}");
        }
        let near = |name| ModelName::parse(name).unwrap_err().near;
        assert_eq!(near("builtin:tinny").as_deref(), Some(BUILTIN));
        assert_eq!(near("assetts").as_deref(), Some("assets"));
        assert_eq!(near("something-else-entirely"), None);
    }
}
