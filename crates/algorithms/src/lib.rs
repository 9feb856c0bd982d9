//! Credit and loss as plain numbers.
