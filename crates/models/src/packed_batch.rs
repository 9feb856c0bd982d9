//! What a forward pass is given: sequences end to end, without padding, without what nothing is asked of, and what they share only once.

use stateset_kernels::Segment;

/// Sequences packed end to end, and the positions that are scored.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct PackedBatch {
    /// The tokens that are read, segment by segment.
    pub tokens: Vec<u32>,
    /// The segments: a sequence each, or a beginning that several share and the rest of each of them.
    pub segments: Vec<Segment>,
    /// Rows (into `tokens`) that predict a scored token, sequence by sequence. The last row of what sequences share is there once for
    /// each of them whose next token is scored.
    pub rows: Vec<u32>,
    /// The scored token of each such row.
    pub targets: Vec<u32>,
}

impl PackedBatch {
    /// Appends a sequence; token `i` is scored where `scored[i]`, predicted from what precedes it. The first is never scored: nothing
    /// precedes it. Nothing is read from the last scored token on, for nothing is asked of it.
    pub fn push(&mut self, tokens: &[u32], scored: &[bool]) {
        let (start, read) = (self.tokens.len(), read(scored));
        if read > 0 {
            self.tokens.extend_from_slice(&tokens[..read]);
            self.segments.push(Segment::alone(read));
            self.score(tokens, scored, 1, |at| start + at);
        }
    }

    /// Appends sequences, tokens and which of them are scored, that all begin with the same `shared` tokens, none of which is scored.
    ///
    /// # Panics
    /// If a sequence does not go on after what is shared.
    pub fn push_family<'a>(&mut self, shared: usize, members: impl IntoIterator<Item = (&'a [u32], &'a [bool])>) {
        let (parent, start) = (self.segments.len(), self.tokens.len());
        for (tokens, scored) in members {
            assert!(tokens.len() > shared, "a member goes on after what is shared");
            let read = read(scored);
            if read == 0 {
                continue;
            }
            if self.segments.len() == parent {
                self.tokens.extend_from_slice(&tokens[..shared]);
                self.segments.push(Segment::alone(shared));
            }
            let own = self.tokens.len();
            if read > shared {
                self.tokens.extend_from_slice(&tokens[shared..read]);
                self.segments.push(Segment { tokens: read - shared, parent: Some(parent) });
            }
            self.score(tokens, scored, shared.max(1), |at| if at < shared { start + at } else { own + at - shared });
        }
    }

    /// Scores what is to be scored from token `from` on; `row` says where a token lies.
    fn score(&mut self, tokens: &[u32], scored: &[bool], from: usize, row: impl Fn(usize) -> usize) {
        for (i, token) in tokens.iter().enumerate().skip(from).filter(|(i, _)| scored[*i]) {
            self.rows.push(row(i - 1) as u32);
            self.targets.push(*token);
        }
    }

    /// Tokens of the longest sequence.
    pub(crate) fn longest(&self) -> usize {
        self.segments.iter().map(|segment| segment.seen(&self.segments)).max().unwrap_or(0)
    }
}

/// How many tokens of a sequence have to be read: those before the last scored one.
fn read(scored: &[bool]) -> usize {
    scored.iter().rposition(|scored| *scored).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shared_lies_there_once_and_its_last_row_predicts_for_every_member() {
        let mut batch = PackedBatch::default();
        batch.push(&[9, 8], &[false, true]);
        let scored = [false, false, false, true, true];
        batch.push_family(3, [(&[1, 2, 3, 4, 5][..], &scored[..]), (&[1, 2, 3, 6][..], &scored[..4])]);
        assert_eq!(batch.tokens, [9, 1, 2, 3, 4]);
        assert_eq!(batch.segments, [Segment::alone(1), Segment::alone(3), Segment { tokens: 1, parent: Some(1) }]);
        assert_eq!(batch.rows, [0, 3, 4, 3]);
        assert_eq!(batch.targets, [8, 4, 5, 6]);
        assert_eq!(batch.longest(), 4);
    }

    #[test]
    fn nothing_is_read_that_no_scored_token_follows() {
        let mut batch = PackedBatch::default();
        batch.push(&[1, 2, 3, 4, 5], &[false, false, true, false, false]);
        batch.push(&[6, 7, 8], &[true, false, false]);
        assert_eq!((&batch.tokens[..], &batch.rows[..], &batch.targets[..]), (&[1, 2][..], &[1][..], &[3][..]));
        assert_eq!(batch.segments, [Segment::alone(2)]);
    }
}
