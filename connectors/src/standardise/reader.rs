//! Events read fast: once, from their text straight to the cells of their table, for all that events ordinarily are.
//!
//! What is read here is exactly what [`Row::read`](super::row::Row::read) would make of it, a test compares the two. Everything
//! else is left to that one: broken text, an event that lacks a member or has one of another type (it explains why), names with
//! escapes, names that come twice, values nested very deep. Producers write their fields in one order, so the name that followed
//! last time is looked for first.
//!
//! What is asked of texts and numbers beyond their type, how large or how long they are or which, is asked of whole columns
//! afterwards ([`Reader::doubtful`]).

use std::borrow::Cow;
use std::sync::Arc;

use super::Rows;
use super::cell::Cell;
use super::column::Column;
use super::plan::{How, Plan, is_of};
use super::rule::Rules;
use crate::json::scan::{Inside, Scanner};
use crate::schema::TableSchema;
use crate::schema::node::Additional;
use crate::schema::number::short;
use crate::schema::text::decode;

/// Members beside the columns that are compared with each other; an event with more is left to others.
const FEW: usize = 32;

/// Reads events of one table. Keeps the room that it needs from one event to the next.
#[derive(Debug)]
pub struct Reader {
    schema: Arc<TableSchema>,
    /// `None`: no event is read here.
    plan: Option<Plan>,
    rules: Rules,
    scratch: Scratch,
}

/// What an event is read into.
#[derive(Debug, Default)]
struct Scratch {
    cells: Vec<(usize, Slot)>,
    /// Texts that had escapes.
    decoded: Vec<String>,
    extra: String,
    /// Where the names of `extra` stand in the event.
    names: Vec<Inside>,
    /// How many events were read.
    turn: u64,
    /// When each member was there last.
    seen: Vec<u64>,
    /// The member that followed each one last time; the first of all stands at the end.
    after: Vec<usize>,
}

/// The cell of a column, which borrows nothing.
#[derive(Debug, Clone)]
enum Slot {
    /// Where it stands in the event.
    Text(usize, usize),
    /// Its place among the decoded ones.
    Decoded(usize),
    Other(Cell<'static>),
}

/// A cell as it was read.
#[derive(Debug)]
pub(super) enum Read<'e> {
    Text(&'e str),
    Other(&'e Cell<'static>),
}

impl Read<'_> {
    #[inline]
    pub(super) fn put(&self, column: &mut Column, row: usize) {
        match self {
            Read::Text(text) => column.put_text(row, text),
            Read::Other(cell) => column.put(row, cell),
        }
    }
}

/// An event that its table takes, if its columns do.
#[derive(Debug)]
pub struct Event<'r> {
    text: &'r str,
    scratch: &'r Scratch,
}

impl Event<'_> {
    /// The moment in the column at `place`, in microseconds, when it has one.
    pub fn time(&self, place: usize) -> Option<i64> {
        self.scratch.cells.iter().find_map(|(at, slot)| match slot {
            Slot::Other(Cell::Time(micros)) if *at == place => Some(*micros),
            _ => None,
        })
    }

    /// Every cell that is not null, by its place.
    #[inline]
    pub(super) fn cells(&self) -> impl Iterator<Item = (usize, Read<'_>)> {
        self.scratch.cells.iter().map(|(place, slot)| {
            let cell = match slot {
                Slot::Text(from, to) => Read::Text(self.text.get(*from..*to).unwrap_or_default()),
                Slot::Decoded(at) => Read::Text(self.scratch.decoded.get(*at).map_or("", String::as_str)),
                Slot::Other(cell) => Read::Other(cell),
            };
            (*place, cell)
        })
    }

    /// A JSON object of the members that are no columns, if there are any.
    pub(super) fn extra(&self) -> Option<&str> {
        (!self.scratch.extra.is_empty()).then_some(&self.scratch.extra)
    }
}

impl Reader {
    /// A reader of the events of this table.
    pub fn new(schema: Arc<TableSchema>) -> Self {
        let plan = Plan::of(&schema);
        let members = plan.as_ref().map_or(0, |plan| plan.members.len());
        let scratch = Scratch {
            seen: vec![0; members],
            after: (1..=members).chain([0]).collect(),
            ..Scratch::default()
        };
        let rules = Rules::of(&schema);
        Reader { schema, plan, rules, scratch }
    }

    /// Asks the columns what was not asked while events were read: the rows from `from` on, in ascending order, whose events are
    /// to be [checked](TableSchema::check) once more. Few of them pass.
    pub fn doubtful(&self, rows: &Rows, from: usize) -> Vec<usize> {
        self.rules.doubtful(&self.schema, &rows.columns, from)
    }

    /// Reads an event; `None`: it has to be read in the ordinary way.
    pub fn read<'r>(&'r mut self, data: &'r [u8]) -> Option<Event<'r>> {
        let (text, plan) = (std::str::from_utf8(data).ok()?, self.plan.as_ref()?);
        self.scratch.clear();
        let mut reading = Reading { schema: &self.schema, plan, scratch: &mut self.scratch, text };
        reading.event()?;
        Some(Event { text, scratch: &self.scratch })
    }
}

impl Scratch {
    fn clear(&mut self) {
        self.cells.clear();
        self.decoded.clear();
        self.extra.clear();
        self.names.clear();
        self.turn += 1;
    }
}

/// One event while it is read.
struct Reading<'r> {
    schema: &'r TableSchema,
    plan: &'r Plan,
    scratch: &'r mut Scratch,
    text: &'r str,
}

impl<'r> Reading<'r> {
    fn event(&mut self) -> Option<()> {
        let mut scanner = Scanner::new(self.text);
        let mut before = self.plan.members.len();
        scanner.takes(b'{').then_some(())?;
        if !scanner.takes(b'}') {
            loop {
                before = self.member(&mut scanner, before)?;
                if scanner.takes(b',') {
                    continue;
                }
                scanner.takes(b'}').then_some(())?;
                break;
            }
        }
        if !self.scratch.extra.is_empty() {
            self.scratch.extra.push('}');
        }
        let is_there = |place: &usize| self.scratch.seen.get(*place) == Some(&self.scratch.turn);
        (scanner.is_done() && self.plan.required.iter().all(is_there)).then_some(())
    }

    /// Reads a member that comes after the one at `before`; the place that is `before` for the next.
    #[inline]
    fn member(&mut self, scanner: &mut Scanner<'r>, before: usize) -> Option<usize> {
        (scanner.peek()? == b'"').then_some(())?;
        let expected = self.scratch.after.get(before).copied().unwrap_or_default();
        let quoted = self.plan.members.get(expected).map_or(&b""[..], |member| &member.quoted);
        if !quoted.is_empty() && scanner.takes_all(quoted) {
            self.cell(scanner, expected)?;
            return Some(expected);
        }
        let name = scanner.string().filter(|name| !name.escaped)?;
        match self.plan.place(self.text.get(name.from..name.to)?) {
            Some(place) => {
                if let Some(after) = self.scratch.after.get_mut(before) {
                    *after = place;
                }
                self.cell(scanner, place)?;
                Some(place)
            }
            None => {
                self.keep(scanner, name)?;
                Some(before)
            }
        }
    }

    #[inline]
    fn cell(&mut self, scanner: &mut Scanner<'r>, place: usize) -> Option<()> {
        scanner.takes(b':').then_some(())?;
        let seen = self.scratch.seen.get_mut(place)?;
        if std::mem::replace(seen, self.scratch.turn) == self.scratch.turn {
            return None;
        }
        let first = scanner.peek()?;
        let how = self.plan.members.get(place)?.how;
        let slot = match how {
            How::Text if first == b'"' => {
                let inside = scanner.string()?;
                match inside.escaped {
                    false => Slot::Text(inside.from, inside.to),
                    true => self.decoded(decode(self.text.get(inside.from - 1..inside.to + 1)?)?),
                }
            }
            How::Json(types) if first != b'n' && is_of(types, first) => {
                let (from, to) = scanner.value()?;
                Slot::Text(from, to)
            }
            _ => {
                let (from, to) = scanner.value()?;
                let found = match number(how, self.text.get(from..to)?) {
                    Some(cell) => Some(Slot::Other(cell)),
                    None => self.checked((from, to), place)?,
                };
                match found {
                    Some(slot) => slot,
                    None => return Some(()),
                }
            }
        };
        self.scratch.cells.push((place, slot));
        Some(())
    }

    /// A value of which the schema asks something; `None` within: it is null.
    fn checked(&mut self, (from, to): (usize, usize), place: usize) -> Option<Option<Slot>> {
        let raw = self.text.get(from..to)?;
        let (_, node) = self.schema.root().shape.properties.get(place)?;
        Some(match Cell::read(node, self.schema.columns().get(place)?, raw).ok()? {
            Cell::Null => None,
            // Either the whole text or what is between its quotes.
            Cell::Text(Cow::Borrowed(text)) if text.len() == raw.len() => Some(Slot::Text(from, to)),
            Cell::Text(Cow::Borrowed(_)) => Some(Slot::Text(from + 1, to - 1)),
            Cell::Text(Cow::Owned(text)) => Some(self.decoded(Cow::Owned(text))),
            Cell::Integer(number) => Some(Slot::Other(Cell::Integer(number))),
            Cell::Number(number) => Some(Slot::Other(Cell::Number(number))),
            Cell::Boolean(truth) => Some(Slot::Other(Cell::Boolean(truth))),
            Cell::Time(micros) => Some(Slot::Other(Cell::Time(micros))),
            Cell::Date(days) => Some(Slot::Other(Cell::Date(days))),
            Cell::Uuid(bytes) => Some(Slot::Other(Cell::Uuid(bytes))),
        })
    }

    fn decoded(&mut self, text: Cow<'_, str>) -> Slot {
        self.scratch.decoded.push(text.into_owned());
        Slot::Decoded(self.scratch.decoded.len() - 1)
    }

    /// Reads a member that no column holds.
    fn keep(&mut self, scanner: &mut Scanner<'r>, name: Inside) -> Option<()> {
        let key = self.text.get(name.from..name.to)?;
        let is_it = |other: &Inside| self.text.get(other.from..other.to) == Some(key);
        if self.scratch.names.len() >= FEW || self.scratch.names.iter().any(is_it) {
            return None;
        }
        self.scratch.names.push(name);
        scanner.takes(b':').then_some(())?;
        let (from, to) = scanner.value()?;
        let raw = self.text.get(from..to)?;
        match &self.schema.root().shape.additional {
            Additional::Allowed => {}
            Additional::Checked(node) => node.check(raw).ok()?,
            Additional::Refused => return None,
        }
        let extra = &mut self.scratch.extra;
        extra.push(if extra.is_empty() { '{' } else { ',' });
        extra.extend(["\"", key, "\":", raw]);
        Some(())
    }
}

/// A number as it ordinarily stands there.
#[inline]
fn number(how: How, raw: &str) -> Option<Cell<'static>> {
    match how {
        How::Whole => raw.parse().ok().map(Cell::Integer),
        How::Number => short(raw).map(Cell::Number),
        _ => None,
    }
}
