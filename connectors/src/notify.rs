//! Notices to people: an alarm was raised, or is over. One attempt each; repeating is decided elsewhere.

use std::fmt;

use reqwest::Method;
use serde_json::{Value, json};

use crate::clock::Millis;
use crate::destinations::endpoint::Endpoint;
use crate::destinations::http::{Request, Response};
use crate::destinations::sender::Sender;
use crate::destinations::settings::SettingProblem;
use crate::destinations::status::{self, Policy};
use crate::failure::{Class, Failure};

/// Characters of a text that are sent; what Slack shows of one section.
const LONGEST: usize = 3_000;

/// What people are told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// The alarm's name; the same for its recovery.
    pub alarm: String,
    /// Whether it was raised; else it is over.
    pub raised: bool,
    /// When.
    pub at: Millis,
    /// What happened.
    pub text: String,
    /// What to do about it; empty when there is nothing to do.
    pub fix: String,
}

impl Notice {
    fn state(&self) -> &'static str {
        if self.raised { "raised" } else { "recovered" }
    }
}

#[derive(Debug, Clone, Copy)]
enum Form {
    Webhook,
    Slack,
}

/// Where notices go. The URL is a credential and never shown.
#[derive(Clone)]
pub struct Notifier {
    form: Form,
    endpoint: Endpoint,
    sender: Sender,
}

impl fmt::Debug for Notifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Notifier({:?})", self.form)
    }
}

impl Notifier {
    /// Posts `{alarm, state, at, text, fix}` to `url`. Alarms often stay in the house: private addresses and plain HTTP are fine.
    pub fn webhook(url: &str, sender: Sender) -> Result<Self, SettingProblem> {
        Self::new(Form::Webhook, url, sender)
    }

    /// Posts to an incoming webhook of Slack.
    pub fn slack(url: &str, sender: Sender) -> Result<Self, SettingProblem> {
        Self::new(Form::Slack, url, sender)
    }

    fn new(form: Form, url: &str, sender: Sender) -> Result<Self, SettingProblem> {
        let fix = match form {
            Form::Webhook => "write it as \"https://host/path\"",
            Form::Slack => "copy the URL of the incoming webhook from Slack",
        };
        let endpoint = Endpoint::anywhere(url).map_err(|message| SettingProblem::new("url", message, fix))?;
        Ok(Notifier { form, endpoint, sender })
    }

    /// Makes one attempt to send a notice.
    pub async fn send(&self, notice: &Notice) -> Result<(), Failure> {
        let body = match self.form {
            Form::Webhook => webhook(notice),
            Form::Slack => slack(notice),
        };
        let request = Request::new(Method::POST, &self.endpoint).body("application/json", body.to_string());
        let response = self.sender.send(request).await.map_err(|refusal| refusal.failure)?;
        judge(self.form, &response, notice.at).map_err(|failure| failure.during("sending a notice"))
    }
}

fn webhook(notice: &Notice) -> Value {
    json!({
        "alarm": notice.alarm,
        "state": notice.state(),
        "at": notice.at.to_string(),
        "text": notice.text,
        "fix": notice.fix,
    })
}

fn slack(notice: &Notice) -> Value {
    let sign = if notice.raised { ":red_circle:" } else { ":large_green_circle:" };
    let mut text = format!(
        "{sign} *{}* {} at {}\n{}",
        escaped(&notice.alarm),
        notice.state(),
        notice.at,
        escaped(&notice.text)
    );
    if !notice.fix.is_empty() {
        text = format!("{text}\n_What to do:_ {}", escaped(&notice.fix));
    }
    json!({ "text": text })
}

/// Slack reads these three as markup. Cut before they are written out, so that none is cut in two.
fn escaped(text: &str) -> String {
    let text: String = text.chars().take(LONGEST).collect();
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

fn judge(form: Form, response: &Response, at: Millis) -> Result<(), Failure> {
    let wait = status::wait(response, at);
    let class = match (status::policy(response.status, wait.is_some()), form) {
        (Policy::Taken, Form::Webhook) => return Ok(()),
        (Policy::Taken, Form::Slack) if response.body.trim_ascii() == b"ok" => return Ok(()),
        (Policy::Taken, Form::Slack) => Class::Unauthorized, // some other host answers
        (Policy::Refused(_), Form::Slack) if response.status == 404 => Class::Unauthorized, // `no_service`
        (Policy::Refused(class), _) => class,
        (Policy::Split, _) => Class::Rejected,
    };
    let mut detail = status::told(response.status);
    if let Some(excerpt) = status::excerpt(response) {
        detail = format!("{detail}: {excerpt}");
    }
    Err(Failure { class, retry_after: wait, detail })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notice(raised: bool) -> Notice {
        Notice {
            alarm: "destination-paused:hub<spot>".into(),
            raised,
            at: Millis(1_773_480_423_000),
            text: "401 & 1204 events held".into(),
            fix: if raised { "correct the token".into() } else { String::new() },
        }
    }

    #[test]
    fn bodies() {
        assert_eq!(
            webhook(&notice(true)),
            json!({
                "alarm": "destination-paused:hub<spot>", "state": "raised", "at": "2026-03-14T09:27:03.000Z",
                "text": "401 & 1204 events held", "fix": "correct the token",
            })
        );
        assert_eq!(
            slack(&notice(true))["text"],
            ":red_circle: *destination-paused:hub&lt;spot&gt;* raised at 2026-03-14T09:27:03.000Z\n\
             401 &amp; 1204 events held\n_What to do:_ correct the token"
        );
        let over = slack(&notice(false)).to_string();
        assert!(over.contains("recovered") && !over.contains("What to do"), "{over}");
        let long = Notice { text: "&".repeat(50_000), ..notice(true) };
        assert!(slack(&long).to_string().len() < 20_000);
    }

    #[test]
    fn answers() {
        use Class::{Rejected, Throttled, Transient, Unauthorized};
        for (status, body, webhook, slack) in [
            (200, "ok", None, None),
            (200, "<html>", None, Some(Unauthorized)),
            (204, "", None, Some(Unauthorized)),
            (302, "", Some(Unauthorized), Some(Unauthorized)),
            (400, "invalid_payload", Some(Rejected), Some(Rejected)),
            (403, "invalid_token", Some(Unauthorized), Some(Unauthorized)),
            (404, "no_service", Some(Transient), Some(Unauthorized)),
            (410, "channel_is_archived", Some(Unauthorized), Some(Unauthorized)),
            (429, "rate_limited", Some(Throttled), Some(Throttled)),
            (500, "rollup_error", Some(Transient), Some(Transient)),
        ] {
            for (form, wanted) in [(Form::Webhook, webhook), (Form::Slack, slack)] {
                let judged = judge(form, &Response::new(status, body), Millis(0));
                assert_eq!(judged.map_err(|failure| failure.class).err(), wanted, "{status} {body} {form:?}");
            }
        }
    }

    #[tokio::test]
    async fn the_url_is_never_shown() {
        let sender = Sender::new().unwrap();
        for url in ["http://127.0.0.1:1/services/T0/B0/s3cr3t", "s3cr3t", "http://s3cr3t.invalid/"] {
            let shown = match Notifier::slack(url, sender.clone()) {
                Ok(notifier) => format!("{notifier:?} {:?}", notifier.send(&notice(true)).await.unwrap_err()),
                Err(problem) => format!("{problem:?}"),
            };
            assert!(!shown.contains("s3cr3t"), "{shown}");
        }
    }
}
