//! Who is in the storm: six third parties, the settings they are reached by, what goes wrong with each, and what they keep of an
//! event.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::Size;
use crate::harness::Receiver;
use crate::harness::receiver::{Dialect, Faults, Outage, Script};

/// How long a third party takes for a request.
const LATENCY: Duration = Duration::from_millis(5);
/// Bytes of padding in an event: the backlog of the one that is down is larger than the whole limit of a full run.
const PADDING: usize = 512;
/// Who throttles takes this share of what is sent.
const TENTH: f64 = 0.1;
/// Who refuses items refuses one in so many for ever.
const REFUSED: u64 = 100;
/// And has one in so many come a second time.
const PUT_OFF: u64 = 100;
/// The share of requests that are taken and never answered.
const SILENT: f64 = 0.05;

/// What goes wrong with a third party.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trouble {
    /// Nothing: it must not notice the others.
    None,
    /// Nobody listens, until all others have finished.
    Down,
    /// It takes a tenth of what is sent.
    Throttled,
    /// It refuses one item in a hundred inside its batches for ever, and puts off others once.
    Refusing,
    /// It takes one request in twenty and never answers.
    Silent,
    /// Its access token is revoked midway.
    Revoked,
}

/// A third party.
#[derive(Debug, Clone, Copy)]
pub(super) struct Part {
    /// The kind of its connector, and its name here.
    pub(super) kind: &'static str,
    /// Whose form its receiver speaks.
    pub(super) dialect: Dialect,
    /// What goes wrong with it.
    pub(super) trouble: Trouble,
}

/// Every third party, the one that is fine first.
pub(super) const CAST: [Part; 6] = [
    Part { kind: "segment", dialect: Dialect::Segment, trouble: Trouble::None },
    Part { kind: "amplitude", dialect: Dialect::Amplitude, trouble: Trouble::Down },
    Part { kind: "customerio", dialect: Dialect::Customerio, trouble: Trouble::Throttled },
    Part { kind: "elasticsearch", dialect: Dialect::Elasticsearch, trouble: Trouble::Refusing },
    Part { kind: "mixpanel", dialect: Dialect::Mixpanel, trouble: Trouble::Silent },
    Part { kind: "hubspot", dialect: Dialect::Hubspot, trouble: Trouble::Revoked },
];

impl Part {
    /// Its connector's settings, with `url` as its address. HubSpot's `/oauth/v1/token` is below the same address.
    pub(super) fn settings(&self, url: &str) -> Value {
        match self.kind {
            "amplitude" => json!({"api_key": "a1", "endpoint": url, "min_id_length": 1}),
            "customerio" => json!({"site_id": "c1", "api_key": "c2", "endpoint": url}),
            "elasticsearch" => json!({"url": url, "index": "events"}),
            "mixpanel" => json!({"token": "m1", "endpoint": url}),
            "hubspot" => json!({
                "endpoint": url,
                "oauth": {"client_id": "h1", "client_secret": "h2", "refresh_token": "h3"},
                "events": {"Tested": {
                    "name": "pe1_tested",
                    "properties": {"number": "number", "sentMs": "sent_ms"},
                }},
            }),
            _ => json!({"write_key": "s1", "endpoint": url}),
        }
    }

    /// Its section of the configuration. Failed attempts never give up during a proof, and an outage is sat out.
    pub(super) fn section(&self, url: &str) -> String {
        let settings = self.settings(url);
        let fields = settings.as_object().into_iter().flatten();
        let lines: String = fields.map(|(name, value)| format!("{name} = {}\n", toml(value))).collect();
        // Who never answers is not waited for long.
        let timeout = if self.trouble == Trouble::Silent { "2s" } else { "20s" };
        format!(
            r#"
[destinations.{kind}]
kind = "{kind}"
batch_age = "50ms"
timeout = "{timeout}"
retry = {{ base = "50ms", max = "2s", attempts = 100000, max_age = "2h" }}
on_outage = "hold"
{lines}"#,
            kind = self.kind
        )
    }

    /// How its receiver behaves: well, or as its trouble says.
    pub(super) fn script(&self, size: Size, seed: u64, in_trouble: bool) -> Script {
        let well = Script {
            seed,
            dialect: self.dialect,
            authorization: (self.trouble == Trouble::Revoked).then(|| token(1)),
            latency: LATENCY,
            ..Script::default()
        };
        #[allow(clippy::cast_precision_loss)] // events of a second
        let rate = size.per_second as f64;
        match self.trouble {
            _ if !in_trouble => well,
            Trouble::None | Trouble::Revoked => well,
            Trouble::Down => Script { outage: Some(Outage::Refused), ..well },
            Trouble::Throttled => Script { throttle: Some(rate * TENTH), ..well },
            Trouble::Refusing => Script { refused_one_in: REFUSED, put_off_one_in: PUT_OFF, ..well },
            Trouble::Silent => Script { faults: Faults { withheld: SILENT, ..Faults::default() }, ..well },
        }
    }
}

/// The `number`-th access token, as a header.
pub(super) fn token(number: u64) -> String {
    format!("Bearer access-{number}")
}

/// A third party on loopback.
#[derive(Debug)]
pub(super) struct Player {
    /// Which.
    pub(super) part: Part,
    /// What receives its requests.
    pub(super) receiver: Receiver,
}

impl Player {
    /// Starts a third party that is well, or in its trouble.
    pub(super) async fn start(part: Part, size: Size, seed: u64, in_trouble: bool) -> Result<Player, String> {
        let receiver = Receiver::start(part.script(size, seed, in_trouble)).await?;
        Ok(Player { part, receiver })
    }

    /// Its section of the configuration.
    pub(super) fn section(&self) -> String {
        self.part.section(&self.receiver.origin())
    }
}

/// What third parties keep of an event they know its number and its moment by; HubSpot knows people by their address.
pub(super) fn dress(event: &mut Map<String, Value>) {
    let of = |name: &str| event.get(name).cloned().unwrap_or_default();
    let address = format!("{}@example.com", of("userId").as_str().unwrap_or_default());
    let properties = json!({"messageId": of("messageId"), "number": of("number"), "sentMs": of("sentMs")});
    event.insert("properties".into(), properties);
    event.insert("context".into(), json!({"traits": {"email": address}}));
    event.insert("padding".into(), "-".repeat(PADDING).into());
}

/// A JSON value as TOML: only tables are written otherwise.
fn toml(value: &Value) -> String {
    match value {
        Value::Object(fields) => {
            let fields: Vec<String> =
                fields.iter().map(|(name, value)| format!("{name} = {}", toml(value))).collect();
            format!("{{ {} }}", fields.join(", "))
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use shardmill_connectors::destinations::testing::{self, batch};
    use shardmill_connectors::destinations::{Answer, Destination, Event, Outcome, Shaped, registry};

    use super::*;
    use crate::conformance::destinations;
    use crate::harness::receiver::Reply;

    const SIZE: Size = Size { events: 100, keys: 4, shards: 1, per_second: 100 };

    /// The events `k0-0`, `k1-0`, … as the connector sends them.
    fn events(connector: &dyn Destination, count: u64) -> Vec<Event> {
        let one = |number: u64| {
            let (key, id) = (format!("k{number}"), format!("k{number}-0"));
            let event = json!({
                "messageId": id, "type": "track", "event": "Tested", "userId": key, "number": 0, "sentMs": 7,
                "timestamp": "2026-03-14T09:26:53.589Z",
            });
            let mut event = event.as_object().unwrap().clone();
            dress(&mut event);
            match connector.shape(testing::event(&id, &Value::Object(event).to_string())) {
                Shaped::Send(event) => event,
                other => panic!("not sent: {other:?}"),
            }
        };
        (0..count).map(one).collect()
    }

    async fn bench(part: Part, script: Script) -> (Player, std::sync::Arc<dyn Destination>) {
        let timeout = if script.faults.withheld > 0.0 { "300ms" } else { "20s" };
        let player = Player { part, receiver: Receiver::start(script).await.unwrap() };
        let mut settings = part.settings(&player.receiver.origin());
        settings["timeout"] = timeout.into();
        let kind = registry::find(part.kind).unwrap();
        let connector = destinations::open(kind, &settings, None, Path::new("."));
        (player, connector)
    }

    fn class(outcome: &Outcome) -> &str {
        outcome.as_ref().map_or_else(|refusal| refusal.failure.class.as_str(), |()| "delivered")
    }

    #[tokio::test]
    async fn each_receiver_understands_its_connector_and_is_understood() {
        for part in CAST {
            let (player, connector) = bench(part, part.script(SIZE, 1, false)).await;
            let events = events(connector.as_ref(), 3);
            let answer = connector.deliver(batch(&events)).await;
            assert_eq!(answer, Answer::delivered(3), "{}", part.kind);
            let record = player.receiver.record();
            let came: Vec<_> =
                record.taken().map(|(_, came)| (&*came.id, &*came.key, came.number, came.sent.0)).collect();
            let wanted = [("k0-0", "k0", 0, 7), ("k1-0", "k1", 0, 7), ("k2-0", "k2", 0, 7)];
            assert_eq!(came, wanted, "{}", part.kind);
        }
    }

    #[tokio::test]
    async fn each_trouble_is_what_its_connector_takes_it_for() {
        let of = |trouble| *CAST.iter().find(|part| part.trouble == trouble).unwrap();
        let all = async |part: Part, script: Script, class: &str| {
            let (_player, connector) = bench(part, script).await;
            let answer = connector.deliver(batch(&events(connector.as_ref(), 2))).await;
            let Answer::Each(outcomes) = answer else { panic!("{}: {answer:?}", part.kind) };
            assert!(
                outcomes.iter().all(|outcome| self::class(outcome) == class),
                "{}: {outcomes:?}",
                part.kind
            );
        };
        let down = of(Trouble::Down);
        all(down, down.script(SIZE, 1, true), "transient").await;
        let throttled = of(Trouble::Throttled);
        all(throttled, Script { throttle: Some(0.5), ..throttled.script(SIZE, 1, true) }, "throttled").await;
        let silent = of(Trouble::Silent);
        let always = Faults { withheld: 1.0, ..Faults::default() };
        all(silent, Script { faults: always, ..silent.script(SIZE, 1, true) }, "transient").await;
    }

    #[tokio::test]
    async fn items_are_refused_or_put_off_inside_a_batch_and_the_others_are_taken() {
        let part = *CAST.iter().find(|part| part.trouble == Trouble::Refusing).unwrap();
        let (player, connector) = bench(part, part.script(SIZE, 1, true)).await;
        let events = events(connector.as_ref(), 900);
        let Answer::Each(outcomes) = connector.deliver(batch(&events)).await else { panic!("not each") };
        let count = |wanted: &str| outcomes.iter().filter(|outcome| class(outcome) == wanted).count();
        let (refused, put_off) = (count("rejected"), count("transient"));
        assert!(refused > 0 && put_off > 0 && refused + put_off < 60, "{refused} {put_off}");
        for (event, outcome) in events.iter().zip(&outcomes) {
            assert_eq!(class(outcome) == "rejected", player.receiver.refusal(&event.id).is_some());
        }
        let again: Vec<Event> = events
            .iter()
            .zip(&outcomes)
            .filter(|(_, outcome)| class(outcome) == "transient")
            .map(|(event, _)| event.clone())
            .collect();
        assert_eq!(connector.deliver(batch(&again)).await, Answer::delivered(put_off));
        assert_eq!(player.receiver.tally().events as usize, 900 - refused);
        assert_eq!(player.receiver.tally().requests, 2);
    }

    #[tokio::test]
    async fn a_revoked_token_is_renewed_once_for_all() {
        let part = *CAST.iter().find(|part| part.trouble == Trouble::Revoked).unwrap();
        let (player, connector) = bench(part, part.script(SIZE, 1, true)).await;
        let events = events(connector.as_ref(), 2);
        assert_eq!(connector.deliver(batch(&events[..1])).await, Answer::delivered(1));
        player.receiver.change(|script| script.authorization = Some(token(2)));
        let both =
            tokio::join!(connector.deliver(batch(&events[1..])), connector.deliver(batch(&events[1..])));
        assert_eq!(both, (Answer::delivered(1), Answer::delivered(1)));
        let replies = player.receiver.record().replies();
        assert_eq!(replies[Reply::Granted.name()], 2);
        assert!(replies[Reply::Unauthorized.name()] >= 1);
    }

    #[test]
    fn tables_of_settings_are_written_as_toml() {
        let value = json!({"a": {"b": "c\"d", "e": [1, true]}});
        assert_eq!(toml(&value), r#"{ a = { b = "c\"d", e = [1,true] } }"#);
        let hubspot = CAST[5].section("http://127.0.0.1:1");
        assert!(
            hubspot.contains("[destinations.hubspot]\n") && hubspot.contains("oauth = { client_id = \"h1\"")
        );
    }
}
