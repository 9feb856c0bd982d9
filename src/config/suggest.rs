//! The name that was probably meant, and the names there are.

/// The candidate nearest to `name`, unless none is near enough to be a slip of the hand.
pub(crate) fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let name = name.to_lowercase();
    let allowed = 1 + name.chars().count() / 4;
    let slips = |candidate: &'a str| {
        let slips = strsim::damerau_levenshtein(&name, candidate);
        let shared = candidate.contains(&name) || name.contains(candidate);
        let near = slips <= allowed || shared && name.len().min(candidate.len()) >= 3;
        near.then_some((slips, candidate))
    };
    candidates.into_iter().filter_map(slips).min().map(|(_, candidate)| candidate)
}

/// `names` in a row, each in backticks.
pub(crate) fn quoted<S: AsRef<str>>(names: &[S]) -> String {
    let names: Vec<String> = names.iter().map(|name| format!("`{}`", name.as_ref())).collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_finds_its_word_and_nonsense_finds_none() {
        let keys = ["steps", "group_size", "learning_rate", "schedule"];
        assert_eq!(nearest("stepz", keys), Some("steps"));
        assert_eq!(nearest("step", ["groups_per_step", "steps"]), Some("steps"));
        assert_eq!(nearest("learnign_rate", keys), Some("learning_rate"));
        assert_eq!(nearest("Schedule", keys), Some("schedule"));
        assert_eq!(nearest("learning", keys), Some("learning_rate"));
        assert_eq!(nearest("colour", keys), None);
    }
}
