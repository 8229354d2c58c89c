//! Client request tokens: a statement whose start was not answered is started once, and one that is issued again later runs
//! again.
//!
//! Athena answers a known token with the execution it began then, whatever became of it, and runs nothing. A token made from
//! the statement alone would therefore make a second `SET LOCATION` to an old place do nothing at all. So a token lives from
//! the first attempt until Athena answers; it is used again only for the same statement on the same subject, while nobody here
//! issued another one on it.
//! <https://docs.aws.amazon.com/athena/latest/APIReference/API_StartQueryExecution.html>

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use uuid::Uuid;

/// The statements whose start has not been answered, by what they are about.
#[derive(Debug, Default)]
pub(super) struct Tokens(Mutex<HashMap<String, (String, String)>>);

impl Tokens {
    /// The token for starting `sql`, which is about `subject`: 36 characters, of the 32 to 128 allowed.
    pub(super) fn of(&self, subject: &str, sql: &str) -> String {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, token)) = open.get(subject)
            && known == sql
        {
            return token.clone();
        }
        let token = Uuid::new_v4().to_string();
        open.insert(subject.to_owned(), (sql.to_owned(), token.clone()));
        token
    }

    /// Athena answered for this token: it has done its work.
    pub(super) fn answered(&self, subject: &str, token: &str) {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if open.get(subject).is_some_and(|(_, known)| known == token) {
            open.remove(subject);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_used_again_until_it_is_answered_or_another_statement_comes() {
        let tokens = Tokens::default();
        let first = tokens.of("p", "to A");
        assert!((32..=128).contains(&first.len()));
        assert_eq!(tokens.of("p", "to A"), first, "not answered yet");
        assert_ne!(tokens.of("q", "to A"), first, "another subject");
        tokens.answered("p", &first);
        let second = tokens.of("p", "to A");
        assert_ne!(second, first, "issued again, it runs again");
        let other = tokens.of("p", "to B");
        tokens.answered("p", &second);
        assert_eq!(tokens.of("p", "to B"), other, "an answer to an older one changes nothing");
        assert_ne!(tokens.of("p", "to A"), second, "what was overtaken is a new statement");
    }
}
