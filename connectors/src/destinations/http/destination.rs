//! What every third party that is reached by HTTP has in common: one attempt, made of its connector's pure functions.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Value, json};

use super::{HttpConnector, Request, Response};
use crate::destinations::registry::Setup;
use crate::destinations::sender::Sender;
use crate::destinations::settings::SettingProblem;
use crate::destinations::status::{self, Policy};
use crate::destinations::{Answer, Batch, Destination, Event, Limits, Quota, Refusal, Shaped};
use crate::failure::{Class, Failure};

/// Opens a destination of this connector: what a line of the registry needs.
pub fn open<C: HttpConnector>(setup: Setup) -> Result<Arc<dyn Destination>, Vec<SettingProblem>> {
    let sender = setup.sender.clone();
    Ok(Arc::new(HttpDestination::new(C::open(setup)?, sender)))
}

/// An [`HttpConnector`] with the shared sender: a destination.
#[derive(Debug)]
pub struct HttpDestination<C> {
    connector: C,
    sender: Sender,
    rest: Mutex<Option<Duration>>,
}

impl<C: HttpConnector> HttpDestination<C> {
    /// Puts the two together.
    pub fn new(connector: C, sender: Sender) -> Self {
        HttpDestination { connector, sender, rest: Mutex::default() }
    }
}

impl<C: HttpConnector> HttpDestination<C> {
    async fn attempt(&self, batch: Batch<'_>, request: Request) -> Answer {
        match self.send(request).await {
            Ok(response) => {
                if let Some(rest) = self.connector.rest(&response) {
                    *self.rest.lock().unwrap_or_else(PoisonError::into_inner) = Some(rest);
                }
                one_each(batch, self.connector.answer(batch, &response))
            }
            Err(refusal) => unsent(batch, refusal),
        }
    }

    /// Sends a request with a token, where one is needed. A token that is refused is replaced once: it may have been revoked before
    /// its time.
    async fn send(&self, request: Request) -> Result<Response, Refusal> {
        let Some(tokens) = self.connector.tokens() else { return self.sender.send(request).await };
        let token = tokens.current(&self.sender).await?;
        let response = self.sender.send(token.sign(request.clone())?).await?;
        if response.status != 401 {
            return Ok(response);
        }
        let fresh = tokens.instead_of(&token, &self.sender).await?;
        self.sender.send(fresh.sign(request)?).await
    }
}

#[async_trait]
impl<C: HttpConnector> Destination for HttpDestination<C> {
    fn limits(&self) -> Limits {
        self.connector.limits()
    }

    fn quotas(&self) -> Vec<Quota> {
        self.connector.quotas()
    }

    fn shape(&self, event: Event) -> Shaped {
        self.connector.shape(event)
    }

    async fn probe(&self) -> Result<bool, Failure> {
        let Some(request) = self.connector.probe() else { return Ok(false) };
        let response = self.send(request).await.map_err(|refusal| refusal.failure)?;
        match status::policy(response.status, false) {
            Policy::Taken => Ok(true),
            Policy::Split => Err(Failure::unauthorized(status::told(response.status))),
            Policy::Refused(class) => Err(Failure::new(class, status::told(response.status))),
        }
    }

    async fn deliver(&self, batch: Batch<'_>) -> Answer {
        let requests =
            self.connector.request(batch).and_then(|first| Ok((first, self.connector.more(batch)?)));
        let (first, more) = match requests {
            Ok(requests) => requests,
            Err(refusal) => return unsent(batch, refusal),
        };
        let mut answer = self.attempt(batch, first).await;
        for request in more {
            if answer != Answer::delivered(batch.events.len()) {
                break;
            }
            answer = self.attempt(batch, request).await;
        }
        answer
    }

    fn rest(&self) -> Option<Duration> {
        self.rest.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn preview(&self, batch: Batch<'_>) -> Value {
        let more = || self.connector.more(batch).unwrap_or_default();
        match self.connector.request(batch) {
            Ok(first) => match more().iter().map(Request::preview).collect::<Vec<_>>() {
                more if more.is_empty() => first.preview(),
                more => std::iter::once(first.preview()).chain(more).collect(),
            },
            Err(refusal) => json!({"refused": refusal.failure.detail}),
        }
    }
}

/// No request could be made, or no answer came. When the events are to blame, one of them is: it must not take the others with it.
fn unsent(batch: Batch<'_>, refusal: Refusal) -> Answer {
    if batch.events.len() > 1 && refusal.failure.class == Class::Rejected {
        return Answer::Split(refusal);
    }
    Answer::refused(batch.events.len(), &refusal)
}

/// Holds a connector to its word: one outcome for each event. Guessing which is missing could lose an event.
fn one_each(batch: Batch<'_>, answer: Answer) -> Answer {
    let wanted = batch.events.len();
    match &answer {
        Answer::Each(outcomes) if outcomes.len() != wanted => {
            let detail = format!("the connector answered for {} of {wanted} events", outcomes.len());
            let refusal = Refusal { unknown: true, ..Failure::crashed(detail).into() };
            Answer::refused(wanted, &refusal)
        }
        _ => answer,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::destinations::testing;

    #[test]
    fn refusals_before_sending_find_the_event_to_blame() {
        let events = testing::events(3);
        let rejected = Refusal::from(Failure::rejected("no"));
        let paused = Refusal::from(Failure::unauthorized("no"));
        assert_eq!(unsent(testing::batch(&events), rejected.clone()), Answer::Split(rejected.clone()));
        assert_eq!(unsent(testing::batch(&events), paused.clone()), Answer::refused(3, &paused));
        assert_eq!(unsent(testing::batch(&events[..1]), rejected.clone()), Answer::refused(1, &rejected));
    }

    #[test]
    fn a_connector_that_forgets_events_loses_none() {
        let events = testing::events(3);
        let Answer::Each(outcomes) = one_each(testing::batch(&events), Answer::delivered(2)) else {
            panic!("split");
        };
        assert_eq!(outcomes.len(), 3);
        for outcome in outcomes {
            let refusal = outcome.unwrap_err();
            assert!(refusal.unknown && refusal.failure.class == Class::Crashed);
        }
        assert_eq!(one_each(testing::batch(&events), Answer::delivered(3)), Answer::delivered(3));
    }
}
