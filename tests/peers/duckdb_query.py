"""Runs one SQL statement (standard input) in DuckDB and prints its rows as a JSON array of objects."""

import datetime
import decimal
import json
import sys

import duckdb


def plain(value):
    """A value that JSON knows: decimals of whole numbers as integers, moments as ISO texts."""
    if isinstance(value, decimal.Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, (datetime.date, datetime.datetime)):
        return value.isoformat()
    raise TypeError(f"a {type(value).__name__} cannot be shown as JSON")


result = duckdb.connect().execute(sys.stdin.read())
names = [column[0] for column in result.description]
json.dump([dict(zip(names, row)) for row in result.fetchall()], sys.stdout, default=plain)
