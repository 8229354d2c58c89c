"""A Kinesis stream to Parquet in S3 with http.client, orjson and polars. Arguments: schema, stream, bucket.

The best that Python does by our knowledge, and not what one would run: requests are not signed, and nothing is tried twice.
"""

import http.client
import io
import os
import sys
from base64 import b64decode
from urllib.parse import urlsplit

import orjson
import polars as pl
from polars_convert import TIME, standardise
from table import columns

SOME = 50_000
# Servers on loopback want to see a signature and do not look at it.
HEADERS = {
    "Content-Type": "application/x-amz-json-1.1",
    "Authorization": "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/kinesis/aws4_request, SignedHeaders=host, Signature=0",
    "X-Amz-Date": "20260101T000000Z",
}


def connection(service):
    return http.client.HTTPConnection(urlsplit(os.environ[f"AWS_ENDPOINT_URL_{service}"]).netloc)


def call(kinesis, action, **request):
    kinesis.request("POST", "/", orjson.dumps(request), HEADERS | {"X-Amz-Target": f"Kinesis_20131202.{action}"})
    answer = kinesis.getresponse()
    body = answer.read()
    if answer.status != 200:
        raise SystemExit(f"{action}: {answer.status} {body}")
    return orjson.loads(body)


def put(s3, path, body):
    s3.request("PUT", path, body, {"Content-Type": "application/octet-stream"})
    answer = s3.getresponse()
    said = answer.read()
    if answer.status != 200:
        raise SystemExit(f"{path}: {answer.status} {said}")


def batches(kinesis, stream):
    """Lists of records with their shard; as in kinesis_boto3.py."""
    for shard in call(kinesis, "ListShards", StreamName=stream)["Shards"]:
        place = {"StreamName": stream, "ShardId": shard["ShardId"], "ShardIteratorType": "TRIM_HORIZON"}
        iterator, held = call(kinesis, "GetShardIterator", **place)["ShardIterator"], []
        while iterator:
            answer = call(kinesis, "GetRecords", ShardIterator=iterator)
            iterator = answer.get("NextShardIterator") if answer["Records"] else None
            held += answer["Records"]
            if held and (iterator is None or len(held) >= SOME):
                yield shard["ShardId"], held
                held = []


schema, stream, bucket = sys.argv[1:4]
table = columns(schema)
kinesis, s3 = connection("KINESIS"), connection("S3")
for number, (shard, records) in enumerate(batches(kinesis, stream)):
    arrived = pl.Series("_arrived_at", [record["ApproximateArrivalTimestamp"] for record in records])
    frame = standardise(table, b"\n".join(b64decode(record["Data"]) for record in records)).with_columns(
        pl.lit(None, pl.String).alias("extra"),
        pl.lit("events").alias("_stream"),
        pl.lit(shard).alias("_shard"),
        pl.Series("_sequence", [record["SequenceNumber"] for record in records]),
        pl.lit(0, pl.Int64).alias("_subsequence"),
        (arrived * 1_000_000).cast(pl.Int64).cast(TIME),
    )
    body = io.BytesIO()
    frame.write_parquet(body, compression="snappy")
    put(s3, f"/{bucket}/rows/{number:05}.parquet", body.getvalue())
