"""Events to a checked, typed Parquet file in DuckDB. Arguments: schema, source, target, codec."""

import sys

import duckdb
from table import ARRIVED_US, SHARD, STREAM, columns

READ_AS = {"integer": "BIGINT", "number": "DOUBLE", "boolean": "BOOLEAN", "date": "DATE", "json": "JSON"}


def quoted(value):
    return "'" + value.replace("'", "''") + "'" if isinstance(value, str) else repr(value)


def rules(column, value):
    """What must hold for a value that is there."""
    if column.enum:
        yield f"{value} IN ({', '.join(map(quoted, column.enum))})"
    if column.minimum is not None:
        yield f"{value} >= {column.minimum}"
    if column.maximum is not None:
        yield f"{value} <= {column.maximum}"
    if column.min_length is not None:
        yield f"length({value}) >= {column.min_length}"
    if column.max_length is not None:
        yield f"length({value}) <= {column.max_length}"
    if column.pattern:
        yield f"regexp_matches({value}, {quoted(column.pattern)})"
    if column.kind == "json" and column.openings():
        yield f"json_type({value}) IN ({', '.join(quoted(kind.upper()) for kind in column.types)})"


def shown(column):
    """The expression of a column; what breaks a rule ends the statement."""
    value = '"' + column.member.replace('"', '""') + '"'
    # Read as text and cast here: half as expensive as having the reader do it.
    as_column = {"time": f"CAST({value} AS TIMESTAMPTZ)", "json": f"CAST({value} AS VARCHAR)"}.get(column.kind, value)
    holds = " AND ".join(rules(column, value))
    if column.nullable and holds:
        holds = f"{value} IS NULL OR ({holds})"
    elif not column.nullable:
        holds = " AND ".join(filter(None, [f"{value} IS NOT NULL", holds]))
    if holds:
        complaint = quoted(f"{column.member} breaks its schema")
        as_column = f"CASE WHEN {holds} THEN {as_column} ELSE error({complaint}) END"
    return f'{as_column} AS "{column.name}"'


schema, source, target, codec = sys.argv[1:5]
table = columns(schema)
origin = [
    "CAST(NULL AS VARCHAR) AS extra",
    f"{quoted(STREAM)} AS _stream",
    f"{quoted(SHARD)} AS _shard",
    "CAST(row_number() OVER () - 1 AS VARCHAR) AS _sequence",
    "CAST(0 AS BIGINT) AS _subsequence",
    f"make_timestamptz({ARRIVED_US}) AS _arrived_at",
]
spec = ", ".join(f"{quoted(column.member)}: '{READ_AS.get(column.kind, 'VARCHAR')}'" for column in table)
read = f"read_json({quoted(source)}, format = 'newline_delimited', columns = {{{spec}}})"
select = f"SELECT {', '.join([shown(column) for column in table] + origin)} FROM {read}"
db = duckdb.connect()
db.execute("SET threads = 1")
db.execute("SET TimeZone = 'UTC'")
db.execute(f"COPY ({select}) TO {quoted(target)} (FORMAT parquet, COMPRESSION {codec})")
