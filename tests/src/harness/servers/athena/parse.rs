//! Exactly the DDL that shardmill and its users issue, as Athena's reference writes it.
//!
//! Sources, one page per statement below <https://docs.aws.amazon.com/athena/latest/ug/>: `create-database.html`,
//! `create-table.html`, `alter-table-add-columns.html`, `alter-table-add-partition.html`, `alter-table-set-location.html`,
//! `alter-table-drop-partition.html`, `drop-table.html`, `describe-table.html`, `show-partitions.html`, `show-tables.html`.

use super::tokens::{Token, cut};

/// A table, and its database where one is named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TableName {
    pub(super) database: Option<String>,
    pub(super) table: String,
}

/// Names with types, or keys with values.
pub(super) type Pairs = Vec<(String, String)>;

/// What a statement says of a table that it makes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Made {
    pub(super) columns: Pairs,
    pub(super) keys: Pairs,
    pub(super) location: String,
    /// What lies in its folders names files, one a line.
    pub(super) manifests: bool,
}

/// A statement other than a query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Statement {
    CreateDatabase { name: String, unless_there: bool },
    CreateTable { name: TableName, unless_there: bool, table: Made },
    AddColumns { name: TableName, columns: Pairs },
    AddPartitions { name: TableName, unless_there: bool, partitions: Vec<(Pairs, Option<String>)> },
    DropPartition { name: TableName, if_there: bool, partition: Pairs },
    SetLocation { name: TableName, partition: Pairs, location: String },
    DropTable { name: TableName, if_there: bool },
    Describe { name: TableName, formatted: bool, partition: Option<Pairs> },
    ShowPartitions { name: TableName },
    ShowTables,
}

/// The first word of a statement, upper-case; comments before it do not count.
pub(super) fn first_word(sql: &str) -> String {
    let mut text = sql.trim_start_matches(|c: char| c.is_whitespace() || c == '(');
    while let Some((_, rest)) = text.strip_prefix("--").and_then(|comment| comment.split_once('\n')) {
        text = rest.trim_start_matches(|c: char| c.is_whitespace() || c == '(');
    }
    text.chars().take_while(char::is_ascii_alphabetic).collect::<String>().to_ascii_uppercase()
}

/// Parses a statement; the error reads as Athena's.
pub(super) fn parse(sql: &str) -> Result<Statement, String> {
    let mut parser = Parser { tokens: cut(sql)?, at: 0 };
    let statement = parser.statement()?;
    match parser.peek() {
        None => Ok(statement),
        Some(_) => Err(parser.mismatched("<EOF>")),
    }
}

struct Parser {
    tokens: Vec<Token>,
    at: usize,
}

impl Parser {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at)
    }

    fn mismatched(&self, wanted: &str) -> String {
        let found = match self.peek() {
            None => "<EOF>".to_owned(),
            Some(Token::Word(word) | Token::Name(word)) => word.clone(),
            Some(Token::Text(text)) => format!("'{text}'"),
            Some(Token::Sign(sign)) => sign.to_string(),
        };
        format!("line 1:{}: mismatched input '{found}', expecting {wanted}", self.at + 1)
    }

    /// Takes the words when they come next.
    fn took(&mut self, words: &[&str]) -> bool {
        let next = words.iter().zip(self.tokens.iter().skip(self.at));
        let fits =
            next.filter(|(word, token)| **token == Token::Word((**word).to_owned())).count() == words.len();
        self.at += if fits { words.len() } else { 0 };
        fits
    }

    fn words(&mut self, words: &[&str]) -> Result<(), String> {
        if self.took(words) { Ok(()) } else { Err(self.mismatched(&words.join(" "))) }
    }

    fn took_sign(&mut self, sign: char) -> bool {
        let fits = self.peek() == Some(&Token::Sign(sign));
        self.at += usize::from(fits);
        fits
    }

    fn sign(&mut self, sign: char) -> Result<(), String> {
        if self.took_sign(sign) { Ok(()) } else { Err(self.mismatched(&format!("'{sign}'"))) }
    }

    fn name(&mut self) -> Result<String, String> {
        let name = match self.peek() {
            Some(Token::Name(name)) => name.clone(),
            // A word without quotes begins with a letter.
            Some(Token::Word(word)) if word.starts_with(|c: char| c.is_ascii_alphabetic()) => word.clone(),
            _ => return Err(self.mismatched("a name")),
        };
        self.at += 1;
        Ok(name)
    }

    fn text(&mut self) -> Result<String, String> {
        let Some(Token::Text(text)) = self.peek() else { return Err(self.mismatched("a text in quotes")) };
        let text = text.clone();
        self.at += 1;
        Ok(text)
    }

    fn table(&mut self) -> Result<TableName, String> {
        let first = self.name()?;
        match self.took_sign('.') {
            true => Ok(TableName { database: Some(first), table: self.name()? }),
            false => Ok(TableName { database: None, table: first }),
        }
    }

    fn statement(&mut self) -> Result<Statement, String> {
        if self.took(&["create", "external", "table"]) {
            return self.create_table();
        }
        if self.took(&["create", "database"]) || self.took(&["create", "schema"]) {
            let unless_there = self.took(&["if", "not", "exists"]);
            return Ok(Statement::CreateDatabase { name: self.name()?, unless_there });
        }
        if self.took(&["alter", "table"]) {
            return self.alter();
        }
        if self.took(&["drop", "table"]) {
            let if_there = self.took(&["if", "exists"]);
            return Ok(Statement::DropTable { name: self.table()?, if_there });
        }
        if self.took(&["show", "partitions"]) {
            return Ok(Statement::ShowPartitions { name: self.table()? });
        }
        if self.took(&["show", "tables"]) {
            return Ok(Statement::ShowTables);
        }
        if self.took(&["describe"]) || self.took(&["desc"]) {
            let formatted = self.took(&["formatted"]);
            let name = self.table()?;
            let partition = if self.took(&["partition"]) { Some(self.partition()?) } else { None };
            return Ok(Statement::Describe { name, formatted, partition });
        }
        Err(self.mismatched("a statement of DDL"))
    }

    fn create_table(&mut self) -> Result<Statement, String> {
        let unless_there = self.took(&["if", "not", "exists"]);
        let name = self.table()?;
        let columns = self.columns()?;
        let keys = if self.took(&["partitioned", "by"]) { self.columns()? } else { Vec::new() };
        let manifests = self.manifests()?;
        self.words(&["location"])?;
        let location = self.text()?;
        if self.took(&["tblproperties"]) {
            self.list(|parser| {
                parser.text()?;
                parser.sign('=')?;
                parser.text()
            })?;
        }
        Ok(Statement::CreateTable { name, unless_there, table: Made { columns, keys, location, manifests } })
    }

    /// How the files of a table are found: they lie in its folders, or are named by what lies there.
    fn manifests(&mut self) -> Result<bool, String> {
        if self.took(&["stored", "as", "parquet"]) {
            return Ok(false);
        }
        for (words, class) in [
            (&["row", "format", "serde"][..], "org.apache.hadoop.hive.ql.io.parquet.serde.ParquetHiveSerDe"),
            (&["stored", "as", "inputformat"], "org.apache.hadoop.hive.ql.io.SymlinkTextInputFormat"),
            (&["outputformat"], "org.apache.hadoop.hive.ql.io.HiveIgnoreKeyTextOutputFormat"),
        ] {
            self.words(words)?;
            if self.text()? != class {
                return Err(format!(
                    "FAILED: SemanticException Cannot find class: {class} is what is known here"
                ));
            }
        }
        Ok(true)
    }

    fn alter(&mut self) -> Result<Statement, String> {
        let name = self.table()?;
        if self.took(&["add", "columns"]) {
            return Ok(Statement::AddColumns { name, columns: self.columns()? });
        }
        if self.took(&["add"]) {
            let unless_there = self.took(&["if", "not", "exists"]);
            let mut partitions = Vec::new();
            while self.took(&["partition"]) {
                let partition = self.partition()?;
                let location = if self.took(&["location"]) { Some(self.text()?) } else { None };
                partitions.push((partition, location));
            }
            let none = partitions.is_empty().then(|| self.mismatched("PARTITION"));
            return none.map_or(Ok(Statement::AddPartitions { name, unless_there, partitions }), Err);
        }
        if self.took(&["drop"]) {
            let if_there = self.took(&["if", "exists"]);
            self.words(&["partition"])?;
            return Ok(Statement::DropPartition { name, if_there, partition: self.partition()? });
        }
        self.words(&["partition"])?;
        let partition = self.partition()?;
        self.words(&["set", "location"])?;
        Ok(Statement::SetLocation { name, partition, location: self.text()? })
    }

    /// `(key = 'value', …)`: values of string keys stand in quotes, and all our keys are strings.
    fn partition(&mut self) -> Result<Pairs, String> {
        self.list(|parser| {
            let key = parser.name()?;
            parser.sign('=')?;
            Ok((key, parser.text()?))
        })
    }

    fn columns(&mut self) -> Result<Pairs, String> {
        self.list(|parser| Ok((parser.name()?, parser.kind()?)))
    }

    fn list<T>(&mut self, mut item: impl FnMut(&mut Self) -> Result<T, String>) -> Result<Vec<T>, String> {
        self.sign('(')?;
        let mut items = vec![item(self)?];
        while self.took_sign(',') {
            items.push(item(self)?);
        }
        self.sign(')')?;
        Ok(items)
    }

    /// A type. <https://docs.aws.amazon.com/athena/latest/ug/data-types.html>
    fn kind(&mut self) -> Result<String, String> {
        const PLAIN: [&str; 11] = [
            "string",
            "boolean",
            "tinyint",
            "smallint",
            "int",
            "bigint",
            "float",
            "double",
            "date",
            "timestamp",
            "binary",
        ];
        if let Some(kind) =
            PLAIN.iter().find(|kind| self.tokens.get(self.at) == Some(&Token::Word((**kind).to_owned())))
        {
            self.at += 1;
            return Ok((*kind).to_owned());
        }
        if self.took(&["array"]) {
            self.sign('<')?;
            let item = self.kind()?;
            self.sign('>')?;
            return Ok(format!("array<{item}>"));
        }
        self.words(&["decimal"])?;
        let numbers = self.list(|parser| {
            let Some(Token::Word(number)) = parser.peek().cloned() else {
                return Err(parser.mismatched("a number"));
            };
            parser.at += 1;
            number.parse::<u8>().map_err(|_| parser.mismatched("a number"))
        })?;
        match numbers.as_slice() {
            [precision, scale] => Ok(format!("decimal({precision},{scale})")),
            _ => Err(self.mismatched("decimal(precision,scale)")),
        }
    }
}
