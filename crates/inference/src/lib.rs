//! Many sequences at once: continuous batching with prefixes kept between turns.
