//! A file of JSON lines, whole.

use std::fs;
use std::path::Path;

use super::fault::Fault;
use crate::config::Problem;

/// So many lines are told what is wrong with them; the others are counted.
const TOLD: usize = 5;

/// What a file holds.
#[derive(Debug, PartialEq)]
pub(super) struct Lines<T> {
    pub(super) items: Vec<T>,
    /// SHA-256 of the file.
    pub(super) digest: String,
}

/// Reads every line of `path`, which `key` names, by `item`. Lines with nothing on them are passed over.
///
/// # Errors
/// What is wrong with the first few lines with which something is, each by its number.
pub(super) fn read<T>(
    key: &str,
    path: &Path,
    item: impl Fn(&str) -> Result<T, Fault>,
) -> Result<Lines<T>, Vec<Problem>> {
    let unreadable = |error| {
        let problem = Problem::new(key, format!("`{key}`: cannot read {}: {error}", path.display()));
        vec![problem.help("it is looked for beside the configuration, then in the working directory")]
    };
    let text = fs::read_to_string(path).map_err(unreadable)?;
    let (mut items, mut problems, mut more) = (Vec::new(), Vec::new(), 0);
    for (at, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        match item(line) {
            Ok(item) => items.push(item),
            Err(_) if problems.len() == TOLD => more += 1,
            Err(fault) => problems.push(fault.problem(key, format_args!("{}, line {}", path.display(), at + 1))),
        }
    }
    if more > 0 {
        problems.push(Problem::new(key, format!("{}: {more} more lines cannot be used", path.display())));
    }
    if items.is_empty() && problems.is_empty() {
        problems.push(Problem::new(key, format!("{} is empty", path.display())).allowed("at least one line"));
    }
    let digest = stateset_domain::sha256_hex(text.as_bytes());
    if problems.is_empty() { Ok(Lines { items, digest }) } else { Err(problems) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn even(text: &str) -> Result<Vec<u32>, Vec<String>> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("numbers.jsonl");
        fs::write(&path, text).unwrap();
        let number = |line: &str| match line.parse() {
            Ok(number) if number % 2 == 0 => Ok(number),
            _ => Err(Fault::new(format!("{line} is odd"), "an even number")),
        };
        let told = |problems: Vec<Problem>| {
            let folder = format!("{}/", folder.path().display());
            problems.iter().map(|problem| problem.to_string().replace(&folder, "")).collect()
        };
        read("training.sft.file", &path, number).map(|lines| lines.items).map_err(told)
    }

    #[test]
    fn every_line_is_an_item_and_blank_ones_are_none() {
        assert_eq!(even("2\n\n4\n6"), Ok(vec![2, 4, 6]));
    }

    #[test]
    fn each_of_a_handful_of_bad_lines_is_told_by_its_number_and_the_rest_are_counted() {
        let told = even("2\n\n3\n4\n5\n7\n9\n11\n13\n15\n").unwrap_err();
        assert_eq!(told.len(), 6);
        assert_eq!(told[0], "error: numbers.jsonl, line 3: 3 is odd\n  = allowed: an even number");
        assert!(told[4].contains("line 8: 11 is odd") && told[5].contains("2 more lines"), "{told:?}");
    }

    #[test]
    fn a_file_without_lines_or_that_is_not_there_is_no_file() {
        assert_eq!(even("\n").unwrap_err(), ["error: numbers.jsonl is empty\n  = allowed: at least one line"]);
        let problems = read("training.sft.file", Path::new("no/such.jsonl"), |_| Ok(())).unwrap_err();
        assert!(problems[0].message.starts_with("`training.sft.file`: cannot read no/such.jsonl: "));
    }
}
