//! How good an episode was.
