//! Access tokens that end, got by a token that does not: one refresh for all lanes, before the old one ends.
//!
//! The refresh token grant of OAuth 2.0 (RFC 6749 §6). The end is known by `expires_in`; a refusal counts as an end, too.

use std::time::{Duration, Instant};

use reqwest::Method;
use reqwest::header::{AUTHORIZATION, HeaderValue};
use serde::Deserialize;
use tokio::sync::Mutex;

use super::Refusal;
use super::endpoint::Endpoint;
use super::hide::Secret;
use super::http::{Request, form};
use super::sender::Sender;
use super::settings::Settings;
use super::status;
use crate::clock::Millis;
use crate::failure::{Class, Failure};

/// A token is replaced so long before its end.
const EARLY: Duration = Duration::from_secs(60);
/// No token is believed to last longer.
const LONGEST: Duration = Duration::from_secs(86_400);
/// How long a token lasts whose end nobody said.
const UNTOLD: Duration = Duration::from_secs(600);

/// An access token.
#[derive(Debug, Clone)]
pub struct Token {
    secret: Secret,
    /// Tells it from those before.
    number: u64,
}

impl Token {
    /// The request with this token as its credentials.
    pub fn sign(&self, mut request: Request) -> Result<Request, Refusal> {
        let mut value = HeaderValue::from_str(&format!("Bearer {}", self.secret.reveal())).map_err(|_| {
            Failure::unauthorized("the access token cannot be a header; see the token's address")
        })?;
        value.set_sensitive(true);
        request.headers.insert(AUTHORIZATION, value);
        Ok(request)
    }
}

/// What tokens are got by.
#[derive(Debug)]
pub struct Grant {
    client_id: String,
    client_secret: Secret,
    refresh_token: Secret,
}

impl Grant {
    /// Reads `client_id`, `client_secret` and `refresh_token` of a table of settings.
    pub fn read(settings: &mut Settings) -> Option<Self> {
        let client_id = settings.required("client_id", "…");
        let client_secret = settings.required("client_secret", "${CLIENT_SECRET}");
        let refresh_token = settings.required("refresh_token", "${REFRESH_TOKEN}");
        Some(Grant {
            client_id: client_id?,
            client_secret: Secret::new(client_secret?),
            refresh_token: Secret::new(refresh_token?),
        })
    }
}

#[derive(Debug)]
struct Present {
    token: Token,
    until: Instant,
}

/// The access token of a destination, kept fresh.
#[derive(Debug)]
pub struct Tokens {
    endpoint: Endpoint,
    grant: Grant,
    /// Held during a refresh: whoever needs a token meanwhile waits for the same one.
    present: Mutex<(u64, Option<Present>)>,
}

#[derive(Deserialize)]
struct Granted {
    access_token: String,
    expires_in: Option<u64>,
}

impl Tokens {
    /// Tokens that `grant` gets at `endpoint`.
    pub fn new(endpoint: Endpoint, grant: Grant) -> Self {
        Tokens { endpoint, grant, present: Mutex::new((0, None)) }
    }

    /// A token that has not ended.
    ///
    /// # Errors
    /// `Unauthorized` when it is refused, which an operator must mend; else what may pass.
    pub async fn current(&self, sender: &Sender) -> Result<Token, Refusal> {
        let mut present = self.present.lock().await;
        match &present.1 {
            Some(known) if known.until > Instant::now() => Ok(known.token.clone()),
            _ => self.refresh(&mut present, sender).await,
        }
    }

    /// Another token than `refused`: a fresh one, unless somebody else has got one meanwhile.
    ///
    /// # Errors
    /// As [`Tokens::current`].
    pub async fn instead_of(&self, refused: &Token, sender: &Sender) -> Result<Token, Refusal> {
        let mut present = self.present.lock().await;
        match &present.1 {
            Some(known) if known.token.number > refused.number => Ok(known.token.clone()),
            _ => self.refresh(&mut present, sender).await,
        }
    }

    async fn refresh(&self, present: &mut (u64, Option<Present>), sender: &Sender) -> Result<Token, Refusal> {
        present.1 = None;
        let response = sender.send(self.request()).await.map_err(|refusal| Refusal {
            // The event itself was not sent.
            unknown: false,
            failure: Failure {
                detail: format!("no access token: {}", refusal.failure.detail),
                ..refusal.failure
            },
            ..refusal
        })?;
        let granted: Granted = match response.status {
            200 => serde_json::from_slice(&response.body)
                .map_err(|_| Failure::transient("no access token: the answer is not what OAuth 2.0 says"))?,
            // RFC 6749 §5.2: 400 for what is wrong with the grant, 401 for the client.
            400 | 401 | 403 => {
                let detail =
                    format!("no access token: {}; renew the refresh token", status::told(response.status));
                return Err(Failure::unauthorized(detail).into());
            }
            other => {
                let wait = status::wait(&response, Millis::now());
                let class = if other == 429 { Class::Throttled } else { Class::Transient };
                let detail = format!("no access token: {}", status::told(other));
                return Err(Failure { class, retry_after: wait, detail }.into());
            }
        };
        present.0 += 1;
        let token = Token { secret: Secret::new(granted.access_token), number: present.0 };
        let lasts = granted.expires_in.map_or(UNTOLD, Duration::from_secs).min(LONGEST);
        let until = Instant::now() + lasts.saturating_sub(EARLY).max(lasts / 2);
        present.1 = Some(Present { token: token.clone(), until });
        Ok(token)
    }

    fn request(&self) -> Request {
        let pairs = [
            ("grant_type", "refresh_token"),
            ("client_id", &self.grant.client_id),
            ("client_secret", self.grant.client_secret.reveal()),
            ("refresh_token", self.grant.refresh_token.reveal()),
        ];
        Request::new(Method::POST, &self.endpoint)
            .body("application/x-www-form-urlencoded", form(&pairs))
            .hiding(&self.grant.client_secret)
            .hiding(&self.grant.refresh_token)
    }
}
