//! Scripted fakes and fault injection for tests.
