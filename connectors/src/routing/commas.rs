//! JSON as people write it: commas after the last element are let pass.

/// The text with commas before `]` and `}` blanked; lines and columns stay what they were.
pub(super) fn without_trailing_commas(text: &str) -> String {
    let mut bytes = text.as_bytes().to_vec();
    let (mut in_string, mut escaped, mut comma) = (false, false, None);
    for place in 0..bytes.len() {
        let byte = bytes[place];
        if in_string {
            in_string = escaped || byte != b'"';
            escaped = byte == b'\\' && !escaped;
            continue;
        }
        match byte {
            b'"' => (in_string, comma) = (true, None),
            b',' => comma = Some(place),
            b']' | b'}' => {
                if let Some(place) = comma.take() {
                    bytes[place] = b' ';
                }
            }
            byte if byte.is_ascii_whitespace() => {}
            _ => comma = None,
        }
    }
    String::from_utf8(bytes).unwrap_or_else(|_| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_commas_that_end_something_go() {
        for (text, wanted) in [
            ("[1,]", "[1 ]"),
            ("[1, \n ]", "[1  \n ]"),
            ("{\"a\":[1,],}", "{\"a\":[1 ] }"),
            (r#"["a,]","\",]",]"#, r#"["a,]","\",]" ]"#),
            ("[1,,]", "[1, ]"),
            ("[1,2]", "[1,2]"),
        ] {
            assert_eq!(without_trailing_commas(text), wanted);
        }
    }
}
