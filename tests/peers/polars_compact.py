"""Parquet files merged into one in polars, rows in their order. Arguments: codec, target, sources."""

import sys

import polars as pl
from table import GROUP

codec, target, sources = sys.argv[1], sys.argv[2], sys.argv[3:]
pl.scan_parquet(sources).sink_parquet(target, compression=codec, row_group_size=GROUP)
