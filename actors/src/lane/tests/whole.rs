//! Lanes in a running node: how they begin and end, what becomes of parked keys, and of what the stream is about to trim.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use serde_json::json;
use shardmill_connectors::clock::Millis;
use shardmill_connectors::ports::Stream;
use shardmill_connectors::record::ShardId;

use crate::dead_letters::Selection;
use crate::destination::gate::Entry;
use crate::state::lane::LaneState;
use crate::state::{Counts, ShardState};
use crate::testing::{PATIENT, Site, tombstone};
use crate::tree::Kind;

type Documents = BTreeMap<ShardId, ShardState>;

fn lanes<'a>(documents: &'a Documents, destination: &'a str) -> impl Iterator<Item = &'a LaneState> {
    documents.values().filter_map(move |shard| shard.lanes.get(destination))
}

fn counts(documents: &Documents, destination: &str) -> Counts {
    let mut all = Counts::default();
    lanes(documents, destination).for_each(|lane| all += lane.counts);
    all
}

/// Events that the lanes which are not frozen hold apart.
fn parked(documents: &Documents) -> u64 {
    let open = lanes(documents, "crm").filter(|lane| !lane.frozen);
    open.filter_map(|lane| lane.parked.as_ref()).map(|parked| parked.events).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destination_gets_its_lanes_drains_them_and_loses_them() {
    let site = Site::start(None, 16 << 20).await;
    site.put("a", 0..20).await;
    site.put("b", 0..20).await;
    site.until("both keys delivered", |all| counts(all, "crm").delivered == 40).await;
    site.configure(&["crm", "late"]).await;
    site.until("the new destination has everything", |all| counts(all, "late").delivered == 40).await;
    let removed = json!({"destination": "crm", "how": "drain"});
    site.node.admin.request("lanes/remove", removed).await.unwrap();
    site.until("the drained lanes are gone", |all| {
        lanes(all, "crm").count() == 0 && lanes(all, "late").count() == 2
    })
    .await;
    assert_eq!(site.crm.took("a").len(), 40, "twenty each for two destinations");
    site.crm.refuses(&["b"]);
    site.put("b", 20..30).await;
    site.until("what is refused is parked", |all| counts(all, "late").routed == 50).await;
    let removed = json!({"destination": "late", "how": "drop"});
    site.node.admin.request("lanes/remove", removed).await.unwrap();
    site.until("the dropped lanes are gone", |all| lanes(all, "late").count() == 0).await;
    assert_eq!(site.crm.took("b").len(), 40);
    site.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_children_of_a_split_take_over_what_is_parked() {
    let site = Site::start(None, 16 << 20).await;
    let keys: Vec<String> = (0..12).map(|n| format!("k{n}")).collect();
    let refused: Vec<&str> = keys.iter().take(6).map(String::as_str).collect();
    site.crm.refuses(&refused);
    for key in &keys {
        site.put(key, 0..5).await;
    }
    let steady = site.steady(&keys[6..8]);
    site.until("what is refused is parked", |all| parked(all) == 30).await;
    for shard in site.stream.shards().await.unwrap() {
        let middle = shard.range.start / 2 + shard.range.end / 2;
        site.stream.split(&shard.id, middle).await.unwrap();
    }
    for key in &keys {
        site.put(key, 5..8).await;
    }
    site.until("the parents are frozen, the children hold the parked", |all| {
        lanes(all, "crm").filter(|lane| lane.frozen).count() == 2 && parked(all) == 48
    })
    .await;
    steady.abort();
    site.crm.refuses(&[]);
    site.until("everything is delivered", |all| {
        let counts = counts(all, "crm");
        (counts.dead_lettered, counts.pending(), parked(all)) == (0, 0, 0) && counts.routed >= 96
    })
    .await;
    for key in &keys {
        let took = site.crm.took(key).into_iter().filter(|n| *n < 8).collect::<Vec<_>>();
        assert_eq!(took, (0..8).collect::<Vec<_>>(), "{key}: once, in order");
    }
    site.node.stop().await;
}

/// A shard between two reshardings may be read to its end by the lake, and have nothing more to do for it, long before the lane
/// of its parent has come to an end: its own lane is still to come.
#[tokio::test(flavor = "multi_thread")]
async fn a_shard_that_the_lake_is_done_with_waits_for_the_lanes_of_its_parents() {
    let site = Site::start(None, 16 << 20).await;
    let keys: Vec<String> = (0..12).map(|n| format!("k{n}")).collect();
    site.until("the lanes are there", |all| lanes(all, "crm").count() == 2).await;
    site.crm.is_silent(true);
    for generation in 0..3 {
        for key in &keys {
            site.put(key, generation * 3..generation * 3 + 3).await;
        }
        for shard in site.stream.shards().await.unwrap() {
            let middle = shard.range.start / 2 + shard.range.end / 2;
            // Those that are closed already are only so once.
            let _ = site.stream.split(&shard.id, middle).await;
        }
    }
    let ended = |all: &Documents| all.values().filter(|shard| shard.ended).count();
    site.until("the lake has read three generations", |all| ended(all) == 2 + 4 + 8).await;
    site.node.admin.request("compact", json!({})).await.unwrap();
    let idle = |shard: &&ShardState| shard.segments.is_empty() && shard.dead_letters.is_empty();
    site.until("the lake is done with them", |all| {
        all.len() == 30 && all.values().filter(|shard| shard.ended).all(|shard| idle(&shard))
    })
    .await;
    site.crm.is_silent(false);
    let taken = || keys.iter().map(|key| site.crm.took(key).len()).sum::<usize>();
    site.until("everything is delivered", |_| taken() == 12 * 9).await;
    for key in &keys {
        assert_eq!(site.crm.took(key), (0..9).collect::<Vec<_>>(), "{key}: once, in order");
    }
    site.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_about_to_be_trimmed_leaves_the_lane_even_where_parked_keys_fill_it() {
    // Room for some fifty events; the stream says that it keeps records for three seconds.
    let site = Site::start(Some(Duration::from_secs(3)), 64 << 10).await;
    let bad: Vec<String> = (0..150).map(|n| format!("bad{n}")).collect();
    site.crm.refuses(&bad.iter().map(String::as_str).collect::<Vec<_>>());
    for key in &bad {
        site.put(key, 0..1).await;
        site.put("good", 0..1).await;
    }
    // What still fits may stay parked; on a slow machine, what could be delivered may have had to wait for room too long.
    site.until("everything was read, and has found its place", |all| {
        let counts = counts(all, "crm");
        counts.routed == 300 && counts.pending() == parked(all) && counts.dead_lettered > 0
    })
    .await;
    let mut ranges = 0;
    for object in site.node.shared.ports.objects.list("").await.unwrap() {
        ranges += usize::from(object.key.contains("range"));
    }
    assert!(ranges > 0, "what was refused is in objects, with one letter for each");
    assert!(bad.iter().all(|key| site.crm.took(key).is_empty()));
    site.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_fails_now_and_then_loses_and_doubles_nothing() {
    let site = Site::start(None, 16 << 20).await;
    site.crm.refuses(&["bad"]);
    for round in 0..10 {
        site.objects.failing.store(3, Ordering::Release);
        site.put("bad", round * 2..round * 2 + 2).await;
        site.put("good", round * 5..round * 5 + 5).await;
        let routed = (round + 1) * 7;
        site.until("taken in", |all| counts(all, "crm").routed == routed).await;
    }
    site.crm.refuses(&[]);
    site.until("all delivered", |all| {
        let counts = counts(all, "crm");
        (counts.delivered, counts.dead_lettered) == (70, 0)
    })
    .await;
    assert_eq!(site.crm.took("bad"), (0..20).collect::<Vec<_>>());
    assert_eq!(site.crm.took("good"), (0..50).collect::<Vec<_>>());
    site.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_third_party_that_takes_its_time_does_not_keep_a_shard_that_moves_from_being_read() {
    let site = Site::start(None, 16 << 20).await;
    site.crm.is_silent(true);
    site.put("a", 0..5).await;
    let rows = |all: &Documents| all.values().map(|shard| shard.read.rows).sum::<u64>();
    // The other shard has nothing under way, and goes at once.
    let epochs = |all: &Documents| {
        let busy = all.values().filter(|shard| shard.read.rows > 0);
        busy.map(|shard| shard.ownership.epoch).collect::<Vec<_>>()
    };
    let under_way = || site.node.shared.lanes.all().values().any(|lane| lane.in_flight > 0);
    site.until("read, and on its way", |all| rows(all) == 5 && under_way()).await;
    let shards = site.node.shared.control.pool(Kind::Shards).unwrap();
    for shard in site.stream.shards().await.unwrap() {
        shards.remove(format!("events/{}", shard.id));
    }
    site.put("a", 5..10).await;
    site.until("the owner that is asked to go goes on reading", |all| rows(all) == 10 && epochs(all) == [1])
        .await;
    site.crm.is_silent(false);
    site.until("the next owner goes on", |all| counts(all, "crm").delivered == 10).await;
    assert_eq!(site.crm.took("a"), (0..10).collect::<Vec<_>>(), "once, in order");
    site.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_breaks_a_rule_of_the_third_party_is_never_sent_holds_nobody_up_and_is_redriven_by_a_node() {
    let site = Site::start(None, 16 << 20).await;
    site.crm.has_no_form_for(&["unfit"]);
    for n in 0..10 {
        site.put("unfit", n..n + 1).await;
        site.put("good", n..n + 1).await;
    }
    site.until("all have ended", |all| {
        let counts = counts(all, "crm");
        // Letters are found once their files are in the index.
        let forwarded = all.values().all(|shard| shard.dead_letters.is_empty());
        forwarded
            && (counts.routed, counts.delivered, counts.dead_lettered, counts.retried) == (20, 10, 10, 0)
    })
    .await;
    assert_eq!((site.crm.took("unfit").len(), site.crm.took("good").len()), (0, 10));
    let ask = async |more: serde_json::Value| site.node.admin.request("redrive", more).await;
    let asked = json!({"destination": "crm", "dry_run": true});
    assert_eq!(ask(asked).await.unwrap()["result"]["selected"], 10);
    assert!(ask(json!({"destinaton": "crm"})).await.is_err(), "a slip of the pen redrives nothing");
    site.crm.has_no_form_for(&[]);
    let asked = json!({"destination": "crm", "by": "a test"});
    assert_eq!(ask(asked.clone()).await.unwrap()["result"]["delivered"], 10);
    assert_eq!(ask(asked).await.unwrap()["result"]["selected"], 0, "they are settled");
    assert_eq!(site.crm.took("unfit"), (0..10).collect::<Vec<_>>());
    let audit = site.node.admin.request("audit", json!({})).await.unwrap();
    assert_eq!((&audit[0]["command"], &audit[0]["by"]), (&json!("redrive"), &json!("a test")));
    site.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_given_up_of_people_who_were_erased_becomes_no_letter() {
    let site = Site::start(None, 16 << 20).await;
    let ports = site.node.shared.ports.clone();
    // Everything that comes now was received before.
    tombstone(&ports.documents, "/userId=theirs", Millis::now().plus(3_600_000)).await;
    site.crm.has_no_form_for(&["theirs", "others"]);
    for key in ["theirs", "others"] {
        site.put(key, 0..5).await;
    }
    site.until("all are given up, and in the index", |all| {
        all.values().all(|shard| shard.dead_letters.is_empty()) && counts(all, "crm").dead_lettered == 10
    })
    .await;
    let all = Selection { erased: true, ..Selection::default() };
    let keys: Vec<String> =
        all.find(&ports).await.unwrap().into_iter().map(|found| found.letter.key).collect();
    assert_eq!(keys, ["others"; 5]);
    site.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_wants_to_be_left_alone_gets_no_other_request_meanwhile() {
    let site = Site::start(None, 16 << 20).await;
    let hour = Duration::from_secs(3_600);
    site.crm.wants_rest(hour);
    site.put("a", 0..1).await;
    site.until("it has answered", |all| counts(all, "crm").delivered == 1).await;
    let mut gate = site.node.shared.destinations.get("crm").unwrap().gate();
    let now = Instant::now();
    assert!(
        matches!(gate.enter(1, now), Entry::At(then) if then > now + hour / 2),
        "all is well, and it waits"
    );
    site.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lane_without_room_waits_for_no_more_events() {
    let site = Site::start(None, 128 << 10).await;
    site.configure(&["crm", PATIENT]).await;
    for n in 0..300 {
        site.put(&format!("k{n}"), 0..1).await;
    }
    site.until("all but what has room has gone out", |all| counts(all, PATIENT).delivered >= 150).await;
    site.node.stop().await;
}
