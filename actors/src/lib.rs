//! The ring of actors that turns a policy into a better policy.
