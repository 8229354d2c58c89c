//! HTTP destinations as two pure functions: a batch becomes a request, a response becomes an answer.

mod connector;
mod destination;
mod encode;
mod request;
mod response;

pub use connector::HttpConnector;
pub use destination::{HttpDestination, open};
pub use encode::{basic, form, json_array, json_object};
pub use request::Request;
pub use response::Response;
