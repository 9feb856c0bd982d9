//! Conditions on signals, such as `grad_norm > 8 * median(grad_norm) and success_rate < 0.7`.
//!
//! Truth has three values. A signal that is not known makes a comparison unknown, and so whatever depends on it: nothing is ever decided
//! because something was *not* measured.

use std::collections::BTreeSet;
use std::fmt;

use super::statistics::Past;

/// A condition as written, and as understood.
#[derive(Debug, Clone, PartialEq)]
pub struct Condition {
    pub(super) text: String,
    pub(super) truth: Truth,
}

/// Something that holds, does not hold, or is not known.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Truth {
    Compare(Amount, Relation, Amount),
    Not(Box<Truth>),
    And(Box<Truth>, Box<Truth>),
    Or(Box<Truth>, Box<Truth>),
}

/// A number; NaN if it is not known.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Amount {
    Number(f64),
    Signal(String),
    Lately(Statistic, String),
    Negated(Box<Amount>),
    Of(Box<Amount>, Operator, Box<Amount>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Relation {
    Below,
    AtMost,
    Above,
    AtLeast,
    Equal,
    Unequal,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operator {
    Plus,
    Minus,
    Times,
    Over,
}

/// What can be said of a signal's latest values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Statistic {
    Median,
    Mad,
    Mean,
}

impl Statistic {
    pub(super) const ALL: [(&str, Self); 3] = [("median", Self::Median), ("mad", Self::Mad), ("mean", Self::Mean)];
}

/// The signals of a step, and of the steps before it.
pub(super) struct Known<'a> {
    pub(super) now: &'a dyn Fn(&str) -> f64,
    pub(super) past: &'a Past,
}

impl Condition {
    /// Whether it holds; `None` if that cannot be known.
    pub(super) fn holds(&self, known: &Known<'_>) -> Option<bool> {
        self.truth.holds(known)
    }

    /// The signals it looks at.
    #[must_use]
    pub fn signals(&self) -> BTreeSet<&str> {
        let mut found = BTreeSet::new();
        self.truth.amounts(&mut |amount| {
            if let Amount::Signal(name) | Amount::Lately(_, name) = amount {
                found.insert(name.as_str());
            }
        });
        found
    }

    /// Those of them that it looks back on.
    pub(super) fn looks_back_on(&self) -> BTreeSet<&str> {
        let mut found = BTreeSet::new();
        self.truth.amounts(&mut |amount| {
            if let Amount::Lately(_, name) = amount {
                found.insert(name.as_str());
            }
        });
        found
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Truth {
    fn holds(&self, known: &Known<'_>) -> Option<bool> {
        match self {
            Self::Compare(left, relation, right) => relation.holds(left.value(known), right.value(known)),
            Self::Not(inner) => inner.holds(known).map(|holds| !holds),
            Self::And(left, right) => match (left.holds(known), right.holds(known)) {
                (Some(false), _) | (_, Some(false)) => Some(false),
                (Some(true), Some(true)) => Some(true),
                (None, _) | (_, None) => None,
            },
            Self::Or(left, right) => match (left.holds(known), right.holds(known)) {
                (Some(true), _) | (_, Some(true)) => Some(true),
                (Some(false), Some(false)) => Some(false),
                (None, _) | (_, None) => None,
            },
        }
    }

    fn amounts<'a>(&'a self, visit: &mut impl FnMut(&'a Amount)) {
        match self {
            Self::Compare(left, _, right) => {
                left.parts(visit);
                right.parts(visit);
            }
            Self::Not(inner) => inner.amounts(visit),
            Self::And(left, right) | Self::Or(left, right) => {
                left.amounts(visit);
                right.amounts(visit);
            }
        }
    }
}

impl Amount {
    fn value(&self, known: &Known<'_>) -> f64 {
        match self {
            Self::Number(number) => *number,
            Self::Signal(name) => (known.now)(name),
            Self::Lately(statistic, name) => known.past.get(name).map_or(f64::NAN, |window| match statistic {
                Statistic::Median => window.median(),
                Statistic::Mad => window.mad(),
                Statistic::Mean => window.mean(),
            }),
            Self::Negated(inner) => -inner.value(known),
            Self::Of(left, operator, right) => {
                let (left, right) = (left.value(known), right.value(known));
                match operator {
                    Operator::Plus => left + right,
                    Operator::Minus => left - right,
                    Operator::Times => left * right,
                    Operator::Over => left / right,
                }
            }
        }
    }

    fn parts<'a>(&'a self, visit: &mut impl FnMut(&'a Self)) {
        visit(self);
        match self {
            Self::Number(_) | Self::Signal(_) | Self::Lately(..) => {}
            Self::Negated(inner) => inner.parts(visit),
            Self::Of(left, _, right) => {
                left.parts(visit);
                right.parts(visit);
            }
        }
    }
}

impl Relation {
    fn holds(self, left: f64, right: f64) -> Option<bool> {
        let order = left.partial_cmp(&right)?;
        Some(match self {
            Self::Below => order.is_lt(),
            Self::AtMost => order.is_le(),
            Self::Above => order.is_gt(),
            Self::AtLeast => order.is_ge(),
            Self::Equal => order.is_eq(),
            Self::Unequal => order.is_ne(),
        })
    }
}
