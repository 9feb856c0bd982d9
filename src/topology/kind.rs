//! Kinds of actors: what a topology can place, what may be sent to it, and whom it needs.
//!
//! An edge of a topology is typed by the Rust type of the messages that go along it. So whatever can be placed can be wired by name in
//! YAML, and a wrong wire is found before anything is started.

use std::any::{TypeId, type_name};
use std::collections::BTreeMap;
use std::sync::Arc;

use ractor::Message;
use serde::de::DeserializeOwned;
use stateset_supervisors::ChildSpec;

use super::builtin;
use super::seat::{self, Open, Seat, SeatError};
use crate::config::Params;

/// A kind of actor. Registered by [`RuntimeBuilder::register`](crate::RuntimeBuilder::register), it can be placed in a topology by its
/// name.
#[derive(Clone)]
pub struct Kind {
    pub(crate) name: String,
    /// What may be sent to it.
    pub(crate) takes: MessageKind,
    pub(crate) ports: Vec<PortSpec>,
    pub(crate) number: Number,
    /// Whether several may stand in the place of one.
    pub(crate) pooled: bool,
    /// Whether it is started again and again while the run goes on, rather than once with its supervisor.
    pub(crate) passing: bool,
    /// What it brings home to the learner by settling tickets, which know their way.
    pub(crate) settles: Option<&'static str>,
    /// Whether it can use these; `None` if it asks for nothing.
    pub(crate) reads: Option<Reads>,
    pub(super) open: Open,
}

/// Says what is wrong with the parameters of an actor, if anything is.
type Reads = fn(&Params) -> Result<(), String>;

/// A type of messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MessageKind {
    id: TypeId,
    /// The type's name, without its path.
    pub(crate) name: &'static str,
}

impl MessageKind {
    pub(crate) fn of<M: 'static>() -> Self {
        let path = type_name::<M>();
        Self { id: TypeId::of::<M>(), name: path.rsplit("::").next().unwrap_or(path) }
    }
}

/// A way out of an actor.
#[derive(Debug, Clone)]
pub(crate) struct PortSpec {
    pub(crate) name: &'static str,
    pub(crate) takes: MessageKind,
    /// What goes through it, for graphs.
    pub(crate) carries: &'static str,
    pub(crate) manner: Manner,
}

/// What an actor does at one of its ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manner {
    /// It sends and goes on.
    Sends,
    /// It sends if there is somebody.
    MaySend,
    /// It sends and waits for the answer.
    Calls,
}

/// How many of a kind a topology has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Number {
    /// No more, no less.
    One,
    /// One or none.
    AtMostOne,
    /// As many as one likes.
    Any,
}

impl Kind {
    /// A kind of actors that take messages `M`. `make` fills a [`Seat`]: it says how each incarnation is made.
    ///
    /// # Examples
    ///
    /// `examples/06_own_actor.rs` is a whole one.
    pub fn new<M: Message>(
        name: &str,
        make: impl Fn(&Seat<'_, M>) -> Result<ChildSpec, SeatError> + Send + Sync + 'static,
    ) -> Self {
        Self::opened::<M>(name, seat::actors(Arc::new(make)))
    }

    pub(super) fn opened<M: 'static>(name: &str, open: Open) -> Self {
        Self {
            name: name.to_owned(),
            takes: MessageKind::of::<M>(),
            ports: Vec::new(),
            number: Number::Any,
            pooled: false,
            passing: false,
            settles: None,
            reads: None,
            open,
        }
    }

    /// It sends messages `T` through its port `name`; `what` says in a word or two what they carry.
    #[must_use]
    pub fn sends<T: 'static>(self, name: &'static str, what: &'static str) -> Self {
        self.port::<T>(name, what, Manner::Sends)
    }

    /// Like [`sends`](Self::sends), but a topology may leave the port without anybody behind it.
    #[must_use]
    pub fn may_send<T: 'static>(self, name: &'static str, what: &'static str) -> Self {
        self.port::<T>(name, what, Manner::MaySend)
    }

    /// Like [`sends`](Self::sends), but it waits for an answer. Actors that wait for each other in a circle would wait for ever: such a
    /// topology is refused.
    #[must_use]
    pub fn calls<T: 'static>(self, name: &'static str, what: &'static str) -> Self {
        self.port::<T>(name, what, Manner::Calls)
    }

    fn port<T: 'static>(mut self, name: &'static str, carries: &'static str, manner: Manner) -> Self {
        self.ports.push(PortSpec { name, takes: MessageKind::of::<T>(), carries, manner });
        self
    }

    /// It can stand in a pool: its incarnations keep nothing that the next message needs.
    #[must_use]
    pub fn pooled(mut self) -> Self {
        self.pooled = true;
        self
    }

    /// It asks for parameters, which are read with [`Seat::params`].
    #[must_use]
    pub fn params<P: DeserializeOwned>(mut self) -> Self {
        self.reads = Some(|params| seat::params::<P>(params).map(drop));
        self
    }

    pub(super) fn number(self, number: Number) -> Self {
        Self { number, ..self }
    }

    pub(super) fn passing(self) -> Self {
        Self { passing: true, ..self }
    }

    pub(super) fn settles(self, what: &'static str) -> Self {
        Self { settles: Some(what), ..self }
    }
}

/// The kinds that a topology can place, by name.
#[derive(Clone)]
pub struct Kinds(BTreeMap<String, Kind>);

impl Default for Kinds {
    /// The kinds of this program.
    fn default() -> Self {
        let mut kinds = Self(BTreeMap::new());
        builtin::kinds().into_iter().for_each(|kind| kinds.add(kind));
        kinds
    }
}

impl Kinds {
    /// Adds a kind, or replaces the one of its name.
    pub fn add(&mut self, kind: Kind) {
        self.0.insert(kind.name.clone(), kind);
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Kind> {
        self.0.get(name)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Kind> {
        self.0.values()
    }

    pub(crate) fn names(&self) -> Vec<&str> {
        self.0.keys().map(String::as_str).collect()
    }
}
