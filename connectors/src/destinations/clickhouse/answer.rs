//! What ClickHouse says of an insert: nothing when all is well, else an exception with a number.

use crate::destinations::http::Response;
use crate::destinations::{Answer, Batch, Refusal, status};
use crate::failure::{Class, Failure};

/// What an exception's number says.
#[derive(Clone, Copy)]
enum Meaning {
    /// Somebody must do something.
    Stop(&'static str),
    /// A row is to blame.
    Rows,
    /// The server could not.
    Later,
    /// The server began, and then could not.
    Broken,
}

fn meaning(exception: u32) -> Option<Meaning> {
    Some(match exception {
        516 | 497 => Meaning::Stop("correct the credentials, or what the user is granted, then resume"),
        16 | 60 => Meaning::Stop("correct `table`, `database` or `columns`, or make them there, then resume"),
        6 | 27 | 117 => Meaning::Rows,
        202 | 241 | 242 | 252 => Meaning::Later,
        159 | 209 | 210 => Meaning::Broken,
        _ => return None,
    })
}

/// Judges an answer: by the exception, for which there may be any status; without a known one by the status.
pub(super) fn judged(batch: Batch<'_>, response: &Response) -> Answer {
    let exception = exception(response);
    let Some((number, meaning)) = exception.and_then(|number| Some((number, meaning(number)?))) else {
        return status::answer(batch, response).unwrap_or_else(|| match exception {
            None if response.body.trim_ascii().is_empty() => Answer::delivered(batch.events.len()),
            None => status::unreadable(batch, response, "is not empty, as that of an insert is"),
            Some(number) => status::unreadable(batch, response, &format!("tells of exception {number}")),
        });
    };
    let (class, remedy) = match meaning {
        Meaning::Stop(remedy) => (Class::Unauthorized, format!("; {remedy}")),
        Meaning::Rows => (Class::Rejected, String::new()),
        Meaning::Later | Meaning::Broken => (Class::Transient, String::new()),
    };
    let detail = format!("ClickHouse does not insert the rows: exception {number}{remedy}");
    let failure = Failure { class, retry_after: status::wait(response, batch.at), detail };
    let unknown = matches!(meaning, Meaning::Broken);
    let refusal = Refusal { failure, response: status::excerpt(response), unknown };
    match meaning {
        Meaning::Rows => Answer::Split(refusal),
        _ => Answer::refused(batch.events.len(), &refusal),
    }
}

/// The number of the exception that an answer tells of: in its header, or in its text, where it may stand after a good status.
fn exception(response: &Response) -> Option<u32> {
    let header = response.header("x-clickhouse-exception-code").and_then(|code| code.trim().parse().ok());
    header.or_else(|| {
        let text = String::from_utf8_lossy(&response.body);
        let (_, told) = text.split_once("Code: ")?;
        let (code, rest) = told.split_at(told.find(|c: char| !c.is_ascii_digit())?);
        rest.contains("DB::Exception").then(|| code.parse().ok())?
    })
}
