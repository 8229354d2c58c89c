"""Reading a whole Kinesis stream with boto3: every shard from its beginning to its present end, without checkpoints."""

import boto3

# Records standardised together; a file holds as many.
SOME = 50_000


def batches(stream):
    """Lists of records with their shard. A shard ends where it gives nothing more: these servers do not tell the lag."""
    kinesis = boto3.client("kinesis")
    for page in kinesis.get_paginator("list_shards").paginate(StreamName=stream):
        for shard in page["Shards"]:
            place = {"StreamName": stream, "ShardId": shard["ShardId"], "ShardIteratorType": "TRIM_HORIZON"}
            iterator, held = kinesis.get_shard_iterator(**place)["ShardIterator"], []
            while iterator:
                answer = kinesis.get_records(ShardIterator=iterator)
                iterator = answer.get("NextShardIterator") if answer["Records"] else None
                held += answer["Records"]
                if held and (iterator is None or len(held) >= SOME):
                    yield shard["ShardId"], held
                    held = []
