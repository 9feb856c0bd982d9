//! Judgements that need not be asked for again.

use std::num::NonZeroUsize;

use lru::LruCache;

use super::Judgement;

/// Remembers judgements by what was asked, the most recently used ones. In memory only: a judgement costs little beside what it would
/// take to keep it consistent with a rubric, a model and a file over restarts of the process.
#[derive(Debug)]
pub struct JudgementCache {
    /// `None` keeps nothing.
    entries: Option<LruCache<String, Judgement>>,
    hits: u64,
}

impl JudgementCache {
    /// A cache of `capacity` judgements; 0 keeps none.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self { entries: NonZeroUsize::new(capacity).map(LruCache::new), hits: 0 }
    }

    /// The judgement of the question with this digest.
    pub fn get(&mut self, question: &str) -> Option<Judgement> {
        let found = self.entries.as_mut()?.get(question).cloned();
        self.hits += u64::from(found.is_some());
        found
    }

    /// Remembers a judgement.
    pub fn put(&mut self, question: String, judgement: Judgement) {
        if let Some(entries) = &mut self.entries {
            entries.put(question, judgement);
        }
    }

    /// How often something was found.
    #[must_use]
    pub fn hits(&self) -> u64 {
        self.hits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judgement(total: f32) -> Judgement {
        Judgement { total, scores: Vec::new(), reason: String::new() }
    }

    #[test]
    fn what_was_not_used_for_longest_makes_room() {
        let mut cache = JudgementCache::new(2);
        cache.put("a".into(), judgement(0.1));
        cache.put("b".into(), judgement(0.2));
        assert_eq!(cache.get("a"), Some(judgement(0.1)));
        cache.put("c".into(), judgement(0.3));
        assert_eq!((cache.get("b"), cache.get("a").is_some(), cache.get("c").is_some()), (None, true, true));
        assert_eq!(cache.hits(), 3);
    }

    #[test]
    fn a_cache_without_room_keeps_nothing() {
        let mut cache = JudgementCache::new(0);
        cache.put("a".into(), judgement(0.1));
        assert_eq!((cache.get("a"), cache.hits()), (None, 0));
    }
}
