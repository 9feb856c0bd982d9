//! Changes that make files almost right.

use stateset_domain::Stream;

/// Where readers of numbers have their edges.
const NUMBERS: [&str; 14] = [
    "0",
    "-1",
    "1",
    "2",
    "0.5",
    "255",
    "65536",
    "2147483648",
    "4294967296",
    "9223372036854775807",
    "18446744073709551615",
    "1e19",
    "1e308",
    "1e-320",
];
/// What JSON is made of.
const PIECES: [&str; 14] =
    ["{", "}", "[", "]", ",", ":", "\"", "null", "true", "[[[[[[[[", "{\"a\":", "\"\\ud800\"", "\\u0000", "\u{10ffff}"];

/// Changes `input` in one to four ways; `other` is where pieces may come from.
pub(crate) fn mutate(input: &mut Vec<u8>, other: &[u8], stream: &mut Stream) {
    for _ in 0..=stream.below(4) {
        once(input, other, stream);
    }
}

fn once(input: &mut Vec<u8>, other: &[u8], stream: &mut Stream) {
    let mut pick = |below: usize| if below == 0 { 0 } else { stream.below(below) };
    if input.is_empty() {
        input.extend_from_slice(&other[..other.len().min(16)]);
        return;
    }
    let at = pick(input.len());
    let end = at + pick((input.len() - at).min(64) + 1);
    match pick(11) {
        0 => input[at] ^= 1 << pick(8),
        1 => input[at] = pick(256) as u8,
        2 => drop(input.drain(at..end)),
        3 => {
            let copy = input[at..end].to_vec();
            let to = pick(input.len() + 1);
            input.splice(to..to, copy);
        }
        4 => {
            let from = pick(other.len());
            let until = from + pick((other.len() - from).min(256) + 1);
            input.splice(at..end, other[from..until].iter().copied());
        }
        5 => input.truncate(at),
        6 | 7 => number(input, at, NUMBERS[pick(NUMBERS.len())]),
        8 => {
            let piece = PIECES[pick(PIECES.len())].repeat(if pick(16) == 0 { 200 } else { 1 });
            input.splice(at..at, piece.bytes());
        }
        9 => length(input, at, [0, 1, 7, 8, 100_000_001, u64::from(u32::MAX), u64::MAX][pick(7)]),
        _ => {
            let all = input.len() as u64;
            length(input, 0, [0, 1, all, u64::MAX - 7, 1 << 62][pick(5)]);
        }
    }
}

/// Puts `value` in place of the first number from `at`.
fn number(input: &mut Vec<u8>, at: usize, value: &str) {
    let Some(from) = input[at..].iter().position(u8::is_ascii_digit).map(|from| at + from) else { return };
    let digits = input[from..].iter().take_while(|c| c.is_ascii_digit() || b".eE+-".contains(c)).count();
    input.splice(from..from + digits, value.bytes());
}

/// Writes `value` as the eight bytes of a length.
fn length(input: &mut [u8], at: usize, value: u64) {
    if let Some(bytes) = input.get_mut(at..at + 8) {
        bytes.copy_from_slice(&value.to_le_bytes());
    }
}
