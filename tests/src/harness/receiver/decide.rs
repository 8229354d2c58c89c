//! What becomes of a request and of each of its events: the script decides, with what the receiver remembers.

use std::time::Instant;

use super::dialect::{Said, said};
use super::faults::{Asked, Reply, Script};
use super::http::Request;
use super::record::{Payload, Recorder};

/// A decision.
#[derive(Debug)]
pub(super) struct Decision {
    /// What becomes of the request.
    pub reply: Reply,
    /// What becomes of each event.
    pub fates: Vec<Reply>,
    /// What is answered, where anything is.
    pub said: Said,
}

/// Decides about a request with these events.
pub(super) fn decide(
    script: &Script,
    request: &Request,
    events: &[Payload],
    recorder: &mut Recorder,
) -> Decision {
    let reply = match script.dialect.asks_for_token(request) {
        true => Reply::Granted,
        false => to_request(script, request, events, recorder),
    };
    let each = script.dialect.names_events() && reply.is_taken();
    let fate = |event: &Payload| if each { to_event(script, &event.id, reply, recorder) } else { reply };
    let fates: Vec<Reply> = events.iter().map(fate).collect();
    let told: Vec<(&Payload, Reply)> = events.iter().zip(fates.iter().copied()).collect();
    let token = script.authorization.as_deref().and_then(|header| header.strip_prefix("Bearer "));
    let said = said(script.dialect, reply, &told, token.unwrap_or_default());
    Decision { reply, fates, said }
}

fn to_request(script: &Script, request: &Request, events: &[Payload], recorder: &mut Recorder) -> Reply {
    let ids: Vec<(&str, bool)> = events.iter().map(|event| (event.id.as_str(), event.refuse)).collect();
    let name = request.id.as_deref().or(ids.first().map(|(id, _)| *id)).unwrap_or_default();
    let before = recorder.came(name);
    let authorization = request.authorization.as_deref();
    let reply = script.reply(Asked { name, before, authorization, body: &request.body, events: &ids });
    match script.throttle {
        Some(per_second) if reply.is_taken() => {
            let admitted = recorder.pace.admits(per_second, events.len(), Instant::now());
            if admitted { reply } else { Reply::Throttled1s }
        }
        _ => reply,
    }
}

/// What becomes of one event of a request that is taken, where each is answered for.
fn to_event(script: &Script, id: &str, reply: Reply, recorder: &mut Recorder) -> Reply {
    let fate = if script.refusal(id).is_some() {
        Reply::BadRequest
    } else if script.puts_off(id) && recorder.is_new(id) {
        Reply::Throttled
    } else {
        return reply;
    };
    // It was not taken, and who sent it does not learn that.
    if reply.is_lost() { Reply::ResetBefore } else { fate }
}
