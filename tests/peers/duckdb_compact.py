"""Parquet files merged into one in DuckDB, rows in their order. Arguments: codec, target, sources."""

import sys

import duckdb

codec, target, sources = sys.argv[1], sys.argv[2], sys.argv[3:]
names = ", ".join("'" + name.replace("'", "''") + "'" for name in sources)
db = duckdb.connect()
db.execute("SET threads = 1")
db.execute("SET preserve_insertion_order = true")
select = f"SELECT * FROM read_parquet([{names}], hive_partitioning = false)"
db.execute(f"COPY ({select}) TO '{target}' (FORMAT parquet, COMPRESSION {codec})")
