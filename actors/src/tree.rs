//! The whole supervision tree, as one table: who is whose child, and what is done about each class of failure.
//!
//! This table is what runs: supervisors look their directives up here and nowhere else, and `shardmill admin tree` prints
//! it with live state.
//!
//! ```mermaid
//! flowchart TD
//!   root --> admin
//!   root --> coordinator
//!   root --> sweeper
//!   root --> rules
//!   root --> alarms
//!   root --> destinations
//!   root --> shards
//!   root --> hours
//!   root --> intake["intake (one each)"]
//!   destinations --> register
//!   destinations --> destination["destination (one each)"]
//!   shards --> shard["shard (one each)"]
//!   shard --> reader
//!   shard --> writer["lake writer"]
//!   shard --> forwarder["dead-letter forwarder"]
//!   shard --> roster
//!   shard --> catchup["catch-up"]
//!   shard --> lane["lane (one for each destination)"]
//!   lane --> delivery["delivery (a batch; per destination)"]
//!   hours --> hour["hour compactor (one each)"]
//!   intake --> poller
//!   intake --> rawfile["raw file (one each)"]
//!   root --> schedules["schedules"] --> schedule["schedule (one each)"]
//!   schedule --> timer
//!   schedule --> scheduledfile["file (a few)"]
//!   root --> redrives
//!   redrives --> redrivepoller["poller of the redrive queue"]
//!   redrives --> redriver["redriver (one for each target)"]
//! ```

use std::time::Duration;

use serde::Serialize;

use crate::supervision::strategy::Backoff;
use crate::supervision::{Answer, Intensity, Rule, Scope, Strategy};

/// Every kind of actor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The top: what reaches it ends the process.
    Root,
    /// Answers questions and commands of operators.
    Admin,
    /// Lists shards and hours and says which run here.
    Coordinator,
    /// Deletes objects that no document lists.
    Sweeper,
    /// The supervisor of all shards of this node.
    Shards,
    /// The supervisor of one shard.
    Shard,
    /// Fetches one shard's records within the memory budget.
    Reader,
    /// Turns one shard's records into segments and commits them.
    Writer,
    /// Hands one shard's dead letters to the queue.
    Forwarder,
    /// Reads for the lanes of one shard that do not keep up.
    CatchUp,
    /// Starts and stops the lanes of one shard.
    Roster,
    /// Delivers one shard to one destination.
    Lane,
    /// One batch on its way to a destination: a task, not an actor; its failures are decided by this row, with the
    /// destination's own settings.
    Delivery,
    /// Borrows this node's shares of the rates that all nodes share.
    Rates,
    /// Re-reads the routing rules.
    Rules,
    /// Watches, and tells people.
    Alarms,
    /// The supervisor of all destinations of this node.
    Destinations,
    /// Starts and stops the actors of destinations.
    Register,
    /// Keeps one destination's gate and document in agreement.
    Destination,
    /// The supervisor of all hours of this node.
    Hours,
    /// The compactor of one hour of one table.
    Hour,
    /// The supervisor of all intakes of this node.
    Intakes,
    /// The supervisor of one intake.
    Intake,
    /// Receives one intake's notices.
    Poller,
    /// Takes one announced file in.
    RawFile,
    /// The supervisor of all schedules of this node.
    Schedules,
    /// The supervisor of one schedule.
    Schedule,
    /// Knows when a schedule is due, and lists its files.
    ScheduleTimer,
    /// Puts the rows of one file.
    ScheduledFile,
    /// The supervisor of what messages of the redrive queue ask for.
    Redrives,
    /// Receives the redrive queue's messages.
    RedrivePoller,
    /// Redrives what is asked for of one destination, or of the lake.
    Redriver,
}

/// A row: a kind, its parent, its strategy.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Row {
    /// The kind of actor.
    pub kind: Kind,
    /// Its parent; `None` for the root.
    pub parent: Option<Kind>,
    /// What its parent does about its failures.
    pub strategy: Strategy,
}

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

const fn backoff(base_ms: u64, max: u64, probe: u64) -> Backoff {
    Backoff { base: Duration::from_millis(base_ms), max: seconds(max), probe: seconds(probe) }
}

const fn intensity(restarts: u32, period: u64, exceeded: Answer) -> Intensity {
    Intensity { restarts, period: seconds(period), exceeded }
}

/// What most workers do: retry what may pass, pause on wrong credentials, restart on a bug, stop when fenced. Never the root.
const WORKER: Strategy = Strategy {
    transient: Rule::always(Answer::Resume),
    throttled: Rule::always(Answer::Resume),
    rejected: Rule::always(Answer::Pause),
    unauthorized: Rule::always(Answer::Pause),
    fenced: Rule::always(Answer::Stop),
    crashed: Rule::always(Answer::Restart),
    backoff: backoff(100, 30, 30),
    intensity: intensity(5, 300, Answer::Pause),
    scope: Scope::One,
    limit: Some(seconds(300)),
};

/// What a part of a shard does: what it cannot mend itself restarts the shard as a whole, from the last commit.
const PART: Strategy = Strategy {
    rejected: Rule::always(Answer::Escalate),
    fenced: Rule::always(Answer::Escalate),
    crashed: Rule::always(Answer::Escalate),
    scope: Scope::All,
    ..WORKER
};

/// What the parts of a shard do that serve destinations: the lake does not notice what goes wrong with them. Only a lost shard
/// concerns the others.
const LANE: Strategy = Strategy {
    fenced: Rule::always(Answer::Escalate),
    backoff: backoff(100, 10, 15),
    intensity: intensity(40, 300, Answer::Pause),
    ..WORKER
};

/// What the parts of the node itself do: an unmended bug ends the process, and whatever starts it replaces it.
const FIXED: Strategy = Strategy {
    rejected: Rule::always(Answer::Escalate),
    fenced: Rule::always(Answer::Escalate),
    intensity: intensity(3, 60, Answer::Escalate),
    ..WORKER
};

/// What is done about a file of others. One that is missing, cut off or damaged may only be so for a moment. What then becomes a
/// dead letter is one that points to the file.
const FILE: Strategy = Strategy {
    // Few files are in hand at once: one that never passes must not keep its place for ever. No day of files is
    // buried by wrong credentials, only those few, and they are announced again by a redrive.
    transient: Rule {
        max_age: Some(seconds(24 * 3_600)),
        exhausted: Answer::DeadLetter,
        ..Rule::always(Answer::Resume)
    },
    unauthorized: Rule {
        max_age: Some(seconds(6 * 3_600)),
        exhausted: Answer::DeadLetter,
        ..Rule::always(Answer::Pause)
    },
    rejected: Rule::until(Answer::Resume, 4, Answer::DeadLetter),
    crashed: Rule::until(Answer::Restart, 3, Answer::DeadLetter),
    backoff: backoff(500, 300, 60),
    intensity: intensity(u32::MAX, 1, Answer::Resume),
    // A step may be a whole file.
    limit: Some(seconds(3_600)),
    ..WORKER
};

/// What is done about the outcome of a delivery. Destinations change attempts and delays by their `retry` settings.
const DELIVERY: Strategy = Strategy {
    transient: Rule::until(Answer::Resume, 12, Answer::DeadLetter),
    throttled: Rule::until(Answer::Resume, 12, Answer::DeadLetter),
    rejected: Rule::always(Answer::DeadLetter),
    unauthorized: Rule::always(Answer::Pause),
    fenced: Rule::always(Answer::Escalate),
    crashed: Rule::until(Answer::Restart, 3, Answer::DeadLetter),
    backoff: backoff(1_000, 900, 60),
    intensity: intensity(u32::MAX, 1, Answer::Resume),
    scope: Scope::One,
    // Connectors have shorter deadlines of their own: this ends what theirs has not.
    limit: Some(seconds(1_200)),
};

/// What is done about a call to a store that may be made again: eight times in all, within half a minute. What then still fails is
/// for the actor that made it.
pub const CALL: Strategy = Strategy {
    transient: Rule::until(Answer::Resume, 8, Answer::Escalate),
    throttled: Rule::until(Answer::Resume, 8, Answer::Escalate),
    rejected: Rule::always(Answer::Escalate),
    unauthorized: Rule::always(Answer::Escalate),
    fenced: Rule::always(Answer::Escalate),
    crashed: Rule::always(Answer::Escalate),
    backoff: backoff(50, 5, 60),
    intensity: intensity(u32::MAX, 1, Answer::Resume),
    scope: Scope::One,
    limit: None,
};

/// Between two attempts to put records that their stream had no room for.
pub const PUT: Backoff = backoff(50, 1, 60);

/// How a destination wants failed deliveries repeated.
#[derive(Debug, Clone, Copy, Default)]
pub struct Retry {
    /// The first delay.
    pub base: Option<Duration>,
    /// The longest delay.
    pub max: Option<Duration>,
    /// Attempts, at most.
    pub attempts: Option<u32>,
    /// Time since the first failure in a row, at most.
    pub max_age: Option<Duration>,
}

/// The row of one destination's deliveries.
pub fn delivery(retry: Retry) -> Strategy {
    let rule = |rule: Rule| Rule {
        attempts: retry.attempts.or(if retry.max_age.is_some() { None } else { rule.attempts }),
        max_age: retry.max_age,
        ..rule
    };
    let delays = Backoff {
        base: retry.base.unwrap_or(DELIVERY.backoff.base),
        max: retry.max.unwrap_or(DELIVERY.backoff.max).max(retry.base.unwrap_or_default()),
        probe: DELIVERY.backoff.probe,
    };
    Strategy {
        transient: rule(DELIVERY.transient),
        throttled: rule(DELIVERY.throttled),
        backoff: delays,
        ..DELIVERY
    }
}

/// The table.
pub const TREE: &[Row] = &[
    Row { kind: Kind::Root, parent: None, strategy: FIXED },
    Row { kind: Kind::Admin, parent: Some(Kind::Root), strategy: FIXED },
    Row {
        kind: Kind::Coordinator,
        parent: Some(Kind::Root),
        strategy: Strategy { limit: Some(seconds(600)), ..FIXED },
    },
    Row {
        kind: Kind::Sweeper,
        parent: Some(Kind::Root),
        strategy: Strategy { backoff: backoff(1_000, 300, 60), limit: Some(seconds(3_600)), ..WORKER },
    },
    Row { kind: Kind::Shards, parent: Some(Kind::Root), strategy: FIXED },
    Row {
        // A poison record or a bad bucket must not take the node down: a shard ends at a pause with slow retries.
        kind: Kind::Shard,
        parent: Some(Kind::Shards),
        strategy: Strategy {
            backoff: backoff(100, 10, 15),
            intensity: intensity(20, 300, Answer::Pause),
            ..WORKER
        },
    },
    // Each waits for the other when it has to: the coordinator watches what both together get done.
    Row { kind: Kind::Reader, parent: Some(Kind::Shard), strategy: Strategy { limit: None, ..PART } },
    Row { kind: Kind::Writer, parent: Some(Kind::Shard), strategy: Strategy { limit: None, ..PART } },
    Row {
        // A step hands a whole file of letters out, message by message.
        kind: Kind::Forwarder,
        parent: Some(Kind::Shard),
        strategy: Strategy { limit: Some(seconds(1_800)), ..PART },
    },
    Row { kind: Kind::CatchUp, parent: Some(Kind::Shard), strategy: LANE },
    Row { kind: Kind::Roster, parent: Some(Kind::Shard), strategy: LANE },
    Row { kind: Kind::Lane, parent: Some(Kind::Shard), strategy: LANE },
    Row { kind: Kind::Delivery, parent: Some(Kind::Lane), strategy: DELIVERY },
    Row { kind: Kind::Rates, parent: Some(Kind::Root), strategy: WORKER },
    Row { kind: Kind::Rules, parent: Some(Kind::Root), strategy: WORKER },
    Row { kind: Kind::Alarms, parent: Some(Kind::Root), strategy: WORKER },
    Row { kind: Kind::Destinations, parent: Some(Kind::Root), strategy: FIXED },
    Row { kind: Kind::Register, parent: Some(Kind::Destinations), strategy: FIXED },
    Row { kind: Kind::Destination, parent: Some(Kind::Destinations), strategy: WORKER },
    Row { kind: Kind::Hours, parent: Some(Kind::Root), strategy: FIXED },
    Row {
        kind: Kind::Hour,
        parent: Some(Kind::Hours),
        // A step may be the merge of a very large hour: what is limited is the time without an answer of a store.
        strategy: Strategy { backoff: backoff(500, 300, 60), limit: Some(seconds(1_800)), ..WORKER },
    },
    Row { kind: Kind::Intakes, parent: Some(Kind::Root), strategy: FIXED },
    Row {
        kind: Kind::Intake,
        parent: Some(Kind::Intakes),
        strategy: Strategy { backoff: backoff(500, 60, 60), ..WORKER },
    },
    Row { kind: Kind::Poller, parent: Some(Kind::Intake), strategy: WORKER },
    Row {
        kind: Kind::RawFile,
        parent: Some(Kind::Intake),
        // It owns nothing that could be taken from it: somebody else wrote the same document at the same time.
        strategy: Strategy { fenced: Rule::always(Answer::Resume), ..FILE },
    },
    Row { kind: Kind::Schedules, parent: Some(Kind::Root), strategy: FIXED },
    Row {
        kind: Kind::Schedule,
        parent: Some(Kind::Schedules),
        strategy: Strategy { backoff: backoff(500, 60, 60), ..WORKER },
    },
    Row {
        // A step lists a part of the files, on this machine all of them.
        kind: Kind::ScheduleTimer,
        parent: Some(Kind::Schedule),
        strategy: Strategy { backoff: backoff(500, 60, 60), limit: Some(seconds(1_800)), ..WORKER },
    },
    Row { kind: Kind::ScheduledFile, parent: Some(Kind::Schedule), strategy: FILE },
    Row {
        kind: Kind::Redrives,
        parent: Some(Kind::Root),
        strategy: Strategy { backoff: backoff(500, 60, 60), ..WORKER },
    },
    Row { kind: Kind::RedrivePoller, parent: Some(Kind::Redrives), strategy: WORKER },
    Row {
        // To give up means here that letters stay letters and messages go back to their queue: they come again.
        kind: Kind::Redriver,
        parent: Some(Kind::Redrives),
        strategy: Strategy {
            rejected: Rule::until(Answer::Resume, 3, Answer::DeadLetter),
            fenced: Rule::always(Answer::Resume),
            crashed: Rule::until(Answer::Restart, 3, Answer::DeadLetter),
            backoff: backoff(500, 60, 60),
            intensity: intensity(u32::MAX, 1, Answer::Resume),
            ..WORKER
        },
    },
];

/// The strategy for failures of `kind`.
pub fn strategy(kind: Kind) -> &'static Strategy {
    static FALLBACK: Strategy = FIXED;
    TREE.iter().find(|row| row.kind == kind).map_or(&FALLBACK, |row| &row.strategy)
}

/// Whether a child ends while its siblings still work. A lane waits for its requests under way, and a third party that takes its
/// time must not keep the lake from being read meanwhile.
pub const fn ends_before_its_siblings(kind: Kind) -> bool {
    matches!(kind, Kind::Lane)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_one_row_below_a_parent_that_has_one() {
        for (index, row) in TREE.iter().enumerate() {
            assert_eq!(TREE.iter().filter(|other| other.kind == row.kind).count(), 1, "{:?}", row.kind);
            if let Some(parent) = row.parent {
                assert!(TREE[..index].iter().any(|above| above.kind == parent), "{:?}", row.kind);
            }
        }
        assert_eq!(TREE.iter().filter(|row| row.parent.is_none()).count(), 1);
    }

    #[test]
    fn the_table_is_readable_as_json() {
        let row = serde_json::to_value(TREE.iter().find(|row| row.kind == Kind::Shard)).unwrap();
        assert_eq!(
            row["strategy"]["backoff"],
            serde_json::json!({"base": "100ms", "max": "10s", "probe": "15s"})
        );
        assert_eq!(row["strategy"]["intensity"]["period"], "300s");
        assert!(row["strategy"]["crashed"]["max_age"].is_null());
    }

    #[test]
    fn no_shard_no_hour_no_file_and_no_request_can_reach_the_root() {
        for kind in [
            Kind::Shard,
            Kind::Hour,
            Kind::Intake,
            Kind::Poller,
            Kind::RawFile,
            Kind::Schedule,
            Kind::ScheduleTimer,
            Kind::ScheduledFile,
            Kind::Redrives,
            Kind::RedrivePoller,
            Kind::Redriver,
        ] {
            let strategy = strategy(kind);
            for rule in [
                strategy.transient,
                strategy.throttled,
                strategy.rejected,
                strategy.unauthorized,
                strategy.fenced,
                strategy.crashed,
            ] {
                assert_ne!(rule.answer, Answer::Escalate, "{kind:?}");
                assert_ne!(rule.exhausted, Answer::Escalate, "{kind:?}");
            }
            assert_ne!(strategy.intensity.exceeded, Answer::Escalate, "{kind:?}");
        }
    }
}
