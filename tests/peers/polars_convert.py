"""Events to a checked, typed Parquet file in polars. Arguments: schema, source, target, codec."""

import sys

import polars as pl
from table import ARRIVED_US, GROUP, SHARD, STREAM, columns

READ_AS = {"integer": pl.Int64, "number": pl.Float64, "boolean": pl.Boolean, "date": pl.Date}
TIME = pl.Datetime("us", "UTC")


def broken(column):
    """Whether some value breaks a rule, for each rule."""
    value = pl.col(column.name)
    if not column.nullable:
        yield value.is_null()
    if column.enum:
        yield ~value.is_in(column.enum)
    if column.minimum is not None:
        yield value < column.minimum
    if column.maximum is not None:
        yield value > column.maximum
    if column.min_length is not None:
        yield value.str.len_chars() < column.min_length
    if column.max_length is not None:
        yield value.str.len_chars() > column.max_length
    if column.pattern:
        yield ~value.str.contains(column.pattern)
    if column.kind == "json" and column.openings():
        yield ~value.str.slice(0, 1).is_in(column.openings())


def standardise(table, source):
    """A file or bytes of events as a frame of the table's data columns, checked."""
    frame = pl.read_ndjson(source, schema={column.member: READ_AS.get(column.kind, pl.String) for column in table})
    frame = frame.rename({column.member: column.name for column in table})
    # In this one form: three times as fast as having the reader guess.
    times = [column.name for column in table if column.kind == "time"]
    read = pl.col(times).str.to_datetime("%Y-%m-%dT%H:%M:%S%.fZ", time_unit="us", time_zone="UTC")
    frame = frame.with_columns(read) if times else frame
    rules = [rule.any().alias(f"{column.name} {n}") for column in table for n, rule in enumerate(broken(column))]
    found = frame.select(rules).row(0, named=True) if rules else {}
    if wrong := [rule for rule, breaks in found.items() if breaks]:
        raise SystemExit(f"the events break their schema: {wrong}")
    return frame


if __name__ == "__main__":
    schema, source, target, codec = sys.argv[1:5]
    frame = standardise(columns(schema), source).with_columns(
        pl.lit(None, pl.String).alias("extra"),
        pl.lit(STREAM).alias("_stream"),
        pl.lit(SHARD).alias("_shard"),
        pl.int_range(pl.len(), dtype=pl.Int64).cast(pl.String).alias("_sequence"),
        pl.lit(0, pl.Int64).alias("_subsequence"),
        pl.lit(ARRIVED_US, pl.Int64).cast(TIME).alias("_arrived_at"),
    )
    frame.write_parquet(target, compression=codec, row_group_size=GROUP)
