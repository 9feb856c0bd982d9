//! One decoder, its weights, its tokenizer.
