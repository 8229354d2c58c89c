//! An event handed on as it is, with its id inside: whoever gets it twice can tell.

use serde_json::Value;

use super::Event;
use crate::failure::Failure;
use crate::json::Object;

/// The member that holds the id.
const ID: &str = "messageId";

/// The event as one line of JSON, without a line's end. Its `messageId` is its own, or its idempotency key where it has none.
/// Everything else keeps its bytes, so that no digit of a number is lost.
///
/// # Errors
/// `Rejected` when it is no JSON object.
pub(super) fn line(event: &Event) -> Result<Vec<u8>, Failure> {
    let object = Object::parse(&event.data)
        .map_err(|error| Failure::rejected(format!("the event is not JSON: {error}")))?;
    let mut line = match object.get(ID) {
        Some(id) if id.get() != "null" => event.data.trim_ascii().to_vec(),
        _ => {
            let others = object.members().filter(|(name, _)| *name != ID);
            let members = others.map(|(name, value)| format!("{}:{}", Value::from(name), value.get()));
            let own = format!("\"{ID}\":{}", Value::from(event.id.as_str()));
            let members: Vec<String> = members.chain(std::iter::once(own)).collect();
            format!("{{{}}}", members.join(",")).into_bytes()
        }
    };
    // Line breaks in JSON can only stand between its parts, where a space means the same.
    line.iter_mut().filter(|byte| matches!(byte, b'\n' | b'\r')).for_each(|byte| *byte = b' ');
    Ok(line)
}

#[cfg(test)]
mod tests {
    use super::super::testing::event;
    use super::*;

    #[test]
    fn an_event_has_one_id_and_one_line() {
        for (data, wanted) in [
            (r#"{"messageId":"m-1","n":1.10}"#, r#"{"messageId":"m-1","n":1.10}"#),
            (" {\n \"messageId\" : \"m-1\"\r\n}\n", "{  \"messageId\" : \"m-1\"  }"),
            (r#"{"n":1.10,"é\"":[1e400]}"#, r#"{"n":1.10,"é\"":[1e400],"messageId":"id \"7\""}"#),
            (r#"{"messageId":null,"n":{}}"#, r#"{"n":{},"messageId":"id \"7\""}"#),
            ("{}", r#"{"messageId":"id \"7\""}"#),
            (r#"{"messageId":7}"#, r#"{"messageId":7}"#),
        ] {
            let line = line(&event("id \"7\"", data)).unwrap();
            assert_eq!(String::from_utf8(line).unwrap(), wanted, "{data}");
        }
        for data in ["[]", "7", "{", ""] {
            assert!(line(&event("id", data)).is_err(), "{data}");
        }
    }
}
