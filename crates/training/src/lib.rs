//! One optimizer step: collate, log-probs, objective, backward, update; and the checkpoint format.
