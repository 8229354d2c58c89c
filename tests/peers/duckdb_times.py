"""How long DuckDB takes to answer questions about files of the same rows. Arguments: rounds, NAME=FILE,FILE… for each.

The files take turns; prints medians in milliseconds, of the processor and of the clock, by question and name.
"""

import json
import statistics
import sys
import time

import duckdb

rounds = int(sys.argv[1])
files = dict(word.split("=", 1) for word in sys.argv[2:])
db = duckdb.connect()
db.execute("SET threads = 1")
db.execute("SET TimeZone = 'UTC'")
for name, paths in files.items():
    list_of_paths = ", ".join(f"'{path}'" for path in paths.split(","))
    db.execute(f'CREATE VIEW "{name}" AS SELECT * FROM read_parquet([{list_of_paths}], hive_partitioning = false)')
some = next(iter(files))
middle, one = db.execute(
    f'SELECT CAST(to_timestamp(quantile_disc(epoch("timestamp"), 0.5)) AS VARCHAR), quantile_disc(message_id, 0.5) FROM "{some}"'
).fetchone()
questions = {
    "aggregate": "SELECT event, name, count(*), count(DISTINCT user_id), avg(length(properties)) FROM {} GROUP BY ALL ORDER BY ALL",
    "filter": "SELECT count(*), count(user_id) FROM {} "
    f"WHERE \"timestamp\" >= TIMESTAMPTZ '{middle}' AND \"timestamp\" < TIMESTAMPTZ '{middle}' + INTERVAL 1 MINUTE",
    "point": f"SELECT _sequence, context FROM {{}} WHERE message_id = '{one}'",
}
told = {}
for question, sql in questions.items():
    spent = {name: [] for name in files}
    answers = set()
    # The first round warms up.
    for _ in range(rounds + 1):
        for name in files:
            wall, cpu = time.perf_counter(), time.process_time()
            answers.add(repr(db.execute(sql.format(f'"{name}"')).fetchall()))
            spent[name].append((time.process_time() - cpu, time.perf_counter() - wall))
    if len(answers) != 1:
        raise SystemExit(f"{question}: the files answer differently: {answers}")
    told[question] = {
        name: {
            "cpu_ms": 1000 * statistics.median(cpu for cpu, _ in times[1:]),
            "wall_ms": 1000 * statistics.median(wall for _, wall in times[1:]),
        }
        for name, times in spent.items()
    }
print(json.dumps(told))
