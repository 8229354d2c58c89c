//! The part of writing that only computes: batches in, bytes and accounts out.

use arrow::datatypes::{FieldRef, SchemaRef};
use arrow::record_batch::RecordBatch;
use bytes::Bytes;
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::writer::SerializedFileWriter;
use xxhash_rust::xxh3::Xxh3;

use super::copied::{Blank, Copied};
use super::groups::{self, Group};
use super::ids::{Collecting, Packed, Run};
use super::origin::Origins;
use super::row_group::{Closed, Most, RowGroup, properties};
use super::write::{Summary, WriteOptions};
use super::{CHECKSUM, GROUPS, IDS, ROWS, SETSUM, checksum, columns};
use crate::clock::Millis;
use crate::failure::Failure;
use crate::ports::Put;
use crate::setsum::Tally;

/// What is known of a finished file.
#[derive(Debug, Clone)]
pub(super) struct Account {
    pub(super) tally: Tally,
    pub(super) bytes: u64,
    pub(super) arrivals: Option<(Millis, Millis)>,
    /// The numbers of the row groups that were not copied.
    pub(super) encoded: Vec<usize>,
}

impl Account {
    /// The same of a file that was written.
    pub(super) fn summary(&self, put: Put) -> Summary {
        let (first_arrival, last_arrival) = self.arrivals.unzip();
        Summary { tally: self.tally, bytes: self.bytes, put, first_arrival, last_arrival }
    }
}

/// Encodes one file, or takes row groups of others into it.
pub(super) struct Encoder {
    file: SerializedFileWriter<Sink>,
    schema: SchemaRef,
    options: WriteOptions,
    most: Most,
    open: Option<RowGroup>,
    groups: Vec<Group>,
    /// Their rows.
    tally: Tally,
    encoded: Vec<usize>,
    hash: Xxh3,
    /// Bytes that have left.
    bytes: u64,
    /// Bytes of the copied row group that have not come yet.
    owed: u64,
    /// The ids of the rows, if a run is to be made of them here.
    collecting: Option<Collecting>,
    /// Where a run of ids begins that is being written.
    run: Option<u64>,
}

impl Encoder {
    pub(super) fn new(
        schema: SchemaRef,
        options: &WriteOptions,
        meta: &[(String, String)],
    ) -> Result<Self, Failure> {
        let meta = meta.iter().map(|(key, value)| KeyValue::new(key.clone(), value.clone())).collect();
        let properties = properties(options).set_key_value_metadata(Some(meta)).build();
        let writer = columns::writer(Sink::default(), &schema, properties).map_err(wrong)?;
        let (file, _) = writer.into_serialized_writer().map_err(wrong)?;
        let most = Most { rows: options.row_group_rows.max(1), bytes: options.row_group_bytes.max(1) };
        Ok(Encoder {
            file,
            schema,
            options: options.clone(),
            most,
            open: None,
            groups: Vec::new(),
            tally: Tally::default(),
            encoded: Vec::new(),
            hash: Xxh3::new(),
            bytes: 0,
            owed: 0,
            collecting: options.ids.as_deref().map(|column| Collecting::new(column, options.id_rows)),
            run: None,
        })
    }

    /// The rows so far.
    pub(super) fn tally(&self) -> Tally {
        self.tally + self.open.as_ref().map(RowGroup::tally).unwrap_or_default()
    }

    /// The bytes so far, and about what the row group being encoded will add.
    pub(super) fn size(&self) -> u64 {
        self.bytes + self.owed + self.open.as_ref().map_or(0, RowGroup::size) as u64
    }

    /// About how much memory it holds, in bytes.
    pub(super) fn memory(&self) -> usize {
        let ids = usize::try_from(self.options.id_bytes(self.tally().rows)).unwrap_or(usize::MAX);
        self.open.as_ref().map_or(0, RowGroup::memory).saturating_add(ids)
    }

    /// The row groups so far.
    pub(super) fn row_groups(&self) -> usize {
        self.groups.len() + usize::from(self.open.is_some())
    }

    /// Takes a batch; returns the bytes of the row groups that are complete, none most of the time.
    pub(super) fn write(&mut self, batch: &RecordBatch) -> Result<Bytes, Failure> {
        if !same_columns(&self.schema, &batch.schema()) {
            return Err(Failure::crashed("a batch has other columns than its file"));
        }
        let origins = Origins::of(batch).map_err(Failure::crashed)?; // before anything of it is encoded
        if let Some(collecting) = &mut self.collecting {
            collecting.add(batch).map_err(Failure::crashed)?;
        }
        let mut from = 0;
        while from < batch.num_rows() {
            let left = batch.num_rows() - from;
            let open = match &mut self.open {
                Some(open) => open,
                none => none.insert(RowGroup::new(
                    self.file.schema_descr(),
                    &self.schema,
                    &self.options,
                    &batch.slice(from, left),
                )?),
            };
            let taken = open.room(self.most).min(left);
            open.write(&batch.slice(from, taken), &origins.slice(from, taken), &self.schema)?;
            from += taken;
            if open.room(self.most) == 0 {
                self.end_group()?;
            }
        }
        self.take()
    }

    /// Takes a row group of another file over; returns the bytes of what was encoded before it. Its own bytes are given to
    /// [`Self::pass`].
    pub(super) fn copy(&mut self, group: Copied) -> Result<Bytes, Failure> {
        self.end_group()?;
        let before = self.take()?;
        let bytes = group.bytes();
        let (columns, account) = group.into_parts();
        // The library keeps count of offsets and writes the footer: it is told of each chunk and its Bloom filter, without their
        // bytes.
        self.file.inner_mut().only_counts = true;
        let mut writer = self.file.next_row_group().map_err(wrong)?;
        for column in columns {
            writer.append_column(&Blank(column.bytes_written), column).map_err(wrong)?;
        }
        writer.close().map_err(wrong)?;
        self.file.flush().map_err(|error| wrong(error.into()))?;
        self.file.inner_mut().only_counts = false;
        self.add(account);
        self.owed = bytes;
        Ok(before)
    }

    /// Takes note of bytes of the row group that was copied last, in order.
    pub(super) fn pass(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let length = bytes.len() as u64;
        let more = || Failure::crashed("a copied row group has more bytes than its footer says");
        self.owed = self.owed.checked_sub(length).ok_or_else(more)?;
        self.hash.update(bytes);
        self.bytes += length;
        Ok(())
    }

    /// Takes the next bytes of a run of ids, which stands behind the last row group.
    pub(super) fn ids(&mut self, packed: &[u8]) -> Result<Bytes, Failure> {
        self.end_group()?;
        let before = self.kept()?;
        self.run.get_or_insert(self.bytes + before.len() as u64);
        self.file.write_all(packed).map_err(|error| wrong(error.into()))?;
        let mut all = before;
        all.extend_from_slice(&self.kept()?);
        self.hash.update(&all);
        self.bytes += all.len() as u64;
        Ok(all.into())
    }

    /// Notes in the footer where the run of ids is that has been written. None is made of the rows then.
    pub(super) fn has_ids(&mut self, column: &str, packed: Packed) -> Result<(), Failure> {
        self.collecting = None;
        let (column, start) = (column.to_owned(), self.run.unwrap_or(self.bytes));
        let run = serde_json::to_string(&Run { column, start, packed });
        let run = run.map_err(|error| Failure::crashed(format!("a run of ids is no JSON: {error}")))?;
        self.file.append_key_value_metadata(KeyValue::new(IDS.to_owned(), run));
        Ok(())
    }

    /// Writes the run of the ids that were collected, if any were and all could be.
    fn end_ids(&mut self) -> Result<Bytes, Failure> {
        let Some(collecting) = self.collecting.take() else { return Ok(Bytes::new()) };
        let column = collecting.column().to_owned();
        let Some(packing) = collecting.pack()? else { return Ok(Bytes::new()) };
        let (run, packed) = packing.finish();
        let bytes = self.ids(&run)?;
        self.has_ids(&column, packed)?;
        Ok(bytes)
    }

    /// Closes the file; returns its last bytes.
    pub(super) fn finish(mut self) -> Result<(Bytes, Account), Failure> {
        self.end_group()?;
        let run = self.end_ids()?;
        let tally = self.tally;
        let entries = [
            (ROWS, tally.rows.to_string()),
            (SETSUM, tally.sum.to_string()),
            (GROUPS, groups::encode(&self.groups)?),
            (CHECKSUM, checksum::placeholder()),
        ];
        for (key, value) in entries {
            self.file.append_key_value_metadata(KeyValue::new(key.to_owned(), value));
        }
        self.file.finish().map_err(wrong)?;
        let mut tail = self.kept()?;
        let bytes = self.bytes + tail.len() as u64;
        checksum::seal(&mut tail, self.hash)?;
        let tail = [run.as_ref(), &tail].concat();
        let arrivals = self.groups.iter().fold(None, |all, group| groups::wider(all, group.arrivals));
        Ok((tail.into(), Account { tally, bytes, arrivals, encoded: self.encoded }))
    }

    /// Ends the row group that is being encoded, if there is one.
    fn end_group(&mut self) -> Result<(), Failure> {
        if self.owed > 0 {
            return Err(Failure::crashed("a copied row group has fewer bytes than its footer says"));
        }
        let Some(open) = self.open.take() else { return Ok(()) };
        open.tell(&self.schema, &self.options.repeats);
        let (chunks, group) = open.close()?;
        let bytes: u64 = chunks.iter().map(Closed::size).sum();
        // Once, instead of moving what is there again and again.
        self.file.inner_mut().kept.reserve(usize::try_from(bytes).unwrap_or_default());
        let mut writer = self.file.next_row_group().map_err(wrong)?;
        for chunk in chunks {
            chunk.append_to(&mut writer).map_err(wrong)?;
        }
        writer.close().map_err(wrong)?;
        self.encoded.push(self.groups.len());
        self.add(group);
        Ok(())
    }

    fn add(&mut self, group: Group) {
        self.tally += group.tally;
        self.groups.push(group);
    }

    /// The bytes that can leave.
    fn take(&mut self) -> Result<Bytes, Failure> {
        let done = self.kept()?;
        self.hash.update(&done);
        self.bytes += done.len() as u64;
        Ok(done.into())
    }

    fn kept(&mut self) -> Result<Vec<u8>, Failure> {
        self.file.flush().map_err(|error| wrong(error.into()))?;
        Ok(std::mem::take(&mut self.file.inner_mut().kept))
    }
}

/// Where the library's bytes go.
#[derive(Debug, Default)]
struct Sink {
    kept: Vec<u8>,
    /// What comes now stands for bytes that go another way.
    only_counts: bool,
}

impl std::io::Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if !self.only_counts {
            self.kept.extend_from_slice(bytes);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn same_columns(a: &SchemaRef, b: &SchemaRef) -> bool {
    let same = |(a, b): (&FieldRef, &FieldRef)| a.name() == b.name() && a.data_type() == b.data_type();
    a.fields().len() == b.fields().len() && a.fields().iter().zip(b.fields()).all(same)
}

pub(super) fn wrong(error: ParquetError) -> Failure {
    Failure::crashed(format!("encoding Parquet: {error}"))
}
