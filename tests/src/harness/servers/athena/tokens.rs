//! DDL cut into tokens, quoted as Athena wants it: names in backticks, texts in single quotes.
//!
//! <https://docs.aws.amazon.com/athena/latest/ug/reserved-words.html> (backticks in DDL, double quotes in SELECT only).

/// A piece of a statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Token {
    /// A word without quotes, lower-case.
    Word(String),
    /// A name in backticks, lower-case.
    Name(String),
    /// A text.
    Text(String),
    /// Anything else.
    Sign(char),
}

/// Cuts a statement; the error reads as Athena's.
pub(super) fn cut(sql: &str) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    let mut rest = sql.char_indices().peekable();
    while let Some((at, c)) = rest.next() {
        match c {
            _ if c.is_whitespace() => {}
            '`' => {
                let mut name = String::new();
                loop {
                    match rest.next() {
                        Some((_, '`')) if rest.peek().is_some_and(|(_, next)| *next == '`') => {
                            rest.next();
                            name.push('`');
                        }
                        Some((_, '`')) => break,
                        Some((_, c)) => name.push(c),
                        None => return Err(mismatched(sql, at, "`")),
                    }
                }
                tokens.push(Token::Name(name.to_lowercase()));
            }
            '\'' => {
                let mut text = String::new();
                loop {
                    match rest.next() {
                        // Hive takes the sign behind a backslash as it is, apart from a few that we never write.
                        Some((_, '\\')) => match rest.next() {
                            Some((_, c @ ('\\' | '\'' | '"' | '%' | '_'))) => text.push(c),
                            _ => return Err(mismatched(sql, at, "\\")),
                        },
                        Some((_, '\'')) => break,
                        Some((_, c)) => text.push(c),
                        None => return Err(mismatched(sql, at, "'")),
                    }
                }
                tokens.push(Token::Text(text));
            }
            '"' => return Err(mismatched(sql, at, "\"")),
            _ if c.is_ascii_alphanumeric() => {
                let mut word = String::from(c);
                while let Some((_, c)) = rest.next_if(|(_, c)| c.is_ascii_alphanumeric() || *c == '_') {
                    word.push(c);
                }
                tokens.push(Token::Word(word.to_lowercase()));
            }
            _ => tokens.push(Token::Sign(c)),
        }
    }
    if tokens.last() == Some(&Token::Sign(';')) {
        tokens.pop();
    }
    Ok(tokens)
}

fn mismatched(sql: &str, at: usize, what: &str) -> String {
    let before = &sql[..at];
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count();
    format!("line {line}:{}: mismatched input '{what}'", column + 1)
}
