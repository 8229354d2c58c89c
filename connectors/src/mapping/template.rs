//! Templates: texts with JSON pointers in braces, filled from an event.

use crate::json::{Object, Pointer};
use crate::schema::text::decode;
use crate::schema::types::Kind;

/// A text with holes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Template(Vec<Part>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Hole(Pointer),
}

impl Template {
    /// Reads `Order {/properties/order_id}`; `{{` and `}}` stand for braces. The error says what is wrong and what to do.
    pub(super) fn parse(text: &str) -> Result<Template, (String, String)> {
        let lonely = |brace: char| (format!("a `{brace}` stands alone"), format!("write `{brace}{brace}`"));
        let (mut parts, mut plain, mut rest) = (Vec::new(), String::new(), text);
        while let Some(at) = rest.find(['{', '}']) {
            plain.push_str(&rest[..at]);
            let here = &rest[at..];
            if let Some(after) = here.strip_prefix("{{").or_else(|| here.strip_prefix("}}")) {
                plain.push_str(&here[..1]);
                rest = after;
                continue;
            }
            let inside = here.strip_prefix('{').ok_or_else(|| lonely('}'))?;
            let end = inside.find('}').ok_or_else(|| lonely('{'))?;
            let pointer = Pointer::parse(&inside[..end]).map_err(|no| (no.message, no.fix))?;
            if !plain.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut plain)));
            }
            parts.push(Part::Hole(pointer));
            rest = &inside[end + 1..];
        }
        plain.push_str(rest);
        if !plain.is_empty() {
            parts.push(Part::Text(plain));
        }
        Ok(Template(parts))
    }

    /// The text for this event. Strings come as they are, what is missing or null as nothing, all else as its JSON.
    pub(super) fn fill(&self, event: &Object<'_>) -> String {
        let mut filled = String::new();
        for part in &self.0 {
            match part {
                Part::Text(text) => filled.push_str(text),
                Part::Hole(pointer) => {
                    let json = event.at(pointer).map_or("null", |value| value.get());
                    match Kind::of(json) {
                        Kind::Null => {}
                        Kind::String => filled.push_str(&decode(json).unwrap_or_default()),
                        _ => filled.push_str(json),
                    }
                }
            }
        }
        filled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holes_are_filled_and_braces_escaped() {
        let event = br#"{"a":"x\"y","n":1.10,"l":[1, 2],"z":null,"u":"\ud800","d":{"e":true}}"#;
        let event = Object::parse(event).unwrap();
        for (template, wanted) in [
            ("", ""),
            ("plain", "plain"),
            ("{/a}", "x\"y"),
            ("Order {/n} by {/d/e}!", "Order 1.10 by true!"),
            ("{/z}{/none}{/u}{/l/0}|{/l}", "1|[1, 2]"),
            ("{{{/n}}}", "{1.10}"),
            ("{{/n}}", "{/n}"),
            ("é{/a}é", "éx\"yé"),
        ] {
            assert_eq!(Template::parse(template).unwrap().fill(&event), wanted, "{template}");
        }
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for (wrong, fix) in [
            ("{", "write `{{`"),
            ("a } b", "write `}}`"),
            ("{/a", "write `{{`"),
            ("{a}", "write \"/a\""),
            ("{}", "write \"/\""),
        ] {
            assert_eq!(Template::parse(wrong).unwrap_err().1, fix, "{wrong}");
        }
    }
}
