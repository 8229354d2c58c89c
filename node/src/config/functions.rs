//! Functions that routing rules name: where nothing else says what a destination is, its `destination_arn` does.
//!
//! A list of rules that was written for functions works as it is: each becomes a destination of the kind `lambda`. One after the
//! other can then be replaced by a section of another kind, and its ARN is not looked at any more.

use std::collections::BTreeMap;

use serde_json::Map;
use shardmill_connectors::aws::arn::Arn;
use shardmill_connectors::destinations::lambda::{FUNCTION, KIND};
use shardmill_connectors::routing::{DestinationArn, Rules};

use super::destination::{self, Destination};
use super::{Config, Problem};

/// The rules of a stream, and what they are called in problems.
#[derive(Debug, Clone)]
pub struct Ruled {
    /// The file or the URL.
    pub file: String,
    /// The rules.
    pub rules: Rules,
}

/// A function that rules have named, and where.
struct Named<'r> {
    arn: &'r str,
    place: String,
    is_right: bool,
}

impl Config {
    /// The same with the functions that rules name, and what is wrong with those: a destination of the kind `lambda` for each that is
    /// not configured, and the function of each of that kind that is configured without one.
    pub fn with_functions(&self, ruled: &[Ruled]) -> (Config, Vec<Problem>) {
        let (mut named, mut problems) = (BTreeMap::<&str, Named<'_>>::new(), Vec::new());
        let all = ruled.iter().flat_map(|of| of.rules.arns().iter().map(move |arn| (of.file.as_str(), arn)));
        for (file, of) in all.filter(|(_, of)| self.wants_function(&of.destination)) {
            let found = match named.get(of.destination.as_str()) {
                None => self.judge(of),
                Some(first) => same(first, of),
            };
            let place = format!("{file}:{}", of.line);
            named.entry(&of.destination).or_insert(Named { arn: &of.arn, place, is_right: found.is_ok() });
            problems.extend(found.err().map(|(message, fix)| {
                let key = format!("[{}]", of.rule);
                Problem { file: file.to_owned(), line: of.line, key, message, fix }
            }));
        }
        let mut config = self.clone();
        for (name, Named { arn, is_right, .. }) in named {
            let destination = config.destinations.remove(name);
            if !is_right {
                continue; // told already, and of no use
            }
            let mut destination = destination.unwrap_or_else(|| Destination::new(KIND, Map::new()));
            destination.settings = destination.settings.with(FUNCTION, arn);
            config.destinations.insert(name.to_owned(), destination);
        }
        (config, problems)
    }

    /// Whether nothing else says what the destination is.
    fn wants_function(&self, name: &str) -> bool {
        let configured = self.destinations.get(name);
        configured.is_none_or(|of| of.kind == KIND && of.settings.get(FUNCTION).is_none())
    }

    /// Whether a rule's ARN can say it: what is wrong, and what to do.
    fn judge(&self, of: &DestinationArn) -> Result<(), (String, String)> {
        let name = &of.destination;
        if let Err((message, fix)) = destination::fits(name) {
            return Err((message, format!("name it otherwise, here and wherever it is named: {fix}")));
        }
        if Arn::parse(&of.arn).and_then(|arn| arn.function()).is_some() {
            return Ok(());
        }
        let fix = match self.destinations.contains_key(name) {
            true => format!("write `{FUNCTION}` into [destinations.{name}]"),
            false => format!("add a section [destinations.{name}], or name a function"),
        };
        Err((format!("the `destination_arn` of `{name}` is not the ARN of a Lambda function"), fix))
    }
}

/// Whether a rule means the function that was named first.
fn same(first: &Named<'_>, of: &DestinationArn) -> Result<(), (String, String)> {
    if first.arn == of.arn {
        return Ok(());
    }
    let name = &of.destination;
    let message = format!("another function is `{name}` already, by {}", first.place);
    Err((message, format!("name one, or write `{FUNCTION}` into a section [destinations.{name}]")))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CRM: &str = "arn:aws:lambda:eu-west-1:123456789012:function:to-crm";
    const OTHER: &str = "arn:aws:lambda:eu-west-1:123456789012:function:other:live";

    fn config(sections: &str) -> Config {
        Config::parse("c.toml", &format!("[streams.events]\n{sections}"), &|_| None).unwrap()
    }

    /// A list of rules, one a line.
    fn ruled(file: &str, rules: &[(&str, &str)]) -> Ruled {
        let rule = |(name, arn): &(&str, &str)| {
            format!(
                r#"{{"destination_name": "{name}", "destination_arn": "{arn}", "enabled_events": ["a"]}}"#
            )
        };
        let rules: Vec<String> = rules.iter().map(rule).collect();
        Ruled { file: file.to_owned(), rules: Rules::parse(&format!("[\n{}\n]", rules.join(",\n"))).unwrap() }
    }

    fn function<'c>(config: &'c Config, name: &str) -> (&'c str, Option<&'c str>) {
        let destination = &config.destinations[name];
        (&destination.kind, destination.settings.get("function").map(|function| function.as_str().unwrap()))
    }

    #[test]
    fn an_old_list_of_rules_works_as_it_is() {
        let old = [
            ruled("a.json", &[("crm", CRM), ("mail", OTHER), ("crm", CRM)]),
            ruled("b.json", &[("crm", CRM)]),
        ];
        let (config, problems) = config("").with_functions(&old);
        assert_eq!(problems, []);
        assert_eq!(config.destinations.len(), 2);
        assert_eq!(function(&config, "crm"), ("lambda", Some(CRM)));
        assert_eq!(function(&config, "mail"), ("lambda", Some(OTHER)));
    }

    #[test]
    fn what_is_configured_goes_before_the_rules() {
        let sections = "[destinations.crm]\nkind = \"hubspot\"\n[destinations.mail]\nkind = \"lambda\"\nbatch = 7\n\
                        payload = \"events\"\n[destinations.own]\nkind = \"lambda\"\nfunction = \"mine\"\n";
        let rules =
            ruled("a.json", &[("crm", "what"), ("crm", CRM), ("mail", OTHER), ("own", CRM), ("own", "what")]);
        let (config, problems) = config(sections).with_functions(&[rules]);
        assert_eq!(problems, []);
        assert_eq!(function(&config, "crm"), ("hubspot", None));
        assert_eq!(function(&config, "mail"), ("lambda", Some(OTHER)));
        assert_eq!(config.destinations["mail"].batch, Some(7));
        assert_eq!(config.destinations["mail"].settings.get("payload").unwrap(), "events");
        assert_eq!(function(&config, "own"), ("lambda", Some("mine")));
        // A problem with it has the section's line.
        assert_eq!(config.destination_problem("mail", "function", "no", "fix").line, 4);
    }

    #[test]
    fn what_cannot_be_meant_is_told_with_its_place() {
        let sqs = "arn:aws:sqs:eu-west-1:123456789012:to-crm";
        let lists = [
            ruled("a.json", &[("crm", CRM), ("mail", sqs), ("HubSpot", CRM), ("crm", OTHER)]),
            ruled("b.json", &[("crm", CRM), ("crm", OTHER), ("own", "to-crm")]),
        ];
        let (config, problems) = config("[destinations.own]\nkind = \"lambda\"\n").with_functions(&lists);
        let told: Vec<(&str, usize, &str, &str)> = problems
            .iter()
            .map(|found| (found.file.as_str(), found.line, found.key.as_str(), found.message.as_str()))
            .collect();
        let wanted = [
            ("a.json", 3, "[1]", "the `destination_arn` of `mail` is not the ARN of a Lambda function"),
            ("a.json", 4, "[2]", "`HubSpot` is not a destination name"),
            ("a.json", 5, "[3]", "another function is `crm` already, by a.json:2"),
            ("b.json", 3, "[1]", "another function is `crm` already, by a.json:2"),
            ("b.json", 4, "[2]", "the `destination_arn` of `own` is not the ARN of a Lambda function"),
        ];
        assert_eq!(told, wanted);
        assert_eq!(problems[0].fix, "add a section [destinations.mail], or name a function");
        assert_eq!(problems[4].fix, "write `function` into [destinations.own]");
        assert!(problems[2].fix.starts_with("name one, or write `function` into"), "{problems:?}");
        assert_eq!(function(&config, "crm"), ("lambda", Some(CRM)));
        assert_eq!(config.destinations.len(), 1, "what is wrong is not told a second time");
    }
}
