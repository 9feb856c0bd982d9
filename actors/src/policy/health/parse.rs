//! Reads a condition.
//!
//! ```text
//! condition = part { "or" part }            part   = piece { "and" piece }
//! piece     = "not" piece | amount relation amount | "(" condition ")"
//! amount    = term { ("+" | "-") term }     term   = factor { ("*" | "/") factor }
//! factor    = number | signal | "median(" signal ")" | "mad(" … | "mean(" … | "-" factor | "(" amount ")"
//! relation  = "<" | "<=" | ">" | ">=" | "==" | "!="
//! ```

use std::iter::Peekable;
use std::str::FromStr;

use thiserror::Error;

use super::expression::{Amount, Condition, Operator, Relation, Statistic, Truth};
use super::signals;

/// Why a condition cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("column {column}: {message}")]
pub struct ConditionError {
    /// Which character of the condition, from 1.
    pub column: usize,
    /// What is wrong there.
    pub message: String,
    /// The name that is no signal, if that is what is wrong.
    pub unknown: Option<String>,
}

/// Longer conditions, and deeper ones, are refused rather than risked.
const LONGEST: usize = 300;

#[derive(Debug, Clone, PartialEq)]
enum Token {
    Number(f64),
    Name(String),
    Sign(&'static str),
}

/// Two-character signs before those they begin with.
const SIGNS: [&str; 12] = ["<=", ">=", "==", "!=", "<", ">", "+", "-", "*", "/", "(", ")"];

impl FromStr for Condition {
    type Err = ConditionError;

    fn from_str(text: &str) -> Result<Self, ConditionError> {
        let tokens = tokens(text)?;
        let end = text.chars().count() + 1;
        let mut parser = Parser { tokens: tokens.into_iter().peekable(), end };
        let (column, meaning) = parser.condition()?;
        match parser.tokens.next() {
            Some((column, token)) => Err(error(column, format!("{} does not belong here", token.shown()))),
            None => Ok(Self { text: text.trim().to_owned(), truth: meaning.truth(column)? }),
        }
    }
}

fn error(column: usize, message: impl Into<String>) -> ConditionError {
    ConditionError { column, message: message.into(), unknown: None }
}

fn tokens(text: &str) -> Result<Vec<(usize, Token)>, ConditionError> {
    let characters: Vec<char> = text.chars().collect();
    if characters.len() > LONGEST {
        return Err(error(LONGEST, format!("a condition has at most {LONGEST} characters")));
    }
    let (mut found, mut at) = (Vec::new(), 0);
    while let Some(first) = characters.get(at) {
        let rest = &characters[at..];
        let (token, length) = if first.is_whitespace() {
            at += 1;
            continue;
        } else if first.is_ascii_digit() || *first == '.' {
            number(rest).ok_or_else(|| error(at + 1, "this is not a number"))?
        } else if first.is_alphabetic() || *first == '_' {
            let name: String = rest.iter().take_while(|c| c.is_alphanumeric() || **c == '_').collect();
            let length = name.chars().count();
            (Token::Name(name), length)
        } else {
            let starts = |sign: &&&str| rest.iter().take(sign.len()).copied().eq(sign.chars());
            let sign =
                SIGNS.iter().find(starts).ok_or_else(|| error(at + 1, format!("`{first}` means nothing here")))?;
            (Token::Sign(sign), sign.len())
        };
        found.push((at + 1, token));
        at += length;
    }
    Ok(found)
}

/// The longest number that `text` begins with: digits, a point, an exponent with its sign.
fn number(text: &[char]) -> Option<(Token, usize)> {
    let part_of = |(at, c): &(usize, &char)| {
        let after_exponent = *at > 0 && matches!(text[at - 1], 'e' | 'E');
        c.is_ascii_digit() || matches!(**c, '.' | 'e' | 'E') || after_exponent && matches!(**c, '+' | '-')
    };
    let written: String = text.iter().enumerate().take_while(part_of).map(|(_, c)| c).collect();
    let value = written.parse().ok().filter(|value: &f64| value.is_finite())?;
    Some((Token::Number(value), written.len()))
}

impl Token {
    fn shown(&self) -> String {
        match self {
            Self::Number(number) => format!("`{number}`"),
            Self::Name(name) => format!("`{name}`"),
            Self::Sign(sign) => format!("`{sign}`"),
        }
    }
}

/// A piece of a condition: what it says is found out before what it is good for.
enum Meaning {
    Truth(Truth),
    Amount(Amount),
}

impl Meaning {
    fn truth(self, column: usize) -> Result<Truth, ConditionError> {
        match self {
            Self::Truth(truth) => Ok(truth),
            Self::Amount(_) => Err(error(column, "this is a number where a comparison is needed, such as `kl > 0.2`")),
        }
    }

    fn amount(self, column: usize) -> Result<Amount, ConditionError> {
        match self {
            Self::Amount(amount) => Ok(amount),
            Self::Truth(_) => Err(error(column, "this is a comparison where a number is needed")),
        }
    }
}

type Parsed = Result<(usize, Meaning), ConditionError>;

struct Parser<T: Iterator<Item = (usize, Token)>> {
    tokens: Peekable<T>,
    /// The column after the last.
    end: usize,
}

impl<T: Iterator<Item = (usize, Token)>> Parser<T> {
    fn name(&mut self, wanted: &str) -> bool {
        self.tokens.next_if(|(_, token)| matches!(token, Token::Name(name) if name == wanted)).is_some()
    }

    fn sign<M: Copy>(&mut self, meanings: &[(&str, M)]) -> Option<M> {
        let meaning = |token: &Token| {
            let Token::Sign(sign) = token else { return None };
            meanings.iter().find(|(wanted, _)| wanted == sign).map(|(_, meaning)| *meaning)
        };
        let (_, token) = self.tokens.next_if(|(_, token)| meaning(token).is_some())?;
        meaning(&token)
    }

    fn close(&mut self, opened: usize) -> Result<(), ConditionError> {
        let column = self.tokens.peek().map_or(self.end, |(column, _)| *column);
        let missing = || error(column, format!("`)` is missing for the `(` in column {opened}"));
        self.sign(&[(")", ())]).ok_or_else(missing)
    }

    fn condition(&mut self) -> Parsed {
        self.joined("or", Self::conjunction, Truth::Or)
    }

    fn conjunction(&mut self) -> Parsed {
        self.joined("and", Self::negation, Truth::And)
    }

    fn joined(
        &mut self,
        word: &str,
        part: fn(&mut Self) -> Parsed,
        join: fn(Box<Truth>, Box<Truth>) -> Truth,
    ) -> Parsed {
        let (column, mut left) = part(self)?;
        while self.name(word) {
            let (right_column, right) = part(self)?;
            left = Meaning::Truth(join(Box::new(left.truth(column)?), Box::new(right.truth(right_column)?)));
        }
        Ok((column, left))
    }

    fn negation(&mut self) -> Parsed {
        let column = self.tokens.peek().map_or(self.end, |(column, _)| *column);
        if self.name("not") {
            let (inner_column, inner) = self.negation()?;
            return Ok((column, Meaning::Truth(Truth::Not(Box::new(inner.truth(inner_column)?)))));
        }
        self.comparison()
    }

    fn comparison(&mut self) -> Parsed {
        use Relation::{Above, AtLeast, AtMost, Below, Equal, Unequal};
        let relations = [("<", Below), ("<=", AtMost), (">", Above), (">=", AtLeast), ("==", Equal), ("!=", Unequal)];
        let (column, left) = self.amount()?;
        let Some(relation) = self.sign(&relations) else { return Ok((column, left)) };
        let (right_column, right) = self.amount()?;
        let truth = Truth::Compare(left.amount(column)?, relation, right.amount(right_column)?);
        if let Some((column, Token::Sign(sign))) = self.tokens.peek()
            && relations.iter().any(|(relation, _)| relation == sign)
        {
            return Err(error(*column, "comparisons are joined by `and`"));
        }
        Ok((column, Meaning::Truth(truth)))
    }

    fn amount(&mut self) -> Parsed {
        self.calculated(&[("+", Operator::Plus), ("-", Operator::Minus)], Self::term)
    }

    fn term(&mut self) -> Parsed {
        self.calculated(&[("*", Operator::Times), ("/", Operator::Over)], Self::factor)
    }

    fn calculated(&mut self, operators: &[(&str, Operator)], part: fn(&mut Self) -> Parsed) -> Parsed {
        let (column, mut left) = part(self)?;
        while let Some(operator) = self.sign(operators) {
            let (right_column, right) = part(self)?;
            let sides = (Box::new(left.amount(column)?), Box::new(right.amount(right_column)?));
            left = Meaning::Amount(Amount::Of(sides.0, operator, sides.1));
        }
        Ok((column, left))
    }

    fn factor(&mut self) -> Parsed {
        let Some((column, token)) = self.tokens.next() else {
            return Err(error(self.end, "something is missing here"));
        };
        let meaning = match token {
            Token::Number(number) => Meaning::Amount(Amount::Number(number)),
            Token::Sign("-") => {
                let (inner_column, inner) = self.factor()?;
                Meaning::Amount(Amount::Negated(Box::new(inner.amount(inner_column)?)))
            }
            Token::Sign("(") => {
                let (_, inner) = self.condition()?;
                self.close(column)?;
                inner
            }
            Token::Name(name) => Meaning::Amount(self.named(column, name)?),
            Token::Sign(sign) => return Err(error(column, format!("a number or a signal is missing before `{sign}`"))),
        };
        Ok((column, meaning))
    }

    fn named(&mut self, column: usize, name: String) -> Result<Amount, ConditionError> {
        let called = matches!(self.tokens.peek(), Some((_, Token::Sign("("))));
        if !called {
            return known(column, &name).map(|()| Amount::Signal(name));
        }
        let statistic = Statistic::ALL.into_iter().find(|(known, _)| *known == name);
        let Some((_, statistic)) = statistic else {
            return Err(error(column, format!("`{name}` is no function; there are `median`, `mad` and `mean`")));
        };
        let opened = self.tokens.next().map_or(self.end, |(column, _)| column);
        match self.tokens.next() {
            Some((column, Token::Name(signal))) => {
                known(column, &signal)?;
                self.close(opened)?;
                Ok(Amount::Lately(statistic, signal))
            }
            other => {
                let column = other.map_or(self.end, |(column, _)| column);
                Err(error(column, format!("`{name}` looks back on one signal, such as `{name}(grad_norm)`")))
            }
        }
    }
}

fn known(column: usize, name: &str) -> Result<(), ConditionError> {
    if signals::names().any(|known| known == name) {
        return Ok(());
    }
    Err(ConditionError { unknown: Some(name.to_owned()), ..error(column, format!("there is no signal `{name}`")) })
}

#[cfg(test)]
mod tests {
    use super::super::expression::Known;
    use super::super::statistics::{Past, Window};
    use super::*;

    /// What `text` says where `kl` is 0.25, `grad_norm` 9 and lately 1, and nothing else is known.
    fn says(text: &str) -> Option<bool> {
        let mut window = Window::default();
        (0..6).for_each(|_| window.push(1.0));
        let past = Past::from([("grad_norm".to_owned(), window)]);
        let now = |name: &str| match name {
            "kl" => 0.25,
            "grad_norm" => 9.0,
            _ => f64::NAN,
        };
        text.parse::<Condition>()
            .unwrap_or_else(|error| panic!("{text}: {error}"))
            .holds(&Known { now: &now, past: &past })
    }

    fn refused(text: &str) -> String {
        text.parse::<Condition>().unwrap_err().to_string()
    }

    #[test]
    fn arithmetic_binds_before_comparisons_and_those_before_words() {
        assert_eq!(says("kl > 0.2"), Some(true));
        assert_eq!(says("grad_norm > 8 * median(grad_norm)"), Some(true));
        assert_eq!(says("grad_norm >= 1 + 2 * 4"), Some(true));
        assert_eq!(says("grad_norm > (1 + 2) * 4"), Some(false));
        assert_eq!(says("grad_norm - 4 - 4 == 1 and -kl < 0"), Some(true));
        assert_eq!(says("kl > 1 and kl > 2 or kl != 3"), Some(true));
        assert_eq!(says("kl > 1 and (kl > 2 or kl != 3)"), Some(false));
        assert_eq!(says("not kl > 1 and not (kl <= 2e-1)"), Some(true));
        assert_eq!(says("(grad_norm / 3) > mean(grad_norm) + mad(grad_norm)"), Some(true));
    }

    #[test]
    fn what_is_not_known_decides_nothing() {
        for unknown in ["entropy < 1", "not entropy < 1", "entropy < 1 or kl > 1", "entropy < 1 and kl > 0.2"] {
            assert_eq!(says(unknown), None, "{unknown}");
        }
        assert_eq!(says("entropy < 1 or kl > 0.2"), Some(true));
        assert_eq!(says("entropy < 1 and kl > 1"), Some(false));
        assert_eq!(says("kl > 2 * median(kl)"), None, "too few values to look back on");
        assert_eq!(says("kl / 0 > 1"), Some(true), "infinity is a number");
    }

    #[test]
    fn what_is_wrong_is_told_by_its_column() {
        assert_eq!(refused("kl > "), "column 6: something is missing here");
        assert_eq!(refused("kl >> 1"), "column 5: a number or a signal is missing before `>`");
        assert_eq!(refused("kl"), "column 1: this is a number where a comparison is needed, such as `kl > 0.2`");
        assert_eq!(
            refused("kl > 1 and grad_norm"),
            "column 12: this is a number where a comparison is needed, such as `kl > 0.2`"
        );
        assert_eq!(refused("(kl > 1"), "column 8: `)` is missing for the `(` in column 1");
        assert_eq!(refused("1 < kl < 2"), "column 8: comparisons are joined by `and`");
        assert_eq!(refused("kl > 1 kl"), "column 8: `kl` does not belong here");
        assert_eq!(refused("kl > 1.2.3"), "column 6: this is not a number");
        assert_eq!(refused("kl = 1"), "column 4: `=` means nothing here");
        assert_eq!(refused("max(kl) > 1"), "column 1: `max` is no function; there are `median`, `mad` and `mean`");
        assert_eq!(
            refused("median(2) > 1"),
            "column 8: `median` looks back on one signal, such as `median(grad_norm)`"
        );
        assert_eq!(refused("(kl > 1) + 2 > 1"), "column 1: this is a comparison where a number is needed");
        assert_eq!(refused(""), "column 1: something is missing here");
        assert_eq!(refused(&"(".repeat(2000)), "column 300: a condition has at most 300 characters");
    }

    #[test]
    fn a_name_that_is_no_signal_is_told_as_such() {
        let error = "grad_norn > 1".parse::<Condition>().unwrap_err();
        assert_eq!((error.column, error.unknown.as_deref()), (1, Some("grad_norn")));
        let error = "kl > median(entropie)".parse::<Condition>().unwrap_err();
        assert_eq!((error.column, error.unknown.as_deref()), (13, Some("entropie")));
    }

    #[test]
    fn a_condition_knows_its_signals() {
        let condition: Condition = "kl > 0.2 or grad_norm > 8 * median(entropy)".parse().unwrap();
        assert_eq!(condition.signals().into_iter().collect::<Vec<_>>(), ["entropy", "grad_norm", "kl"]);
        assert_eq!(condition.looks_back_on().into_iter().collect::<Vec<_>>(), ["entropy"]);
    }
}
