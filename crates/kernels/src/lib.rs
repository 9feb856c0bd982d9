//! Fast arithmetic on slices, each kernel beside its f64 definition.
