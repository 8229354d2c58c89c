"""A Kinesis stream to Parquet in S3 with boto3 and polars. Arguments: schema, stream, bucket."""

import io
import sys

import boto3
import polars as pl
from kinesis_boto3 import batches
from polars_convert import TIME, standardise
from table import columns

schema, stream, bucket = sys.argv[1:4]
table = columns(schema)
s3 = boto3.client("s3")
for number, (shard, records) in enumerate(batches(stream)):
    frame = standardise(table, b"\n".join(record["Data"] for record in records)).with_columns(
        pl.lit(None, pl.String).alias("extra"),
        pl.lit("events").alias("_stream"),
        pl.lit(shard).alias("_shard"),
        pl.Series("_sequence", [record["SequenceNumber"] for record in records]),
        pl.lit(0, pl.Int64).alias("_subsequence"),
        pl.Series("_arrived_at", [record["ApproximateArrivalTimestamp"] for record in records]).cast(TIME),
    )
    body = io.BytesIO()
    frame.write_parquet(body, compression="snappy")
    s3.put_object(Bucket=bucket, Key=f"rows/{number:05}.parquet", Body=body.getvalue())
