//! Supervision trees: restart policies as pure state machines, carried out by thin actors.
