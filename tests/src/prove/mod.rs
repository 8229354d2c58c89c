//! Proofs: named, repeatable, seeded programs, one for each big claim.

pub mod aws;
pub mod bad_input;
pub mod big_hour;
mod broken_files;
pub mod cluster;
mod crash_erase;
mod crash_intake;
mod crash_lanes;
pub mod crash_points;
mod crash_raw;
mod crash_redelivery;
mod crash_requests;
mod crash_schedules;
pub mod deliveries;
pub mod demo;
pub mod faults_aws;
pub mod full_disk;
pub mod hostile;
pub mod intake;
pub mod isolation;
pub mod kill;
pub mod kill_aws;
pub mod lake_storm;
pub mod memory;
pub mod mend_and_redrive;
pub mod order_under_failure;
pub mod planted_faults;
pub mod poison;
pub mod real_input;
pub mod reshard;
pub mod schedules;
pub mod storm;
pub mod wrong_token;

use std::path::PathBuf;

use futures::future::{BoxFuture, FutureExt};
use serde_json::Value;

/// What a proof is run with.
#[derive(Debug, Clone)]
pub struct Options {
    /// A size that fits continuous integration, in place of the claim's.
    pub short: bool,
    /// What makes chance repeatable.
    pub seed: u64,
    /// A folder with real input, for proofs that want some.
    pub data: Option<PathBuf>,
}

/// A proof: its figures when it holds, the reason when it does not.
pub type Outcome = Result<Value, String>;

/// A named proof.
#[derive(Clone, Copy)]
pub struct Proof {
    /// Its name.
    pub name: &'static str,
    /// What it shows, in one sentence.
    pub shows: &'static str,
    /// The program.
    pub run: fn(Options) -> BoxFuture<'static, Outcome>,
}

impl std::fmt::Debug for Proof {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

/// Every proof.
pub const PROOFS: &[Proof] = &[
    Proof {
        name: "kill-embedded",
        shows: "SIGKILL at random moments under load: every acknowledged event is in the lake or a dead letter once, none is invented, every object is accounted for",
        run: |options| kill::run(options).boxed(),
    },
    Proof {
        name: "crash-points",
        shows: "a stop at every named point between two durable steps loses and doubles nothing",
        run: |options| crash_points::run(options).boxed(),
    },
    Proof {
        name: "reshard-embedded",
        shows: "splits and merges under load, two levels deep, with kills and a destination that is out of service: nothing lost or doubled in the lake, every event delivered or a dead letter, order per key kept",
        run: |options| reshard::run(options).boxed(),
    },
    Proof {
        name: "schedules",
        shows: "membership, leader, plan and ownership in random schedules in virtual time, with lost replies, late writes, kills, pauses and skewed clocks: one owner, nothing committed twice, no send by who is suspended, and in the end everything where it is planned",
        run: |options| schedules::run(options).boxed(),
    },
    Proof {
        name: "demo",
        shows: "the demo ends by itself with balanced books, one file per hour, and SQL on its data agrees with what it told",
        run: |options| demo::run(options).boxed(),
    },
    Proof {
        name: "planted-faults",
        shows: "a lost or doubled segment, flipped bits, a partition unregistered or elsewhere, an orphan, a lost manifest, documents rolled back: verification finds each and nothing else, a repair does what it says, and a lake that is being written has no finding",
        run: |options| planted_faults::run(options).boxed(),
    },
    Proof {
        name: "real-input",
        shows: "real files through schema inference, the collector and the lake: SQL says of them what DuckDB says of the files, before and after compaction",
        run: |options| real_input::run(options).boxed(),
    },
    Proof {
        name: "bad-input",
        shows: "every file of JSONTestSuite gets its verdict and what is accepted equals its row; broken configurations and schemas are told with file, line, key and remedy",
        run: |options| bad_input::run(options).boxed(),
    },
    Proof {
        name: "full-disk",
        shows: "a full disk ends in refused events with the reason; once there is space everything acknowledged is in the lake once, and the node never died",
        run: |options| full_disk::run(options).boxed(),
    },
    Proof {
        name: "memory",
        shows: "64 shards and a blocked lake writer: resident memory stays within the limit and a stated constant, reading stops, and later everything arrives once",
        run: |options| memory::run(options).boxed(),
    },
    Proof {
        name: "big-hour",
        shows: "an hour of 1,000 segments and 50 million rows, some of them small and some offered again as late rows, becomes one generation within the memory that any other hour takes",
        run: |options| big_hour::run(options).boxed(),
    },
    Proof {
        name: "order-under-failure",
        shows: "a receiver that throttles, resets, forgets to answer and refuses, and SIGKILLs with requests in flight: nothing is missing, every key is in order, and only what could not be known is repeated",
        run: |options| order_under_failure::run(options).boxed(),
    },
    Proof {
        name: "isolation",
        shows: "one destination refuses everything: the lake and the healthy destination keep their lag, memory stays within the limit, and later everything arrives in order",
        run: |options| isolation::run(options).boxed(),
    },
    Proof {
        name: "storm",
        shows: "six third parties, of which one is down, one throttles to a tenth, one refuses items inside batches, one never answers now and then, one revokes its token: the lake and the sixth keep their lag and come to their end meanwhile; later every event is delivered in order or a dead letter with its reason, within the memory limit",
        run: |options| storm::run(options).boxed(),
    },
    Proof {
        name: "wrong-token",
        shows: "a destination that answers 401 pauses within one batch, buries nothing and says what to do; corrected and resumed, everything arrives in order",
        run: |options| wrong_token::run(options).boxed(),
    },
    Proof {
        name: "mend-and-redrive",
        shows: "events that a schema or a destination refused are found by reason, mended and redriven by a command that is killed twice: one row in its own hour, one more delivery to the destination that failed",
        run: |options| mend_and_redrive::run(options).boxed(),
    },
    Proof {
        name: "lake-storm",
        shows: "a node is killed again and again while late events come, the schema grows twice, and commands replay, edit and redrive without a pause: every acknowledged event is one row of its hour or one dead letter, and a deep verification finds nothing",
        run: |options| lake_storm::run(options).boxed(),
    },
    Proof {
        name: "intake",
        shows: "files as Firehose writes them, announced in a queue, some twice, one corrupt, one late by a day, while the node is killed: every row is there once, in its hour",
        run: |options| intake::run(options).boxed(),
    },
    Proof {
        name: "poison",
        shows: "an event that panics a lane or the standardiser, or aborts the process, ends as one dead letter of everybody whom it harms; restarts are counted and bounded, and everything else arrives",
        run: |options| poison::run(options).boxed(),
    },
    Proof {
        name: "hostile",
        shows: "garbage, huge lengths, wrong and missing certificates, stalled handshakes, exhausted descriptors and a meddling relay at the port for nodes: every request is answered, memory and logs stay small, nothing forged is done",
        run: |options| hostile::run(options).boxed(),
    },
    Proof {
        name: "failover",
        shows: "SIGKILL of workers and leaders under load, on both backends: all their shards are read by others within seconds, nothing is lost, keys stay in order",
        run: |options| cluster::failover::run(options).boxed(),
    },
    Proof {
        name: "zombie",
        shows: "a node stopped for longer than its lease loses its shards; when it wakes up it commits nothing, starts no request, and comes back as another",
        run: |options| cluster::zombie::run(options).boxed(),
    },
    Proof {
        name: "rolling-restart",
        shows: "all nodes in turn end in good order and start again, under load: events once in the lake, in order per key, nothing delivered twice, no shard unread for long",
        run: |options| cluster::rolling_restart::run(options).boxed(),
    },
    Proof {
        name: "scale",
        shows: "from one node to five and back: work is spread evenly, by load where loads differ, and no shard moves that need not",
        run: |options| cluster::scale::run(options).boxed(),
    },
    Proof {
        name: "store-outage",
        shows: "documents away for everybody: nobody is declared dead, collectors go on, all resume with unchanged epochs; away for one node, or peers cut off: never two owners, no hand is needed",
        run: |options| cluster::store_outage::run(options).boxed(),
    },
    Proof {
        name: "blocked-sink",
        shows: "a destination that takes connections and never answers: no lease is lost, memory is bounded, and when it answers it gets everything in order",
        run: |options| cluster::blocked_sink::run(options).boxed(),
    },
    Proof {
        name: "aws",
        shows: "the demo's pipeline on Kinesis, S3, SQS and Athena gives the same counts and the same answers to the same SQL as on the embedded backends",
        run: |options| aws::run(options).boxed(),
    },
    Proof {
        name: "kill-aws",
        shows: "SIGKILL again and again while a producer writes plain and packed records to Kinesis and the stream is split and merged twice: each user record once in the lake, each key in order at the destination",
        run: |options| kill_aws::run(options).boxed(),
    },
    Proof {
        name: "faults-aws",
        shows: "a quarter of all calls to AWS fail at random, by errors, resets, delays and lost replies: the job still finishes, with nothing lost and nothing doubled",
        run: |options| faults_aws::run(options).boxed(),
    },
];

/// Says what happens, on stderr.
pub fn tell(line: impl AsRef<str>) {
    eprintln!("  {}", line.as_ref());
}
