//! Trains multi-turn conversational agents with reinforcement learning in a runtime of supervised actors.
