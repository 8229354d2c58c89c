//! Settings that are written as text, in a file or on the command line.

use std::str::FromStr;

use shardmill_connectors::destinations::Quota;

use super::{Period, Rate, Size};

/// A setting written as text.
pub(crate) trait Setting: FromStr<Err = String> {
    /// How to write one, for the `fix` of a problem.
    const EXAMPLE: &'static str;

    /// Reads one outside of a file: what is wrong and how to write it, in one.
    fn of_word(word: &str) -> Result<Self, String> {
        word.parse().map_err(|wrong| format!("{wrong}: write it like {}", Self::EXAMPLE))
    }
}

impl Setting for Period {
    const EXAMPLE: &'static str = "\"60s\", \"15m\", \"1h\" or \"400d\"";
}

impl Setting for Size {
    const EXAMPLE: &'static str = "\"64MiB\"";
}

impl Setting for Rate {
    const EXAMPLE: &'static str = "\"50/s\" or \"1000/m\"";
}

impl Setting for Quota {
    const EXAMPLE: &'static str = "\"100/s\", \"100 requests/10s\" or \"250000 requests/day Europe/Berlin\"";
}
