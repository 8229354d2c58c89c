//! Which late rows are there already, by their identities.
//!
//! The identities of all late rows would take gigabytes where an hour of tens of millions of rows is replayed over itself. So
//! they are looked at in passes, each about a part of them: see [`Part`]. A pass reads the identity columns of what came late, of
//! the row groups that may hold one of those rows, and of the lists. Nearly every merge has few late rows, and one pass.
//!
//! The other ways are worse. Sorting identities outside of memory, as ids are sorted, reads everything once, but writes and reads
//! as much again, and for a single late row all identities of the row groups around it; so both would be needed. Fewer late
//! rows for each generation would write a large hour over and over. Passes over four columns cost a part of what the merge
//! itself costs: seven for 50 million late rows on a node of 2 GiB.

use std::sync::Arc;

use super::drops::Drops;
use super::plan::Way;
use super::sources::{Source, Sources};
use super::{Bounds, MergeError, blame};
use crate::parquet::checked;
use crate::parquet::late::{Absent, Part, Suspects};
use crate::parquet::origin::{IDENTITY, Origins};
use crate::parquet::read::{FileReader, open};
use crate::parquet::verify::scan_groups;
use crate::ports::Objects;

impl Sources {
    /// Proves the bytes of all that is decoded, before anything is: those of what is copied are proven on their way. Answers
    /// which rows of those that are sifted are there already, or were dropped before.
    pub(super) async fn repeated(
        &self,
        ways: &[Way],
        objects: &Arc<dyn Objects>,
        bounds: Bounds,
    ) -> Result<Vec<Drops>, MergeError> {
        let sifted = self.of_way(ways, |way| *way == Way::Sift);
        // The cheapest first: who learns that a list is lost asks again without late rows.
        let lists = if sifted.is_empty() { Vec::new() } else { self.lists(objects).await? };
        for (_, source) in self.of_way(ways, |way| *way == Way::Decode) {
            source.prove(bounds.piece).await?;
        }
        let mut drops: Vec<Drops> = self.0.iter().map(|_| Drops::default()).collect();
        let mut sifting = Sifting::new(self, ways, lists);
        let rows = sifted.iter().map(|(_, source)| source.file.rows()).sum();
        let most = bounds.identities.max(1);
        let mut absent: Option<Absent> = None;
        for part in Part::all(rows, most).filter(|_| !sifted.is_empty()) {
            let absent = absent.get_or_insert_with(|| Absent::new(part, rows.min(most)));
            absent.turn_to(part);
            sifting.pass(absent, (part, bounds.piece), &mut drops).await?;
        }
        Ok(drops)
    }

    fn of_way(&self, ways: &[Way], wanted: impl Fn(&Way) -> bool) -> Vec<(usize, &Source)> {
        let all = self.0.iter().enumerate().zip(ways);
        all.filter(|(_, way)| wanted(way)).map(|(source, _)| source).collect()
    }

    /// The lists of what was dropped before, proven.
    async fn lists(&self, objects: &Arc<dyn Objects>) -> Result<Vec<FileReader>, MergeError> {
        let mut lists = Vec::with_capacity(self.1.len());
        for list in &self.1 {
            let blame = |failure| blame(&list.key, failure);
            let file = open(objects.clone(), &list.key).await.map_err(blame)?;
            checked::check(file.port()).await.map_err(blame)?;
            lists.push(file);
        }
        Ok(lists)
    }
}

/// What passes go over.
struct Sifting<'a> {
    sifted: Vec<(usize, &'a Source)>,
    others: Vec<(usize, &'a Source)>,
    lists: Vec<FileReader>,
    /// The row groups of the others that may hold a late row: known after the first pass.
    suspects: Suspects,
}

impl<'a> Sifting<'a> {
    fn new(sources: &'a Sources, ways: &[Way], lists: Vec<FileReader>) -> Self {
        let sifted = sources.of_way(ways, |way| *way == Way::Sift);
        let others = sources.of_way(ways, |way| *way != Way::Sift);
        let mut suspects = Suspects::default();
        for (number, source) in others.iter().filter(|_| !sifted.is_empty()) {
            for index in 0..source.file.row_groups() {
                let group = source.groups.as_ref().and_then(|groups| groups.get(index));
                suspects.add((*number, index), group);
            }
        }
        Sifting { sifted, others, lists, suspects }
    }

    /// Finds what is there already of one part of the identities; the first pass proves the bytes, too.
    async fn pass(
        &mut self,
        absent: &mut Absent,
        (part, piece): (Part, u64),
        drops: &mut [Drops],
    ) -> Result<(), MergeError> {
        for (_, source) in &self.sifted {
            let first = part.is_first();
            let file = if first { source.prove(piece).await? } else { source.held(piece).await? };
            let suspects = first.then_some(&mut self.suspects);
            absent.collect(&file, suspects).await.map_err(|failure| source.blame(failure))?;
        }
        for (number, source) in &self.others {
            let groups = self.suspects.of(*number);
            absent.strike(&source.file, groups).await.map_err(|failure| source.blame(failure))?;
        }
        for list in &self.lists {
            let all = (0..list.row_groups()).collect();
            absent.strike(list, all).await.map_err(|failure| blame(list.key(), failure))?;
        }
        for (number, source) in &self.sifted {
            if let Some(drops) = drops.get_mut(*number) {
                mark(source, absent, drops).await?;
            }
        }
        Ok(())
    }
}

/// Marks the rows of a late file that are there already.
async fn mark(source: &Source, absent: &mut Absent, drops: &mut Drops) -> Result<(), MergeError> {
    let mut row = 0;
    let each = |origins: &Origins| {
        for identity in origins.identities() {
            if absent.repeats(identity) {
                drops.repeated.insert(row);
            }
            row += 1;
        }
    };
    let all = (0..source.file.row_groups()).collect();
    let scanned = scan_groups(&source.file, all, Some(&IDENTITY), each).await;
    scanned.map_err(|failure| source.blame(failure))
}
