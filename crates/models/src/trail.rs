//! The bookkeeping of a tape, wherever its values lie: what operations made, for as long as anything asks for it.
//!
//! One operation makes one value, so a value is known by the operation's place on the trail.

/// Operations `O` in order, and the shared values `V` that they made.
#[derive(Clone)]
pub(crate) struct Trail<O, V> {
    nodes: Vec<Node<O, V>>,
    /// Whether there is a walk back.
    keep: bool,
}

/// An operation and what it made.
#[derive(Clone)]
pub(crate) struct Node<O, V> {
    pub(crate) op: O,
    /// Numbers of a row.
    pub(crate) width: usize,
    values: Option<V>,
    /// Whether the walk back asks for the values.
    needed: bool,
}

/// The gradients that a walk back has found so far, of the values that it has not come to.
pub(crate) type Flow<G> = Vec<Option<G>>;

/// A value that something may still be made from.
pub(crate) struct Slot(usize);

impl Slot {
    /// The place of the operation that made it.
    pub(crate) fn at(&self) -> usize {
        self.0
    }
}

impl<O, V: Clone> Trail<O, V> {
    pub(crate) fn new(keep: bool) -> Self {
        Self { nodes: Vec::new(), keep }
    }

    pub(crate) fn push(&mut self, op: O, width: usize, values: impl Into<V>) -> Slot {
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
    pub(crate) fn values(&self, slot: &Slot) -> V {
        self.nodes[slot.0].values.clone().expect("a slot has values until it is used up")
    }

    /// Keeps the values for the walk back, whoever uses them up.
    pub(crate) fn need(&mut self, slot: &Slot) {
        self.nodes[slot.0].needed = true;
    }

    /// The values of a slot that is used up now. They are held on to only if the walk back needs them.
    pub(crate) fn release(&mut self, slot: Slot, needed: bool) -> V {
        let values = self.values(&slot);
        let node = &mut self.nodes[slot.0];
        node.needed |= needed;
        if !self.keep || !node.needed {
            node.values = None;
        }
        values
    }

    /// The way back, of which the gradient of the last value is given.
    pub(crate) fn back<G>(&self, last: G) -> Flow<G> {
        let mut flow: Vec<Option<G>> = self.nodes.iter().map(|_| None).collect();
        if let Some(end) = flow.last_mut() {
            *end = Some(last);
        }
        flow
    }

    /// Goes back to the next operation whose value has a gradient, and takes both off. What was made after it is gone by then, so that
    /// memory goes down as the walk does.
    pub(crate) fn step_back<G>(&mut self, flow: &mut Flow<G>) -> Option<(Node<O, V>, G)> {
        loop {
            let (node, gradient) = (self.nodes.pop()?, flow.pop()?);
            if let Some(gradient) = gradient {
                return Some((node, gradient));
            }
        }
    }

    /// The values at `at`, which the walk back was said to need and asks for no more.
    pub(crate) fn take(&mut self, at: usize) -> V {
        self.nodes[at].values.take().expect("what the walk back needs is kept")
    }
}

impl<O, V> Node<O, V> {
    /// The values, if they were kept.
    pub(crate) fn kept(&self) -> Option<&V> {
        self.values.as_ref()
    }

    /// The values, which the walk back was said to need.
    pub(crate) fn needed(&self) -> &V {
        self.kept().expect("what the walk back needs is kept")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn what_lies_behind_a_walk_is_let_go_of_unless_a_copy_holds_it() {
        for copied in [false, true] {
            let mut trail = Trail::<_, Arc<i32>>::new(true);
            let made = [1, 2, 3].map(Arc::new);
            for (op, values) in made.iter().enumerate() {
                let slot = trail.push(op, 1, values.clone());
                trail.release(slot, true);
            }
            let copy = copied.then(|| trail.clone());
            let mut flow = trail.back("of the last");
            let held = || made.each_ref().map(|values| Arc::strong_count(values) - 1);

            let (node, gradient) = trail.step_back(&mut flow).unwrap();
            assert_eq!((node.op, gradient), (2, "of the last"));
            drop(node);
            assert_eq!(held(), if copied { [2, 2, 1] } else { [1, 1, 0] });

            flow[0] = Some("of the first");
            assert_eq!(*trail.take(0), 1);
            let (node, gradient) = trail.step_back(&mut flow).unwrap();
            assert_eq!((node.op, gradient, node.kept()), (0, "of the first", None));
            assert_eq!(held(), if copied { [1, 1, 1] } else { [0, 0, 0] });
            assert!(trail.step_back(&mut flow).is_none());
            drop(copy);
        }
    }
}
