//! Rules: what they admit, what the event forbids, what is wrong with them and where.

use proptest::prelude::*;

use super::*;

fn rules(text: &str) -> Rules {
    Rules::parse(text).unwrap_or_else(|problems| panic!("{problems:#?}"))
}

fn routed(rules: &Rules, destination: &str, event: &str, name: Option<&str>) -> bool {
    rules.routes(destination, &Object::parse(event.as_bytes()).unwrap(), name, "key")
}

#[test]
fn the_list_of_a_lambda_router_is_understood() {
    let rules = rules(
        r#"[
          {"destination_name": "mixpanel", "destination_arn": "arn:aws:lambda:x", "enabled_events": ["page_view", "search",]},
          {"destination_name": "hubspotcrm", "enabled_events": ["registration"], "where": {"/context/consent": true}},
        ]"#,
    );
    assert_eq!(rules.destinations(), [("mixpanel", 2), ("hubspotcrm", 3)]);
    let table = [
        ("mixpanel", "search", "{}", true),
        ("mixpanel", "registration", "{}", false),
        ("hubspotcrm", "registration", "{}", false),
        ("hubspotcrm", "registration", r#"{"context":{"consent":true}}"#, true),
        ("hubspotcrm", "registration", r#"{"context":{"consent":"true"}}"#, false),
        ("other", "search", "{}", false),
        ("Mixpanel", "search", "{}", false),
    ];
    for (destination, name, event, wanted) in table {
        assert_eq!(routed(&rules, destination, event, Some(name)), wanted, "{destination} {name} {event}");
    }
}

#[test]
fn arns_are_told_and_never_in_the_way() {
    let told = rules(
        r#"[
          {"destination_name": "crm", "destination_arn": "arn:aws:lambda:\u0065u-west-1:1:function:crm"},

          {"destination_name": "log", "destination_arn": null}, {"destination_name": "log", "destination_arn": ""},
          {"destination_name": "log", "destination_arn": {"a": [1]}}, {"destination_arn": "7", "destination_name": "crm"},
        ]"#,
    );
    let arns: Vec<_> =
        told.arns().iter().map(|of| (of.destination.as_str(), of.arn.as_str(), of.line, of.rule)).collect();
    assert_eq!(arns, [("crm", "arn:aws:lambda:eu-west-1:1:function:crm", 2, 0), ("crm", "7", 5, 4)]);
    assert!(Rules::everything().arns().is_empty());
}

#[test]
fn names_are_enabled_and_disabled() {
    let table = [
        (r#"{"destination_name":"d"}"#, Some("a"), true),
        (r#"{"destination_name":"d"}"#, None, true),
        (r#"{"destination_name":"d","enabled_events":["*"]}"#, None, true),
        (r#"{"destination_name":"d","enabled_events":["a*"]}"#, None, false),
        (r#"{"destination_name":"d","enabled_events":[]}"#, Some("a"), false),
        (r#"{"destination_name":"d","enabled_events":["a*"],"disabled_events":["ab"]}"#, Some("ab"), false),
        (r#"{"destination_name":"d","enabled_events":["a*"],"disabled_events":["ab"]}"#, Some("abc"), true),
        (r#"{"destination_name":"d","disabled_events":["a"]}"#, None, true),
        (r#"{"destination_name":"d","disabled_events":["*"]}"#, None, false),
        (
            r#"{"destination_name":"d","enabled_events":["x"]},{"destination_name":"d","enabled_events":["a"]}"#,
            Some("a"),
            true,
        ),
    ];
    for (list, name, wanted) in table {
        assert_eq!(routed(&rules(&format!("[{list}]")), "d", "{}", name), wanted, "{list} {name:?}");
    }
    assert!(!routed(&rules("[]"), "d", "{}", Some("a")));
    assert!(routed(&Rules::everything(), "d", "{}", None) && Rules::everything().destinations().is_empty());
}

#[test]
fn values_are_compared_as_json() {
    let table = [
        ("1", r#"{"v":1.0}"#, true),
        ("0.1", r#"{"v":1e-1}"#, true),
        ("9007199254740993", r#"{"v":9007199254740992}"#, false),
        ("1180591620717411303424", r#"{"v":1180591620717411303424.0}"#, true),
        ("1", r#"{"v":"1"}"#, false),
        (r#""a/é""#, r#"{"v":"a\/\u00e9"}"#, true),
        (r#"{"a":1,"b":[2]}"#, r#"{"v":{"b":[2.0],"a":1}}"#, true),
        ("null", "{}", true),
        ("null", r#"{"v":null}"#, true),
        ("null", r#"{"v":false}"#, false),
        (r#"["x",null,3]"#, r#"{"v":3}"#, true),
        (r#"["x",null,3]"#, "{}", true),
        (r#"["x",null,3]"#, r#"{"v":["x",null,3]}"#, false),
        ("[[1,2]]", r#"{"v":[1,2]}"#, true),
    ];
    for (wanted_value, event, wanted) in table {
        let rules = rules(&format!(r#"[{{"destination_name":"d","where":{{"/v":{wanted_value}}}}}]"#));
        assert_eq!(routed(&rules, "d", event, None), wanted, "{wanted_value} {event}");
    }
    let both = rules(r#"[{"destination_name":"d","where":{"/a/0":1,"/b~1c":true}}]"#);
    assert!(routed(&both, "d", r#"{"a":[1],"b/c":true}"#, None));
    assert!(!routed(&both, "d", r#"{"a":[1]}"#, None));
}

#[test]
fn the_event_may_forbid_its_delivery() {
    let table = [
        (r#"{}"#, true),
        (r#"{"All":false}"#, false),
        (r#"{"all":false}"#, false),
        (r#"{"All":false,"hook-1":true}"#, true),
        (r#"{"All":false,"Hook-1":{"list":7}}"#, true),
        (r#"{"All":false,"hook-1":null}"#, false),
        (r#"{"All":true,"HOOK-1":false}"#, false),
        (r#"{"hook-1":true,"Hook-1":false}"#, false),
        (r#"{"hook-1":false,"hook-1":true}"#, false),
        (r#"{"h\u006fok-1":false,"\ud800":true}"#, false),
        (r#"{"other":false}"#, true),
        (r#"[false]"#, true),
        (r#"null"#, true),
    ];
    let named = rules(r#"[{"destination_name":"hook-1"}]"#);
    for (integrations, wanted) in table {
        let event = format!(r#"{{"integrations":{integrations}}}"#);
        assert_eq!(routed(&Rules::everything(), "hook-1", &event, None), wanted, "{integrations}");
        assert_eq!(routed(&named, "hook-1", &event, None), wanted, "{integrations}");
    }
    assert!(
        !routed(&rules("[]"), "hook-1", r#"{"integrations":{"hook-1":true}}"#, None),
        "a wish is no rule"
    );
}

#[test]
fn everything_wrong_is_told_with_its_line() {
    let text = r#"[
  {"destination_name": "a", "enabeld_events": ["x"]},
  {"enabled_events": "x",
   "disabled_events": ["y", 1, ""]},
  17,
  {"destination_name": "",
   "where": {"context/ip": 1,
             "/a~": [],
             "/b": ["\ud800"]},
   "sample": 1.5,
   "sample": 1},
  {"destination_name": "b", "where": [], "sample": "0.5"},
]"#;
    let problems = Rules::parse(text).unwrap_err();
    let found: Vec<(usize, Option<usize>, &str)> =
        problems.iter().map(|problem| (problem.line, problem.rule, problem.message.as_str())).collect();
    let wanted = [
        (2, Some(0), "unknown key `enabeld_events`"),
        (3, Some(1), "`enabled_events` is not a list"),
        (3, Some(1), "`destination_name` is missing"),
        (4, Some(1), "`disabled_events` must be a text, and not empty"),
        (4, Some(1), "`disabled_events` must be a text, and not empty"),
        (5, Some(2), "rule 2 is not an object"),
        (6, Some(3), "`destination_name` must be a text, and not empty"),
        (7, Some(3), "`context/ip` is not a JSON pointer"),
        (8, Some(3), "an empty list admits nothing"),
        (8, Some(3), "`/a~` is not a JSON pointer"),
        (9, Some(3), "events cannot be compared with this value"),
        (10, Some(3), "`sample` is not a share"),
        (11, Some(3), "`sample` is written twice"),
        (12, Some(4), "`where` is not an object"),
        (12, Some(4), "`sample` is not a share"),
    ];
    assert_eq!(found, wanted);
    assert_eq!(problems[0].fix, "did you mean `enabled_events`?");
    assert!(problems.iter().all(|problem| !problem.fix.is_empty()));
}

#[test]
fn what_is_no_list_is_refused() {
    for (text, line) in [("", 1), ("{}", 1), ("[\n{\"a\": tru}]", 2), ("[1,,]", 1), ("[]\n[]", 2), ("nul", 1)]
    {
        let problems = Rules::parse(text).unwrap_err();
        assert_eq!((problems.len(), problems[0].line, problems[0].rule), (1, line, None), "{text:?}");
    }
    let deep = format!(
        "[{{\"destination_name\":\"a\",\"where\":{{\"/a\":{}1{}}}}}]",
        "[".repeat(900),
        "]".repeat(900)
    );
    assert_eq!(Rules::parse(&deep).unwrap_err().len(), 1);
}

#[test]
fn samples_are_about_as_large_as_they_should_be() {
    let keys: Vec<String> = (0..20_000).map(|n| format!("user-{n}")).collect();
    for share in [0.0, 0.01, 0.25, 0.9, 1.0] {
        let found = keys.iter().filter(|key| in_sample(key, share)).count() as f64 / 20_000.0;
        assert!((found - share).abs() < 0.01, "{share}: {found}");
    }
    let rules = rules(r#"[{"destination_name":"d","sample":0.5}]"#);
    let event = Object::parse(b"{}").unwrap();
    assert!(keys.iter().all(|key| rules.routes("d", &event, None, key) == in_sample(key, 0.5)));
}

proptest! {
    #[test]
    fn a_larger_sample_holds_the_smaller_one(key in ".{0,20}", a in 0.0f64..=1.0, b in 0.0f64..=1.0) {
        let (small, large) = (a.min(b), a.max(b));
        prop_assert!(!in_sample(&key, small) || in_sample(&key, large));
        prop_assert!(in_sample(&key, 1.0) && !in_sample(&key, 0.0));
    }

    #[test]
    fn no_text_is_too_strange_to_be_refused(text in "[\\[\\]{}\",:a-e/~*0.1 \n]{0,60}") {
        if let Err(problems) = Rules::parse(&text) {
            prop_assert!(!problems.is_empty());
        }
    }
}
