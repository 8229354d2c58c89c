//! `shardmill check` on a configuration that AWS refuses: everything that is wrong is named in one run, with its place and the fix.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;
use shardmill_tests::harness::cloud::{Cloud, STREAM};
use shardmill_tests::harness::proxy::{Fault, Rule};
use shardmill_tests::harness::{Setup, client};
use tempfile::TempDir;

/// Servers, and a configuration that can be spoilt.
struct Site {
    cloud: Cloud,
    setup: Setup,
    folder: TempDir,
}

/// What a run of `check --json` told: exit code and problems.
struct Told {
    code: i32,
    problems: Vec<Value>,
}

impl Site {
    async fn new(seed: u64) -> Site {
        let cloud = Cloud::start(1, seed).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let intake = "[intake.files]\nqueue = \"QUEUE\"\ntable = \"events\"\n";
        let setup = cloud.setup(folder.path(), &intake.replace("QUEUE", cloud.dead_letters()));
        Site { cloud, setup, folder }
    }

    /// Writes another text in place of one in the configuration.
    fn spoil(&mut self, text: &str, other: &str) {
        let config = self.setup.config.as_mut().unwrap();
        assert!(config.contains(text), "{text} is not in {config}");
        *config = config.replace(text, other);
    }

    fn env(&mut self, name: &str, value: &str) {
        self.setup.env.insert(name.to_owned(), value.to_owned());
    }

    async fn run(&self, words: &[&str]) -> client::Done {
        let config = self.setup.config_file().unwrap().unwrap().display().to_string();
        let env: Vec<(&str, &str)> =
            self.setup.env.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        client::run_with(&[words, &["-c", &config]].concat(), &env).await.unwrap()
    }

    async fn check(&self) -> Told {
        let done = self.run(&["check", "--json"]).await;
        let problems: Vec<Value> = serde_json::from_str(&done.stdout).unwrap_or_else(|_| panic!("{done:?}"));
        // A script reads one value, a person as many lines: of the same.
        let human = self.run(&["check"]).await;
        assert_eq!(human.code, done.code, "{human:?}");
        let lines: Vec<&str> = human.stderr.lines().filter(|line| line.starts_with("error: ")).collect();
        assert_eq!(lines.len(), problems.len(), "{human:?}");
        for (line, problem) in lines.iter().zip(&problems) {
            for part in ["file", "key", "fix"] {
                assert!(line.contains(problem[part].as_str().unwrap()), "{part} of {problem} in {line}");
            }
        }
        Told { code: done.code, problems }
    }

    /// The line that a text stands on.
    fn line(&self, text: &str) -> u64 {
        let config = self.setup.config.as_deref().unwrap();
        let at = config.lines().position(|line| line.starts_with(text));
        at.unwrap_or_else(|| panic!("{text} begins no line")) as u64 + 1
    }
}

impl Told {
    /// The problem with a key; there must be one.
    fn of(&self, key: &str) -> &Value {
        let found: Vec<&Value> = self.problems.iter().filter(|problem| problem["key"] == key).collect();
        assert_eq!(found.len(), 1, "{key} in {:#?}", self.problems);
        found[0]
    }

    fn keys(&self) -> Vec<&str> {
        let mut keys: Vec<&str> =
            self.problems.iter().map(|problem| problem["key"].as_str().unwrap()).collect();
        keys.sort_unstable();
        keys
    }
}

fn text<'a>(problem: &'a Value, part: &str) -> &'a str {
    problem[part].as_str().unwrap()
}

fn refused(status: u16, code: &str) -> Rule {
    Rule::new(Fault::error(status, code))
}

/// Every key that names something at AWS.
const KEYS: [&str; 8] = [
    "athena.database",
    "athena.output",
    "athena.workgroup",
    "dead_letters.queue",
    "documents.url",
    "intake.files.queue",
    "lake.url",
    "streams.events.kinesis",
];

/// `put_object` → `PutObject`.
fn operation(method: &str) -> String {
    let capital =
        |word: &str| word.chars().take(1).flat_map(char::to_uppercase).chain(word.chars().skip(1)).collect();
    method.split('_').map(capital).collect::<Vec<String>>().concat()
}

/// The calls that the connectors make.
fn calls(folder: &Path, found: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            calls(&path, found);
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let text: String = text.chars().filter(|c| !c.is_whitespace()).collect();
        // `client.put_object()`, on one line or several.
        let after = text.split("client.").skip(1).filter_map(|rest| rest.split_once("()"));
        let methods = after.filter(|(method, _)| {
            method.chars().all(|c| c.is_ascii_lowercase() || c == '_' || c.is_ascii_digit())
        });
        found.extend(methods.filter(|(method, _)| *method != "config").map(|(method, _)| operation(method)));
    }
}

#[test]
fn the_readme_names_every_call_and_no_other() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut made = BTreeSet::new();
    calls(&root.join("connectors/src/aws"), &mut made);
    let readme = std::fs::read_to_string(root.join("README.md")).unwrap();
    let services = ["| Kinesis |", "| S3 |", "| SQS |", "| Athena |"];
    let rows = readme.lines().filter(|line| services.iter().any(|service| line.starts_with(service)));
    let named = rows.filter_map(|row| row.split('|').nth(2)).flat_map(|cell| cell.split(','));
    let named: BTreeSet<String> = named.map(|call| call.trim().to_owned()).collect();
    assert!(made.len() > 20, "{made:?}");
    assert_eq!(
        named, made,
        "left: the table of IAM actions in the README; right: the calls in connectors/src/aws"
    );
}

/// The actions that the README's table asks for: those it names, and `service:Call` where it says that they are called alike.
fn actions_asked_for(readme: &str) -> BTreeSet<String> {
    let services =
        [("| Kinesis |", "kinesis:"), ("| S3 |", "s3:"), ("| SQS |", "sqs:"), ("| Athena |", "athena:")];
    let mut asked = BTreeSet::new();
    for line in readme.lines() {
        let Some((_, prefix)) = services.iter().find(|(row, _)| line.starts_with(row)) else { continue };
        let cells: Vec<&str> = line.split('|').collect();
        let (calls, actions) = (cells[2], cells[3]);
        if actions.contains("the same name") {
            asked.extend(calls.split(',').map(|call| format!("{prefix}{}", call.trim())));
        }
        let named = actions.split('`').skip(1).step_by(2);
        asked.extend(named.filter(|name| name.contains(':') && !name.ends_with(':')).map(str::to_owned));
    }
    // Below the table: Athena asks for it.
    asked.insert("s3:GetBucketLocation".to_owned());
    asked
}

/// The actions that the template's role allows on the services that the README's table is about.
fn actions_allowed(template: &str) -> BTreeSet<String> {
    let role = template.split_once("\n  NodeRole:\n").unwrap().1;
    // The next resource begins with a name as far to the left as this one's.
    let next = |line: &&str| line.as_bytes().get(2).is_some_and(u8::is_ascii_uppercase);
    let items = role.lines().take_while(|line| !next(line)).filter_map(|line| line.trim().strip_prefix("- "));
    let services = ["kinesis:", "s3:", "sqs:", "athena:", "glue:"];
    items.filter(|item| services.iter().any(|service| item.starts_with(service))).map(str::to_owned).collect()
}

#[test]
fn the_role_allows_what_the_readme_asks_for_and_nothing_else() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let read = |name: &str| std::fs::read_to_string(root.join(name)).unwrap();
    let allowed = actions_allowed(&read("deploy/cloudformation.yaml"));
    assert!(allowed.len() > 30, "{allowed:?}");
    assert_eq!(
        allowed,
        actions_asked_for(&read("README.md")),
        "left: the role in deploy/cloudformation.yaml; right: the table of IAM actions in the README"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn names_that_lead_nowhere_are_all_told_at_once() {
    let mut site = Site::new(1).await;
    let whole = site.check().await;
    assert_eq!((whole.code, whole.problems.len()), (0, 0), "{:#?}", whole.problems);
    assert_eq!(site.run(&["check"]).await.stdout, "nothing is wrong\n");

    site.spoil(STREAM, "no-such-stream");
    site.spoil("s3://acme-lake/events", "s3://no-such-bucket/events");
    site.spoil("s3://acme-lake/athena/", "s3://no-such-output/");
    let dead = format!("[dead_letters]\nqueue = \"{}", site.cloud.dead_letters());
    site.spoil(&dead, &format!("{dead}-none"));
    site.spoil("database = \"acme\"", "database = \"acme\"\nworkgroup = \"nobody\"");
    let told = site.check().await;
    assert_eq!(told.code, 2);
    let wrong =
        ["athena.output", "athena.workgroup", "dead_letters.queue", "lake.url", "streams.events.kinesis"];
    assert_eq!(told.keys(), wrong, "{:#?}", told.problems);
    let file = site.folder.path().join("node.toml").display().to_string();
    for (key, line, names, fix) in [
        (wrong[0], "output", "s3://no-such-output/", "create the bucket"),
        (wrong[1], "workgroup", "nobody", "create the workgroup"),
        (wrong[2], "queue", "dead-none", "create the queue"),
        (wrong[3], "url", "s3://no-such-bucket/events/", "create the bucket"),
        (
            wrong[4],
            "kinesis",
            "`no-such-stream` in us-east-1",
            "create the stream, or correct its name, the region",
        ),
    ] {
        let problem = told.of(key);
        assert!(text(problem, "message").contains(names), "{names}: {problem}");
        assert!(text(problem, "fix").contains(fix), "{fix}: {problem}");
        assert_eq!((text(problem, "file"), problem["line"].as_u64()), (file.as_str(), Some(site.line(line))));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_policy_does_not_allow_is_told_action_by_action() {
    let site = Site::new(2).await;
    let denied = || refused(403, "AccessDenied").service("s3");
    site.cloud.rules(&[
        denied().operation("ListObjectsV2").target("prefix=events"),
        denied().operation("PutObject").target("/acme-lake/events/"),
        denied().operation("DeleteObject").target("/acme-lake/events/"),
        denied().operation("GetObject").target("/acme-lake/state/"),
        refused(400, "AccessDeniedException").operation("ListShards"),
        refused(400, "AccessDeniedException").operation("GetWorkGroup"),
        refused(400, "AccessDeniedException").operation("GetDatabase"),
        refused(403, "AccessDenied").operation("GetQueueAttributes"),
    ]);
    let told = site.check().await;
    assert_eq!((told.code, told.problems.len()), (2, 7), "{:#?}", told.problems);
    let allow = |actions: &str| format!("allow {actions} in the IAM policy");
    let fixes = [
        ("lake.url", "s3://acme-lake/events/", allow("s3:ListBucket, s3:PutObject, s3:DeleteObject")),
        ("documents.url", "s3://acme-lake/state/", allow("s3:GetObject")),
        ("streams.events.kinesis", "kinesis:ListShards", allow("the action")),
        ("athena.workgroup", "athena:GetWorkGroup", allow("the action")),
        ("athena.database", "athena:GetDatabase, glue:GetDatabase", allow("the action")),
        ("dead_letters.queue", site.cloud.dead_letters(), allow("the action")),
        ("intake.files.queue", "sqs:GetQueueAttributes", allow("the action")),
    ];
    for (key, names, fix) in fixes {
        let problem = told.of(key);
        assert!(text(problem, "message").contains(names), "{names}: {problem}");
        assert!(text(problem, "message").contains("AccessDenied"), "{problem}");
        assert_eq!(text(problem, "fix"), fix, "{key}");
    }
    site.cloud.rules(&[]);
    let left = site.cloud.storage().s3().list_objects_v2().bucket("acme-lake").send().await.unwrap();
    assert_eq!(left.contents.unwrap_or_default().len(), 0, "a probe has left something behind");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_region_is_named_with_the_right_one() {
    let mut site = Site::new(3).await;
    site.env("AWS_REGION", "eu-west-1");
    let dead = format!("[dead_letters]\nqueue = \"{}", site.cloud.dead_letters());
    site.spoil(&dead, "[dead_letters]\nqueue = \"https://sqs.us-east-1.amazonaws.com/123456789012/dead");
    let elsewhere = |status, code, region| Rule::new(Fault::elsewhere(status, code, region)).service("s3");
    site.cloud.rules(&[
        // Kinesis knows the streams of one region only.
        refused(400, "ResourceNotFoundException").service("kinesis"),
        elsewhere(301, "PermanentRedirect", "eu-central-1").target("events"),
        elsewhere(400, "AuthorizationHeaderMalformed", "us-west-2").target("state"),
        elsewhere(301, "PermanentRedirect", "ap-south-1").target("athena"),
    ]);
    let told = site.check().await;
    assert_eq!(told.code, 2);
    for (key, there) in [
        ("lake.url", "eu-central-1"),
        ("documents.url", "us-west-2"),
        ("athena.output", "ap-south-1"),
        ("dead_letters.queue", "us-east-1"),
    ] {
        let problem = told.of(key);
        assert!(text(problem, "message").contains(&format!("is in {there}")), "{problem}");
        assert_eq!(text(problem, "fix"), format!("set AWS_REGION, or the profile's region, to {there}"));
    }
    let stream = told.of("streams.events.kinesis");
    assert!(text(stream, "message").contains("in eu-west-1"), "{stream}");
    assert!(text(stream, "fix").contains("the region"), "{stream}");

    // And none at all.
    site.setup.env.remove("AWS_REGION");
    let told = site.check().await;
    assert_eq!((told.code, told.keys()), (2, vec!["backend"]));
    assert_eq!(text(told.of("backend"), "fix"), "set AWS_REGION, or the profile's region");
    assert_eq!(told.of("backend")["line"].as_u64(), Some(site.line("backend")));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_token_is_told_of_every_service() {
    let site = Site::new(4).await;
    site.cloud.rules(&[
        refused(400, "ExpiredToken").service("s3"),
        refused(400, "ExpiredTokenException").service("kinesis"),
        refused(403, "ExpiredToken").service("sqs"),
        refused(400, "ExpiredTokenException").service("athena"),
    ]);
    let told = site.check().await;
    assert_eq!((told.code, told.keys()), (2, KEYS.to_vec()), "{:#?}", told.problems);
    for problem in &told.problems {
        assert!(text(problem, "message").contains("ExpiredToken"), "{problem}");
        assert_eq!(text(problem, "fix"), "renew the session token", "{problem}");
        assert!(problem["line"].as_u64().unwrap() > 0, "{problem}");
    }

    // Nobody answers: that is no word about names and rights.
    site.cloud.rules(&[Rule::new(Fault::Reset)]);
    let told = site.check().await;
    assert_eq!((told.code, told.keys()), (2, KEYS.to_vec()), "{:#?}", told.problems);
    assert!(told.problems.iter().all(|problem| text(problem, "fix").contains("try again")));
}
