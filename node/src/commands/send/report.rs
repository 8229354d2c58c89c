//! What became of the events sent: counted, shown while it goes on, summed up at the end.

use std::io::IsTerminal;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;
use serde_json::{Value, json};

/// An event that was not accepted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Refusal {
    /// Its place in the file, from zero (blank lines are not counted).
    pub(super) index: u64,
    pub(super) code: String,
    pub(super) message: String,
}

impl Refusal {
    pub(super) fn new(index: u64, code: impl Into<String>, message: impl Into<String>) -> Self {
        Refusal { index, code: code.into(), message: message.into() }
    }
}

/// The verdicts on one batch.
#[derive(Debug, Default)]
pub(super) struct Verdicts {
    pub(super) sent: u64,
    pub(super) accepted: u64,
    pub(super) refused: Vec<Refusal>,
    pub(super) retried: u64,
    pub(super) bytes: u64,
}

/// The sum over all batches.
#[derive(Debug, Default)]
pub(super) struct Report {
    sent: u64,
    accepted: u64,
    refused: Vec<Refusal>,
    refused_total: u64,
    retried: u64,
}

/// How many refusals are told in full.
const TOLD: usize = 20;

impl Report {
    pub(super) fn add(&mut self, verdicts: Verdicts) {
        self.sent += verdicts.sent;
        self.accepted += verdicts.accepted;
        self.retried += verdicts.retried;
        self.refused_total += u64::try_from(verdicts.refused.len()).unwrap_or(u64::MAX);
        let room = TOLD.saturating_sub(self.refused.len());
        self.refused.extend(verdicts.refused.into_iter().take(room));
    }

    /// Whether every event sent was accepted.
    pub(super) fn is_whole(&self) -> bool {
        self.refused_total == 0 && self.accepted == self.sent
    }

    pub(super) fn json(&self) -> Value {
        json!({
            "sent": self.sent, "accepted": self.accepted, "refused": self.refused,
            "refused_total": self.refused_total, "retried": self.retried,
        })
    }

    pub(super) fn text(&self) -> String {
        let mut text = format!(
            "{} sent, {} accepted, {} refused, {} requests retried\n",
            self.sent, self.accepted, self.refused_total, self.retried
        );
        for refusal in &self.refused {
            text += &format!("  event {}: {} ({})\n", refusal.index, refusal.message, refusal.code);
        }
        text
    }
}

/// The progress bar: on stderr, and only for a person at a terminal.
pub(super) struct Progress(ProgressBar);

impl Progress {
    pub(super) fn new(size: u64, json: bool) -> Self {
        let shown = std::io::stderr().is_terminal() && !json;
        let target = if shown { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let (bar, template) = match size {
            0 => (ProgressBar::with_draw_target(None, target), "{spinner} {bytes} {bytes_per_sec} {msg}"),
            _ => {
                let template = "{bar:40} {bytes}/{total_bytes} {bytes_per_sec} {eta} {msg}";
                (ProgressBar::with_draw_target(Some(size), target), template)
            }
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        Progress(bar)
    }

    pub(super) fn advance(&self, verdicts: &Verdicts) {
        self.0.inc(verdicts.bytes);
        if !verdicts.refused.is_empty() {
            self.0.set_message(format!("{} refused", verdicts.refused.len()));
        }
    }

    pub(super) fn finish(&self) {
        self.0.finish_and_clear();
    }
}
