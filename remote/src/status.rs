//! What a response that is no success means for whoever called.

use std::time::{Duration, SystemTime};

use reqwest::StatusCode;
use reqwest::header::{HeaderMap, RETRY_AFTER};
use stateset_resilience::CallFailure;

/// As much of a server's words as is worth a line.
const MOST_WORDS: usize = 200;

/// The failure that `status` stands for. `now` is what a date in `Retry-After` is compared with.
pub(crate) fn failure(
    whom: &str,
    status: StatusCode,
    headers: &HeaderMap,
    body: &[u8],
    now: SystemTime,
) -> CallFailure {
    let words = String::from_utf8_lossy(body);
    let words = words.split_whitespace().collect::<Vec<_>>().join(" ");
    let words: String = words.chars().take(MOST_WORDS).collect();
    let colon = if words.is_empty() { "" } else { ": " };
    let cause = format!("{whom} answered {status}{colon}{words}");
    if status.is_server_error() || matches!(status.as_u16(), 408 | 409 | 425 | 429) {
        CallFailure::Transient { cause, retry_after: retry_after(headers, now) }
    } else {
        CallFailure::Refused(cause)
    }
}

/// `Retry-After`, as seconds or as a date.
fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    match text.parse() {
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        Err(_) => Some(httpdate::parse_http_date(text).ok()?.duration_since(now).unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(status: u16, headers: &[(&'static str, &str)]) -> CallFailure {
        let headers = headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        failure("http://judge/v1", StatusCode::from_u16(status).unwrap(), &headers, b"{\n  \"error\": 1}", now)
    }

    #[test]
    fn what_may_pass_is_told_from_what_will_not() {
        for status in [408, 409, 425, 429, 500, 502, 503, 529] {
            assert!(matches!(with(status, &[]), CallFailure::Transient { .. }), "{status}");
        }
        for status in [301, 307, 400, 401, 403, 404, 413, 422] {
            assert!(matches!(with(status, &[]), CallFailure::Refused(_)), "{status}");
        }
        let told = with(401, &[]).to_string();
        assert_eq!(told, "http://judge/v1 answered 401 Unauthorized: { \"error\": 1}");
    }

    #[test]
    fn a_server_says_when_to_come_back_in_seconds_or_as_a_date() {
        let asked = |text| with(429, &[("retry-after", text)]).retry_after();
        assert_eq!(asked("7"), Some(Duration::from_secs(7)));
        // RFC 9110's example, 784111777 s after 1970, and 60 s later.
        assert_eq!(asked("Sun, 06 Nov 1994 08:50:37 GMT"), Some(Duration::from_secs(60)));
        assert_eq!(asked("Sun, 06 Nov 1994 08:00:00 GMT"), Some(Duration::ZERO), "a date that is over");
        assert_eq!(asked("soon"), None);
    }
}
