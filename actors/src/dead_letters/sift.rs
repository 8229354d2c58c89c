//! Taking letters out of their files for good: a file is written anew without them, and then nobody names the old one.
//!
//! Files never change, so the new one is a file of its own. It is entered in the index first, with what is settled of its letters:
//! from then on a letter is in two files, which is one letter to everybody. Then whoever names the old file names the new one, the
//! old one is marked as replaced, and removed the way settled files are; objects of ranges go by their announcement.

use std::collections::BTreeSet;

use shardmill_cluster::Cell;
use shardmill_connectors::crash;
use shardmill_connectors::failure::{Class, Failure};
use shardmill_connectors::layout;
use xxhash_rust::xxh3::xxh3_128;

use super::handover;
use super::index::DeadIndex;
use super::letter::{self, Letter, Range};
use super::retention;
use super::selection;
use crate::erase::{Removal, Removals};
use crate::shared::Ports;
use crate::state::{DeadFile, Manifest, ShardState};
use crate::verify::Tools;
use crate::verify::repair::passed_on;
use crate::world::{Reader, World};

/// Whether a letter is taken out.
pub(crate) type Meant<'a> = &'a (dyn Fn(&Letter) -> bool + Sync);

/// What it is done with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sift<'a> {
    /// The stores.
    pub(crate) ports: &'a Ports,
    /// Who knows whether an owner is gone.
    pub(crate) tools: &'a Tools,
    /// Where what is replaced is announced.
    pub(crate) removals: &'a Removals,
    /// What new files are named after, besides the old ones: the same for the same letters.
    pub(crate) tag: &'a str,
    /// Only say what would be done.
    pub(crate) dry_run: bool,
}

/// What was taken out, or would be.
#[derive(Debug, Default)]
pub(crate) struct Sifted {
    /// The letters.
    pub(crate) ids: BTreeSet<String>,
    /// Files written anew.
    pub(crate) rewritten: u64,
    /// Files that could not be touched, and why.
    pub(crate) busy: Vec<String>,
    /// Files that cannot be read, and why.
    pub(crate) unread: Vec<(String, String)>,
}

/// A file of letters as it should be.
#[derive(Default)]
struct Without {
    kept: Vec<Letter>,
    /// The ids of those taken out.
    out: Vec<String>,
    /// Old and new objects of ranges; a range of which nothing is left has no new one.
    ranges: Vec<(String, Option<String>)>,
    /// A letter that stays says less than before.
    is_changed: bool,
}

impl Without {
    fn is_the_same(&self) -> bool {
        self.out.is_empty() && self.ranges.is_empty() && !self.is_changed
    }

    /// What goes, and what comes for it: the file, then the objects of its ranges.
    fn removal(&self, old: &DeadFile, new: Option<&str>) -> Removal {
        let replaced = self.ranges.iter().map(|(old, _)| old.clone());
        let written = self.ranges.iter().filter_map(|(_, new)| new.clone());
        Removal {
            old: std::iter::once(old.key.clone()).chain(replaced).collect(),
            new: new.map(str::to_owned).into_iter().chain(written).collect(),
        }
    }
}

impl Sift<'_> {
    /// Takes out every letter that is meant, in whichever file.
    ///
    /// # Errors
    /// What the stores raise. Run again, it goes on.
    pub(crate) async fn run(&self, meant: Meant<'_>) -> Result<Sifted, Failure> {
        if !self.dry_run {
            retention::finish(self.ports).await?;
        }
        let files = selection::files(self.ports).await?;
        // After the files: who lists one of them is known then.
        let world = Reader::default().read(self.ports.documents.as_ref()).await?;
        let mut sifted = Sifted::default();
        for file in files {
            let without = match self.without(&file, meant, false).await {
                Ok(without) => without,
                Err(failure) if failure.class == Class::Rejected => {
                    // Otherwise it was removed since it was listed.
                    if !self.is_gone(&file).await? {
                        sifted.unread.push((file.key, failure.detail));
                    }
                    continue;
                }
                Err(failure) => return Err(failure),
            };
            if without.is_the_same() {
                continue;
            }
            if let Some(owner) = self.owner(&world, &file).await? {
                let key = &file.key;
                sifted.busy.push(format!("{key} is in the outbox of {owner}: run the same command again"));
                continue;
            }
            sifted.ids.extend(without.out.iter().cloned());
            if !self.dry_run {
                let name = self.named(&file, &without);
                self.removals.announce(vec![without.removal(&file, name.as_deref())]).await?;
                let without = self.without(&file, meant, true).await?;
                self.replace(&world, &file, (without, name), &mut sifted).await?;
            }
        }
        Ok(sifted)
    }

    async fn is_gone(&self, file: &DeadFile) -> Result<bool, Failure> {
        Ok(self.ports.objects.head(&file.key).await?.is_none())
    }

    async fn read(&self, key: &str) -> Result<Vec<Letter>, Failure> {
        letter::from_ndjson(&self.ports.objects.get(key).await?)
            .map_err(|error| Failure::rejected(format!("dead-letter file {key} cannot be read: {error}")))
    }

    /// The object of what is left of a file, if anything is.
    fn named(&self, old: &DeadFile, without: &Without) -> Option<String> {
        (!without.kept.is_empty()).then(|| layout::sifted_letters(&anew(&old.key, self.tag)))
    }

    /// What is left of a file; with new objects of ranges uploaded, if so wanted.
    async fn without(&self, file: &DeadFile, meant: Meant<'_>, upload: bool) -> Result<Without, Failure> {
        let mut without = Without::default();
        for mut letter in self.read(&file.key).await? {
            let is_meant = meant(&letter);
            let Some(range) = letter.range.clone() else {
                match is_meant {
                    true => without.out.push(letter.id),
                    false => without.kept.push(letter),
                }
                continue;
            };
            // It has the key of its first event.
            if is_meant {
                letter.key.clear();
                without.is_changed = true;
            }
            let (kept, out): (Vec<Letter>, Vec<Letter>) =
                self.read(&range.object).await?.into_iter().partition(|letter| !meant(letter));
            if out.is_empty() {
                without.kept.push(letter);
                continue;
            }
            without.out.extend(out.into_iter().map(|letter| letter.id));
            let next = self.range(&range, &kept, upload).await?;
            without.ranges.push((range.object, next.as_ref().map(|next| next.object.clone())));
            if next.is_some() {
                letter.range = next;
                without.kept.push(letter);
            }
        }
        Ok(without)
    }

    /// The range with these events alone; none without events.
    async fn range(&self, range: &Range, kept: &[Letter], upload: bool) -> Result<Option<Range>, Failure> {
        if kept.is_empty() {
            return Ok(None);
        }
        let object = renamed(&range.object, self.tag);
        if upload {
            letter::upload(self.ports.objects.as_ref(), &object, kept).await?;
        }
        Ok(Some(Range { object, events: kept.len() as u64, ..range.clone() }))
    }

    /// The shard in whose outbox a file is, while somebody who lives owns the shard.
    async fn owner(&self, world: &World, file: &DeadFile) -> Result<Option<String>, Failure> {
        for shard in listing(world, file) {
            match passed_on(self.tools, &shard.ownership).await {
                Err(failure) if failure.class == Class::Rejected => return Ok(Some(shard.name())),
                outcome => _ = outcome?,
            }
        }
        Ok(None)
    }

    /// Puts a new file, if anything is left for it, in the place of an old one.
    async fn replace(
        &self,
        world: &World,
        old: &DeadFile,
        (without, name): (Without, Option<String>),
        sifted: &mut Sifted,
    ) -> Result<(), Failure> {
        let new = match name {
            None => None,
            Some(name) => Some(self.enter(old, name, &without).await?),
        };
        crash::point("erase.after-letters");
        for shard in listing(world, old) {
            self.relist(&layout::documents::shard(&shard.stream, &shard.shard), old, new.as_ref()).await?;
        }
        let named = |manifest: &Manifest| manifest.dead_letters.as_ref().is_some_and(|file| file == old);
        for manifest in world.late.values().filter(|manifest| named(manifest)) {
            let key = layout::documents::late(&manifest.source);
            let mut cell: Cell<Manifest> = Cell::load(self.ports.documents.clone(), key).await?;
            if let Some(there) = cell.state().cloned().filter(named) {
                cell.replace(Manifest { dead_letters: new.clone(), ..there }).await?;
            }
        }
        retention::replaced(self.ports, old).await?;
        let ranges = without.ranges.iter().filter(|(_, next)| next.is_some()).count();
        sifted.rewritten += u64::from(new.is_some()) + ranges as u64;
        Ok(())
    }

    /// Uploads the new file and enters it, with what is settled of its letters.
    async fn enter(&self, old: &DeadFile, key: String, without: &Without) -> Result<DeadFile, Failure> {
        let Ports { objects, documents, .. } = self.ports;
        // One that an attempt before has left holds the same letters.
        let new = letter::upload(objects.as_ref(), &key, &without.kept).await?;
        handover::copy(self.ports, &old.key, &key).await?;
        for (range, next) in &without.ranges {
            if let Some(next) = next {
                handover::copy(self.ports, range, next).await?;
            }
        }
        DeadIndex::enter(documents, &new).await?;
        // A summary says that letters are announced: who owes that of the old file owes it of the new one.
        if DeadIndex::is_announced(documents.as_ref(), &old.key).await? {
            DeadIndex::describe(documents, &key, &without.kept).await?;
        }
        Ok(new)
    }

    /// Has the outbox of a shard name the new file, as a take and a release in one.
    async fn relist(&self, key: &str, old: &DeadFile, new: Option<&DeadFile>) -> Result<(), Failure> {
        let mut cell: Cell<ShardState> = Cell::load(self.ports.documents.clone(), key).await?;
        let Some(state) = cell.state().cloned().filter(|state| state.dead_letters.contains(old)) else {
            return Ok(());
        };
        let ownership = passed_on(self.tools, &state.ownership).await?;
        let kept = state.dead_letters.iter().filter(|file| *file != old);
        let dead_letters = kept.chain(new).cloned().collect();
        cell.replace(ShardState { ownership, dead_letters, ..state }).await
    }
}

/// What an object that comes for the object `old` is named after: however often that is done, it is as long.
pub(super) fn anew(old: &str, tag: &str) -> String {
    format!("{:032x}", xxh3_128(format!("{old}\0{tag}").as_bytes()))
}

/// The name of what comes for the object of a range. Its epoch stays in it.
fn renamed(object: &str, tag: &str) -> String {
    let (folder, name) = object.rsplit_once('/').unwrap_or_default();
    let epoch = name.split('-').next().unwrap_or_default();
    format!("{folder}/{epoch}-{}.ndjson", anew(object, tag))
}

/// The shards in whose outboxes a file is.
fn listing<'w>(world: &'w World, file: &'w DeadFile) -> impl Iterator<Item = &'w ShardState> {
    let shards = world.shards.values().map(AsRef::as_ref);
    shards.filter(|shard: &&ShardState| shard.dead_letters.contains(file))
}
