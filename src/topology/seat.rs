//! A seat in the tree: what an actor's kind is given to fill it with.

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::Arc;

use ractor::{Actor, Message};
use serde::de::DeserializeOwned;
use stateset_actors::protocol::{Instruments, Port};
use stateset_supervisors::{ChildSpec, Handle, SupervisorHandle};
use thiserror::Error;

use super::Common;
use super::blueprint::Placed;
use super::pool::{self, Members};
use crate::config::Params;

/// Why a kind cannot fill its seat.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SeatError {
    /// The kind asks for a port that it has not declared, or for one of another type.
    #[error("`{kind}` has not declared a port `{port}` for such messages")]
    Undeclared {
        /// The kind.
        kind: String,
        /// The port.
        port: String,
    },
    /// The parameters are not what the kind asks for.
    #[error("the parameters of `{actor}`: {cause}")]
    Params {
        /// The actor.
        actor: String,
        /// What is wrong with them.
        cause: String,
    },
}

/// How an actor is reached: a [`Port`], or for conversations their spawner, of whatever type.
pub(crate) struct Address(Box<dyn Any + Send + Sync>);

impl Address {
    pub(super) fn new(way: impl Any + Send + Sync) -> Self {
        Self(Box::new(way))
    }

    pub(super) fn way<T: Clone + 'static>(&self) -> Option<T> {
        self.0.downcast_ref::<T>().cloned()
    }
}

/// Makes the address of a place before anybody sits there, so that everybody can be wired to everybody.
pub(super) type Open = Arc<dyn Fn() -> Opened + Send + Sync>;

/// A place whose address is known.
pub(super) struct Opened {
    pub(super) address: Address,
    pub(super) fill: Fill,
}

/// Makes those who sit in a place, once every address is known; and anew when they are told something else.
pub(super) type Fill = Arc<dyn Fn(&Place<'_>) -> Result<Filled, SeatError> + Send + Sync>;

/// Those who are to sit in a place.
pub(super) struct Filled {
    /// None if they come one by one.
    pub(super) children: Vec<ChildSpec>,
    /// Lets the place's address lead to them.
    pub(super) seat: Box<dyn FnOnce() + Send>,
    /// Whether all of them are up.
    pub(super) is_up: Box<dyn Fn() -> bool + Send + Sync>,
}

/// A place of the tree, with all that is around it.
pub(super) struct Place<'a> {
    pub(super) placed: &'a Placed,
    pub(super) supervisor: &'a SupervisorHandle,
    pub(super) addresses: &'a BTreeMap<String, Address>,
    pub(super) common: &'a Arc<Common>,
}

impl Place<'_> {
    /// The way through a port, if there is anybody behind it.
    fn way<T: Clone + 'static>(&self, port: &str) -> Result<Option<T>, SeatError> {
        let Some(target) = self.placed.to.get(port).ok_or_else(|| self.undeclared(port))? else { return Ok(None) };
        self.addresses.get(target).and_then(Address::way).map(Some).ok_or_else(|| self.undeclared(port))
    }

    /// The way through a port that has somebody behind it in every topology.
    pub(super) fn required<T: Clone + 'static>(&self, port: &str) -> Result<T, SeatError> {
        self.way(port)?.ok_or_else(|| self.undeclared(port))
    }

    fn undeclared(&self, port: &str) -> SeatError {
        SeatError::Undeclared { kind: self.placed.kind.clone(), port: port.to_owned() }
    }
}

type Make<M> = dyn Fn(&Seat<'_, M>) -> Result<ChildSpec, SeatError> + Send + Sync;

/// Opens a place for actors that take messages `M`: one, or as many as its pool has.
pub(super) fn actors<M: Message>(make: Arc<Make<M>>) -> Open {
    Arc::new(move || {
        let (members, make) = (Members::<M>::nobody(), make.clone());
        let address = Address::new(members.port());
        let fill = move |place: &Place<'_>| {
            let handles = members.named(&pool::names(place.placed));
            let made = handles.iter().map(|handle| make(&Seat { handle, place }));
            let children = made.collect::<Result<Vec<ChildSpec>, SeatError>>()?;
            let (members, to_be) = (members.clone(), handles.clone());
            let seat = Box::new(move || members.seat(to_be));
            Ok(Filled { children, seat, is_up: Box::new(move || handles.iter().all(Handle::is_up)) })
        };
        Opened { address, fill: Arc::new(fill) }
    })
}

/// A seat to be filled by an actor that takes messages `M`.
pub struct Seat<'a, M> {
    handle: &'a Handle<M>,
    place: &'a Place<'a>,
}

impl<M: Message> Seat<'_, M> {
    /// The actor's name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.handle.name()
    }

    /// The kind's port `name`, which leads to whoever the topology says, whichever incarnation of him lives. If the kind only
    /// [may send](super::Kind::may_send) there and the topology has nobody, then nobody is ever there.
    ///
    /// # Errors
    /// [`SeatError::Undeclared`] if the kind has no such port, or one for other messages.
    pub fn port<T: Message>(&self, name: &str) -> Result<Port<T>, SeatError> {
        Ok(self.place.way(name)?.unwrap_or_else(|| Port::new(Err)))
    }

    /// A port to whoever sits here, whichever incarnation lives.
    #[must_use]
    pub fn home(&self) -> Port<M> {
        pool::port(self.handle)
    }

    /// The actor's parameters.
    ///
    /// # Errors
    /// [`SeatError::Params`] if they are not what `P` is made of.
    pub fn params<P: DeserializeOwned>(&self) -> Result<P, SeatError> {
        let placed = self.place.placed;
        params(&placed.params).map_err(|cause| SeatError::Params { actor: placed.id.clone(), cause })
    }

    /// What to report through.
    #[must_use]
    pub fn instruments(&self) -> Instruments {
        self.common().parts.instruments.clone()
    }

    /// Fills the seat with an actor. `make` is given the number of the incarnation, from 1.
    pub fn actor<A: Actor<Msg = M>>(
        &self,
        make: impl Fn(u64) -> (A, A::Arguments) + Send + Sync + 'static,
    ) -> ChildSpec {
        let Placed { restart, budgets, intensity, significant, .. } = *self.place.placed;
        let mut child = ChildSpec::actor(self.handle, restart, make).with_budgets(budgets);
        child.intensity = intensity;
        // Of a pool, its supervisor is.
        child.significant = significant && self.place.placed.pool.is_none();
        child
    }

    pub(super) fn required<T: Clone + 'static>(&self, port: &str) -> Result<T, SeatError> {
        self.place.required(port)
    }

    pub(super) fn common(&self) -> &Arc<Common> {
        self.place.common
    }
}

/// Reads `params` as `P`.
pub(super) fn params<P: DeserializeOwned>(params: &Params) -> Result<P, String> {
    let entries = params.iter().map(|(key, value)| (key.clone(), value.clone())).collect();
    serde_json::from_value(serde_json::Value::Object(entries)).map_err(|error| error.to_string())
}
