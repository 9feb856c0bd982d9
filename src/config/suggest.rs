//! The name that was probably meant.

/// The candidate nearest to `name`, unless none is near enough to be a slip of the hand.
pub(super) fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let name = name.to_lowercase();
    let slips = |candidate: &str| {
        let shared = candidate.contains(&name) || name.contains(candidate);
        if shared && name.len().min(candidate.len()) >= 3 { 1 } else { strsim::damerau_levenshtein(&name, candidate) }
    };
    let allowed = 1 + name.chars().count() / 4;
    candidates.into_iter().map(|it| (slips(it), it)).filter(|(slips, _)| *slips <= allowed).min().map(|(_, it)| it)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_finds_its_word_and_nonsense_finds_none() {
        let keys = ["steps", "group_size", "learning_rate", "schedule"];
        assert_eq!(nearest("stepz", keys), Some("steps"));
        assert_eq!(nearest("learnign_rate", keys), Some("learning_rate"));
        assert_eq!(nearest("Schedule", keys), Some("schedule"));
        assert_eq!(nearest("learning", keys), Some("learning_rate"));
        assert_eq!(nearest("colour", keys), None);
    }
}
