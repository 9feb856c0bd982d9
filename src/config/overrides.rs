//! `--set training.steps=20`: a value laid over the file's.

use super::Problem;
use super::node::{Key, Node, Place, Value};

/// Lays the `source`-th override over `root`, as if the file had said so; or says why it cannot.
pub(super) fn apply(root: &mut Node, source: usize, text: &str) -> Option<Problem> {
    let split = text.split_once('=').filter(|(path, _)| path.split('.').all(|name| !name.trim().is_empty()));
    let Some((path, written)) = split else {
        let problem = Problem::new("", format!("`--set {text}` is not of the form `key=value`"));
        return Some(problem.help("write the key with its sections, such as `--set training.steps=20`"));
    };
    match Node::parse(written) {
        Ok(mut value) => {
            value.relocate(source, path.chars().count() + 1);
            insert(root, source, path, 1, value);
            None
        }
        Err(error) => Some(Problem::new(path, format!("the value of `--set {text}` is not YAML: {error}"))),
    }
}

fn insert(node: &mut Node, source: usize, path: &str, column: usize, value: Node) {
    let (name, rest) = path.split_once('.').map_or((path, None), |(name, rest)| (name, Some(rest)));
    let width = name.chars().count();
    let place = Place { source, line: 1, column, width };
    if !matches!(node.value, Value::Map(_)) {
        *node = Node { place, value: Value::Map(Vec::new()) };
    }
    let Value::Map(entries) = &mut node.value else { unreachable!("just made one") };
    let at = entries.iter().position(|(key, _)| key.name == name).unwrap_or_else(|| {
        entries.push((Key { place, name: name.to_owned() }, Node { place, value: Value::Null }));
        entries.len() - 1
    });
    match rest {
        Some(rest) => insert(&mut entries[at].1, source, rest, column + width + 1, value),
        None => entries[at] = (Key { place, name: name.to_owned() }, value),
    }
}
