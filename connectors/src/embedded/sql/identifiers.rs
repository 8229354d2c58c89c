//! Identifiers without quotes in the spelling the lake knows, so that `USERID` finds the column `userId`.

use std::collections::BTreeMap;

use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use super::provider::PARTITION;
use crate::ports::Snapshot;

/// Spellings by their lower-case form.
pub(super) struct Spellings(BTreeMap<String, Vec<String>>);

impl Spellings {
    /// The names that a query with these tokens can mean: all tables, and the columns of the tables it mentions.
    pub(super) fn of(lake: &Snapshot, tokens: &[TokenWithSpan]) -> Self {
        let mut known = Spellings(BTreeMap::new());
        PARTITION.iter().for_each(|name| known.add(name));
        for (table, (columns, _)) in &lake.tables {
            known.add(table);
            if tokens.iter().any(|token| mentions(token, table)) {
                columns.fields().iter().for_each(|field| known.add(field.name()));
            }
        }
        known
    }

    /// Respells the words of a statement; what stands in quotes is left alone. Unknown words (aliases, functions) become
    /// lower-case, so that they too match in any spelling.
    pub(super) fn apply(&self, tokens: &mut [TokenWithSpan]) {
        for i in 0..tokens.len() {
            let called = calls(&tokens[i + 1..]);
            let Token::Word(word) = &mut tokens[i].token else { continue };
            if word.quote_style.is_none() {
                let plain = word.value.to_lowercase();
                // `count(…)` is the function even where a column is named `Count`.
                word.value = if called { plain } else { self.spell(&word.value, plain) };
            }
        }
    }

    fn add(&mut self, name: &str) {
        let spellings = self.0.entry(name.to_lowercase()).or_default();
        if !spellings.iter().any(|known| known == name) {
            spellings.push(name.to_owned());
        }
    }

    /// As written when that is one of several spellings, else the first one known.
    fn spell(&self, written: &str, plain: String) -> String {
        match self.0.get(&plain) {
            Some(spellings) if spellings.iter().any(|known| known == written) => written.to_owned(),
            Some(spellings) => spellings.first().cloned().unwrap_or(plain),
            None => plain,
        }
    }
}

fn mentions(token: &TokenWithSpan, table: &str) -> bool {
    matches!(&token.token, Token::Word(word) if word.value.to_lowercase() == table.to_lowercase())
}

fn calls(rest: &[TokenWithSpan]) -> bool {
    let next = rest.iter().find(|token| !matches!(token.token, Token::Whitespace(_)));
    next.is_some_and(|token| token.token == Token::LParen)
}
