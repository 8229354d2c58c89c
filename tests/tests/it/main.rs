//! Integration tests: one binary, one module per subject.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // helpers of tests fail by panicking, as tests do

mod architecture;
mod aws_athena;
mod aws_check;
mod aws_destinations;
mod aws_documents;
mod aws_intake;
mod aws_kinesis;
mod aws_kinesis_consumer;
mod aws_kinesis_fan_out;
mod aws_redrive;
mod aws_s3;
mod aws_schedules;
mod aws_session;
mod aws_sqs;
mod bloom;
mod cli;
mod cluster;
mod conformance;
mod dedupe;
mod erase;
mod evolution;
mod intake;
mod json_schema;
mod lake;
mod own_destination;
mod postgres;
mod postgres_crash;
mod quotas;
mod raw;
mod readme;
mod redrive_queue;
mod schedules;
mod support;
mod tables;
mod telemetry;
