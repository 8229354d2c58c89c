//! What a schema asks of the values of a column, asked of many rows at once.
//!
//! A rule passes no value that the schema refuses. It may doubt one that the schema takes, a number that was rounded on its way into
//! the column: whoever asks has every row that is named here looked at by [`TableSchema::check`], which also explains.

use super::column::{BLOCK, Column, ShortText, short_text};
use crate::schema::constant::Constant;
use crate::schema::node::{Bound, Node, Side};
use crate::schema::types::Types;
use crate::schema::{Column as Described, ColumnKind, TableSchema};

/// One thing that is asked of a column.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Rule {
    /// Whole numbers from one to another.
    Whole(i64, i64),
    /// Whole numbers that are among these.
    Among(Vec<i64>),
    /// Doubles from one to another.
    Number(f64, f64),
    /// Texts of so many characters.
    Length(Characters),
    /// Texts that are among these.
    OneOf(Vec<String>),
    /// Texts, one by one, whatever is asked of them.
    Text,
}

/// How many characters a text has, at least and at most.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Characters {
    least: usize,
    most: usize,
}

impl Characters {
    /// Whether texts have as many for sure, told by where each begins and ends, if a character has up to `each` bytes.
    fn have(self, ends: &[i32], each: usize) -> bool {
        let least = self.least.saturating_mul(each).saturating_sub(each - 1);
        let holds = |ends: &[i32]| {
            let length = usize::try_from(ends[1] - ends[0]).unwrap_or_default();
            (length >= least) & (length <= self.most)
        };
        ends.windows(2).fold(true, |all, ends| all & holds(ends))
    }
}

/// Bytes that a character has at most.
const WIDEST: usize = 4;

/// What is asked of the columns of a table, by their places.
#[derive(Debug)]
pub(super) struct Rules(Vec<(usize, Rule)>);

impl Rules {
    /// All that columns can be asked; what they cannot is asked of each value while it is read.
    pub(super) fn of(schema: &TableSchema) -> Rules {
        let properties = schema.root().shape.properties.iter().zip(schema.columns()).enumerate();
        let rules = properties.flat_map(|(place, ((_, node), column))| {
            rules(node, column).unwrap_or_default().into_iter().map(move |rule| (place, rule))
        });
        Rules(rules.collect())
    }

    /// The rows from `from` on that break a rule, or may: in ascending order, each once.
    pub(super) fn doubtful(&self, schema: &TableSchema, columns: &[Column], from: usize) -> Vec<usize> {
        let mut rows = Vec::new();
        for (place, rule) in &self.0 {
            if let (Some(column), Some((_, node))) =
                (columns.get(*place), schema.root().shape.properties.get(*place))
            {
                rule.ask(column, node, from, &mut rows);
            }
        }
        rows.sort_unstable();
        rows.dedup();
        rows
    }
}

/// What is to be asked of a column once its values are of its type; `None`: each value is asked everything while it is read, because
/// that is how it becomes one of its type (times, dates, UUIDs), or because only its text can tell.
pub(super) fn rules(node: &Node, column: &Described) -> Option<Vec<Rule>> {
    if node.never {
        return None;
    }
    match column.kind {
        ColumnKind::Text if node.types.is_none_or(|types| types.has(Types::STRING)) => Some(texts(node)),
        ColumnKind::Integer => Some(whole(node)),
        ColumnKind::Number => numbers(node),
        _ => None,
    }
}

fn texts(node: &Node) -> Vec<Rule> {
    let one_of = |constants: &Vec<Constant>| {
        Rule::OneOf(constants.iter().filter_map(Constant::text).map(str::to_owned).collect())
    };
    if !node.constrains_strings() {
        return node.constants.iter().map(|(_, constants)| one_of(constants)).collect();
    }
    if !node.constants.is_empty() || node.pattern.is_some() || node.format.is_some() {
        return vec![Rule::Text];
    }
    let count = |characters: u64| usize::try_from(characters).unwrap_or(usize::MAX);
    let (least, most) = (node.min_length.map_or(0, count), node.max_length.map_or(usize::MAX, count));
    vec![Rule::Length(Characters { least, most })]
}

fn whole(node: &Node) -> Vec<Rule> {
    let mut rules = Vec::new();
    if !node.bounds.is_empty() {
        let holds = |lower: bool, number: i64| {
            let mut one_side = node.bounds.iter().filter(|bound| bound.side.is_lower() == lower);
            one_side.all(|bound| bound.takes(number))
        };
        let least = first(|number| holds(true, number));
        let beyond = first(|number| !holds(false, number));
        // Where nothing holds, everything is doubtful.
        let (least, most) = match (least, beyond) {
            (Some(least), None) => (least, i64::MAX),
            (Some(least), Some(beyond)) if beyond > i64::MIN => (least, beyond - 1),
            _ => (i64::MAX, i64::MIN),
        };
        rules.push(Rule::Whole(least, most));
    }
    let among =
        |constants: &Vec<Constant>| Rule::Among(constants.iter().filter_map(Constant::whole).collect());
    rules.extend(node.constants.iter().map(|(_, constants)| among(constants)));
    rules
}

/// The first of all whole numbers for which something holds that holds for all that follow.
fn first(holds: impl Fn(i64) -> bool) -> Option<i64> {
    let (mut low, mut high) = (i128::from(i64::MIN), i128::from(i64::MAX) + 1);
    while low < high {
        let middle = low + (high - low) / 2;
        // Between the two there are only numbers of 64 bits.
        match holds(i64::try_from(middle).unwrap_or(i64::MAX)) {
            true => high = middle,
            false => low = middle + 1,
        }
    }
    i64::try_from(low).ok()
}

fn numbers(node: &Node) -> Option<Vec<Rule>> {
    if !node.constants.is_empty() || !node.bounds.iter().all(|bound| bound.limit.is_short()) {
        return None;
    }
    let (mut least, mut most) = (f64::NEG_INFINITY, f64::INFINITY);
    for Bound { side, nearest, .. } in &node.bounds {
        match side {
            Side::AtLeast => least = least.max(*nearest),
            Side::Above => least = least.max(nearest.next_up()),
            Side::AtMost => most = most.min(*nearest),
            Side::Below => most = most.min(nearest.next_down()),
        }
    }
    Some(if node.bounds.is_empty() { Vec::new() } else { vec![Rule::Number(least, most)] })
}

impl Rule {
    /// Adds the rows from `from` on that are in doubt.
    fn ask(&self, column: &Column, node: &Node, from: usize, rows: &mut Vec<usize>) {
        match self {
            Rule::Whole(least, most) => {
                let holds = |value: &i64| (*value >= *least) & (*value <= *most);
                values(column, column.whole(), holds, from, rows);
            }
            Rule::Among(numbers) => {
                values(column, column.whole(), |value| numbers.contains(value), from, rows)
            }
            Rule::Number(least, most) => {
                let holds = |value: &f64| (*value >= *least) & (*value <= *most);
                values(column, column.numbers(), holds, from, rows);
            }
            Rule::Length(characters) => lengths(column, *characters, node, from, rows),
            Rule::OneOf(texts) => {
                let short: Vec<ShortText> = texts.iter().filter_map(|text| short(text)).collect();
                let is_one = |row: usize| match column.short_of(row) {
                    Some(found) => short.contains(&found),
                    None => texts.iter().any(|text| text.as_bytes() == column.bytes_of(row)),
                };
                rows.extend((from..column.len()).filter(|row| !is_one(*row) && column.has(*row)));
            }
            Rule::Text => texts_of(column, |text| node.takes(text), from, rows),
        }
    }
}

/// Asks fixed-width values: all together first, without a branch among them; rows without a value hold one that may be anything.
fn values<T>(column: &Column, values: &[T], holds: impl Fn(&T) -> bool, from: usize, rows: &mut Vec<usize>) {
    let values = values.get(from..).unwrap_or_default();
    if values.iter().fold(true, |all, value| all & holds(value)) {
        return;
    }
    let broken = values.iter().enumerate().filter(|(_, value)| !holds(value)).map(|(at, _)| from + at);
    rows.extend(broken.filter(|row| column.has(*row)));
}

/// Asks how long texts are. Their bytes tell, where they are characters or there are enough of them and not too many; otherwise the
/// characters of each are counted.
fn lengths(column: &Column, wanted: Characters, node: &Node, from: usize, rows: &mut Vec<usize>) {
    let ends = column.ends().get(from..).unwrap_or_default();
    if wanted.have(ends, WIDEST) {
        return;
    }
    let is_ascii = column.text_from(from).is_ascii();
    let widest = if is_ascii { 1 } else { WIDEST };
    let unsure = ends.windows(2).enumerate().filter(|(_, ends)| !wanted.have(ends, widest));
    let unsure = unsure.map(|(at, _)| from + at).filter(|row| column.has(*row));
    rows.extend(unsure.filter(|row| is_ascii || !takes(column, *row, |text| node.check_text(text).is_ok())));
}

/// A text as a column has it, if it is short.
fn short(text: &str) -> Option<ShortText> {
    let mut block = [0; BLOCK];
    block.get_mut(..text.len())?.copy_from_slice(text.as_bytes());
    Some(short_text(&block, text.len()))
}

fn texts_of(column: &Column, holds: impl Fn(&str) -> bool, from: usize, rows: &mut Vec<usize>) {
    rows.extend((from..column.len()).filter(|row| column.has(*row) && !takes(column, *row, &holds)));
}

/// Whether something holds for the text of a row.
fn takes(column: &Column, row: usize, holds: impl Fn(&str) -> bool) -> bool {
    std::str::from_utf8(column.bytes_of(row)).is_ok_and(holds)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::json::digits::Plain;
    use crate::json::scan::Scanner;

    fn of(property: &str) -> Option<Vec<Rule>> {
        let text = format!(r#"{{"type":"object","properties":{{"a":{property}}}}}"#);
        let schema = TableSchema::load(&text).unwrap();
        rules(&schema.root().shape.properties[0].1, &schema.columns()[0])
    }

    fn length(least: usize, most: usize) -> Rule {
        Rule::Length(Characters { least, most })
    }

    #[test]
    fn characters_are_counted_where_bytes_do_not_tell() {
        let texts = [
            None,
            Some(""),
            Some("a"),
            Some("ab"),
            Some("abc"),
            Some("abcd"),
            Some("é"),
            Some("éé"),
            Some("ééé"),
        ];
        let text = r#"{"type":"object","properties":{"a":{"type":"string","minLength":2,"maxLength":3}}}"#;
        let schema = TableSchema::load(text).unwrap();
        for part in [&texts[..], &texts[..6], &texts[6..], &texts[6..7], &texts[3..5]] {
            let mut column = Column::new(&arrow::datatypes::DataType::Utf8);
            for (row, text) in part.iter().enumerate() {
                if let Some(text) = text {
                    column.put_text(row, text.as_bytes());
                }
            }
            for from in 0..part.len() {
                let mut rows = Vec::new();
                length(2, 3).ask(&column, &schema.root().shape.properties[0].1, from, &mut rows);
                let fits = |text: &str| (2..=3).contains(&text.chars().count());
                let broken = (from..part.len()).filter(|row| part[*row].is_some_and(|text| !fits(text)));
                assert_eq!(rows, broken.collect::<Vec<_>>(), "{part:?} from {from}");
            }
        }
    }

    #[test]
    fn what_is_asked_of_columns_is_what_the_schema_asks() {
        let table = [
            (r#"{"type":"integer"}"#, Some(vec![])),
            (r#"{"type":"integer","minimum":-0.5,"exclusiveMaximum":1e1}"#, Some(vec![Rule::Whole(0, 9)])),
            (r#"{"type":"integer","maximum":1e30}"#, Some(vec![Rule::Whole(i64::MIN, i64::MAX)])),
            (r#"{"type":"integer","exclusiveMinimum":1e30}"#, Some(vec![Rule::Whole(i64::MAX, i64::MIN)])),
            (r#"{"type":"integer","maximum":-1e30}"#, Some(vec![Rule::Whole(i64::MAX, i64::MIN)])),
            (
                r#"{"type":"integer","minimum":9223372036854775806.5}"#,
                Some(vec![Rule::Whole(i64::MAX, i64::MAX)]),
            ),
            (r#"{"type":["integer","null"],"enum":[null,1.0,2e2]}"#, Some(vec![Rule::Among(vec![1, 200])])),
            (r#"{"type":"number","minimum":0.5}"#, Some(vec![Rule::Number(0.5, f64::INFINITY)])),
            (
                r#"{"type":"number","exclusiveMaximum":0}"#,
                Some(vec![Rule::Number(f64::NEG_INFINITY, 0_f64.next_down())]),
            ),
            (r#"{"type":"number","minimum":0.12345678901234567}"#, None),
            (r#"{"type":"number","minimum":1e300}"#, None),
            (r#"{"type":"number","enum":[0.1]}"#, None),
            (r#"{"type":"string"}"#, Some(vec![])),
            (r#"{"type":"string","minLength":2}"#, Some(vec![length(2, usize::MAX)])),
            (r#"{"type":"string","maxLength":2}"#, Some(vec![length(0, 2)])),
            (r#"{"type":"string","maxLength":2,"pattern":"^a"}"#, Some(vec![Rule::Text])),
            (r#"{"type":"string","enum":["a","b"]}"#, Some(vec![Rule::OneOf(vec!["a".into(), "b".into()])])),
            (r#"{"type":"string","enum":["a","b"],"minLength":1}"#, Some(vec![Rule::Text])),
            (r#"{"type":"string","format":"date"}"#, None),
            (r#"{"type":"boolean"}"#, None),
        ];
        for (property, wanted) in table {
            assert_eq!(of(property), wanted, "{property}");
        }
    }

    #[test]
    fn texts_are_one_of_several_whatever_their_length_and_what_stands_behind_them() {
        let texts = ["", "a", "b", "ab", "fifteen bytes..", "sixteen bytes...", "seventeen bytes..", "é"];
        for allowed in 0..texts.len() {
            let mut column = Column::new(&arrow::datatypes::DataType::Utf8);
            for (row, text) in texts.iter().enumerate() {
                column.put_text(row, text.as_bytes());
            }
            let rule = Rule::OneOf(vec![texts[allowed].to_owned(), "another".to_owned()]);
            let mut rows = Vec::new();
            let text = r#"{"type":"object","properties":{"a":{"type":"string"}}}"#;
            let schema = TableSchema::load(text).unwrap();
            rule.ask(&column, &schema.root().shape.properties[0].1, 0, &mut rows);
            let others: Vec<usize> = (0..texts.len()).filter(|row| *row != allowed).collect();
            assert_eq!(rows, others, "{}", texts[allowed]);
        }
    }

    proptest! {
        /// Numbers of up to fifteen digits that differ in the last one or not at all.
        #[test]
        fn short_numbers_are_asked_as_doubles_what_they_would_be_asked_as_decimals(
            digits in 0..=999_999_999_999_i64, places in 0..=12_usize, apart in -2..=2_i64, side in 0..4_usize,
        ) {
            let show = |digits: i64| match places {
                0 => digits.to_string(),
                _ => {
                    let (sign, digits) = (if digits < 0 { "-" } else { "" }, format!("{:013}", digits.abs()));
                    let (whole, fraction) = digits.split_at(digits.len() - places);
                    format!("{sign}{}.{fraction}", whole.parse::<i64>().unwrap())
                }
            };
            let (limit, value) = (show(digits), show(digits + apart));
            let keyword = ["minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum"][side];
            let holds = [apart >= 0, apart > 0, apart <= 0, apart < 0][side];
            let rules = of(&format!(r#"{{"type":"number","{keyword}":{limit}}}"#)).unwrap();
            let Rule::Number(least, most) = rules[0] else { panic!("{rules:?}") };
            let plain = Scanner::new(&value).number().and_then(|number| number.plain);
            match plain.and_then(Plain::double) {
                Some(number) => {
                    prop_assert_eq!(number >= least && number <= most, holds, "{} {} {}", value, keyword, limit);
                }
                None => prop_assert!(value.bytes().filter(u8::is_ascii_digit).count() > 15),
            }
        }

        #[test]
        fn the_first_number_is_found(limit in any::<i64>()) {
            prop_assert_eq!(first(|number| number >= limit), Some(limit));
            prop_assert_eq!(first(|_| false), None);
            prop_assert_eq!(first(|_| true), Some(i64::MIN));
        }
    }
}
