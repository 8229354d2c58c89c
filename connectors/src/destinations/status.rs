//! What an HTTP status says when the third party has no rule of its own.

use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::fmt::rfc2822;
use jiff::tz::TimeZone;
use reqwest::StatusCode;
use reqwest::header::RETRY_AFTER;

use super::http::Response;
use super::{Answer, Batch, Outcome, Refusal};
use crate::clock::Millis;
use crate::failure::{Class, Failure};

/// Characters of an answer that are kept.
const EXCERPT: usize = 300;

/// The longest wait a third party may ask for: a slip of the pen must not stop a destination for a year.
const LONGEST_WAIT: Duration = Duration::from_secs(86_400);

/// What a status means for the events of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// Taken, unless the body says otherwise.
    Taken,
    /// Refused for what is in it: one event is to blame, or it is too large.
    Split,
    /// Refused as a whole.
    Refused(Class),
}

/// The rule for each status; `wait` says whether the answer names a time to come back.
///
/// 404 is transient: one instance that is being deployed answers so. An address that stays wrong shows as a breaker that stays
/// open, and the mechanism counts how long. 502, 503 and 504 without a time to come back are transient too: they tell of one
/// request, and the breaker counts them; with a time they speak for the whole service.
pub fn policy(status: u16, wait: bool) -> Policy {
    match status {
        200..=299 => Policy::Taken,
        401 | 402 | 403 | 405..=407 | 410 | 411 | 415 | 417 | 426 | 431 | 451 => {
            Policy::Refused(Class::Unauthorized)
        }
        300..=399 | 511 => Policy::Refused(Class::Unauthorized),
        429 => Policy::Refused(Class::Throttled),
        502..=504 if wait => Policy::Refused(Class::Throttled),
        404 | 408 | 409 | 421 | 423 | 425 => Policy::Refused(Class::Transient),
        // Every other 4xx is final for what was sent. Nobody said which event is to blame.
        400..=499 => Policy::Split,
        _ => Policy::Refused(Class::Transient),
    }
}

/// Judges every status but success; `None` means success, and the body decides.
pub fn answer(batch: Batch<'_>, response: &Response) -> Option<Answer> {
    let wait = wait(response, batch.at);
    let refusal = |class| Refusal {
        failure: Failure { class, retry_after: wait, detail: told(response.status) },
        response: excerpt(response),
        unknown: false,
    };
    match policy(response.status, wait.is_some()) {
        Policy::Taken => None,
        Policy::Split => Some(Answer::Split(refusal(Class::Rejected))),
        Policy::Refused(class) => Some(Answer::refused(batch.events.len(), &refusal(class))),
    }
}

/// An answer that names what it refuses by the place in the request: the others were taken. One that names a place nobody sent takes
/// none, because nobody knows what it means.
pub fn refused_at(
    batch: Batch<'_>,
    response: &Response,
    refused: impl IntoIterator<Item = (usize, Failure)>,
) -> Answer {
    let mut outcomes: Vec<Outcome> = vec![Ok(()); batch.events.len()];
    for (index, failure) in refused {
        let Some(outcome) = outcomes.get_mut(index) else {
            return apart(batch, response, &format!("refuses place {index}, which was not sent"));
        };
        *outcome = Err(Refusal { response: excerpt(response), ..failure.into() });
    }
    Answer::Each(outcomes)
}

/// An answer that cannot be understood for so many events: that for fewer may be. For a single one it is [`unreadable`].
pub fn apart(batch: Batch<'_>, response: &Response, why: &str) -> Answer {
    match unreadable(batch, response, why) {
        Answer::Each(outcomes) if batch.events.len() > 1 => match outcomes.into_iter().next() {
            Some(Err(refusal)) => Answer::Split(refusal),
            _ => unreadable(batch, response, why),
        },
        answer => answer,
    }
}

/// An answer that cannot be understood: nothing is taken for delivered, and nothing given up.
pub fn unreadable(batch: Batch<'_>, response: &Response, why: &str) -> Answer {
    let failure = Failure::transient(format!("answered {}, and the answer {why}", response.status));
    let refusal = Refusal { failure, response: excerpt(response), unknown: true };
    Answer::refused(batch.events.len(), &refusal)
}

/// The status in words, with what to do where somebody must do something.
pub fn told(status: u16) -> String {
    let reason = StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason());
    let what = match reason {
        Some(reason) => format!("answered {status} {reason}"),
        None => format!("answered {status}"),
    };
    match remedy(status) {
        Some(remedy) => format!("{what}; {remedy}"),
        None => what,
    }
}

fn remedy(status: u16) -> Option<&'static str> {
    Some(match status {
        300..=399 => "redirects are not followed: configure the URL it leads to",
        401 | 403 => "correct the credentials or what they are allowed to do, then resume",
        402 => "settle the account with the third party, then resume",
        404 => "if it stays so, correct the URL",
        405 => "the URL takes no such method: correct the URL or the method, then resume",
        406 | 415 => {
            "the other side does not take this form: correct the URL or the content type, then resume"
        }
        407 | 511 => "a proxy on the way wants credentials: let the node out without it, then resume",
        410 => "the receiver wants no more: remove the destination or configure its new URL, then resume",
        411 | 417 | 426 | 431 => {
            "the other side does not take such requests: correct the URL or the headers, then resume"
        }
        451 => {
            "the other side must not take it for legal reasons: remove the destination, or settle it, then resume"
        }
        413 => "the request is too large: configure smaller batches",
        _ => return None,
    })
}

/// How long the answer asks us to wait, from `Retry-After`: seconds or a date. Dates are compared with the answer's own `Date`,
/// because clocks of different machines differ; without one with `now`. At most a day.
pub fn wait(response: &Response, now: Millis) -> Option<Duration> {
    let text = response.header(RETRY_AFTER.as_str())?.trim();
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        let seconds = text.parse().unwrap_or(u64::MAX); // digits only: too many of them
        return Some(Duration::from_secs(seconds).min(LONGEST_WAIT));
    }
    let until = date(text)?;
    let from = response.header("date").and_then(date).unwrap_or(now);
    let ms = u64::try_from(until.since(from)).unwrap_or(0);
    Some(Duration::from_millis(ms).min(LONGEST_WAIT))
}

/// The longest wait anybody may ask for, applied to `seconds`.
pub(super) fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds).min(LONGEST_WAIT)
}

/// An HTTP date in any of its three forms.
fn date(text: &str) -> Option<Millis> {
    let text = text.trim();
    let old = || {
        let forms = ["%A, %d-%b-%y %H:%M:%S GMT", "%a %b %e %H:%M:%S %Y"];
        let civil = forms.iter().find_map(|form| DateTime::strptime(form, text).ok())?;
        Some(civil.to_zoned(TimeZone::UTC).ok()?.timestamp())
    };
    let moment: Timestamp = rfc2822::DateTimeParser::new().parse_timestamp(text).ok().or_else(old)?;
    Some(Millis(moment.as_millisecond()))
}

/// The beginning of the answer as one line; `None` when it was empty.
pub fn excerpt(response: &Response) -> Option<String> {
    let text = String::from_utf8_lossy(&response.body);
    let plain = text.chars().map(|c| if c.is_whitespace() { ' ' } else { c }).filter(|c| !c.is_control());
    let excerpt: String = plain.take(EXCERPT).collect();
    Some(excerpt.trim().to_owned()).filter(|excerpt| !excerpt.is_empty())
}

#[cfg(test)]
mod tests {
    use super::super::testing;
    use super::*;

    #[test]
    fn each_status_has_its_rule() {
        use Class::{Throttled, Transient, Unauthorized};
        let refused = Policy::Refused;
        for (statuses, policy_alone, with_wait) in [
            (&[200_u16, 201, 202, 204, 207, 299][..], Policy::Taken, Policy::Taken),
            (&[300, 301, 302, 303, 304, 307, 308], refused(Unauthorized), refused(Unauthorized)),
            (&[400, 413, 414, 418, 422, 499], Policy::Split, Policy::Split),
            (&[401, 402, 403, 405, 406, 407, 410, 415, 511], refused(Unauthorized), refused(Unauthorized)),
            (&[404, 408, 409, 425, 500, 501, 505, 520, 599], refused(Transient), refused(Transient)),
            (&[429], refused(Throttled), refused(Throttled)),
            (&[502, 503, 504], refused(Transient), refused(Throttled)),
            (&[0, 100, 103, 600, 999], refused(Transient), refused(Transient)),
        ] {
            for status in statuses {
                assert_eq!(policy(*status, false), policy_alone, "{status}");
                assert_eq!(policy(*status, true), with_wait, "{status} with a time to come back");
            }
        }
    }

    #[test]
    fn whoever_must_act_is_told_how() {
        for status in 300..600 {
            if policy(status, false) == Policy::Refused(Class::Unauthorized) {
                assert!(told(status).contains("; "), "{status} has no remedy");
            }
        }
        assert_eq!(told(500), "answered 500 Internal Server Error");
        assert_eq!(told(599), "answered 599");
    }

    #[test]
    fn times_to_come_back() {
        let now = Millis(784_111_777_000); // Sun, 06 Nov 1994 08:49:37 GMT
        for (header, date, seconds) in [
            ("120", None, Some(120)),
            (" 0 ", None, Some(0)),
            ("99999999999999999999999", None, Some(86_400)),
            ("864000", None, Some(86_400)),
            ("Sun, 06 Nov 1994 08:51:37 GMT", None, Some(120)),
            ("Sunday, 06-Nov-94 08:51:37 GMT", None, Some(120)),
            ("Sun Nov  6 08:51:37 1994", None, Some(120)),
            ("Sun, 06 Nov 1994 08:00:00 GMT", None, Some(0)),
            ("Fri, 06 Nov 2093 08:00:00 GMT", None, Some(86_400)),
            ("Sun, 06 Nov 1994 10:00:30 GMT", Some("Sun, 06 Nov 1994 10:00:00 GMT"), Some(30)),
            ("Sun, 06 Nov 1994 08:51:37 GMT", Some("what"), Some(120)),
            ("", None, None),
            ("-5", None, None),
            ("1.5", None, None),
            ("soon", None, None),
        ] {
            let response = Response::new(503, "").with("retry-after", header);
            let response = date.map_or(response.clone(), |date| response.with("date", date));
            assert_eq!(wait(&response, now), seconds.map(Duration::from_secs), "{header}");
        }
        assert_eq!(wait(&Response::new(503, ""), now), None);
    }

    #[test]
    fn excerpts_are_short_lines() {
        for (body, wanted) in [
            (&b""[..], None),
            (b" \r\n\t", None),
            (b"a\nb\x1b[31m\0c", Some("a b[31mc")),
            (b"\xff\xfe", Some("\u{fffd}\u{fffd}")),
        ] {
            assert_eq!(excerpt(&Response::new(500, body)).as_deref(), wanted, "{body:?}");
        }
        let long = excerpt(&Response::new(500, "ö".repeat(5000))).unwrap();
        assert_eq!(long.chars().count(), EXCERPT);
    }

    #[test]
    fn answers_stand_for_every_event() {
        let events = testing::events(2);
        let batch = testing::batch(&events);
        assert_eq!(answer(batch, &Response::new(204, "")), None);
        let Some(Answer::Each(outcomes)) =
            answer(batch, &Response::new(503, "busy").with("retry-after", "120"))
        else {
            panic!("503 is not for each");
        };
        assert_eq!(outcomes.len(), 2);
        let refusal = outcomes[0].clone().unwrap_err();
        assert_eq!(refusal.failure.class, Class::Throttled);
        assert_eq!(refusal.failure.retry_after, Some(Duration::from_secs(120)));
        assert_eq!((refusal.response.as_deref(), refusal.unknown), (Some("busy"), false));
        let Some(Answer::Split(refusal)) = answer(batch, &Response::new(422, "bad")) else {
            panic!("422 does not split");
        };
        assert_eq!(refusal.failure.class, Class::Rejected);
    }
}
