//! Executed checks: one vocabulary for rewards, success and evaluation gates.

use serde::{Deserialize, Serialize};

use crate::ToolCall;

/// What a reply must contain, must not contain, and which tool it must call.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Check {
    /// Every one of these must occur in the reply, as whole words.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub expect: Vec<String>,
    /// None of these may occur in the reply, as whole words.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub forbid: Vec<String>,
    /// The tool call the reply must make, with exactly these arguments.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool: Option<ToolCall>,
}

/// The result of running a [`Check`]: empty lists and `true` mean it passed.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Verdict {
    /// Expected texts that were absent.
    pub missing: Vec<String>,
    /// Forbidden texts that were present.
    pub present: Vec<String>,
    /// The required call was not made.
    pub tool_missing: bool,
}

impl Verdict {
    /// Whether the check passed.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.missing.is_empty() && self.present.is_empty() && !self.tool_missing
    }
}

impl Check {
    /// Runs the check on a reply and the tool call it made.
    #[must_use]
    pub fn run(&self, reply: &str, call: Option<&ToolCall>) -> Verdict {
        Verdict {
            missing: self.expect.iter().filter(|text| !contains_words(reply, text)).cloned().collect(),
            present: self.forbid.iter().filter(|text| contains_words(reply, text)).cloned().collect(),
            tool_missing: self.tool.as_ref().is_some_and(|wanted| call != Some(wanted)),
        }
    }
}

/// Whether `needle` occurs in `text` with no letter or digit touching either end, so that `refund` is not found in `refunded`.
fn contains_words(text: &str, needle: &str) -> bool {
    let word = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
    let (first, last) = (word(needle.chars().next()), word(needle.chars().next_back()));
    !needle.is_empty()
        && text.match_indices(needle).any(|(at, _)| {
            let before = word(text[..at].chars().next_back());
            let after = word(text[at + needle.len()..].chars().next());
            !(first && before || last && after)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_found_whole_or_not_at_all() {
        assert!(contains_words("a refund for K7Q2M.", "K7Q2M"));
        assert!(contains_words("done [RF-1]", "[RF-1]"));
        assert!(!contains_words("refunded", "refund"));
        assert!(!contains_words("", "refund") && !contains_words("text", ""));
        assert!(contains_words("unrefund refund", "refund"));
    }

    #[test]
    fn a_tool_check_needs_the_very_arguments() {
        let call = |id: &str| ToolCall { name: "lookup_order".into(), arguments: serde_json::json!({ "id": id }) };
        let check = Check { tool: Some(call("A1")), ..Check::default() };
        assert!(check.run("", Some(&call("A1"))).passed());
        assert!(!check.run("", Some(&call("A2"))).passed());
        assert!(check.run("", None).tool_missing);
    }
}
