//! Text and numbers as a page shows them.

/// `text` with nothing left in it that a browser would act on.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            _ => escaped.push(c),
        }
    }
    escaped
}

/// A number in about three significant digits.
pub(super) fn number(value: f64) -> String {
    let size = value.abs();
    let digits = |digits: usize| {
        let text = format!("{value:.digits$}");
        if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
    };
    match size {
        _ if !value.is_finite() => "not a number".to_owned(),
        0.0 => "0".to_owned(),
        _ if size < 0.001 => format!("{value:.1e}"),
        _ if size < 0.1 => digits(4),
        _ if size < 10.0 => digits(2),
        _ if size < 10_000.0 => digits(0),
        _ if size < 1e6 => format!("{:.0}k", value / 1e3),
        _ => format!("{:.1}M", value / 1e6),
    }
}

/// A share as a percentage.
pub(super) fn percent(share: f64) -> String {
    let percent = 100.0 * share;
    if (percent - percent.round()).abs() < 0.05 { format!("{percent:.0}%") } else { format!("{percent:.1}%") }
}

/// A time in its two largest units.
pub(super) fn time(seconds: f64) -> String {
    let whole = seconds.max(0.0) as u64;
    match whole {
        0 => format!("{:.0} ms", seconds.max(0.0) * 1000.0),
        1..60 => format!("{seconds:.1} s"),
        60..3600 => format!("{} min {} s", whole / 60, whole % 60),
        _ => format!("{} h {} min", whole / 3600, whole / 60 % 60),
    }
}

/// A whole number with its thousands apart.
pub(super) fn count(number: u64) -> String {
    let digits = number.to_string();
    let grouped: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().map(|chunk| std::str::from_utf8(chunk).unwrap_or("")).collect();
    grouped.join("\u{202f}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_a_policy_says_can_become_markup() {
        assert_eq!(escape("<b onclick='x'>\"&\"</b>"), "&lt;b onclick=&#39;x&#39;&gt;&quot;&amp;&quot;&lt;/b&gt;");
    }

    #[test]
    fn numbers_are_short() {
        let shown = [0.0, 0.5, 1.0, -2.345, 0.0123, 3e-4, 250.4, 48_213.0, 2.5e6].map(number);
        assert_eq!(shown, ["0", "0.5", "1", "-2.35", "0.0123", "3.0e-4", "250", "48k", "2.5M"]);
        assert_eq!([percent(0.5), percent(0.1234), percent(1.0)], ["50%", "12.3%", "100%"]);
        assert_eq!([time(0.05), time(3.25), time(61.0), time(7_380.0)], ["50 ms", "3.2 s", "1 min 1 s", "2 h 3 min"]);
        assert_eq!([count(7), count(12_345), count(1_000_000)], ["7", "12\u{202f}345", "1\u{202f}000\u{202f}000"]);
    }
}
