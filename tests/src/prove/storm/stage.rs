//! Where the storm takes place: a node with the lake and the six third parties, what is waited for, and what is seen meanwhile.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::sync::watch;

use super::Size;
use super::cast::{CAST, Player, Trouble, dress, token};
use super::judge::{self, Letter, Sight};
use crate::harness::{Book, Cli, Feed, Node, Sampler, Setup};
use crate::prove::deliveries::lag::{self, Lags};
use crate::prove::deliveries::pairs::{LIMIT, Measured};
use crate::prove::deliveries::{self, Looks, PATIENCE, State, check};
use crate::prove::kill::CONFIG;
use crate::prove::tell;

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Stage {
    size: Size,
    seed: u64,
    in_trouble: bool,
    players: Vec<Player>,
    setup: Setup,
    node: Node,
    memory: Sampler,
    looks: Looks,
    began: Instant,
    /// What happened when, in seconds.
    timeline: Vec<(String, f64)>,
}

impl Stage {
    /// Starts everything; `in_trouble` says whether the third parties are well or each in its trouble.
    pub(super) async fn start(
        size: Size,
        seed: u64,
        in_trouble: bool,
        folder: &Path,
    ) -> Result<Stage, String> {
        let mut players = Vec::new();
        for part in CAST {
            players.push(Player::start(part, size, seed, in_trouble).await?);
        }
        let shards = CONFIG.replace("shards = 4", &format!("shards = {}", size.shards));
        let sections: String = players.iter().map(Player::section).collect();
        let config = format!("{shards}{sections}[memory]\nlimit = \"{}MiB\"\n", LIMIT >> 20);
        let setup = Setup::new(&folder.join("data"), Some(&config));
        let node = Node::start(&setup).await?;
        let (memory, looks) = (Sampler::start(&node)?, Looks::start(&node));
        let (began, timeline) = (Instant::now(), Vec::new());
        Ok(Stage { size, seed, in_trouble, players, setup, node, memory, looks, began, timeline })
    }

    fn note(&mut self, what: impl Into<String>) {
        let (what, at) = (what.into(), self.began.elapsed().as_secs_f64());
        tell(format!("{at:6.1} s: {what}"));
        self.timeline.push((what, at));
    }

    /// Those in one of these troubles.
    fn of<'a>(&'a self, troubles: &'a [Trouble]) -> impl Iterator<Item = &'a Player> {
        self.players.iter().filter(move |player| troubles.contains(&player.part.trouble))
    }

    /// Sends everything at an even pace. Midway an access token is revoked.
    pub(super) async fn feed(&mut self) -> Result<Book, String> {
        let mut feed = Feed::new(self.size.events, self.size.keys, self.seed).shaped(|_, event| dress(event));
        feed.together = 5;
        feed.every = Duration::from_millis(1_000 * feed.together * feed.senders / self.size.per_second);
        let (_open, at) = watch::channel(self.node.collector.clone());
        let mut feeding = feed.start(at);
        let half = self.size.events / 2;
        // An error means that sending has ended early: the book says why.
        if self.in_trouble && feeding.progress.wait_for(|sent| *sent >= half).await.is_ok() {
            for player in self.of(&[Trouble::Revoked]) {
                player.receiver.change(|script| script.authorization = Some(token(2)));
            }
            self.note("half is sent; a token is revoked");
        }
        let book = feeding.book().await?;
        self.note("everything is sent");
        match book.values().all(|offered| offered.acknowledged) {
            true => Ok(book),
            false => Err("the collector did not acknowledge everything: lags would mean nothing".into()),
        }
    }

    /// Waits until the fine third party and the lake have everything.
    pub(super) async fn undisturbed(&mut self, book: &Book) -> Result<(), String> {
        self.finished(&[Trouble::None], book).await?;
        if let Err(error) = self.looks.until(self.size.events).await {
            return Err(format!("{error}; shards: {}", self.node.ask("shards").await?));
        }
        self.note("the lake and the fine third party have everything");
        Ok(())
    }

    /// Waits until those in these troubles have everything they take, and nothing is left to do for them.
    pub(super) async fn finished(&mut self, troubles: &[Trouble], book: &Book) -> Result<(), String> {
        let kinds: Vec<&str> = self.of(troubles).map(|player| player.part.kind).collect();
        tell(format!("waiting for {}", kinds.join(", ")));
        for player in self.of(troubles) {
            if let Err(error) = self.one_finished(player, book).await {
                let seen = self.sight(player).await;
                return Err(format!("{} does not come to its end: {error}; {seen:?}", player.part.kind));
            }
        }
        self.note(format!("finished: {}", kinds.join(", ")));
        Ok(())
    }

    async fn one_finished(&self, player: &Player, book: &Book) -> Result<(), String> {
        let due = book.keys().filter(|id| player.receiver.refusal(id).is_none()).count() as u64;
        deliveries::arrived(&player.receiver, |tally| tally.events >= due).await?;
        let state = deliveries::until(&self.node, player.part.kind, PATIENCE, State::is_done).await?;
        judge::balanced(&state, self.size.events, due)
    }

    /// What is to be seen of all third parties now.
    pub(super) async fn sights(&self) -> Result<Vec<Sight>, String> {
        let mut sights = Vec::new();
        for player in &self.players {
            sights.push(self.sight(player).await?);
        }
        Ok(sights)
    }

    async fn sight(&self, player: &Player) -> Result<Sight, String> {
        let kind = player.part.kind;
        let lanes = self.node.ask("lanes").await?;
        let mut reasons: Vec<String> = lanes
            .as_array()
            .into_iter()
            .flatten()
            .filter(|lane| lane["destination"] == kind)
            .filter_map(|lane| lane["reason"].as_str().map(str::to_owned))
            .collect();
        reasons.sort_unstable();
        reasons.dedup();
        let state = deliveries::state(&self.node, kind).await?;
        Ok(Sight { part: player.part, tally: player.receiver.tally(), state, reasons })
    }

    /// The one that is down comes back, and the throttling ends: at a tenth it would take nine times as long again.
    pub(super) fn calm(&mut self) {
        for player in self.of(&[Trouble::Down, Trouble::Throttled]) {
            player.receiver.change(|script| (script.outage, script.throttle) = (None, None));
        }
        self.note("the one that was down is back, and the throttling has ended");
    }

    /// Stops the node and judges: everything is in the lake once, and delivered in order or a dead letter with its reason.
    pub(super) async fn end(self, book: &Book) -> Result<Measured, String> {
        self.node.tell("compact", &json!({})).await?;
        let peak = self.memory.peak();
        let Stage { in_trouble, players, setup, node, looks, timeline, .. } = self;
        node.stop().await?;
        let cli = Cli::new(&setup)?;
        lake(&cli, book).await?;
        let mut figures = serde_json::Map::new();
        for player in &players {
            let letters = Letter::all(&cli, player.part.kind).await?;
            let judged = player.receiver.look(|record| {
                let receiver = &player.receiver;
                let seen = judge::Seen { record, requests: receiver.tally().requests, letters: &letters };
                judge::judge(player.part, in_trouble, seen, book, |id| receiver.refusal(id).is_some())
            });
            let judged = judged.map_err(|error| format!("{}: {error}", player.part.kind))?;
            figures.insert(player.part.kind.to_owned(), judged);
        }
        let healthy = players.first().map(|fine| fine.receiver.look(lag::arrivals)).unwrap_or_default();
        let sent = book.values().map(|offered| offered.sent).collect();
        let lags = Lags { healthy, lake: lag::counts(sent, &looks.taken()) };
        let timeline: Value = timeline.into_iter().map(|(what, at)| json!([at, what])).collect();
        Ok(Measured { lags, peak, figures: json!({"third_parties": figures, "timeline": timeline}) })
    }
}

/// Everything is in the lake once, nothing is the lake's dead letter, and every file is whole.
async fn lake(cli: &Cli, book: &Book) -> Result<(), String> {
    let letters = Letter::all(cli, "lake").await?;
    if let Some(letter) = letters.first() {
        return Err(format!("the lake: {} dead letters, such as {letter:?}", letters.len()));
    }
    let rows = deliveries::rows(cli).await?;
    check::verdict(&check::rows(book, &rows, |_| false)).map_err(|error| format!("the lake: {error}"))?;
    cli.verify().await.map(|_| ())
}
