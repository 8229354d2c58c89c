//! A row group that is being encoded: a writer for each column, ours or the library's.

use std::io::Write;
use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use parquet::arrow::arrow_writer::{ArrowColumnChunk, ArrowColumnWriter, compute_leaves};
use parquet::basic::ZstdLevel;
use parquet::errors::ParquetError;
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterPropertiesBuilder};
use parquet::file::writer::SerializedRowGroupWriter;
use parquet::schema::types::{ColumnPath, SchemaDescriptor};

use super::chunk::{Chunk, Codec, Limits, Settings, Written};
use super::dictionaries::{Repeats, Seen};
use super::encoder::wrong;
use super::groups::{Counting, Group};
use super::origin::Origins;
use super::write::{Compression, WriteOptions};
use super::{columns, dictionaries, filters};
use crate::failure::Failure;
use crate::setsum::Tally;

/// The limits of a row group.
#[derive(Debug, Clone, Copy)]
pub(super) struct Most {
    /// Rows.
    pub(super) rows: usize,
    /// Bytes.
    pub(super) bytes: usize,
}

/// A row group that is being encoded.
pub(super) struct RowGroup {
    /// A writer for each column of the file.
    columns: Vec<Column>,
    codec: Codec,
    rows: usize,
    counting: Counting,
    /// What is seen of the columns whose first values did not repeat, by their places.
    seen: Vec<(usize, Watched)>,
}

/// Encodes a column.
enum Column {
    Ours(Box<Chunk>),
    Library(Box<ArrowColumnWriter>),
}

/// How it is found out whether a column's values repeat after all.
enum Watched {
    /// By the dictionary that it has: it is the column of this place in the file.
    Dictionary(usize),
    Sketch(Seen),
}

impl RowGroup {
    /// For rows that begin with those of `first`, which tell what gets a dictionary. `file` names the file's columns.
    pub(super) fn new(
        file: &SchemaDescriptor,
        schema: &SchemaRef,
        options: &WriteOptions,
        first: &RecordBatch,
    ) -> Result<Self, Failure> {
        let seemingly_plain = dictionaries::plain(first);
        let name = |place: &usize| schema.field(*place).name();
        let plain: Vec<usize> =
            seemingly_plain.iter().filter(|place| !options.repeats.has(name(place))).copied().collect();
        let mut library = library(schema, options, &plain).map_err(wrong)?.into_iter();
        let columns = (0..file.num_columns()).map(|leaf| {
            let place = file.get_column_root_idx(leaf);
            let field = schema.field(place);
            let has_filter = options.bloom.contains(field.name());
            let settings = Settings {
                column: file.column(leaf),
                compression: codec(options.compression),
                limits: Limits::default(),
                has_dictionary: !plain.contains(&place),
                filter: has_filter.then(|| filters::empty(options.row_group_rows)).transpose()?,
            };
            let ours = Chunk::new(field.data_type(), settings).map(|chunk| Column::Ours(Box::new(chunk)));
            let missing = || ParquetError::General(format!("{} has no writer", field.name()));
            ours.or_else(|| Some(Column::Library(Box::new(library.next()?)))).ok_or_else(missing)
        });
        let columns: Vec<Column> = columns.collect::<Result<_, _>>().map_err(wrong)?;
        let seen = seemingly_plain.into_iter().map(|place| {
            let ours = (0..columns.len()).find(|leaf| file.get_column_root_idx(*leaf) == place);
            match ours.filter(|leaf| matches!(columns[*leaf], Column::Ours(_)) && !plain.contains(&place)) {
                Some(leaf) => (place, Watched::Dictionary(leaf)),
                None => (place, Watched::Sketch(Seen::nothing())),
            }
        });
        let codec = Codec::new(options.compression).map_err(wrong)?;
        Ok(RowGroup { seen: seen.collect(), columns, codec, rows: 0, counting: Counting::default() })
    }

    /// About how many bytes it will have.
    pub(super) fn size(&self) -> usize {
        let size = |column: &Column| match column {
            Column::Ours(chunk) => chunk.size(),
            Column::Library(writer) => writer.get_estimated_total_bytes(),
        };
        self.columns.iter().map(size).sum()
    }

    /// About how many bytes its pages, dictionaries and filters take.
    pub(super) fn memory(&self) -> usize {
        let memory = |column: &Column| match column {
            Column::Ours(chunk) => chunk.memory(),
            Column::Library(writer) => writer.memory_size(),
        };
        self.columns.iter().map(memory).sum::<usize>() + self.codec.memory()
    }

    /// Its rows.
    pub(super) fn tally(&self) -> Tally {
        self.counting.tally()
    }

    /// How many more rows it can take: those it has tell how large they are.
    pub(super) fn room(&self, most: Most) -> usize {
        let rows = most.rows.saturating_sub(self.rows);
        match self.size().checked_div(self.rows) {
            None | Some(0) => rows,
            Some(each) => rows.min(most.bytes.saturating_sub(self.size()) / each),
        }
    }

    /// Encodes rows, and counts them.
    pub(super) fn write(
        &mut self,
        batch: &RecordBatch,
        origins: &Origins,
        schema: &SchemaRef,
    ) -> Result<(), Failure> {
        let missing = || Failure::crashed("encoding Parquet: a column has no writer");
        let mut columns = self.columns.iter_mut().peekable();
        for (field, rows) in schema.fields().iter().zip(batch.columns()) {
            if let Some(Column::Ours(chunk)) = columns.peek_mut() {
                chunk.write(rows, &mut self.codec).map_err(wrong)?;
                columns.next();
                continue;
            }
            for leaf in compute_leaves(field, rows).map_err(wrong)? {
                let Some(Column::Library(writer)) = columns.next() else { return Err(missing()) };
                writer.write(&leaf).map_err(wrong)?;
            }
        }
        for (place, watched) in &mut self.seen {
            if let Watched::Sketch(seen) = watched {
                seen.add(batch.column(*place));
            }
        }
        self.rows += batch.num_rows();
        self.counting.add(origins);
        Ok(())
    }

    /// Tells which of the columns that seemed not to repeat do.
    pub(super) fn tell(&self, schema: &SchemaRef, repeats: &Repeats) {
        for (place, watched) in &self.seen {
            let found = match watched {
                Watched::Sketch(seen) => seen.repeats(),
                Watched::Dictionary(leaf) => match &self.columns[*leaf] {
                    Column::Ours(chunk) => chunk.repeats(),
                    Column::Library(_) => None,
                },
            };
            repeats.note(schema.field(*place).name(), found);
        }
    }

    /// Ends it: its columns, and its account.
    pub(super) fn close(self) -> Result<(Vec<Closed>, Group), Failure> {
        let mut codec = self.codec;
        let columns = self.columns.into_iter().map(|column| match column {
            Column::Ours(chunk) => Ok(Closed::Ours(Box::new(chunk.close(&mut codec)?))),
            Column::Library(writer) => Ok(Closed::Library(Box::new(writer.close()?))),
        });
        let columns = columns.collect::<Result<_, _>>().map_err(wrong)?;
        Ok((columns, self.counting.finish()))
    }
}

/// A column that is encoded.
pub(super) enum Closed {
    Ours(Box<Written>),
    Library(Box<ArrowColumnChunk>),
}

impl Closed {
    /// Its length in the file, in bytes.
    pub(super) fn size(&self) -> u64 {
        match self {
            Closed::Ours(chunk) => chunk.size(),
            Closed::Library(chunk) => chunk.close().bytes_written,
        }
    }

    /// Puts it into the file.
    pub(super) fn append_to<W: Write + Send>(
        self,
        group: &mut SerializedRowGroupWriter<'_, W>,
    ) -> Result<(), ParquetError> {
        match self {
            Closed::Ours(chunk) => chunk.append_to(group),
            Closed::Library(chunk) => chunk.append_to_row_group(group),
        }
    }
}

/// The library's writers of the columns that are left to it; those of `plain` have no dictionary.
fn library(
    schema: &SchemaRef,
    options: &WriteOptions,
    plain: &[usize],
) -> Result<Vec<ArrowColumnWriter>, ParquetError> {
    let left = schema.fields().iter().filter(|field| !Chunk::takes(field.data_type())).cloned();
    let left: SchemaRef = Arc::new(Schema::new(left.collect::<Vec<_>>()));
    if left.fields().is_empty() {
        return Ok(Vec::new());
    }
    let names = plain.iter().map(|place| ColumnPath::from(schema.field(*place).name().as_str()));
    let properties = names.fold(properties(options), |properties, column| {
        properties.set_column_dictionary_enabled(column, false)
    });
    // The library hands out column writers with a file only.
    let writer = columns::writer(std::io::sink(), &left, properties.build())?;
    let (_, factory) = writer.into_serialized_writer()?;
    factory.create_column_writers(0)
}

/// The library's name of a compression.
pub(super) fn codec(compression: Compression) -> parquet::basic::Compression {
    match compression {
        Compression::Zstd => parquet::basic::Compression::ZSTD(ZstdLevel::default()),
        Compression::Snappy => parquet::basic::Compression::SNAPPY,
        Compression::None => parquet::basic::Compression::UNCOMPRESSED,
    }
}

pub(super) fn properties(options: &WriteOptions) -> WriterPropertiesBuilder {
    let limits = Limits::default();
    let properties = WriterProperties::builder()
        .set_created_by(concat!("shardmill version ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_compression(codec(options.compression))
        .set_data_page_row_count_limit(limits.rows)
        .set_data_page_size_limit(limits.bytes)
        .set_dictionary_page_size_limit(limits.dictionary)
        .set_statistics_enabled(EnabledStatistics::Page);
    filters::on(properties, &options.bloom, options.row_group_rows)
}
