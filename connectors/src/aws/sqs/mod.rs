//! The queue port on SQS.
//!
//! A message is sent as it is when SQS takes it so. Otherwise its body is a small JSON object that says what it stands for
//! ([`form`]), and receiving gives the payload back; what other producers sent is handed out untouched. A message that an
//! operator moved back with SQS's own redrive (`StartMessageMoveTask`) is a new message with a new id and the old body, a
//! pointer included: it is received like any other.
//!
//! Objects of payloads too large for a message lie below `queue/`. One whose message was never sent, or was settled by a
//! process that died before removing the object, stays: a lifecycle rule of 15 days for that prefix (SQS keeps messages for
//! at most 14) removes it.

pub mod form;

mod batch;
mod queue;

pub use queue::{MESSAGE_LIMIT, SqsQueue};
