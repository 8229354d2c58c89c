//! Realistic click-stream sessions in Segment's form, the same for the same seed.

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use serde_json::{Map, Value, json};
use shardmill_connectors::Millis;

/// What to generate.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// How many events.
    pub events: u64,
    /// What makes the events; the same seed and end give the same events.
    pub seed: u64,
    /// The moment the last session ends about.
    pub until: Millis,
    /// Over how many milliseconds before `until` the sessions are spread.
    pub spread_ms: i64,
    /// The share of events that break the built-in schema, from 0 to 1.
    pub invalid: f64,
}

const PAGES: [(&str, &str); 8] = [
    ("Home", "/"),
    ("Category", "/c/lamps"),
    ("Category", "/c/chairs"),
    ("Product", "/p/"),
    ("Search", "/search"),
    ("Cart", "/cart"),
    ("Checkout", "/checkout"),
    ("Account", "/account"),
];
const PRODUCTS: [(&str, &str, u32); 8] = [
    ("Desk lamp", "lamps", 4_990),
    ("Floor lamp", "lamps", 12_900),
    ("Oak chair", "chairs", 18_950),
    ("Office chair", "chairs", 24_900),
    ("Bookcase", "shelves", 15_900),
    ("Wool rug", "textiles", 21_000),
    ("Linen curtain", "textiles", 5_450),
    ("Wall clock", "decoration", 3_295),
];
const AGENTS: [(&str, &str); 4] = [
    ("Mozilla/5.0 (X11; Linux x86_64; rv:132.0) Gecko/20100101 Firefox/132.0", "Linux"),
    ("Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605.1.15 Safari/604.1", "iOS"),
    (
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/130.0.0.0 Safari/537.36",
        "Windows",
    ),
    ("Mozilla/5.0 (Linux; Android 15; Pixel 9) AppleWebKit/537.36 Chrome/130.0.0.0 Mobile", "Android"),
];
const LOCALES: [&str; 5] = ["en-US", "en-GB", "de-DE", "fr-FR", "ja-JP"];
const REFERRERS: [&str; 4] =
    ["https://search.example/", "https://news.example/a", "https://mail.example/", ""];
const TRACKED: [&str; 5] =
    ["Product Viewed", "Product Added", "Products Searched", "Checkout Started", "Order Completed"];
/// Sessions that go on at the same time, so that neighbours in the output belong to different people.
const OPEN: usize = 24;

/// The events of a plan, each one JSON text without line breaks.
#[derive(Debug)]
pub struct Events {
    plan: Plan,
    random: StdRng,
    made: u64,
    sessions: Vec<Session>,
}

#[derive(Debug)]
struct Session {
    anonymous: String,
    user: Option<String>,
    now: i64,
    steps: u32,
    step: u32,
    agent: usize,
    locale: &'static str,
    referrer: &'static str,
}

/// The events of `plan`.
pub fn events(plan: Plan) -> Events {
    Events { plan, random: StdRng::seed_from_u64(plan.seed), made: 0, sessions: Vec::new() }
}

impl Iterator for Events {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        if self.made >= self.plan.events {
            return None;
        }
        while self.sessions.len() < OPEN {
            let session = self.session();
            self.sessions.push(session);
        }
        let place = self.random.random_range(0..self.sessions.len());
        let mut session = self.sessions.swap_remove(place);
        let mut event = self.event(&mut session);
        if session.step < session.steps {
            self.sessions.push(session);
        }
        if self.random.random::<f64>() < self.plan.invalid {
            self.spoil(&mut event);
        }
        self.made += 1;
        Some(Value::Object(event).to_string())
    }
}

impl Events {
    fn id(&mut self) -> String {
        uuid::Builder::from_random_bytes(self.random.random()).into_uuid().to_string()
    }

    fn pick<T: Copy>(&mut self, list: &[T], otherwise: T) -> T {
        list.choose(&mut self.random).copied().unwrap_or(otherwise)
    }

    /// A session somewhere in the spread. The first is at its beginning, so that even few events span it.
    fn session(&mut self) -> Session {
        let spread = self.plan.spread_ms.max(1);
        let offset =
            if self.made == 0 && self.sessions.is_empty() { 0 } else { self.random.random_range(0..spread) };
        Session {
            anonymous: self.id(),
            user: self
                .random
                .random_bool(0.4)
                .then(|| format!("u_{:05}", self.random.random_range(0..20_000))),
            now: self.plan.until.0 - spread + offset,
            steps: self.random.random_range(2..18),
            step: 0,
            agent: self.random.random_range(0..AGENTS.len()),
            locale: self.pick(&LOCALES, "en-US"),
            referrer: self.pick(&REFERRERS, ""),
        }
    }

    fn event(&mut self, session: &mut Session) -> Map<String, Value> {
        let logs_in = session.step == 1 && session.user.is_some();
        let known = session.step >= 1;
        let mut event = Map::new();
        event.insert("messageId".into(), self.id().into());
        event.insert("anonymousId".into(), session.anonymous.clone().into());
        if let Some(user) = session.user.as_ref().filter(|_| known) {
            event.insert("userId".into(), user.clone().into());
        }
        event.insert("timestamp".into(), Millis(session.now).to_string().into());
        let (page, path) = self.pick(&PAGES, PAGES[0]);
        event.insert("context".into(), context(session, page, path));
        if logs_in {
            let plan = self.pick(&["free", "basic", "pro"], "free");
            event.insert("type".into(), "identify".into());
            event.insert(
                "traits".into(),
                json!({"plan": plan, "locale": session.locale, "newsletter": self.random.random_bool(0.5)}),
            );
        } else if self.random.random_bool(0.45) {
            event.insert("type".into(), "page".into());
            event.insert("name".into(), page.into());
            event.insert(
                "properties".into(),
                json!({"page": page, "path": path, "referrer": session.referrer}),
            );
        } else {
            self.track(&mut event, page);
        }
        session.step += 1;
        let pause = self.random.random_range(400..45_000);
        session.now = (session.now + pause).min(self.plan.until.0);
        event
    }

    fn track(&mut self, event: &mut Map<String, Value>, page: &str) {
        let name = self.pick(&TRACKED, TRACKED[0]);
        let (product, category, cents) = self.pick(&PRODUCTS, PRODUCTS[0]);
        let quantity = self.random.random_range(1..4_u32);
        let price = f64::from(cents) / 100.0;
        let mut properties = json!({
            "page": page, "product": product, "category": category, "price": price, "quantity": quantity,
            "currency": "EUR",
        });
        if name == "Order Completed" {
            properties["order_id"] = format!("A-{:06}", self.random.random_range(0..1_000_000)).into();
            properties["total"] = (f64::from(cents * quantity) / 100.0).into();
        }
        event.insert("type".into(), "track".into());
        event.insert("event".into(), name.into());
        event.insert("properties".into(), properties);
    }

    /// Makes the event break the built-in schema in one of a few ways.
    fn spoil(&mut self, event: &mut Map<String, Value>) {
        let (key, value) = match self.random.random_range(0..4) {
            0 => ("properties", json!("none")),
            1 => ("timestamp", json!("yesterday")),
            2 => ("context", json!(["web"])),
            _ => ("timestamp", json!({"at": 1})),
        };
        event.insert(key.into(), value);
    }
}

fn context(session: &Session, page: &str, path: &str) -> Value {
    let (agent, os) = AGENTS[session.agent];
    json!({
        "library": {"name": "analytics.js"},
        "locale": session.locale,
        "userAgent": agent,
        "os": {"name": os},
        "page": {"path": path, "title": page},
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(events: u64) -> Plan {
        Plan { events, seed: 7, until: Millis(1_773_480_413_000), spread_ms: 3 * 3_600_000, invalid: 0.0 }
    }

    #[test]
    fn the_same_seed_gives_the_same_events() {
        let first: Vec<_> = events(plan(200)).collect();
        assert_eq!(first, events(plan(200)).collect::<Vec<_>>());
        assert_ne!(first, events(Plan { seed: 8, ..plan(200) }).collect::<Vec<_>>());
    }

    #[test]
    fn events_have_segments_form_and_about_the_real_size() {
        let texts: Vec<_> = events(plan(2_000)).collect();
        let size: usize = texts.iter().map(String::len).sum::<usize>() / texts.len();
        assert!((490..=540).contains(&size), "{size} bytes on average");
        let (mut ids, mut hours, mut types) = (Vec::new(), Vec::new(), Vec::new());
        for text in &texts {
            let event: Value = serde_json::from_str(text).unwrap();
            let moment: jiff::Timestamp = event["timestamp"].as_str().unwrap().parse().unwrap();
            let age = plan(0).until.0 - moment.as_millisecond();
            assert!((0..=plan(0).spread_ms).contains(&age));
            hours.push(moment.as_second() / 3_600);
            ids.push(event["messageId"].as_str().unwrap().to_owned());
            types.push(event["type"].as_str().unwrap().to_owned());
        }
        for list in [&mut ids, &mut types] {
            list.sort();
            list.dedup();
        }
        hours.sort_unstable();
        hours.dedup();
        assert_eq!((ids.len(), types.len()), (2_000, 3));
        assert!(hours.len() >= 3, "{hours:?}");
    }

    #[test]
    fn a_share_is_invalid() {
        let broken = |event: &Value| {
            let time = event["timestamp"].as_str().and_then(|text| text.parse::<jiff::Timestamp>().ok());
            time.is_none() || event["properties"].is_string() || event["context"].is_array()
        };
        let invalid = events(Plan { invalid: 0.1, ..plan(5_000) })
            .filter(|text| broken(&serde_json::from_str(text).unwrap()))
            .count();
        assert!((400..600).contains(&invalid), "{invalid} of 5000");
    }
}
