"""The work of a compaction in DuckDB: Parquet files merged into one, rows in their order. Arguments: target, sources."""

import sys

import duckdb

target, sources = sys.argv[1], sys.argv[2:]
names = ", ".join(f"'{name}'" for name in sources)
select = f"SELECT * FROM read_parquet([{names}])"
db = duckdb.connect()
db.execute("SET preserve_insertion_order = true")
db.execute(f"COPY ({select}) TO '{target}' (FORMAT parquet, COMPRESSION snappy, ROW_GROUP_SIZE 100000)")
