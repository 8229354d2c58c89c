//! `check`: the configuration and every file it names, all problems at once.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use shardmill_cluster::transport::Identity;
use shardmill_connectors::nearest::nearest;
use shardmill_connectors::routing::{RuleProblem, Rules};

use super::{Backend, Config, Problem, Ruled, object_key, schema_file};

/// Everything that is wrong with the file (the embedded default when `None`), its schemas and its rules.
pub fn check(path: Option<&Path>) -> Vec<Problem> {
    let config = match path.map_or_else(|| Ok(Config::embedded_default()), Config::load) {
        Ok(config) => config,
        Err(problems) => return problems,
    };
    let mut problems = Vec::new();
    // What rules of one stream name may be a function by those of another.
    let (named, _) = config.with_functions(&ruled(&config));
    for (name, stream) in &config.streams {
        let schemas: BTreeSet<&str> = stream.fed().filter_map(|(_, schema)| schema).collect();
        for schema in schemas {
            let path = config.resolve(schema);
            problems.extend(local(&config, name, (schema, path), schema_problems));
        }
        if let Some(rules) = &stream.rules {
            let path = rules_path(&config, rules);
            problems
                .extend(local(&config, name, (rules, path), |file, text| rules_problems(&named, file, text)));
        }
    }
    problems.extend(config.dedupe_problems());
    problems.extend(config.bloom_problems());
    problems.extend(certificates_problem(&config));
    problems
}

fn rules_path(config: &Config, rules: &str) -> PathBuf {
    object_key(rules).map_or_else(|| config.resolve(rules), |key| config.object_file(key))
}

/// The rules that can be read here.
fn ruled(config: &Config) -> Vec<Ruled> {
    let names = config.streams.values().filter_map(|stream| stream.rules.as_deref());
    let read = |name| {
        let text = std::fs::read_to_string(rules_path(config, name)).ok()?;
        Some(Ruled { file: name.to_owned(), rules: Rules::parse(&text).ok()? })
    };
    names.filter_map(read).collect()
}

/// What is wrong with the folder of this node's certificates.
fn certificates_problem(config: &Config) -> Option<Problem> {
    let folder = config.resolve(config.cluster.as_ref()?.certificates.as_ref()?.to_str()?);
    let failure = Identity::load(&folder).err()?;
    let fix = "it must hold ca.pem, node.pem, node.key and cookie, as `shardmill cluster certs` makes them";
    let file = config.file.as_ref().map_or_else(String::new, |file| file.display().to_string());
    let (message, fix) = (failure.detail, fix.to_owned());
    Some(Problem { file, line: 0, key: "cluster.certificates".into(), message, fix })
}

/// Problems of a local file; what lies in S3 is read by the node that uses it.
fn local(
    config: &Config,
    stream: &str,
    (name, path): (&str, PathBuf),
    judge: impl Fn(&str, &str) -> Vec<Problem>,
) -> Vec<Problem> {
    let in_s3 = name.starts_with("s3://");
    if in_s3 && config.backend == Backend::Aws {
        return Vec::new();
    }
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

/// Problems of a list of rules, with those that name a destination that is not configured.
fn rules_problems(config: &Config, file: &str, text: &str) -> Vec<Problem> {
    let problem = |line, rule: Option<usize>, message, fix| {
        let key = rule.map(|rule| format!("[{rule}]")).unwrap_or_default();
        Problem { file: file.to_owned(), line, key, message, fix }
    };
    let rules = match Rules::parse(text) {
        Ok(rules) => rules,
        Err(problems) => {
            let of_file = |wrong: RuleProblem| problem(wrong.line, wrong.rule, wrong.message, wrong.fix);
            return problems.into_iter().map(of_file).collect();
        }
    };
    let known: Vec<&str> = config.destinations.keys().map(String::as_str).collect();
    // Where a rule says which function it is, that is judged with the destinations.
    let addressed = |name: &str| rules.arns().iter().any(|of| of.destination == name);
    let unknown = rules.destinations().into_iter();
    let unknown = unknown.filter(|(name, _)| !known.contains(name) && !addressed(name));
    let unknown = unknown.map(|(name, line)| {
        let fix = match nearest(name, known.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("add a section [destinations.{name}], or remove the rule"),
        };
        problem(line, None, format!("the destination `{name}` is not configured"), fix)
    });
    unknown.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_judged_with_the_destinations_there_are() {
        let config = Config::embedded_default();
        let found = |text: &str| {
            let problems = rules_problems(&config, "r.json", text);
            problems.into_iter().map(|problem| (problem.line, problem.key, problem.fix)).collect::<Vec<_>>()
        };
        assert_eq!(found("[{\"destination_name\": \"log\", \"enabled_events\": [\"a\",],\n},\n]"), []);
        let wanted = [
            (2, String::new(), "did you mean `log`?".to_owned()),
            (3, String::new(), "add a section [destinations.hubspot], or remove the rule".to_owned()),
        ];
        let arn = "[{\"destination_name\": \"crm\", \"destination_arn\": \"arn:aws:lambda:eu-west-1:1:function:f\"}]";
        assert_eq!(found(arn), []);
        let text = "[\n{\"destination_name\": \"logs\"},\n{\"destination_name\": \"hubspot\"}]";
        assert_eq!(found(text), wanted);
        assert_eq!(found("[\n{\"a\": tru}]")[0].0, 2);
        assert_eq!(found("[\n{\"a\": 1,\n\"destination_name\":\"log\"}]")[0].1, "[0]");
        assert_eq!(found("{}").len(), 1);
    }

    #[test]
    fn certificates_are_looked_at() {
        use shardmill_cluster::transport::certificates::{self, Order};

        let folder = std::env::temp_dir().join(format!("shardmill-check-certs-{}", std::process::id()));
        let order = Order { out: folder.clone(), nodes: vec!["a".into()], cluster: "local".into(), days: 1 };
        certificates::make(&order).unwrap();
        let config = folder.join("c.toml");
        std::fs::write(&config, "[streams.a]\n[cluster]\ncertificates = \"a\"\n").unwrap();
        let before = check(Some(&config));
        std::fs::remove_file(folder.join("a/node.key")).unwrap();
        let after = check(Some(&config));
        std::fs::remove_dir_all(&folder).unwrap();
        assert!(before.is_empty(), "{before:?}");
        assert_eq!((after.len(), after[0].key.as_str()), (1, "cluster.certificates"), "{after:?}");
        assert!(after[0].message.contains("a/node.key: "), "{after:?}");
    }

    #[test]
    fn files_that_a_configuration_names_are_read() {
        let folder = std::env::temp_dir().join(format!("shardmill-check-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let config = folder.join("c.toml");
        std::fs::write(folder.join("r.json"), "[{\"destination_name\": \"hook\"}, 7]").unwrap();
        std::fs::write(&config, "[streams.a]\nrules = \"r.json\"\n[streams.b]\nrules = \"none.json\"\n")
            .unwrap();
        let problems = check(Some(&config));
        let of = |more: &str| format!("[{{\"destination_name\": \"crm\"{more}}}]");
        let arn = ", \"destination_arn\": \"arn:aws:lambda:eu-west-1:1:function:crm\"";
        let told = |one: &str, other: &str| {
            std::fs::write(folder.join("r.json"), of(one)).unwrap();
            std::fs::write(folder.join("none.json"), of(other)).unwrap();
            check(Some(&config)).len()
        };
        let told = (told("", ""), told("", arn), told(arn, arn));
        assert_eq!(told, (2, 0, 0), "a function that one list names is a destination in all of them");
        std::fs::remove_dir_all(&folder).unwrap();
        let told: Vec<String> = problems.iter().map(|problem| problem.message.clone()).collect();
        assert_eq!((told.len(), told[0].as_str()), (2, "rule 1 is not an object"), "{problems:?}");
        assert!(told[1].starts_with("cannot be read") && problems[0].file.ends_with("r.json"));
    }
}
