//! `check`: the configuration and every file it names, all problems at once.

use std::path::Path;

use super::{Backend, Config, Problem, schema_file};

/// Everything that is wrong with the file (the embedded default when `None`), its schemas and its rules.
pub fn check(path: Option<&Path>) -> Vec<Problem> {
    let config = match path.map_or_else(|| Ok(Config::embedded_default()), Config::load) {
        Ok(config) => config,
        Err(problems) => return problems,
    };
    let mut problems = Vec::new();
    for (name, stream) in &config.streams {
        let tables = stream.tables.iter().map(|table| &table.schema);
        for schema in std::iter::once(&stream.schema).chain(tables).flatten() {
            problems.extend(local(&config, name, schema, schema_problems));
        }
        if let Some(rules) = &stream.rules {
            problems.extend(local(&config, name, rules, rules_problems));
        }
    }
    problems
}

/// Problems of a local file; what lies in S3 is read by the node that uses it.
fn local(config: &Config, stream: &str, name: &str, judge: fn(&str, &str) -> Vec<Problem>) -> Vec<Problem> {
    let in_s3 = name.starts_with("s3://");
    if in_s3 && config.backend == Backend::Aws {
        return Vec::new();
    }
    let path = config.resolve(name);
    let shown = path.display().to_string();
    match std::fs::read_to_string(&path) {
        Ok(text) => judge(&shown, &text),
        Err(error) => {
            let fix = format!("mend the path in [streams.{stream}]");
            vec![Problem::of_file(shown, format!("cannot be read: {error}"), fix)]
        }
    }
}

fn schema_problems(file: &str, text: &str) -> Vec<Problem> {
    schema_file::compile(file, text).err().unwrap_or_default()
}

fn rules_problems(file: &str, text: &str) -> Vec<Problem> {
    let problem = |line, message: String, fix: &str| {
        vec![Problem { file: file.to_owned(), line, key: String::new(), message, fix: fix.to_owned() }]
    };
    match serde_json::from_str::<serde_json::Value>(&without_trailing_commas(text)) {
        Ok(serde_json::Value::Array(rules)) => match rules.iter().position(|rule| !rule.is_object()) {
            Some(index) => {
                problem(0, format!("rule {index} is not an object"), "write {\"destination_name\": …}")
            }
            None => Vec::new(),
        },
        Ok(_) => problem(1, "the rules are not a JSON array".into(), "write [{\"destination_name\": …}]"),
        Err(error) => problem(error.line(), format!("not JSON: {error}"), "mend the JSON"),
    }
}

/// The text with commas before `]` and `}` blanked; lines and columns stay what they were.
fn without_trailing_commas(text: &str) -> String {
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
    fn rules_may_have_trailing_commas_but_must_be_json() {
        assert!(rules_problems("r", "[{\"destination_name\": \"a,]\", \"x\\\"\": [1,],\n},\n]").is_empty());
        let problems = rules_problems("r", "[\n{\"a\": tru}]");
        assert_eq!((problems.len(), problems[0].line), (1, 2));
        assert_eq!(rules_problems("r", "{}").len(), 1);
        assert_eq!(rules_problems("r", "[1]").len(), 1);
    }
}
