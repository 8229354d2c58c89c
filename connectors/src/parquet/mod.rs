//! Parquet files of the lake: segments, their merge into generations, and their proof.
