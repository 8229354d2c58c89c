//! What a receiver does to a request: a pure function of the script, the request, and how often it came before.

use std::time::Duration;

use super::dialect::Dialect;

/// How a receiver behaves; may be changed while it runs.
#[derive(Debug, Clone, Default)]
pub struct Script {
    /// What makes chance repeatable.
    pub seed: u64,
    /// Whose form it speaks.
    pub dialect: Dialect,
    /// Nothing is taken while this lasts.
    pub outage: Option<Outage>,
    /// The only value of the header `authorization` that is let in. Who asks for an access token, where the dialect has them, gets
    /// this one.
    pub authorization: Option<String>,
    /// One event in so many is refused for ever with 400 or 422, always the same ones; 0: none. Its batch is refused with it, unless
    /// answers of this dialect speak of each event.
    pub refused_one_in: u64,
    /// One event in so many is refused with 429 when it comes for the first time, where answers of this dialect speak of each event;
    /// 0: none.
    pub put_off_one_in: u64,
    /// So many events are taken in a second; what is too much is answered with 429 and `Retry-After: 1`.
    pub throttle: Option<f64>,
    /// Requests whose body holds this text are answered with 503.
    pub busy_with: Option<String>,
    /// Events that ask to be refused are taken all the same.
    pub takes_marked: bool,
    /// Chances of faults.
    pub faults: Faults,
    /// How long a request is looked at before it is answered.
    pub latency: Duration,
}

/// Nothing is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outage {
    /// Every request is answered with 503.
    Unavailable,
    /// Nobody listens: connections are refused.
    Refused,
}

/// Chances of faults, for each request by itself, between 0 and 1; together at most 1.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Faults {
    /// 503.
    pub unavailable: f64,
    /// 429 that does not say when to come back.
    pub throttled: f64,
    /// 429 with `Retry-After: 0`.
    pub throttled_0s: f64,
    /// 429 with `Retry-After: 1`.
    pub throttled_1s: f64,
    /// A reset in place of taking the request.
    pub reset_before: f64,
    /// The request is taken, then a reset in place of the answer.
    pub reset_after: f64,
    /// The request is taken, and the answer breaks off after a few bytes.
    pub torn: f64,
    /// The request is taken, and no answer is sent for as long as the client waits.
    pub withheld: f64,
}

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reply {
    /// Taken, and told so.
    Accepted,
    /// Taken, but the answer is lost: a reset.
    ResetAfter,
    /// Taken, but the answer is lost: it breaks off.
    Torn,
    /// Taken, but the answer is lost: it never comes.
    Withheld,
    /// Not taken: a reset.
    ResetBefore,
    /// Not taken: 503.
    Unavailable,
    /// Not taken: 429 without `Retry-After`.
    Throttled,
    /// Not taken: 429 with `Retry-After: 0`.
    Throttled0s,
    /// Not taken: 429 with `Retry-After: 1`.
    Throttled1s,
    /// Not taken, ever: 400.
    BadRequest,
    /// Not taken, ever: 422.
    Unprocessable,
    /// Not taken: 401.
    Unauthorized,
    /// Not taken: the body is neither an event nor a list of events.
    Malformed,
    /// Not taken: 503 because of an outage.
    Outage,
    /// No event was brought: an access token was asked for, and given.
    Granted,
}

impl Reply {
    /// Every reply there is.
    pub const ALL: [Reply; 15] = [
        Reply::Accepted,
        Reply::ResetAfter,
        Reply::Torn,
        Reply::Withheld,
        Reply::ResetBefore,
        Reply::Unavailable,
        Reply::Throttled,
        Reply::Throttled0s,
        Reply::Throttled1s,
        Reply::BadRequest,
        Reply::Unprocessable,
        Reply::Unauthorized,
        Reply::Malformed,
        Reply::Outage,
        Reply::Granted,
    ];

    /// Whether the receiver has taken the events.
    pub fn is_taken(self) -> bool {
        self == Reply::Accepted || self.is_lost()
    }

    /// Whether the events were taken and the sender cannot know.
    pub fn is_lost(self) -> bool {
        matches!(self, Reply::ResetAfter | Reply::Torn | Reply::Withheld)
    }

    /// Whether the events were refused for what they are.
    pub fn is_refusal(self) -> bool {
        matches!(self, Reply::BadRequest | Reply::Unprocessable)
    }

    /// The name in figures.
    pub fn name(self) -> &'static str {
        match self {
            Reply::Accepted => "accepted",
            Reply::ResetAfter => "reset_after_accepting",
            Reply::Torn => "answer_torn",
            Reply::Withheld => "answer_withheld",
            Reply::ResetBefore => "reset_before_accepting",
            Reply::Unavailable => "503",
            Reply::Throttled => "429",
            Reply::Throttled0s => "429_retry_after_0",
            Reply::Throttled1s => "429_retry_after_1",
            Reply::BadRequest => "400",
            Reply::Unprocessable => "422",
            Reply::Unauthorized => "401",
            Reply::Malformed => "malformed",
            Reply::Outage => "outage",
            Reply::Granted => "token_granted",
        }
    }
}

/// What a decision looks at.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked<'a> {
    /// What names the request: the header `webhook-id`, or the first event's id.
    pub name: &'a str,
    /// How often it came before.
    pub before: u32,
    /// The header `authorization`.
    pub authorization: Option<&'a str>,
    /// The body.
    pub body: &'a [u8],
    /// The events' ids, each with whether the payload asks to be refused.
    pub events: &'a [(&'a str, bool)],
}

impl Script {
    /// What becomes of a request.
    pub(super) fn reply(&self, asked: Asked<'_>) -> Reply {
        if self.outage.is_some() {
            return Reply::Outage;
        }
        if self.authorization.is_some() && self.authorization.as_deref() != asked.authorization {
            return Reply::Unauthorized;
        }
        if asked.events.is_empty() {
            return Reply::Malformed;
        }
        let busy = |text: &String| asked.body.windows(text.len().max(1)).any(|part| part == text.as_bytes());
        if self.busy_with.as_ref().is_some_and(busy) {
            return Reply::Unavailable;
        }
        if !self.takes_marked && asked.events.iter().any(|(_, refuse)| *refuse) {
            return Reply::Unprocessable;
        }
        let spoils = |(id, _): &(&str, bool)| self.refusal(id).filter(|_| !self.dialect.names_events());
        let refused = asked.events.iter().find_map(spoils);
        refused.unwrap_or_else(|| self.faults.pick(chance(self.seed, asked.name, asked.before)))
    }

    /// How an event is refused for ever, if it is.
    pub fn refusal(&self, id: &str) -> Option<Reply> {
        let hash = mix(hash(id));
        match self.refused_one_in {
            0 => None,
            share if !hash.is_multiple_of(share) => None,
            share if (hash / share).is_multiple_of(2) => Some(Reply::BadRequest),
            _ => Some(Reply::Unprocessable),
        }
    }

    /// Whether an event has to come a second time.
    pub(super) fn puts_off(&self, id: &str) -> bool {
        self.put_off_one_in > 0 && mix(hash(id).rotate_left(32)).is_multiple_of(self.put_off_one_in)
    }
}

impl Faults {
    /// The fault that `chance`, between 0 and 1, falls on.
    fn pick(&self, chance: f64) -> Reply {
        let mut rest = chance;
        let faults = [
            (self.unavailable, Reply::Unavailable),
            (self.throttled, Reply::Throttled),
            (self.throttled_0s, Reply::Throttled0s),
            (self.throttled_1s, Reply::Throttled1s),
            (self.reset_before, Reply::ResetBefore),
            (self.reset_after, Reply::ResetAfter),
            (self.torn, Reply::Torn),
            (self.withheld, Reply::Withheld),
        ];
        for (share, reply) in faults {
            if rest < share {
                return reply;
            }
            rest -= share;
        }
        Reply::Accepted
    }
}

/// A number between 0 and 1 that depends on nothing but what is given.
#[allow(clippy::cast_precision_loss)] // 53 bits fit a double exactly
fn chance(seed: u64, name: &str, before: u32) -> f64 {
    let mixed = mix(hash(name) ^ mix(seed.wrapping_add(u64::from(before) << 32)));
    (mixed >> 11) as f64 / (1_u64 << 53) as f64
}

/// FNV-1a.
fn hash(text: &str) -> u64 {
    text.bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}

/// The finish of SplitMix64: every bit of the input changes half the bits of the output.
fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &[(&str, bool)] = &[("k1-1", false)];

    fn asked<'a>(events: &'a [(&'a str, bool)]) -> Asked<'a> {
        Asked { name: "k1-1", before: 0, authorization: None, body: br#"{"userId":"k1"}"#, events }
    }

    #[test]
    fn an_outage_goes_before_the_token_and_the_token_before_the_payload() {
        let token = || Some("Bearer right".to_owned());
        let script = |outage, authorization| Script { outage, authorization, ..Script::default() };
        let refuse = &[("k1-1", true)];
        let cases = [
            (script(Some(Outage::Unavailable), token()), Some("Bearer wrong"), Reply::Outage),
            (script(None, token()), Some("Bearer wrong"), Reply::Unauthorized),
            (script(None, token()), None, Reply::Unauthorized),
            (script(None, token()), Some("Bearer right"), Reply::Unprocessable),
            (script(None, None), Some("Bearer wrong"), Reply::Unprocessable),
        ];
        for (script, authorization, reply) in cases {
            assert_eq!(script.reply(Asked { authorization, ..asked(refuse) }), reply, "{script:?}");
        }
        assert_eq!(Script::default().reply(asked(ONE)), Reply::Accepted);
        let busy = |text: &str| Script { busy_with: Some(text.to_owned()), ..Script::default() };
        assert_eq!(busy("\"userId\":\"k1\"").reply(asked(ONE)), Reply::Unavailable);
        assert_eq!(busy("\"userId\":\"k2\"").reply(asked(ONE)), Reply::Accepted);
        assert_eq!(Script::default().reply(asked(&[])), Reply::Malformed);
    }

    #[test]
    fn the_same_share_of_events_is_always_refused() {
        let script = Script { refused_one_in: 100, ..Script::default() };
        let other = Script { seed: 7, ..script.clone() };
        let ids: Vec<String> = (0..100_000).map(|n| format!("k{}-{n}", n % 500)).collect();
        let refusals: Vec<Option<Reply>> = ids.iter().map(|id| script.refusal(id)).collect();
        let count = |reply| refusals.iter().filter(|refusal| **refusal == Some(reply)).count();
        assert!((400..600).contains(&count(Reply::BadRequest)), "{}", count(Reply::BadRequest));
        assert!((400..600).contains(&count(Reply::Unprocessable)), "{}", count(Reply::Unprocessable));
        assert!(ids.iter().zip(&refusals).all(|(id, refusal)| other.refusal(id) == *refusal));
        let (id, reply) =
            ids.iter().zip(&refusals).find_map(|(id, refusal)| Some((id, (*refusal)?))).unwrap();
        let events = [("fine", false), (id.as_str(), false)];
        assert_eq!(script.reply(asked(&events)), reply, "one refused event spoils its batch");
    }

    #[test]
    fn where_each_event_is_answered_for_none_spoils_its_batch_and_others_are_put_off() {
        let script = Script { refused_one_in: 100, put_off_one_in: 50, ..Script::default() };
        let ids: Vec<String> = (0..100_000).map(|n| format!("k{}-{n}", n % 500)).collect();
        let put_off = ids.iter().filter(|id| script.puts_off(id)).count();
        assert!((1_800..2_200).contains(&put_off), "{put_off}");
        let both = ids.iter().filter(|id| script.puts_off(id) && script.refusal(id).is_some()).count();
        assert!((5..50).contains(&both), "one says nothing of the other: {both}");
        assert!(!ids.iter().any(|id| Script::default().puts_off(id)));
        let refused = ids.iter().find(|id| script.refusal(id).is_some()).unwrap();
        let events = [(refused.as_str(), false), ("fine", false)];
        let spoken = Script { dialect: Dialect::Elasticsearch, ..script.clone() };
        assert_eq!(spoken.reply(asked(&events)), Reply::Accepted);
        assert!(script.reply(asked(&events)).is_refusal());
    }

    #[test]
    fn faults_come_as_often_as_asked_and_repeat_with_the_seed() {
        let faults = Faults {
            unavailable: 0.05,
            throttled: 0.05,
            throttled_0s: 0.05,
            throttled_1s: 0.05,
            reset_before: 0.05,
            reset_after: 0.05,
            torn: 0.05,
            withheld: 0.05,
        };
        let replies = |seed| -> Vec<Reply> {
            let script = Script { seed, faults, ..Script::default() };
            (0..20_000).map(|before| script.reply(Asked { before, ..asked(ONE) })).collect()
        };
        let first = replies(1);
        assert_eq!(first, replies(1));
        assert_ne!(first, replies(2));
        let count = |reply| first.iter().filter(|there| **there == reply).count();
        for reply in &Reply::ALL[1..9] {
            assert!((800..1_200).contains(&count(*reply)), "{reply:?}: {}", count(*reply));
        }
        assert!((11_000..13_000).contains(&count(Reply::Accepted)));
    }

    #[test]
    fn taken_lost_and_refused_do_not_overlap_wrongly() {
        for reply in Reply::ALL {
            assert!(!reply.is_lost() || reply.is_taken(), "{reply:?}");
            assert!(!reply.is_refusal() || !reply.is_taken(), "{reply:?}");
        }
        let names: std::collections::BTreeSet<&str> = Reply::ALL.iter().map(|reply| reply.name()).collect();
        assert_eq!(names.len(), Reply::ALL.len());
    }
}
