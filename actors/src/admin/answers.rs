//! What all nodes say, put together. No I/O.
//!
//! What a document says any node can tell; what only the owner of a shard knows, its lag above all, replaces that.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use shardmill_cluster::NodeId;

/// What counts of a destination are added up over its lanes.
const COUNTS: &[&str] =
    &["routed", "delivered", "retried", "dead_lettered", "skipped", "pending", "parked_keys"];
/// The states of a destination, the one that matters most first.
const STATES: &[&str] = &["paused", "open", "running", "removed", "not configured"];

/// What every node says, this one first.
#[derive(Debug)]
pub(super) struct Answers {
    pub(super) all: Vec<(NodeId, Value)>,
    /// Who did not answer, and why.
    pub(super) silent: Map<String, Value>,
}

impl Answers {
    /// Rows about shards, each as the shard's owner tells it.
    pub(super) fn by_owner(self) -> Vec<Value> {
        let name = |row: &Value| ["stream", "shard", "destination"].map(|key| row[key].to_string());
        let mut rows: BTreeMap<[String; 3], Value> = BTreeMap::new();
        for (at, (node, answer)) in self.all.into_iter().enumerate() {
            for row in answer.as_array().into_iter().flatten() {
                let owned = row["owner"] == json!(node);
                if at == 0 || owned {
                    rows.insert(name(row), row.clone());
                }
            }
        }
        rows.into_values().collect()
    }

    /// The status of the node that was asked, with what is to be known of all.
    pub(super) fn status(self) -> Value {
        let of =
            |key: &str| self.all.iter().filter_map(|(_, answer)| answer[key].as_i64()).collect::<Vec<_>>();
        let (lags, uncommitted) = (of("lag_ms"), of("uncommitted"));
        let nodes: Map<String, Value> = self
            .all
            .iter()
            .map(|(node, said)| {
                (
                    node.to_string(),
                    json!({"lag_ms": said["lag_ms"], "calls_per_minute": said["calls_per_minute"]}),
                )
            })
            .collect();
        let mut status = self.all[0].1.clone();
        status["lag_ms"] = lags.into_iter().max().into();
        status["uncommitted"] = uncommitted.into_iter().sum::<i64>().into();
        (status["intakes"], status["schedules"]) = (self.intakes(), self.schedules());
        (status["cluster"], status["silent"]) = (nodes.into(), self.silent.clone().into());
        status["alarms"] = self.alarms();
        status
    }

    /// What all nodes together have done for each intake. One polls its queue at a time.
    fn intakes(&self) -> Value {
        const ADDED: &[&str] = &["in_hand", "files", "rows", "dead_letters", "files_given_up", "repeated"];
        let mut all: BTreeMap<String, Value> = BTreeMap::new();
        for said in self.all.iter().flat_map(|(_, status)| status["intakes"].as_array().into_iter().flatten())
        {
            match all.get_mut(said["intake"].as_str().unwrap_or_default()) {
                None => _ = all.insert(said["intake"].as_str().unwrap_or_default().to_owned(), said.clone()),
                Some(one) => {
                    for count in ADDED {
                        one[*count] = (one[*count].as_u64().unwrap_or_default()
                            + said[*count].as_u64().unwrap_or_default())
                        .into();
                    }
                    if one["watermark"].is_null() {
                        one["watermark"] = said["watermark"].clone();
                    }
                }
            }
        }
        all.into_values().collect()
    }

    /// Every schedule as the node tells it that runs it; as the one that was asked does, where nobody runs it.
    pub(super) fn schedules(&self) -> Value {
        let mut all: BTreeMap<String, Value> = BTreeMap::new();
        for (_, said) in &self.all {
            let rows = if said.is_array() { said } else { &said["schedules"] };
            for row in rows.as_array().into_iter().flatten() {
                let name = row["schedule"].as_str().unwrap_or_default().to_owned();
                if !all.contains_key(&name) || !row["owner"].is_null() {
                    all.insert(name, row.clone());
                }
            }
        }
        all.into_values().collect()
    }

    /// Everything that somebody should look at, once, with the nodes that say so.
    pub(super) fn alarms(&self) -> Value {
        let mut all: BTreeMap<String, Value> = BTreeMap::new();
        for (node, answer) in &self.all {
            let alarms = if answer.is_array() { answer } else { &answer["alarms"] };
            for alarm in alarms.as_array().into_iter().flatten() {
                let name = format!("{}/{}", alarm["alarm"], alarm["at"]);
                let entry = all.entry(name).or_insert_with(|| {
                    let mut alarm = alarm.clone();
                    alarm["nodes"] = json!([]);
                    alarm
                });
                if let Some(nodes) = entry["nodes"].as_array_mut() {
                    nodes.push(json!(node));
                }
            }
        }
        all.into_values().collect()
    }

    /// The table, and the actors of every node.
    pub(super) fn tree(mut self) -> Value {
        let mut whole = self.all[0].1.clone();
        let nodes = self.all.iter_mut().map(|(node, tree)| (node.to_string(), tree["actors"].take()));
        whole["nodes"] = nodes.collect::<Map<_, _>>().into();
        whole["silent"] = self.silent.into();
        whole
    }

    /// Every destination, with the state that matters most, and what all its `lanes` have done.
    pub(super) fn destinations(&self, lanes: &[Value]) -> Value {
        let mut all: BTreeMap<String, Value> = BTreeMap::new();
        for (node, answer) in &self.all {
            for said in answer.as_array().into_iter().flatten() {
                let name = said["destination"].as_str().unwrap_or_default();
                let one = all.entry(name.to_owned()).or_insert_with(|| {
                    let mut one = said.clone();
                    COUNTS.iter().for_each(|count| one[*count] = 0.into());
                    (one["caught_up"], one["nodes"]) = (true.into(), json!({}));
                    one
                });
                let place = |state: &Value| STATES.iter().position(|known| state == *known);
                if place(&said["state"]) < place(&one["state"]) {
                    for key in ["state", "reason", "breaker"] {
                        one[key] = said[key].clone();
                    }
                }
                one["nodes"][node.as_str()] = json!({
                    "state": said["state"], "breaker": said["breaker"], "concurrency": said["concurrency"],
                    "under_way": said["under_way"],
                });
            }
        }
        for lane in lanes {
            let Some(one) = all.get_mut(lane["destination"].as_str().unwrap_or_default()) else { continue };
            for count in COUNTS {
                let sum =
                    one[*count].as_u64().unwrap_or_default() + lane[*count].as_u64().unwrap_or_default();
                one[*count] = sum.into();
            }
            if lane["caught_up"] != true {
                one["caught_up"] = false.into();
            }
        }
        all.into_values().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answers(all: &[(&str, Value)]) -> Answers {
        let all = all.iter().map(|(node, said)| (NodeId::from(*node), said.clone())).collect();
        let silent = Map::from_iter([("c".to_owned(), json!("it does not answer"))]);
        Answers { all, silent }
    }

    fn shard(shard: &str, owner: Option<&str>, lag: Option<i64>) -> Value {
        json!({"stream": "web", "shard": shard, "owner": owner, "lag_ms": lag})
    }

    #[test]
    fn a_shard_is_told_as_its_owner_tells_it_and_one_without_owner_by_who_was_asked() {
        let of = |mine: Option<i64>, theirs: Option<i64>| {
            json!([shard("1", Some("a"), mine), shard("2", Some("b"), theirs), shard("3", None, None)])
        };
        let merged = answers(&[("a", of(Some(1), None)), ("b", of(None, Some(2)))]).by_owner();
        let told = [shard("1", Some("a"), Some(1)), shard("2", Some("b"), Some(2)), shard("3", None, None)];
        assert_eq!(merged, told);
    }

    #[test]
    fn a_shard_whose_owner_is_silent_is_not_left_out() {
        let merged = answers(&[("a", json!([shard("1", Some("c"), None)])), ("b", json!([]))]).by_owner();
        assert_eq!(merged, [shard("1", Some("c"), None)]);
    }

    #[test]
    fn the_cluster_lags_as_far_as_its_slowest_node_and_names_who_is_silent() {
        let said = |lag: Option<i64>, uncommitted: u64| {
            json!({"node": "whoever", "lag_ms": lag, "uncommitted": uncommitted, "calls_per_minute": {},
                "alarms": [], "intakes": []})
        };
        let status = answers(&[("a", said(None, 3)), ("b", said(Some(70), 4))]).status();
        assert_eq!((&status["lag_ms"], &status["uncommitted"]), (&json!(70), &json!(7)));
        assert_eq!(status["cluster"]["b"]["lag_ms"], 70);
        assert_eq!(status["silent"], json!({"c": "it does not answer"}));
        let idle = answers(&[("a", said(None, 0)), ("b", said(None, 0))]).status();
        assert_eq!(idle["lag_ms"], Value::Null);
    }

    #[test]
    fn what_nodes_did_for_an_intake_is_added_up_and_its_watermark_is_the_pollers() {
        let said = |rows: u64, watermark: Value| json!({"alarms": [], "intakes": [{"intake": "raw", "rows": rows, "watermark": watermark}]});
        let status = answers(&[("a", said(3, Value::Null)), ("b", said(4, json!(9)))]).status();
        assert_eq!(
            (&status["intakes"][0]["rows"], &status["intakes"][0]["watermark"]),
            (&json!(7), &json!(9))
        );
    }

    #[test]
    fn a_schedule_is_told_as_the_node_tells_it_that_runs_it() {
        let said =
            |owner: Option<&str>, rows: u64| json!([{"schedule": "daily", "owner": owner, "rows": rows}]);
        let of = |all: &[(&str, Value)]| answers(all).schedules()[0]["rows"].clone();
        assert_eq!(of(&[("a", said(None, 0)), ("b", said(Some("b"), 7)), ("c", said(None, 0))]), 7);
        assert_eq!(of(&[("a", said(None, 1)), ("b", said(None, 2))]), 1);
        let status = |rows: Value| json!({"alarms": [], "schedules": rows});
        let merged = answers(&[("a", status(said(None, 0))), ("b", status(said(Some("b"), 3)))]).status();
        assert_eq!(merged["schedules"][0]["rows"], 3);
    }

    #[test]
    fn an_alarm_is_told_once_with_all_nodes_that_raise_it() {
        let alarm = |at: &str| json!({"alarm": "paused", "at": at});
        let alarms =
            answers(&[("a", json!([alarm("crm")])), ("b", json!([alarm("crm"), alarm("mail")]))]).alarms();
        assert_eq!(
            alarms,
            json!([
                {"alarm": "paused", "at": "crm", "nodes": ["a", "b"]},
                {"alarm": "paused", "at": "mail", "nodes": ["b"]},
            ])
        );
    }

    #[test]
    fn a_destination_has_the_worst_state_of_all_nodes_and_the_counts_of_all_lanes() {
        let said = |state: &str, reason: Value| json!([{"destination": "crm", "state": state, "reason": reason, "breaker": null, "delivered": 99}]);
        let lane = |delivered: u64, caught_up: bool| json!({"destination": "crm", "delivered": delivered, "caught_up": caught_up});
        let nodes =
            answers(&[("a", said("running", Value::Null)), ("b", said("paused", json!("a wrong token")))]);
        let all = nodes.destinations(&[lane(2, true), lane(5, false)]);
        let crm = &all[0];
        assert_eq!((&crm["state"], &crm["reason"]), (&json!("paused"), &json!("a wrong token")));
        assert_eq!((&crm["delivered"], &crm["caught_up"]), (&json!(7), &json!(false)));
        assert_eq!(crm["nodes"]["a"]["state"], "running");
    }

    #[test]
    fn the_tree_has_the_actors_of_every_node() {
        let said = |actors: Value| json!({"table": ["a row"], "actors": actors});
        let tree = answers(&[("a", said(json!(["one"]))), ("b", said(json!(["two"])))]).tree();
        assert_eq!(tree["nodes"], json!({"a": ["one"], "b": ["two"]}));
        assert_eq!(tree["table"], json!(["a row"]));
    }
}
