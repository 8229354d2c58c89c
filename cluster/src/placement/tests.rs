//! Properties of placement, over random clusters, weights and histories.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

type Placed = BTreeMap<String, NodeId>;
type Weights = BTreeMap<String, u64>;

fn nodes(count: usize) -> BTreeMap<NodeId, Activity> {
    (0..count).map(|node| (NodeId::from(format!("n{node:02}-1").as_str()), Activity::Active)).collect()
}

fn work(kind: &str, weights: &[u64]) -> Weights {
    weights.iter().enumerate().map(|(index, weight)| (format!("{kind}/{index:03}"), *weight)).collect()
}

fn placed(nodes: &BTreeMap<NodeId, Activity>, weights: &Weights, previous: &Placed) -> Placed {
    place(&Situation { nodes, weights, previous, pins: &BTreeMap::new() })
}

/// What each active node has of a kind.
fn sums(nodes: &BTreeMap<NodeId, Activity>, weights: &Weights, placed: &Placed, of: &str) -> Vec<u64> {
    let active = nodes.iter().filter(|(_, state)| **state == Activity::Active);
    let sum = |node: &NodeId| {
        let mine = placed.iter().filter(|(name, owner)| kind(name) == of && *owner == node);
        mine.map(|(name, _)| weights[name]).sum()
    };
    active.map(|(node, _)| sum(node)).collect()
}

fn moved<'a>(before: &'a Placed, after: &'a Placed) -> impl Iterator<Item = &'a String> {
    before
        .iter()
        .filter(|(name, node)| after.get(*name).is_some_and(|now| now != *node))
        .map(|(name, _)| name)
}

/// The bound that always holds for a kind without pins.
fn is_level(sums: &[u64], heaviest: u64) -> bool {
    let (least, most) = (sums.iter().min().unwrap(), sums.iter().max().unwrap());
    let mean = sums.iter().sum::<u64>() as f64 / sums.len() as f64;
    most - least <= heaviest && *most as f64 <= mean + heaviest as f64
}

/// A cluster's life: nodes that are there at each step, and how heavy each shard is then.
fn history() -> impl Strategy<Value = Vec<(Vec<bool>, Vec<u64>)>> {
    vec((vec(any::<bool>(), 6), vec(prop_oneof![Just(1000u64), 30u64..25_000], 1..40)), 1..8)
}

fn these(there: &[bool]) -> BTreeMap<NodeId, Activity> {
    nodes(there.len()).into_iter().zip(there).filter(|(_, there)| **there).map(|(node, _)| node).collect()
}

proptest! {
    /// Whatever comes and goes: all work is placed, on living nodes, level; placing again changes nothing; and work leaves a
    /// living owner only when the levels are too far apart.
    #[test]
    fn all_is_placed_and_level_and_stays(history in history()) {
        let mut before = Placed::new();
        for (there, weights) in history {
            let (nodes, weights) = (these(&there), work("shards", &weights));
            let after = placed(&nodes, &weights, &before);
            if nodes.is_empty() {
                prop_assert!(after.is_empty());
                continue;
            }
            prop_assert!(after.keys().eq(weights.keys()));
            prop_assert!(after.values().all(|node| nodes.contains_key(node)));
            let heaviest = *weights.values().max().unwrap();
            let sums = sums(&nodes, &weights, &after, "shards");
            prop_assert!(is_level(&sums, heaviest), "{sums:?}, heaviest {heaviest}");
            prop_assert_eq!(&placed(&nodes, &weights, &after), &after);
            before = after;
        }
    }

    /// With equal weights counts differ by one at most, after anything.
    #[test]
    fn equal_weights_give_equal_counts(there in vec(vec(any::<bool>(), 7), 1..8), shards in 1usize..60) {
        let weights = work("shards", &vec![TYPICAL_WEIGHT; shards]);
        let mut before = Placed::new();
        for there in there {
            let nodes = these(&there);
            before = placed(&nodes, &weights, &before);
            let sums = sums(&nodes, &weights, &before, "shards");
            let (least, most) = (sums.iter().min().unwrap_or(&0), sums.iter().max().unwrap_or(&0));
            prop_assert!(most - least <= TYPICAL_WEIGHT, "{sums:?}");
        }
    }

    /// A node that joins gets its part and no more is moved than that; when one leaves, only its work moves.
    #[test]
    fn only_what_must_move_moves(count in 1usize..8, shards in 1usize..60) {
        let weights = work("shards", &vec![TYPICAL_WEIGHT; shards]);
        let few = placed(&nodes(count), &weights, &Placed::new());
        let more = placed(&nodes(count + 1), &weights, &few);
        prop_assert_eq!(moved(&few, &more).count(), shards / (count + 1));
        let newcomer = nodes(count + 1).into_keys().next_back().unwrap();
        prop_assert!(moved(&few, &more).all(|name| more[name] == newcomer));
        let again = placed(&nodes(count), &weights, &more);
        prop_assert!(moved(&more, &again).all(|name| more[name] == newcomer));
    }

    /// A node that drains loses all it has at once, to nodes that do not.
    #[test]
    fn who_drains_has_nothing(count in 2usize..8, shards in 1usize..60, who in any::<prop::sample::Index>()) {
        let weights = work("shards", &vec![TYPICAL_WEIGHT; shards]);
        let mut nodes = nodes(count);
        let before = placed(&nodes, &weights, &Placed::new());
        let leaving = nodes.keys().nth(who.index(count)).unwrap().clone();
        nodes.insert(leaving.clone(), Activity::Draining);
        let after = placed(&nodes, &weights, &before);
        prop_assert_eq!(after.len(), shards);
        prop_assert!(after.values().all(|node| *node != leaving));
        prop_assert!(moved(&before, &after).all(|name| before[name] == leaving));
    }

    /// Work that an operator has put somewhere stays there while that node lives; what is left over is level as far as it goes.
    #[test]
    fn pins_are_honoured(weights in vec(30u64..25_000, 1..40), pinned in vec((any::<prop::sample::Index>(), 0usize..5), 0..12)) {
        let (nodes, weights) = (nodes(4), work("shards", &weights));
        let names: Vec<&String> = weights.keys().collect();
        let pin = |(index, node): (prop::sample::Index, usize)| {
            ((*index.get(&names)).clone(), NodeId::from(format!("n{node:02}-1").as_str()))
        };
        let pins: Placed = pinned.into_iter().map(pin).collect();
        let before = placed(&nodes, &weights, &Placed::new());
        let situation = Situation { nodes: &nodes, weights: &weights, previous: &before, pins: &pins };
        let after = place(&situation);
        prop_assert_eq!(after.len(), weights.len());
        for (name, node) in pins.iter().filter(|(_, node)| nodes.contains_key(*node)) {
            prop_assert_eq!(&after[name], node);
        }
        let again = place(&Situation { previous: &after, ..situation });
        prop_assert_eq!(again, after);
    }

    /// Kinds are placed as if there were no others; which of equally empty nodes gets a piece is all that others decide.
    #[test]
    fn kinds_are_balanced_by_themselves(shards in vec(30u64..25_000, 1..30), hours in vec(30u64..25_000, 1..30), count in 1usize..6) {
        let nodes = nodes(count);
        let (shards, hours) = (work("shards", &shards), work("hours", &hours));
        let both: Weights = shards.clone().into_iter().chain(hours.clone()).collect();
        let after = placed(&nodes, &both, &Placed::new());
        for (of, weights) in [("shards", &shards), ("hours", &hours)] {
            let sums = sums(&nodes, weights, &after, of);
            prop_assert!(is_level(&sums, *weights.values().max().unwrap()), "{of}: {sums:?}");
        }
    }
}

const TYPICAL_WEIGHT: u64 = weights::TYPICAL;

#[test]
fn few_pieces_of_many_kinds_are_spread() {
    let weights: Weights = ["hours/a", "intake/a", "shards/a"].map(|name| (name.to_owned(), 1000)).into();
    let placed = placed(&nodes(3), &weights, &Placed::new());
    assert_eq!(placed.into_values().collect::<BTreeSet<_>>().len(), 3);
}

#[test]
fn small_pieces_leave_a_node_that_has_grown_and_then_nothing_flaps() {
    let nodes = nodes(2);
    let mut weights = work("shards", &[100; 40]);
    let before = placed(&nodes, &weights, &Placed::new());
    weights.insert("shards/000".into(), 2_000);
    let after = placed(&nodes, &weights, &before);
    let moves = moved(&before, &after).count();
    assert!((5..=10).contains(&moves), "{moves} pieces moved: about half of what the big one has grown");
    assert_eq!(after["shards/000"], before["shards/000"], "the big one stays");
    weights.insert("shards/000".into(), 1_700);
    assert_eq!(placed(&nodes, &weights, &after), after, "within the marks nothing moves");
}
