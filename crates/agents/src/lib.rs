//! What text the model sees and how its reply is read.
