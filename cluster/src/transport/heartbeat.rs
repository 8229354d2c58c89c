//! Heartbeats: a peer that hangs is noticed within seconds, though its connection stands.

use std::sync::Arc;
use std::time::Instant;

use tokio::time::MissedTickBehavior;

use super::door::Door;
use super::envelope::PING;
use super::plane;
use super::table::Session;

/// Asks until the session ends, and ends it when it has not answered several times in a row.
pub(super) async fn keep(door: Arc<Door>, session: Arc<Session>) {
    let mut turns = tokio::time::interval(door.limits.heartbeat);
    turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut missed = 0;
    loop {
        tokio::select! {
            _ = turns.tick() => {}
            () = session.link.gone.cancelled() => return,
        }
        let (sent, mark) = (Instant::now(), session.flow.mark());
        match plane::ask(&session, plane::ping(door.me.protocol, PING), door.limits.answer).await {
            Ok(_) => {
                missed = 0;
                session.took(sent.elapsed());
                session.flow.confirm(mark);
            }
            Err(_) => missed += 1,
        }
        if missed >= door.limits.misses {
            return session.link.close(format!("{missed} heartbeats were not answered"));
        }
    }
}
