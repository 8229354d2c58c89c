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
    /// Too many rows, or of too many kinds, for one insert.
    Fewer,
    /// The server could not.
    Later,
    /// The server began, and then could not.
    Broken,
}

fn meaning(exception: u32, text: &str) -> Option<Meaning> {
    Some(match exception {
        // The insert is spread too far; fewer rows are in fewer partitions.
        252 if text.contains("partitions for") => Meaning::Fewer,
        516 | 497 => Meaning::Stop("correct the credentials, or what the user is granted, then resume"),
        16 | 60 => Meaning::Stop("correct `table`, `database` or `columns`, or make them there, then resume"),
        8 | 15 | 36 | 44 | 62 | 81 | 115 | 164 | 192..=194 => {
            Meaning::Stop("correct the settings or the table that the exception names, then resume")
        }
        6 | 26 | 27 | 38 | 41 | 53 | 69 | 70 | 72 | 117 | 131 | 321 | 349 | 376 | 407 | 441 | 469 | 675
        | 676 | 691 => Meaning::Rows,
        202 | 241 | 242 | 252 => Meaning::Later,
        159 | 209 | 210 => Meaning::Broken,
        _ => return None,
    })
}

/// Judges an answer: by the exception, for which there may be any status; without a known one by the status.
pub(super) fn judged(batch: Batch<'_>, response: &Response) -> Answer {
    let (exception, text) = (exception(response), String::from_utf8_lossy(&response.body));
    let Some((number, meaning)) = exception.and_then(|number| Some((number, meaning(number, &text)?))) else {
        return status::answer(batch, response).unwrap_or_else(|| match exception {
            None if response.body.trim_ascii().is_empty() => Answer::delivered(batch.events.len()),
            None => status::unreadable(batch, response, "is not empty, as that of an insert is"),
            Some(number) => status::unreadable(batch, response, &format!("tells of exception {number}")),
        });
    };
    let (class, remedy) = match meaning {
        Meaning::Stop(remedy) => (Class::Unauthorized, format!("; {remedy}")),
        Meaning::Rows => (Class::Rejected, String::new()),
        Meaning::Fewer | Meaning::Later | Meaning::Broken => (Class::Transient, String::new()),
    };
    let detail = format!("ClickHouse does not insert the rows: exception {number}{remedy}");
    let failure = Failure { class, retry_after: status::wait(response, batch.at), detail };
    let unknown = matches!(meaning, Meaning::Broken);
    let refusal = Refusal { failure, response: status::excerpt(response), unknown };
    match meaning {
        Meaning::Rows => Answer::Split(refusal),
        Meaning::Fewer if batch.events.len() > 1 => Answer::Split(refusal),
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
