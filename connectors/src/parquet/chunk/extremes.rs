//! The least and the greatest value, and what is written of them.

use std::cmp::Ordering;

use super::kind::Kind;

/// Bytes of a text that statistics and page indexes tell; what is longer is cut.
const LONGEST: usize = 64;

/// The least and the greatest of the values seen.
#[derive(Debug, Clone)]
pub(super) struct Extremes {
    kind: Kind,
    known: Option<(Vec<u8>, Vec<u8>)>,
}

/// A bound as it is written.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Bound {
    pub(super) bytes: Vec<u8>,
    /// Whether it is one of the values.
    pub(super) is_exact: bool,
}

impl Extremes {
    pub(super) fn none(kind: Kind) -> Self {
        Extremes { kind, known: None }
    }

    /// Takes in a value. What is no number has no place in an order.
    #[inline]
    pub(super) fn add(&mut self, value: &[u8]) {
        match &mut self.known {
            Some((least, most)) => {
                if self.kind.order(value, least) == Some(Ordering::Less) {
                    replace(least, value);
                } else if self.kind.order(value, most) == Some(Ordering::Greater) {
                    replace(most, value);
                }
            }
            None if self.kind.order(value, value).is_some() => {
                self.known = Some((value.to_vec(), value.to_vec()));
            }
            None => {}
        }
    }

    /// Takes in those of other values.
    pub(super) fn add_all(&mut self, other: &Extremes) {
        if let Some((least, most)) = &other.known {
            self.add(least);
            self.add(most);
        }
    }

    /// Whether both bounds stand to those of `other` like that, or are the same.
    pub(super) fn are(&self, order: Ordering, other: &Extremes) -> bool {
        let holds =
            |a: &[u8], b: &[u8]| self.kind.order(a, b).is_none_or(|found| found == order || found.is_eq());
        match (&self.known, &other.known) {
            (Some((least, most)), Some((others, other_most))) => {
                holds(least, others) && holds(most, other_most)
            }
            _ => true,
        }
    }

    /// The bounds as they are written: no less and no greater value is there. Some texts have no upper bound that is short.
    pub(super) fn bounds(&self) -> Option<(Bound, Option<Bound>)> {
        let (least, most) = self.known.as_ref()?;
        let exact = |bytes: &[u8]| Bound { bytes: bytes.to_vec(), is_exact: true };
        Some(match self.kind {
            Kind::Text => (cut(least), cut_up(most)),
            Kind::Long => (exact(least), Some(exact(most))),
            // Zero has two signs, and readers compare as they like.
            Kind::Double => (exact(&zero(least, -0.0)), Some(exact(&zero(most, 0.0)))),
        })
    }

    /// The memory that they take, in bytes.
    pub(super) fn memory(&self) -> usize {
        self.known.as_ref().map_or(0, |(least, most)| least.capacity() + most.capacity())
    }
}

fn replace(old: &mut Vec<u8>, new: &[u8]) {
    old.clear();
    old.extend_from_slice(new);
}

fn zero(number: &[u8], signed: f64) -> Vec<u8> {
    let is_zero = number.first_chunk().is_some_and(|bytes| f64::from_le_bytes(*bytes) == 0.0);
    if is_zero { signed.to_le_bytes().to_vec() } else { number.to_vec() }
}

/// The beginning of a text, as a lower bound of it.
fn cut(text: &[u8]) -> Bound {
    let beginning = beginning(text).map_or(text, str::as_bytes);
    Bound { bytes: beginning.to_vec(), is_exact: beginning.len() == text.len() }
}

/// A short upper bound of a text, if there is one: its beginning, the last character replaced by the next.
fn cut_up(text: &[u8]) -> Option<Bound> {
    match beginning(text) {
        Some(beginning) => next(beginning).map(|bytes| Bound { bytes, is_exact: false }),
        None => Some(Bound { bytes: text.to_vec(), is_exact: true }),
    }
}

/// The beginning of a text that is too long, in whole characters.
fn beginning(text: &[u8]) -> Option<&str> {
    let long = text.get(..LONGEST).filter(|_| text.len() > LONGEST)?;
    let whole = match std::str::from_utf8(long) {
        Ok(whole) => whole,
        Err(error) => std::str::from_utf8(&long[..error.valid_up_to()]).ok()?,
    };
    (!whole.is_empty()).then_some(whole)
}

/// A text that is greater than all that begin with `text`, and hardly longer. There is none above the last of all characters.
fn next(text: &str) -> Option<Vec<u8>> {
    text.char_indices().rev().find_map(|(at, last)| {
        let next = match last {
            '\u{d7ff}' => '\u{e000}', // no characters between
            _ => char::from_u32(u32::from(last) + 1)?,
        };
        let mut bound = text[..at].to_owned();
        bound.push(next);
        Some(bound.into_bytes())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(texts: &[&str]) -> (Bound, Option<Bound>) {
        let mut extremes = Extremes::none(Kind::Text);
        texts.iter().for_each(|text| extremes.add(text.as_bytes()));
        extremes.bounds().unwrap()
    }

    #[test]
    fn long_texts_are_cut_to_what_is_still_a_bound() {
        let exact = |text: &str| Bound { bytes: text.into(), is_exact: true };
        assert_eq!(of(&["b", "a", "c"]), (exact("a"), Some(exact("c"))));
        for last in ["a", "\u{7f}", "ä", "\u{7ff}", "€", "\u{d7ff}", "\u{ffff}", "😀", "x\u{10ffff}"] {
            for before in [0, 1, 59, 60, 61, 62, 63, 64] {
                let text = "x".repeat(before) + &last.repeat(70);
                let (least, most) = of(&[&text]);
                let most = most.unwrap();
                assert!(least.bytes.as_slice() < text.as_bytes() && least.bytes.len() <= LONGEST);
                assert!(most.bytes.as_slice() > text.as_bytes(), "{last:?} after {before}");
                assert!(most.bytes.len() <= LONGEST + 3 && !least.is_exact && !most.is_exact);
                assert!([&least, &most].iter().all(|bound| std::str::from_utf8(&bound.bytes).is_ok()));
            }
        }
        let (least, most) = of(&[&"\u{10ffff}".repeat(70)]);
        assert!(least.bytes.len() == LONGEST && most.is_none(), "there is nothing greater that is short");
    }

    #[test]
    fn numbers_are_ordered_and_what_is_none_is_left_out() {
        let bounds = |numbers: &[f64]| {
            let mut extremes = Extremes::none(Kind::Double);
            numbers.iter().for_each(|number| extremes.add(&number.to_le_bytes()));
            let number = |bound: Bound| f64::from_le_bytes(*bound.bytes.first_chunk().unwrap());
            extremes.bounds().map(|(least, most)| (number(least), number(most.unwrap())))
        };
        assert_eq!(bounds(&[3.0, -7.5, f64::NAN, 2.0]), Some((-7.5, 3.0)));
        assert_eq!(bounds(&[f64::NAN]), None);
        let (least, most) = bounds(&[0.0]).unwrap();
        assert!(least.is_sign_negative() && most.is_sign_positive());
        let mut longs = Extremes::none(Kind::Long);
        [5i64, -1, 300].iter().for_each(|number| longs.add(&number.to_le_bytes()));
        let (least, most) = longs.bounds().unwrap();
        assert_eq!(
            (least.bytes, most.unwrap().bytes),
            ((-1i64).to_le_bytes().to_vec(), 300i64.to_le_bytes().to_vec())
        );
    }
}
