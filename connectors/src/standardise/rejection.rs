//! Why an event cannot become a row: the field, the rule it breaks and the type of what was found.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::schema::types::Kind;

/// The longest field name kept; event producers choose names freely, reports must stay small.
const LONGEST_FIELD: usize = 256;

/// An event refused by its table. Never holds the value itself: rejections go to logs and reports, payloads do not.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Rejection {
    /// JSON pointer to the failing field; empty for the event as a whole.
    pub field: String,
    /// The rule it breaks, e.g. `minimum 0`, `required`, `type integer`.
    pub rule: String,
    /// The JSON type of the value found, e.g. `string`; `nothing` when the field is missing.
    pub found: String,
}

impl Rejection {
    /// The value with this raw JSON text breaks `rule`. The field is filled in on the way up, by [`Rejection::under`].
    pub(crate) fn of(rule: impl Into<String>, raw: &str) -> Self {
        Rejection { field: String::new(), rule: rule.into(), found: Kind::of(raw).name().to_owned() }
    }

    /// The required field `name` is missing.
    pub(crate) fn missing(name: &str) -> Self {
        let nothing =
            Rejection { field: String::new(), rule: "required".to_owned(), found: "nothing".to_owned() };
        nothing.under(name)
    }

    /// The same rejection seen from one level further up, where the value is the member or element `token`.
    #[must_use]
    pub(crate) fn under(mut self, token: &str) -> Self {
        self.field.insert_str(0, &pointer_token(token));
        if self.field.len() > LONGEST_FIELD {
            self.field.truncate(self.field.floor_char_boundary(LONGEST_FIELD));
            self.field.push('…');
        }
        self
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let field = if self.field.is_empty() { "the event" } else { &self.field };
        write!(f, "{field}: rule `{}`, found {}", self.rule, self.found)
    }
}

impl std::error::Error for Rejection {}

/// `/token` with RFC 6901's escapes.
pub(crate) fn pointer_token(token: &str) -> String {
    format!("/{}", token.replace('~', "~0").replace('/', "~1"))
}
