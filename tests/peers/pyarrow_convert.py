"""Events to a checked, typed Parquet file in pyarrow. Arguments: schema, source, target, codec.

pyarrow reads flat events by itself. It knows no column of JSON text, so that nested ones are read by orjson.
"""

import gc
import itertools
import sys

import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pj
import pyarrow.parquet as pq
from table import ARRIVED_US, GROUP, SHARD, STREAM, columns

TIME = pa.timestamp("us", "UTC")
TYPES = {"integer": pa.int64(), "number": pa.float64(), "boolean": pa.bool_(), "time": TIME, "date": pa.date32()}
# Events parsed at a time, and bytes of a block.
SOME, BLOCK = 2_000, 32 << 20


def broken(column, values):
    """Whether values break a rule, for each rule."""
    if not column.nullable:
        yield pc.is_null(values)
    if column.enum:
        yield pc.and_(pc.is_valid(values), pc.invert(pc.is_in(values, value_set=pa.array(column.enum))))
    if column.minimum is not None:
        yield pc.less(values, column.minimum)
    if column.maximum is not None:
        yield pc.greater(values, column.maximum)
    if column.min_length is not None:
        yield pc.less(pc.utf8_length(values), column.min_length)
    if column.max_length is not None:
        yield pc.greater(pc.utf8_length(values), column.max_length)
    if column.pattern:
        yield pc.invert(pc.match_substring_regex(values, column.pattern))
    if column.kind == "json" and column.openings():
        yield pc.and_(pc.is_valid(values), pc.invert(pc.is_in(pc.utf8_slice_codeunits(values, 0, 1), pa.array(column.openings()))))


def by_arrow(table, source):
    """Batches of flat events."""
    schema = pa.schema([(column.member, TYPES.get(column.kind, pa.string())) for column in table])
    options = pj.ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore")
    reading = pj.ReadOptions(use_threads=False, block_size=BLOCK)
    for batch in pj.open_json(source, read_options=reading, parse_options=options):
        yield batch.columns


def by_orjson(table, source):
    """Batches of nested events."""
    gc.disable()  # nothing here is in a cycle, and looking for some takes a third of the time
    text = lambda value: value if value is None else orjson.dumps(value)
    with open(source, "rb") as lines:
        while events := [orjson.loads(line) for line in itertools.islice(lines, SOME)]:
            arrays = []
            for column in table:
                values = [event.get(column.member) for event in events]
                if column.kind == "json":
                    arrays.append(pa.array(map(text, values), pa.string()))
                elif column.kind in ("time", "date"):
                    arrays.append(pc.cast(pa.array(values, pa.string()), TYPES[column.kind]))
                else:
                    arrays.append(pa.array(values, TYPES.get(column.kind, pa.string())))
            yield arrays


def row_group(table, batches, first):
    """Batches as one table with the origin of its rows."""
    data = pa.Table.from_batches(batches)
    for column in table:
        if any(pc.any(rule).as_py() for rule in broken(column, data[column.name])):
            raise SystemExit(f"{column.member} breaks its schema")
    rows = len(data)
    origin = {
        "extra": pa.nulls(rows, pa.string()),
        "_stream": pa.repeat(STREAM, rows),
        "_shard": pa.repeat(SHARD, rows),
        "_sequence": pc.cast(pa.array(range(first, first + rows), pa.int64()), pa.string()),
        "_subsequence": pa.repeat(pa.scalar(0, pa.int64()), rows),
        "_arrived_at": pa.repeat(pa.scalar(ARRIVED_US, TIME), rows),
    }
    for name, values in origin.items():
        data = data.append_column(name, values)
    return data


if __name__ == "__main__":
    schema, source, target, codec = sys.argv[1:5]
    pa.set_cpu_count(1)
    pa.set_io_thread_count(1)
    table = columns(schema)
    names = [column.name for column in table]
    nested = any(column.kind == "json" for column in table)
    writer, held, done = None, [], 0
    batches = (by_orjson if nested else by_arrow)(table, source)
    for arrays in itertools.chain(batches, [None]):
        if arrays is not None:
            held.append(pa.record_batch(arrays, names=names))
        if held and (arrays is None or sum(map(len, held)) >= GROUP):
            group = row_group(table, held, done)
            writer = writer or pq.ParquetWriter(target, group.schema, compression=codec)
            writer.write_table(group, row_group_size=GROUP)
            held, done = [], done + len(group)
    if writer:
        writer.close()
