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
use crate::json::digits::Plain;
use crate::json::scan::{Inside, Number, Scanner};
use crate::schema::TableSchema;
use crate::schema::node::Additional;
use crate::schema::text::decode_to;

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
    /// Cells that are not null with their places, as far as `filled`; a member is one cell at most.
    cells: Vec<(u32, Slot)>,
    filled: usize,
    /// Texts that had escapes, one behind the other.
    decoded: String,
    uuids: Vec<[u8; 16]>,
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

/// The cell of a column, which borrows nothing. Small: every value of every event goes through one.
#[derive(Debug, Clone, Copy)]
enum Slot {
    /// From where to where it stands in the event.
    Text(u32, u32),
    /// From where to where it stands in what was decoded.
    Decoded(u32, u32),
    Integer(i64),
    Number(f64),
    Boolean(bool),
    Time(i64),
    Date(i32),
    /// Its place among the others.
    Uuid(u32),
}

impl Slot {
    fn text(from: usize, to: usize) -> Slot {
        Slot::Text(offset(from), offset(to))
    }
}

/// A place in an event, which is shorter than 4 GiB: [`Reader::read`] sees to that.
fn offset(place: usize) -> u32 {
    u32::try_from(place).unwrap_or(u32::MAX)
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
        self.cells().iter().find_map(|(at, slot)| match slot {
            Slot::Time(micros) if *at as usize == place => Some(*micros),
            _ => None,
        })
    }

    fn cells(&self) -> &[(u32, Slot)] {
        self.scratch.cells.get(..self.scratch.filled).unwrap_or_default()
    }

    /// Puts every cell that is not null into its column.
    pub(super) fn put(&self, columns: &mut [Column], row: usize) {
        for (place, slot) in self.cells() {
            let Some(column) = columns.get_mut(*place as usize) else { continue };
            match *slot {
                Slot::Text(from, to) => column.put_part(row, self.text, from..to),
                Slot::Decoded(from, to) => column.put_part(row, &self.scratch.decoded, from..to),
                Slot::Integer(number) => column.put(row, &Cell::Integer(number)),
                Slot::Number(number) => column.put(row, &Cell::Number(number)),
                Slot::Boolean(truth) => column.put(row, &Cell::Boolean(truth)),
                Slot::Time(micros) => column.put(row, &Cell::Time(micros)),
                Slot::Date(days) => column.put(row, &Cell::Date(days)),
                Slot::Uuid(at) => {
                    let uuid = self.scratch.uuids.get(at as usize).copied().unwrap_or_default();
                    column.put(row, &Cell::Uuid(uuid));
                }
            }
        }
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
            cells: vec![(0, Slot::Boolean(false)); members],
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
        u32::try_from(data.len()).ok()?;
        let (text, plan) = (std::str::from_utf8(data).ok()?, self.plan.as_ref()?);
        self.scratch.clear();
        let mut reading = Reading { schema: &self.schema, plan, scratch: &mut self.scratch, text };
        reading.event()?;
        Some(Event { text, scratch: &self.scratch })
    }
}

impl Scratch {
    fn clear(&mut self) {
        self.filled = 0;
        self.decoded.clear();
        self.uuids.clear();
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
        let name = self.plan.members.get(expected).and_then(|member| member.name.as_ref());
        if name.is_some_and(|name| scanner.takes_name(name)) {
            self.cell(scanner, expected)?;
            return Some(expected);
        }
        let name = scanner.string().filter(|name| !name.escaped)?;
        scanner.takes(b':').then_some(())?;
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

    /// Reads the value of the member at `place`.
    #[inline]
    fn cell(&mut self, scanner: &mut Scanner<'r>, place: usize) -> Option<()> {
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
                    false => Slot::text(inside.from, inside.to),
                    true => self.decoded((inside.from - 1, inside.to + 1))?,
                }
            }
            How::Json(types) if first != b'n' && is_of(types, first) => {
                let (from, to) = scanner.value()?;
                Slot::text(from, to)
            }
            How::Whole | How::Number if matches!(first, b'-' | b'0'..=b'9') => {
                let Number { from, to, plain } = scanner.number()?;
                match plain.and_then(|plain| ordinary(how, plain)) {
                    Some(slot) => slot,
                    None => self.checked((from, to), place)??,
                }
            }
            _ => {
                let found = scanner.value()?;
                match self.checked(found, place)? {
                    Some(slot) => slot,
                    None => return Some(()),
                }
            }
        };
        *self.scratch.cells.get_mut(self.scratch.filled)? = (offset(place), slot);
        self.scratch.filled += 1;
        Some(())
    }

    /// A value of which the schema asks something; `None` within: it is null.
    fn checked(&mut self, (from, to): (usize, usize), place: usize) -> Option<Option<Slot>> {
        let raw = self.text.get(from..to)?;
        let (_, node) = self.schema.root().shape.properties.get(place)?;
        Some(match Cell::read(node, self.schema.columns().get(place)?, raw).ok()? {
            Cell::Null => None,
            // Either the whole text or what is between its quotes.
            Cell::Text(Cow::Borrowed(text)) if text.len() == raw.len() => Some(Slot::text(from, to)),
            Cell::Text(Cow::Borrowed(_)) => Some(Slot::text(from + 1, to - 1)),
            Cell::Text(Cow::Owned(text)) => {
                let begin = self.scratch.decoded.len();
                self.scratch.decoded.push_str(&text);
                Some(Slot::Decoded(offset(begin), offset(self.scratch.decoded.len())))
            }
            Cell::Integer(number) => Some(Slot::Integer(number)),
            Cell::Number(number) => Some(Slot::Number(number)),
            Cell::Boolean(truth) => Some(Slot::Boolean(truth)),
            Cell::Time(micros) => Some(Slot::Time(micros)),
            Cell::Date(days) => Some(Slot::Date(days)),
            Cell::Uuid(bytes) => {
                self.scratch.uuids.push(bytes);
                Some(Slot::Uuid(offset(self.scratch.uuids.len() - 1)))
            }
        })
    }

    /// Decodes the string with its quotes that stands there.
    fn decoded(&mut self, (from, to): (usize, usize)) -> Option<Slot> {
        let begin = self.scratch.decoded.len();
        let done = decode_to(self.text.get(from..to)?, &mut self.scratch.decoded);
        done.then(|| Slot::Decoded(offset(begin), offset(self.scratch.decoded.len())))
    }

    /// Reads a member that no column holds.
    fn keep(&mut self, scanner: &mut Scanner<'r>, name: Inside) -> Option<()> {
        let key = self.text.get(name.from..name.to)?;
        let is_it = |other: &Inside| self.text.get(other.from..other.to) == Some(key);
        if self.scratch.names.len() >= FEW || self.scratch.names.iter().any(is_it) {
            return None;
        }
        self.scratch.names.push(name);
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

/// A number that is written in the ordinary way, for a column of its kind.
#[inline]
fn ordinary(how: How, number: Plain) -> Option<Slot> {
    match how {
        How::Whole => number.whole().map(Slot::Integer),
        _ => number.double().map(Slot::Number),
    }
}
