"""Parquet files merged into one in pyarrow, rows in their order. Arguments: codec, target, sources."""

import sys

import pyarrow as pa
import pyarrow.parquet as pq
from table import GROUP

codec, target, sources = sys.argv[1], sys.argv[2], sys.argv[3:]
pa.set_cpu_count(1)
pa.set_io_thread_count(1)
with pq.ParquetWriter(target, pq.read_schema(sources[0]), compression=codec) as writer:
    held, rows = [], 0
    for source in sources:
        held.append(pq.read_table(source, use_threads=False))
        rows += len(held[-1])
        if rows >= GROUP or source is sources[-1]:
            writer.write_table(pa.concat_tables(held), row_group_size=GROUP)
            held, rows = [], 0
