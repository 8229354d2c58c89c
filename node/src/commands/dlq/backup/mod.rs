//! `dlq backup`: letters to a file of JSON lines, safely; with `--purge` what is safe there is removed here.

mod queue;

use std::collections::BTreeSet;

use serde_json::json;
use shardmill_actors::dead_letters::lines::Lines;
use shardmill_actors::dead_letters::selection::Found;
use shardmill_actors::dead_letters::{Letter, Search, Selection, Settlement, record, withdraw};
use shardmill_actors::shared::Ports;
use shardmill_connectors::Failure;

use super::in_states;
use super::letter_file::LetterFile;
use super::purge::TOGETHER;
use crate::cli::DlqBackup;
use crate::commands::Error;
use crate::commands::progress::Progress;
use crate::commands::reach::Reached;
use crate::{output, wire};

/// What a backup did.
#[derive(Debug, Default, PartialEq, Eq)]
struct Done {
    /// Lines that were added to the file.
    written: u64,
    /// Letters whose line was there.
    already_there: u64,
    /// Letters that were settled as purged.
    purged: u64,
}

/// Writes the letters selected to a file.
pub(super) async fn backup(args: DlqBackup, json: bool) -> Result<(), Error> {
    let reached = Reached::open(&args.which.reach).await?;
    let ports = &reached.stores.ports;
    let selection = in_states(&args.which.filter, &args.states.status);
    let progress = Progress::new(json, "letters");
    let mut file = LetterFile::append(&args.file)?;
    let done = match &args.queue {
        Some(name) => {
            if !args.which.filter.is_empty() {
                return Err(Error::Usage("--queue takes every message: filters are for letters".to_owned()));
            }
            let queue = wire::queue(&reached.config, &reached.stores, name).await?;
            queue::backup(queue.as_ref(), &mut file, args.purge, &progress).await?
        }
        None => {
            let mut done = write(ports, &selection, &mut file, &progress).await?;
            if args.purge {
                progress.says("purging");
                done.purged = purge(ports, &selection, &mut file, &progress).await?;
            }
            done
        }
    };
    progress.finish();
    let Done { written, already_there, purged } = done;
    let told = json!({"written": written, "already_there": already_there, "purged": purged});
    Ok(output::show(json, &told, &[])?)
}

/// Adds what the file does not hold, or holds otherwise (edited since), and makes it durable.
async fn write(
    ports: &Ports,
    selection: &Selection,
    file: &mut LetterFile,
    progress: &Progress,
) -> Result<Done, Failure> {
    let mut search = Search::open(ports, selection).await?;
    let (all, mut done) = (search.at_most(), Done::default());
    while let Some(found) = search.next().await? {
        let mut parts = Parts::of(ports, found).await?;
        while let Some(letter) = parts.next(&search).await? {
            let line = line(&letter)?;
            if file.line(&letter.id)?.is_some_and(|there| there == line) {
                done.already_there += 1;
            } else {
                file.write(&letter.id, &line)?;
                done.written += 1;
            }
        }
        progress.advance(1, all);
    }
    file.sync()?;
    Ok(done)
}

/// Settles what the file gives back as it stands here. The file has been synced.
async fn purge(
    ports: &Ports,
    selection: &Selection,
    file: &mut LetterFile,
    progress: &Progress,
) -> Result<u64, Failure> {
    let mut search = Search::open(ports, selection).await?;
    let all = search.at_most();
    let (mut safe, mut purged) = (Vec::new(), BTreeSet::new());
    loop {
        let found = search.next().await?;
        let ended = found.is_none();
        if let Some(found) = found {
            progress.advance(1, all * 2);
            if found.settlement.is_none() && is_safe(ports, &search, &found, file).await? {
                safe.push(found);
            }
        }
        if ended || safe.len() >= TOGETHER {
            record(ports, &safe, Settlement::Purged).await?;
            purged.extend(safe.drain(..).map(|found| found.letter.id));
        }
        if ended {
            break;
        }
    }
    let count = purged.len() as u64;
    withdraw(ports, purged).await?;
    Ok(count)
}

async fn is_safe(
    ports: &Ports,
    search: &Search,
    found: &Found,
    file: &mut LetterFile,
) -> Result<bool, Failure> {
    let mut parts = Parts::of(ports, found.clone()).await?;
    while let Some(letter) = parts.next(search).await? {
        let line = line(&letter)?;
        if file.line(&letter.id)?.is_none_or(|there| there != line) {
            return Ok(false);
        }
    }
    Ok(true)
}

fn line(letter: &Letter) -> Result<Vec<u8>, Failure> {
    serde_json::to_vec(letter)
        .map_err(|error| Failure::crashed(format!("a dead letter cannot be written as JSON: {error}")))
}

/// What is written for a letter: the letters of its range, if it stands for one, then itself.
struct Parts {
    found: Option<Found>,
    range: Option<Lines>,
}

impl Parts {
    async fn of(ports: &Ports, found: Found) -> Result<Self, Failure> {
        let range = match &found.letter.range {
            Some(range) => Some(Lines::open(ports.objects.clone(), &range.object).await?),
            None => None,
        };
        Ok(Parts { found: Some(found), range })
    }

    async fn next(&mut self, search: &Search) -> Result<Option<Letter>, Failure> {
        if let (Some(lines), Some(found)) = (&mut self.range, &self.found)
            && let Some(letter) = lines.letter().await?
        {
            let object = found.letter.range.as_ref().map_or("", |range| range.object.as_str());
            return Ok(Some(search.known().found(letter, object)?.letter));
        }
        Ok(self.found.take().map(|found| found.letter))
    }
}

#[cfg(test)]
mod tests;
