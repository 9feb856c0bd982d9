//! Transparent huge pages: whether the kernel backs large blocks of memory with pages of 2 MiB, and for whom.

const SETTING: &str = "/sys/kernel/mm/transparent_hugepage/enabled";

/// Who gets them: `always`, `madvise` or `never`.
pub(super) fn look() -> Option<String> {
    chosen(&std::fs::read_to_string(SETTING).ok()?).map(str::to_owned)
}

/// The word in brackets.
fn chosen(setting: &str) -> Option<&str> {
    setting.split_whitespace().find_map(|word| word.strip_prefix('[')?.strip_suffix(']'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_word_in_brackets_is_the_one_that_holds() {
        assert_eq!(chosen("always [madvise] never\n"), Some("madvise"));
        assert_eq!(chosen("always madvise never\n"), None);
    }
}
