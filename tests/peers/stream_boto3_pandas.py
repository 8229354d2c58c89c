"""A Kinesis stream to Parquet in S3 with boto3, pandas and pandera, the way of most articles. Arguments: schema, stream, bucket."""

import io
import json
import sys

import boto3
import pandas as pd
import pandera.pandas as pa
from kinesis_boto3 import batches
from table import columns

TYPES = {"integer": "Int64", "number": "float64", "boolean": "boolean", "time": "datetime64[us, UTC]"}


def checks(column):
    """The rules of a column, for pandera."""
    if column.enum:
        yield pa.Check.isin(column.enum)
    if column.minimum is not None:
        yield pa.Check.ge(column.minimum)
    if column.maximum is not None:
        yield pa.Check.le(column.maximum)
    if column.min_length is not None or column.max_length is not None:
        yield pa.Check.str_length(column.min_length, column.max_length)
    if column.pattern:
        yield pa.Check.str_matches(column.pattern)
    if column.kind == "json" and column.openings():
        yield pa.Check(lambda texts: texts.str[0].isin(column.openings()))


def frame_of(table, records):
    """Records as a frame of the table's data columns; what breaks a type or a rule is an error."""
    frame = pd.DataFrame([json.loads(record["Data"]) for record in records], columns=[column.member for column in table])
    for column in table:
        values = frame[column.member]
        if column.kind == "time":
            frame[column.member] = pd.to_datetime(values, utc=True, format="ISO8601").astype(TYPES["time"])
        elif column.kind == "json":
            frame[column.member] = values.map(json.dumps, na_action="ignore").astype("str")
        else:
            frame[column.member] = values.astype(TYPES.get(column.kind, "str"))
    return frame.rename(columns={column.member: column.name for column in table})


schema, stream, bucket = sys.argv[1:4]
table = columns(schema)
rules = pa.DataFrameSchema(
    {
        column.name: pa.Column(TYPES.get(column.kind, "str"), list(checks(column)), nullable=column.nullable)
        for column in table
    }
)
s3 = boto3.client("s3")
for number, (shard, records) in enumerate(batches(stream)):
    frame = rules.validate(frame_of(table, records))
    frame["extra"] = pd.Series([None] * len(frame), dtype="str")
    frame["_stream"], frame["_shard"] = "events", shard
    frame["_sequence"] = [record["SequenceNumber"] for record in records]
    frame["_subsequence"] = 0
    arrived = pd.to_datetime([record["ApproximateArrivalTimestamp"] for record in records], utc=True)
    frame["_arrived_at"] = arrived.astype(TYPES["time"])
    body = io.BytesIO()
    frame.to_parquet(body, compression="snappy", index=False)
    s3.put_object(Bucket=bucket, Key=f"rows/{number:05}.parquet", Body=body.getvalue())
