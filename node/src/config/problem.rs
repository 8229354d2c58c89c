//! What is wrong with a configuration, where, and what to do about it.

use std::fmt;

use serde::Serialize;

/// One thing that is wrong in a file somebody wrote.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// The file, as it was named to us.
    pub file: String,
    /// The line, counted from one; 0 when it concerns the file as a whole.
    pub line: usize,
    /// The dotted key (configuration) or path (schema) it concerns; empty for the file as a whole.
    pub key: String,
    /// What is wrong.
    pub message: String,
    /// What would mend it; empty when we cannot tell.
    pub fix: String,
}

impl Problem {
    /// A problem with a file as a whole.
    pub fn of_file(file: impl Into<String>, message: impl Into<String>, fix: impl Into<String>) -> Self {
        Problem { file: file.into(), line: 0, key: String::new(), message: message.into(), fix: fix.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if self.line > 0 {
            write!(f, ":{}", self.line)?;
        }
        f.write_str(": ")?;
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.message)?;
        if !self.fix.is_empty() {
            write!(f, " ({})", self.fix)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_as_one_line_and_as_json() {
        let problem = Problem {
            file: "a.toml".into(),
            line: 3,
            key: "lake.flsh".into(),
            message: "unknown key".into(),
            fix: "did you mean `flush`?".into(),
        };
        assert_eq!(problem.to_string(), "a.toml:3: lake.flsh: unknown key (did you mean `flush`?)");
        let json = serde_json::to_value(&problem).unwrap();
        let keys: Vec<_> = json.as_object().unwrap().keys().collect();
        assert_eq!(keys.len(), 5);
        for key in ["file", "line", "key", "message", "fix"] {
            assert!(json.get(key).is_some(), "{key}");
        }
    }
}
