//! Account references. A reference belongs to one split for ever, whatever the seed: that keeps training and evaluation apart.

use stateset_domain::{Split, Stream};

use super::spec::AccountFormat;

/// The split a reference belongs to: half of them to each, decided by a hash.
pub(super) fn split_of(account: &str) -> Split {
    let hash = account.bytes().fold(Stream::new(0), |hash, byte| hash.fork(byte.into())).at(0);
    if hash.is_multiple_of(2) { Split::Train } else { Split::HeldOut }
}

impl AccountFormat {
    /// Any reference.
    pub(super) fn draw(&self, stream: &mut Stream) -> String {
        let alphabet: Vec<char> = self.alphabet.chars().collect();
        (0..self.length).map(|_| *stream.choose(&alphabet)).collect()
    }

    /// A reference of `split`.
    pub(super) fn draw_for(&self, split: Split, stream: &mut Stream) -> String {
        loop {
            let account = self.draw(stream);
            if split_of(&account) == split {
                return account;
            }
        }
    }

    /// `account` with one character changed.
    pub(super) fn garble(&self, account: &str, stream: &mut Stream) -> String {
        let mut characters: Vec<char> = account.chars().collect();
        let place = stream.below(characters.len());
        let others: Vec<char> = self.alphabet.chars().filter(|c| *c != characters[place]).collect();
        characters[place] = *stream.choose(&others);
        characters.into_iter().collect()
    }
}
