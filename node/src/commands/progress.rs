//! The progress bar of commands on many letters or records: on stderr, and only for a person at a terminal.

use std::io::IsTerminal;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// See the [module](self).
pub(super) struct Progress(ProgressBar);

impl Progress {
    /// A bar that counts `what`.
    pub(super) fn new(json: bool, what: &'static str) -> Self {
        let shown = std::io::stderr().is_terminal() && !json;
        let target = if shown { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(Some(0), target);
        let template = format!("{{bar:40}} {{pos}}/{{len}} {what} {{per_sec}} {{eta}} {{msg}}");
        if let Ok(style) = ProgressStyle::with_template(&template) {
            bar.set_style(style);
        }
        Progress(bar)
    }

    /// `done` more of at most `all` of them have been dealt with.
    pub(super) fn advance(&self, done: u64, all: u64) {
        self.0.set_length(all);
        self.0.inc(done);
    }

    /// Says what is being done.
    pub(super) fn says(&self, what: &'static str) {
        self.0.set_message(what);
    }

    pub(super) fn finish(&self) {
        self.0.finish_and_clear();
    }
}
