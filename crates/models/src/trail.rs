//! The bookkeeping of a tape, wherever its values lie: what operations made, for as long as anything asks for it.
//!
//! One operation makes one value, so a value is known by the operation's place on the trail.

use std::sync::Arc;

/// Operations `O` in order, and the values `V` that they made.
pub(crate) struct Trail<O, V> {
    nodes: Vec<Node<O, V>>,
    /// Whether there is a walk back.
    keep: bool,
}

/// An operation and what it made.
pub(crate) struct Node<O, V> {
    pub(crate) op: O,
    /// Numbers of a row.
    pub(crate) width: usize,
    values: Option<Arc<V>>,
    /// Whether the walk back asks for the values.
    needed: bool,
}

/// A value that something may still be made from.
pub(crate) struct Slot(usize);

impl Slot {
    /// The place of the operation that made it.
    pub(crate) fn at(&self) -> usize {
        self.0
    }
}

impl<O, V> Trail<O, V> {
    pub(crate) fn new(keep: bool) -> Self {
        Self { nodes: Vec::new(), keep }
    }

    pub(crate) fn push(&mut self, op: O, width: usize, values: impl Into<Arc<V>>) -> Slot {
        self.nodes.push(Node { op, width, values: Some(values.into()), needed: false });
        Slot(self.nodes.len() - 1)
    }

    pub(crate) fn node(&self, at: usize) -> &Node<O, V> {
        &self.nodes[at]
    }

    pub(crate) fn width(&self, slot: &Slot) -> usize {
        self.nodes[slot.0].width
    }

    /// The values of a slot that is not used up yet.
    pub(crate) fn values(&self, slot: &Slot) -> Arc<V> {
        self.nodes[slot.0].values.clone().expect("a slot has values until it is used up")
    }

    /// Keeps the values for the walk back, whoever uses them up.
    pub(crate) fn need(&mut self, slot: &Slot) {
        self.nodes[slot.0].needed = true;
    }

    /// The values of a slot that is used up now. They are held on to only if the walk back needs them.
    pub(crate) fn release(&mut self, slot: Slot, needed: bool) -> Arc<V> {
        let values = self.values(&slot);
        let node = &mut self.nodes[slot.0];
        node.needed |= needed;
        if !self.keep || !node.needed {
            node.values = None;
        }
        values
    }

    /// Goes back over the operations whose value has a gradient, from the last one, of which it is given. `step` takes an operation and the
    /// gradient of its value, and adds to the gradients of what the operation was made from.
    pub(crate) fn walk_back<G, E>(
        &self,
        last: G,
        mut step: impl FnMut(&Node<O, V>, G, &mut [Option<G>]) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut flow: Vec<Option<G>> = self.nodes.iter().map(|_| None).collect();
        if let Some(end) = flow.last_mut() {
            *end = Some(last);
        }
        for (at, node) in self.nodes.iter().enumerate().rev() {
            if let Some(gradient) = flow[at].take() {
                step(node, gradient, &mut flow)?;
            }
        }
        Ok(())
    }
}

impl<O, V> Node<O, V> {
    /// The values, if they were kept.
    pub(crate) fn kept(&self) -> Option<&Arc<V>> {
        self.values.as_ref()
    }

    /// The values, which the walk back was said to need.
    pub(crate) fn needed(&self) -> &Arc<V> {
        self.kept().expect("what the walk back needs is kept")
    }
}
