//! What was probably meant by a name that nobody knows.

/// The known name most like `name`, when one is near enough to have been meant.
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let name = name.to_lowercase();
    let alike = |candidate: &str| strsim::jaro_winkler(&name, &candidate.to_lowercase());
    known
        .into_iter()
        .map(|candidate| (alike(candidate), candidate))
        .filter(|(likeness, _)| *likeness > 0.7)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}

/// The known name of which `name` is at most two slips of the keyboard away. For names that begin alike and mean something
/// else, where [`nearest`] would guess too boldly.
pub fn misspelt<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let name = name.to_lowercase();
    let slips = |candidate: &str| strsim::damerau_levenshtein(&name, &candidate.to_lowercase());
    let near = known.into_iter().map(|candidate| (slips(candidate), candidate));
    near.filter(|(slips, _)| *slips <= 2).min_by_key(|(slips, _)| *slips).map(|(_, candidate)| candidate)
}

/// What to write in place of `name`: the nearest known name, or one of all of them.
pub fn advice(name: &str, known: &[&str]) -> String {
    match nearest(name, known.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("known here: {}", known.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_nearest_name_or_none() {
        assert_eq!(nearest("flsh", ["flush", "url"]), Some("flush"));
        assert_eq!(nearest("Listen", ["listen", "token"]), Some("listen"));
        assert_eq!(nearest("zzzz", ["flush", "url"]), None);
        assert_eq!(nearest("minlen", ["minLength", "MaxLength"]), Some("minLength"));
        assert_eq!(misspelt("minLenght", ["maxLength", "minLength"]), Some("minLength"));
        assert_eq!(misspelt("patternProperties", ["pattern", "properties"]), None);
        assert_eq!(advice("flsh", &["flush", "url"]), "did you mean `flush`?");
        assert_eq!(advice("zzzz", &["flush", "url"]), "known here: flush, url");
    }
}
