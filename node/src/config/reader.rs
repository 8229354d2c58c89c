//! Reading a TOML document section by section, collecting every problem with its line instead of stopping at the first.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::ops::Range;

use serde_json::{Map, Value};
use shardmill_connectors::nearest::{advice, nearest};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::Secret;
use super::environment::{self, Variables};
use super::places::Places;
use super::problem::Problem;
use super::secret::Settings;
use super::setting::Setting;

/// What all sections of one file share.
pub(super) struct Reader<'a> {
    file: String,
    line_starts: Vec<usize>,
    variables: Variables<'a>,
    problems: RefCell<Vec<Problem>>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(file: &str, text: &str, variables: Variables<'a>) -> Self {
        let line_starts = std::iter::once(0)
            .chain(text.bytes().enumerate().filter(|(_, b)| *b == b'\n').map(|(i, _)| i + 1));
        Reader {
            file: file.to_owned(),
            line_starts: line_starts.collect(),
            variables,
            problems: RefCell::default(),
        }
    }

    fn line(&self, at: &Range<usize>) -> usize {
        self.line_starts.partition_point(|start| *start <= at.start)
    }

    pub(super) fn report(
        &self,
        at: &Range<usize>,
        key: &str,
        message: impl Into<String>,
        fix: impl Into<String>,
    ) {
        let problem = Problem {
            file: self.file.clone(),
            line: self.line(at),
            key: key.to_owned(),
            message: message.into(),
            fix: fix.into(),
        };
        self.problems.borrow_mut().push(problem);
    }

    pub(super) fn into_problems(self) -> Vec<Problem> {
        let mut problems = self.problems.into_inner();
        problems.sort_by_key(|problem| problem.line);
        problems
    }
}

/// An item of a list that holds texts and tables.
pub(super) enum Item<'t> {
    Text(String),
    Table(Section<'t>),
}

type Place<'t> = &'t Spanned<DeValue<'t>>;

/// One table of the document. Every key asked for is known; [`Section::finish`] reports the others.
pub(super) struct Section<'t> {
    reader: &'t Reader<'t>,
    path: String,
    table: &'t DeTable<'t>,
    span: Range<usize>,
    asked: Vec<&'static str>,
}

impl<'t> Section<'t> {
    pub(super) fn root(reader: &'t Reader<'t>, document: &'t Spanned<DeTable<'t>>) -> Self {
        Section { reader, path: String::new(), table: document.get_ref(), span: 0..0, asked: Vec::new() }
    }

    fn name(&self, key: &str) -> String {
        match (self.path.as_str(), key) {
            ("", key) => key.to_owned(),
            (path, "") => path.to_owned(),
            (path, key) => format!("{path}.{key}"),
        }
    }

    fn find(&mut self, key: &'static str) -> Option<Place<'t>> {
        self.asked.push(key);
        self.table.iter().find(|(name, _)| name.get_ref() == key).map(|(_, value)| value)
    }

    /// Reports a problem with the value under `key` (with the section when there is none).
    pub(super) fn report(&self, key: &str, message: impl Into<String>, fix: impl Into<String>) {
        let place = self.table.iter().find(|(name, _)| name.get_ref() == key);
        let span = place.map_or(self.span.clone(), |(name, _)| name.span());
        self.reader.report(&span, &self.name(key), message, fix);
    }

    fn wrong_type(&self, key: &str, value: Place<'_>, expected: &str) {
        let message = format!("expected {expected}, found {}", value.get_ref().type_str());
        self.reader.report(&value.span(), &self.name(key), message, format!("write {expected}"));
    }

    fn expanded(&self, key: &str, value: Place<'t>, expected: &str) -> Option<String> {
        let Some(text) = value.get_ref().as_str() else {
            self.wrong_type(key, value, expected);
            return None;
        };
        match environment::expand(text, self.reader.variables) {
            Ok(text) => Some(text),
            Err(unset) => {
                self.reader.report(&value.span(), &self.name(key), unset.message, unset.fix);
                None
            }
        }
    }

    /// A text.
    pub(super) fn text(&mut self, key: &'static str) -> Option<String> {
        let value = self.find(key)?;
        self.expanded(key, value, "a string")
    }

    /// A secret text.
    pub(super) fn secret(&mut self, key: &'static str) -> Option<Secret> {
        self.text(key).map(Secret::new)
    }

    /// A text of a certain form.
    pub(super) fn setting<T: Setting>(&mut self, key: &'static str) -> Option<T> {
        let value = self.find(key)?;
        let text = self.expanded(key, value, &format!("a string like {}", T::EXAMPLE))?;
        match text.parse() {
            Ok(setting) => Some(setting),
            Err(message) => {
                let fix = format!("write it like {}", T::EXAMPLE);
                self.reader.report(&value.span(), &self.name(key), message, fix);
                None
            }
        }
    }

    /// One text of a certain form, or a list of them.
    pub(super) fn settings_of<T: Setting>(&mut self, key: &'static str) -> Vec<T> {
        let mut settings = Vec::new();
        for place in self.items(key).unwrap_or_default() {
            let Some(text) = self.expanded(key, place, &format!("a string like {}", T::EXAMPLE)) else {
                continue;
            };
            match text.parse() {
                Ok(setting) => settings.push(setting),
                Err(message) => {
                    let fix = format!("write it like {}", T::EXAMPLE);
                    self.reader.report(&place.span(), &self.name(key), message, fix);
                }
            }
        }
        settings
    }

    /// One of a few words.
    pub(super) fn choice<T: Copy>(&mut self, key: &'static str, choices: &[(&str, T)]) -> Option<T> {
        let value = self.find(key)?;
        let text = self.expanded(key, value, "a string")?;
        if let Some((_, chosen)) = choices.iter().find(|(name, _)| *name == text) {
            return Some(*chosen);
        }
        let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
        let fix = match nearest(&text, names.iter().copied()) {
            Some(near) => format!("did you mean \"{near}\"?"),
            None => format!("one of {}", names.join(", ")),
        };
        self.reader.report(&value.span(), &self.name(key), format!("`{text}` is not known here"), fix);
        None
    }

    /// A whole number within a range.
    pub(super) fn integer(&mut self, key: &'static str, range: Range<u64>) -> Option<u64> {
        let value = self.find(key)?;
        let Some(number) = value.get_ref().as_integer() else {
            self.wrong_type(key, value, "a whole number");
            return None;
        };
        let parsed = u64::from_str_radix(number.as_str(), number.radix()).ok().filter(|n| range.contains(n));
        if parsed.is_none() {
            let last = range.end.saturating_sub(1);
            let fix = format!("a number from {} to {last}", range.start);
            self.reader.report(
                &value.span(),
                &self.name(key),
                format!("{} is out of range", number.as_str()),
                fix,
            );
        }
        parsed
    }

    /// Yes or no.
    pub(super) fn flag(&mut self, key: &'static str) -> Option<bool> {
        let value = self.find(key)?;
        let flag = value.get_ref().as_bool();
        if flag.is_none() {
            self.wrong_type(key, value, "true or false");
        }
        flag
    }

    /// A list of texts; one text alone counts as a list of one.
    pub(super) fn texts(&mut self, key: &'static str) -> Option<Vec<String>> {
        let places = self.items(key)?;
        Some(places.into_iter().filter_map(|place| self.expanded(key, place, "a string")).collect())
    }

    /// A list whose items are texts or tables.
    pub(super) fn mixed(&mut self, key: &'static str) -> Option<Vec<Item<'t>>> {
        let places = self.items(key)?;
        let read = |place: Place<'t>| match place.get_ref().as_table() {
            Some(table) => Some(Item::Table(self.within(key, table, place.span()))),
            None => Some(Item::Text(self.expanded(key, place, "a string or a table")?)),
        };
        Some(places.into_iter().filter_map(read).collect())
    }

    fn items(&mut self, key: &'static str) -> Option<Vec<Place<'t>>> {
        let value = self.find(key)?;
        Some(match value.get_ref().as_array() {
            Some(array) => array.iter().collect(),
            None => vec![value],
        })
    }

    fn within(&self, key: &str, table: &'t DeTable<'t>, span: Range<usize>) -> Section<'t> {
        Section { reader: self.reader, path: self.name(key), table, span, asked: Vec::new() }
    }

    /// A sub-table.
    pub(super) fn section(&mut self, key: &'static str) -> Option<Section<'t>> {
        let value = self.find(key)?;
        let Some(table) = value.get_ref().as_table() else {
            self.wrong_type(key, value, "a table");
            return None;
        };
        Some(self.within(key, table, value.span()))
    }

    /// A table of tables, each under a name of the user's choice.
    pub(super) fn named(&mut self, key: &'static str) -> Vec<(String, Section<'t>)> {
        let Some(outer) = self.section(key) else { return Vec::new() };
        let mut sections = Vec::new();
        for (name, value) in outer.table {
            match value.get_ref().as_table() {
                Some(table) => {
                    sections
                        .push((name.get_ref().to_string(), outer.within(name.get_ref(), table, name.span())));
                }
                None => outer.wrong_type(name.get_ref(), value, "a table"),
            }
        }
        sections
    }

    /// An array of tables.
    pub(super) fn list(&mut self, key: &'static str) -> Vec<Section<'t>> {
        let mut sections = Vec::new();
        for (index, place) in self.items(key).unwrap_or_default().into_iter().enumerate() {
            match place.get_ref().as_table() {
                Some(table) => sections.push(self.within(&format!("{key}[{index}]"), table, place.span())),
                None => self.wrong_type(key, place, "a table"),
            }
        }
        sections
    }

    /// `value`, reporting the key as missing when it is not written at all.
    pub(super) fn required<T>(&self, key: &str, value: Option<T>, example: &str) -> Option<T> {
        let written = self.table.iter().any(|(name, _)| name.get_ref() == key);
        if value.is_none() && !written {
            let fix = format!("add {key} = {example}");
            self.reader.report(&self.span, &self.name(key), "this key is needed", fix);
        }
        value
    }

    /// Every key written in this table and below, with its line.
    pub(super) fn places(&self) -> Places {
        let mut places = Places::at(self.reader.line(&self.span));
        for (name, value) in self.table {
            self.note(name.get_ref(), name.span(), value, &mut places);
        }
        places
    }

    fn note(&self, key: &str, span: Range<usize>, value: Place<'t>, places: &mut Places) {
        places.note(key, self.reader.line(&span));
        match value.get_ref() {
            DeValue::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    self.note(&format!("{key}[{index}]"), item.span(), item, places);
                }
            }
            DeValue::Table(table) => {
                for (name, value) in table {
                    self.note(&format!("{key}.{}", name.get_ref()), name.span(), value, places);
                }
            }
            _ => {}
        }
    }

    /// Reports a problem with something below this table, at a line of [`Section::places`].
    pub(super) fn report_at(&self, line: usize, key: &str, message: String, fix: String) {
        let (file, key) = (self.reader.file.clone(), self.name(key));
        self.reader.problems.borrow_mut().push(Problem { file, line, key, message, fix });
    }

    /// Everything not asked for, as free settings.
    pub(super) fn settings(self) -> Settings {
        let mut values = Map::new();
        let mut hidden = BTreeSet::new();
        for (name, value) in self.table {
            if self.asked.iter().any(|asked| *asked == name.get_ref()) {
                continue;
            }
            let key = name.get_ref().to_string();
            if let Some(json) = self.json(&key, &key, value, &mut hidden) {
                values.insert(key, json);
            }
        }
        Settings::new(values, hidden)
    }

    fn json(&self, top: &str, key: &str, value: Place<'t>, hidden: &mut BTreeSet<String>) -> Option<Value> {
        Some(match value.get_ref() {
            DeValue::String(text) => {
                if text.contains("${") {
                    hidden.insert(top.to_owned());
                }
                Value::String(self.expanded(key, value, "a string")?)
            }
            DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
                Ok(number) => number.into(),
                Err(_) => return self.no_number(key, value, number.as_str()),
            },
            DeValue::Float(number) => match number.as_str().parse::<f64>() {
                Ok(number) if number.is_finite() => number.into(),
                _ => return self.no_number(key, value, number.as_str()),
            },
            DeValue::Boolean(flag) => Value::Bool(*flag),
            DeValue::Datetime(moment) => Value::String(moment.to_string()),
            DeValue::Array(items) => {
                Value::Array(items.iter().filter_map(|item| self.json(top, key, item, hidden)).collect())
            }
            DeValue::Table(table) => {
                let member = |(name, value): (&'t Spanned<_>, _), hidden: &mut _| {
                    let name: &std::borrow::Cow<'_, str> = name.get_ref();
                    Some((name.to_string(), self.json(top, &format!("{key}.{name}"), value, hidden)?))
                };
                Value::Object(table.iter().filter_map(|pair| member(pair, hidden)).collect())
            }
        })
    }

    fn no_number(&self, key: &str, value: Place<'_>, text: &str) -> Option<Value> {
        let message = format!("{text} cannot be kept as a number");
        self.reader.report(&value.span(), &self.name(key), message, "write it as a string");
        None
    }

    /// Reports every key that was not asked for.
    pub(super) fn finish(self) {
        for (name, _) in self.table {
            let key = name.get_ref();
            if self.asked.iter().any(|asked| asked == key) {
                continue;
            }
            let fix = advice(key, &self.asked);
            self.reader.report(&name.span(), &self.name(key), "unknown key", fix);
        }
    }
}
