"""The work of `standardise` in DuckDB: a file of events to a typed, checked Parquet file. Arguments: source, target.

The same columns as our built-in table, objects kept as JSON text and checked to be objects, times read as times, and the
five columns that say where a row comes from. An event that breaks the types ends the program, as it does on our side.
"""

import sys

import duckdb

source, target = sys.argv[1:3]
texts = ["messageId", "type", "event", "userId", "anonymousId", "name", "category", "groupId", "previousId"]
times = ["timestamp", "sentAt", "receivedAt"]
objects = ["properties", "traits", "context", "integrations"]


def snake(name):
    return "".join("_" + letter.lower() if letter.isupper() else letter for letter in name)


def checked(name):
    fits = f"\"{name}\" IS NULL OR json_type(\"{name}\") = 'OBJECT'"
    return f"CASE WHEN {fits} THEN CAST(\"{name}\" AS VARCHAR) ELSE error('{name} is no object') END AS {snake(name)}"


columns = {name: "VARCHAR" for name in texts} | {name: "TIMESTAMPTZ" for name in times} | {name: "JSON" for name in objects}
shown = [f'"{name}" AS {snake(name)}' for name in texts + times] + [checked(name) for name in objects]
origin = [
    "CAST(NULL AS VARCHAR) AS extra",
    "'events' AS _stream",
    "'shardId-000000000000' AS _shard",
    "CAST(row_number() OVER () - 1 AS VARCHAR) AS _sequence",
    "CAST(0 AS BIGINT) AS _subsequence",
    "make_timestamptz(1795000000000000) AS _arrived_at",
]
spec = ", ".join(f"'{name}': '{kind}'" for name, kind in columns.items())
read = f"read_json('{source}', format = 'newline_delimited', columns = {{{spec}}})"
select = f"SELECT {', '.join(shown + origin)} FROM {read}"
db = duckdb.connect()
db.execute("SET TimeZone = 'UTC'")
write = "(FORMAT parquet, COMPRESSION snappy, ROW_GROUP_SIZE 100000)"
db.execute(f"COPY ({select}) TO '{target}' {write}")
