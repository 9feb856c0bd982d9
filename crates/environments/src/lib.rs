//! What happens next in the world: scripted users, tools and executed checks.
