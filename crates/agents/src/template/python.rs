//! Values as Python writes them: `str`, `repr` and `json.dumps`.

use minijinja::value::{Kwargs, ValueKind};
use minijinja::{Error, ErrorKind, Value};

/// How deep lists and dictionaries may nest.
const DEPTH: usize = 128;

/// `str(value)`, except that what is undefined is nothing.
pub(super) fn text(value: &Value) -> Result<String, Error> {
    if let Some(text) = value.as_str() {
        return Ok(text.to_owned());
    }
    let mut out = String::new();
    if value.kind() != ValueKind::Undefined {
        Writer { out: &mut out, style: &REPR }.write(value, 0)?;
    }
    Ok(out)
}

/// `json.dumps(value, ensure_ascii=False)`, with the options that the filter takes.
pub(super) fn to_json(value: &Value, options: &Kwargs) -> Result<String, Error> {
    let indent: Option<usize> = options.get("indent")?;
    let separators: Option<Vec<String>> = options.get("separators")?;
    let (comma, colon) = match (separators.as_deref(), indent) {
        (Some([comma, colon]), _) => (comma.clone(), colon.clone()),
        (Some(_), _) => return Err(Error::new(ErrorKind::InvalidOperation, "tojson: separators are two")),
        (None, Some(_)) => (",".into(), ": ".into()),
        (None, None) => (", ".into(), ": ".into()),
    };
    let style = Style {
        python: false,
        ascii: options.get::<Option<bool>>("ensure_ascii")?.unwrap_or(false),
        sorted: options.get::<Option<bool>>("sort_keys")?.unwrap_or(false),
        comma: &comma,
        colon: &colon,
        indent,
    };
    options.assert_all_used()?;
    let mut out = String::new();
    Writer { out: &mut out, style: &style }.write(value, 0)?;
    Ok(out)
}

struct Style<'a> {
    /// As `repr` writes rather than as JSON.
    python: bool,
    ascii: bool,
    sorted: bool,
    comma: &'a str,
    colon: &'a str,
    indent: Option<usize>,
}

const REPR: Style<'static> =
    Style { python: true, ascii: false, sorted: false, comma: ", ", colon: ": ", indent: None };

struct Writer<'a> {
    out: &'a mut String,
    style: &'a Style<'a>,
}

impl Writer<'_> {
    fn write(&mut self, value: &Value, depth: usize) -> Result<(), Error> {
        if depth > DEPTH {
            return Err(Error::new(ErrorKind::InvalidOperation, format!("values nest deeper than {DEPTH}")));
        }
        let python = self.style.python;
        match value.kind() {
            ValueKind::None => self.out.push_str(if python { "None" } else { "null" }),
            ValueKind::Bool => self.out.push_str(match (value.is_true(), python) {
                (true, true) => "True",
                (true, false) => "true",
                (false, true) => "False",
                (false, false) => "false",
            }),
            ValueKind::Number => match f64::try_from(value.clone()) {
                Ok(number) if !value.is_integer() => self.out.push_str(&float(number)),
                _ => self.out.push_str(&value.to_string()),
            },
            ValueKind::String => self.string(value.as_str().unwrap_or_default()),
            ValueKind::Seq | ValueKind::Iterable => self.list(value, depth)?,
            ValueKind::Map => self.map(value, depth)?,
            ValueKind::Undefined | ValueKind::Bytes | ValueKind::Plain | ValueKind::Invalid if python => {
                self.out.push_str(&value.to_string());
            }
            kind @ (ValueKind::Undefined | ValueKind::Bytes | ValueKind::Plain | ValueKind::Invalid) => {
                return Err(Error::new(ErrorKind::InvalidOperation, format!("{kind} has no JSON")));
            }
            kind => return Err(Error::new(ErrorKind::InvalidOperation, format!("{kind} cannot be written"))),
        }
        Ok(())
    }

    fn list(&mut self, value: &Value, depth: usize) -> Result<(), Error> {
        self.out.push('[');
        let mut any = false;
        for item in value.try_iter()? {
            self.next(any, depth + 1);
            self.write(&item, depth + 1)?;
            any = true;
        }
        self.end(any, depth);
        self.out.push(']');
        Ok(())
    }

    fn map(&mut self, value: &Value, depth: usize) -> Result<(), Error> {
        let mut keys: Vec<Value> = value.try_iter()?.collect();
        if self.style.sorted {
            keys.sort();
        }
        self.out.push('{');
        for (at, key) in keys.iter().enumerate() {
            self.next(at > 0, depth + 1);
            match key.as_str() {
                None if !self.style.python => {
                    let key = key.to_string();
                    self.string(&key);
                }
                _ => self.write(key, depth + 1)?,
            }
            self.out.push_str(self.style.colon);
            self.write(&value.get_item(key)?, depth + 1)?;
        }
        self.end(!keys.is_empty(), depth);
        self.out.push('}');
        Ok(())
    }

    /// What stands before an item.
    fn next(&mut self, after_another: bool, depth: usize) {
        if after_another {
            self.out.push_str(self.style.comma);
        }
        self.line(depth);
    }

    /// What stands after the last.
    fn end(&mut self, any: bool, depth: usize) {
        if any {
            self.line(depth);
        }
    }

    fn line(&mut self, depth: usize) {
        if let Some(indent) = self.style.indent {
            self.out.push('\n');
            // A template may ask for any width; the text it gets is limited all the same.
            self.out.extend(std::iter::repeat_n(' ', (indent * depth).min(1024)));
        }
    }

    fn string(&mut self, text: &str) {
        let python = self.style.python;
        let quote = if python && (!text.contains('\'') || text.contains('"')) { '\'' } else { '"' };
        self.out.push(quote);
        for c in text.chars() {
            match c {
                '\\' => self.out.push_str("\\\\"),
                '\n' => self.out.push_str("\\n"),
                '\r' => self.out.push_str("\\r"),
                '\t' => self.out.push_str("\\t"),
                '\u{8}' if !python => self.out.push_str("\\b"),
                '\u{c}' if !python => self.out.push_str("\\f"),
                c if c == quote => self.out.extend(['\\', c]),
                c if python && (c < ' ' || c == '\u{7f}') => self.out.push_str(&format!("\\x{:02x}", c as u32)),
                c if c < ' ' => self.out.push_str(&format!("\\u{:04x}", c as u32)),
                c if self.style.ascii && !c.is_ascii() => {
                    let mut units = [0; 2];
                    c.encode_utf16(&mut units).iter().for_each(|unit| self.out.push_str(&format!("\\u{unit:04x}")));
                }
                c => self.out.push(c),
            }
        }
        self.out.push(quote);
    }
}

/// `repr` of a float: the shortest digits that read back the same, with an exponent below 1e-4 and from 1e16 on.
fn float(number: f64) -> String {
    if number.is_nan() {
        return "NaN".into();
    }
    if number.is_infinite() {
        return if number > 0.0 { "Infinity".into() } else { "-Infinity".into() };
    }
    let size = number.abs();
    if size != 0.0 && !(1e-4..1e16).contains(&size) {
        let digits = format!("{number:e}");
        let (digits, exponent) = digits.split_once('e').unwrap_or((&digits, "0"));
        let (sign, exponent) = exponent.strip_prefix('-').map_or(('+', exponent), |exponent| ('-', exponent));
        return format!("{digits}e{sign}{exponent:0>2}");
    }
    let plain = number.to_string();
    if plain.contains('.') { plain } else { plain + ".0" }
}
