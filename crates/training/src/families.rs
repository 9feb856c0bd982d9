//! Who begins alike, and what is gained by computing that once.
//!
//! The members of a group answer the same prompt, and both sides of a pair do. What they begin with goes through the model once for all
//! of them; what each goes on with sees it as if it stood there for that one alone. A conversation of 64 + 64 tokens in a group of 8 costs
//! 71 tokens in place of 127: nothing is asked of the last one. The segments of a conversation that forked are sequences like others, and begin alike too.

use std::ops::Range;

use stateset_models::PackedBatch;

use crate::Example;

/// Fewer shared tokens than these are not worth a segment of their own: its products would be too small to be fast.
const LEAST_SHARED: usize = 16;

/// The tokens of a segment, and which of them are scored.
type Segment<'a> = (&'a [u32], &'a [bool]);

/// The segments of `members`, one member's after another's.
fn segments<'a>(members: &[&'a Example]) -> Vec<Segment<'a>> {
    members.iter().flat_map(|member| member.segments()).collect()
}

/// How many tokens all `segments` begin with, none of which is scored in any, and which leave each of them at least one of its own. 0 if
/// sharing is not worth it.
fn shared(segments: &[Segment<'_>]) -> usize {
    let [first, others @ ..] = segments else { return 0 };
    let own = |(tokens, scored): &Segment<'_>| {
        let context = scored.iter().position(|scored| *scored).unwrap_or(tokens.len());
        context.min(tokens.len().saturating_sub(1))
    };
    let mut shared = if others.is_empty() { 0 } else { own(first) };
    for other in others {
        let alike = first.0.iter().zip(other.0).take_while(|(a, b)| a == b).count();
        shared = shared.min(alike).min(own(other));
    }
    if shared < LEAST_SHARED { 0 } else { shared }
}

/// Tokens that go through the model for `members`, at the most.
fn cost(members: &[&Example]) -> usize {
    let tokens: usize = members.iter().map(|member| member.tokens.len()).sum();
    let segments = segments(members);
    tokens - shared(&segments) * segments.len().saturating_sub(1)
}

/// Consecutive examples of the same group.
fn families(examples: &[&Example]) -> Vec<Range<usize>> {
    let mut start = 0;
    let family = |members: &[&Example]| {
        let range = start..start + members.len();
        start = range.end;
        range
    };
    examples.chunk_by(|a, b| a.group == b.group).map(family).collect()
}

/// Cuts examples, in order, into runs of which at most `budget` tokens go through the model (or as few as there can be, if those are
/// more). A family stays together if a run can hold it; `together` examples in a row always do.
pub(crate) fn runs(examples: &[&Example], together: usize, budget: usize) -> Vec<Range<usize>> {
    let mut runs: Vec<Range<usize>> = Vec::new();
    let mut held = 0;
    for family in families(examples) {
        for part in parts(examples, family, together, budget) {
            let cost = cost(&examples[part.clone()]);
            match runs.last_mut() {
                Some(run) if held + cost <= budget => run.end = part.end,
                _ => {
                    runs.push(part);
                    held = 0;
                }
            }
            held += cost;
        }
    }
    runs
}

/// A family, or if that is beyond the budget, the largest parts of it that are not.
fn parts(examples: &[&Example], family: Range<usize>, together: usize, budget: usize) -> Vec<Range<usize>> {
    let mut parts = Vec::new();
    let mut rest = family;
    while !rest.is_empty() {
        let mut part = rest.start..(rest.start + together).min(rest.end);
        while part.end < rest.end {
            let longer = part.start..(part.end + together).min(rest.end);
            if cost(&examples[longer.clone()]) > budget {
                break;
            }
            part = longer;
        }
        rest.start = part.end;
        parts.push(part);
    }
    parts
}

/// Examples end to end, family by family.
pub(crate) fn pack(examples: &[&Example]) -> PackedBatch {
    let mut packed = PackedBatch::default();
    for family in families(examples) {
        let segments = segments(&examples[family]);
        match shared(&segments) {
            0 => segments.into_iter().for_each(|(tokens, scored)| packed.push(tokens, scored)),
            shared => packed.push_family(shared, segments),
        }
    }
    packed
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Demonstration;

    /// `context` tokens that depend on the group alone, then `own` of `member`'s, which are scored.
    fn example(group: usize, member: u32, context: u32, own: u32) -> Example {
        let beginning = (0..context).map(|at| group as u32 * 1000 + at);
        let tokens: Vec<u32> = beginning.chain((0..own).map(|at| 100_000 + member * 1000 + at)).collect();
        let spoken = (0..context + own).map(|at| at >= context).collect();
        Example::given(&Demonstration { tokens, spoken }, 1.0, group)
    }

    fn all(examples: &[Example]) -> Vec<&Example> {
        examples.iter().collect()
    }

    fn shared(members: &[&Example]) -> usize {
        super::shared(&segments(members))
    }

    #[test]
    fn what_is_shared_ends_where_members_part_or_the_first_of_them_speaks() {
        let (long, short) = (example(0, 1, 40, 3), example(0, 2, 30, 3));
        assert_eq!(shared(&[&long, &long]), 40);
        assert_eq!(shared(&[&long, &short]), 30);
        assert_eq!(shared(&[&long, &example(1, 1, 40, 3)]), 0, "nothing is alike");
        assert_eq!(shared(&[&long]), 0, "there is no other");
        let silent = example(0, 1, 40, 0);
        assert_eq!(shared(&[&silent, &silent]), 39, "each keeps a token of its own");
    }

    #[test]
    fn few_tokens_are_not_worth_sharing() {
        assert_eq!(shared(&all(&[example(0, 1, 15, 9), example(0, 2, 15, 9)])), 0);
        assert_eq!(shared(&all(&[example(0, 1, 16, 9), example(0, 2, 16, 9)])), 16);
    }

    #[test]
    fn shared_tokens_count_once_against_the_budget() {
        let group: Vec<Example> = (0..8).map(|member| example(0, member, 64, 64)).collect();
        assert_eq!(cost(&all(&group)), 64 + 8 * 64);
        assert_eq!(runs(&all(&group), 1, 576).as_slice(), std::slice::from_ref(&(0..8)));
        assert_eq!(pack(&all(&group)).tokens.len(), 64 + 8 * 63, "nothing is asked of the last token");
        // two members and the prompt are 192, three are 256
        assert_eq!(runs(&all(&group), 1, 200), [0..2, 2..4, 4..6, 6..8]);
        assert_eq!(runs(&all(&group), 1, 1), (0..8).map(|at| at..at + 1).collect::<Vec<_>>());
    }

    #[test]
    fn the_segments_of_a_conversation_share_what_they_begin_with() {
        let (first, second) = (example(0, 1, 20, 3), example(0, 2, 20, 4));
        let tokens = [first.tokens, second.tokens].concat();
        let scored = [first.scored, second.scored].concat();
        let forked = Example { tokens, scored, forks: vec![23], ..example(0, 1, 0, 0) };
        assert_eq!((shared(&[&forked]), cost(&[&forked])), (20, 27));
        let packed = pack(&[&forked]);
        assert_eq!(packed.tokens.len(), 25);
        assert_eq!(packed.targets, [101_000, 101_001, 101_002, 102_000, 102_001, 102_002, 102_003]);
    }

    #[test]
    fn a_family_stays_together_if_a_run_can_hold_it() {
        let member = |group: usize, member| example(group, member, 20, 10);
        let examples: Vec<Example> = [0, 0, 1, 1, 1, 2].iter().zip(0..).map(|(group, it)| member(*group, it)).collect();
        // families of 40, 50 and 30
        assert_eq!(runs(&all(&examples), 1, 80), [0..2, 2..6]);
        assert_eq!(runs(&all(&examples), 1, 90), [0..5, 5..6]);
        assert_eq!(runs(&[], 1, 80), [0..0; 0]);
    }

    #[test]
    fn what_belongs_together_is_never_apart() {
        let examples: Vec<Example> =
            [0, 0, 1, 1].iter().zip(0..).map(|(group, it)| example(*group, it, 3, 3)).collect();
        assert_eq!(runs(&all(&examples), 2, 1), [0..2, 2..4]);
        assert_eq!(runs(&all(&examples), 2, 24).as_slice(), std::slice::from_ref(&(0..4)));
    }
}
