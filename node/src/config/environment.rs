//! `${NAME}` in texts: replaced from the environment after parsing, so that no value can change the document around it.

/// Where variables come from.
pub(super) type Variables<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Why a text could not be expanded.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unset {
    pub(super) message: String,
    pub(super) fix: String,
}

/// `text` with every `${NAME}` replaced. What is put in is not expanded again.
pub(super) fn expand(text: &str, variables: Variables<'_>) -> Result<String, Unset> {
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("${") {
        expanded.push_str(&rest[..start]);
        let after = &rest[start + 2..];
        let Some(end) = after.find('}') else {
            return Err(Unset { message: "`${` without `}`".into(), fix: "write ${NAME}".into() });
        };
        let name = &after[..end];
        let Some(value) = variables(name) else {
            let message = format!("the environment variable {name} is not set");
            return Err(Unset { message, fix: format!("set {name}, or write the value here") });
        };
        expanded.push_str(&value);
        rest = &after[end + 1..];
    }
    expanded.push_str(rest);
    Ok(expanded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replaces_names_once_and_reports_unset_ones() {
        let variables = |name: &str| (name == "A").then(|| "x${A}\"\n".to_owned());
        assert_eq!(expand("1${A}2$3", &variables).unwrap(), "1x${A}\"\n2$3");
        assert!(expand("${B}", &variables).unwrap_err().message.contains("variable B"));
        assert!(expand("${B", &variables).is_err());
    }
}
