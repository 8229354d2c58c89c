//! Tests of editing JSON in place.

use super::*;

fn pointer(text: &str) -> Pointer {
    Pointer::parse(text).unwrap()
}

fn paths(texts: &[&str]) -> Paths {
    Paths::of(&texts.iter().map(|text| pointer(text)).collect::<Vec<_>>())
}

fn edited(text: &str, edit: impl FnOnce(&mut Tree<'_>)) -> String {
    let object = Object::parse(text.as_bytes()).unwrap();
    let mut tree = Tree::of(&object);
    edit(&mut tree);
    tree.write()
}

const EVENT: &str =
    r#"{"a":{"n":1.10,"big":1180591620717411303424},"l":[10, {"x":1,"y":2} ,30],"s":"\ud800"}"#;

#[test]
fn what_is_not_touched_keeps_its_bytes() {
    assert_eq!(edited(EVENT, |_| {}), EVENT);
    let opened = edited(EVENT, |tree| tree.remove(&paths(&["/a/none", "/l/1/none", "/s/none"])));
    assert_eq!(opened, EVENT.replace(" ", ""));
}

#[test]
fn removing_and_keeping_mean_one_version_of_the_object() {
    let table: [(&[&str], &str, &str); 6] = [
        (
            &["/a/n"],
            r#"{"a":{"n":1.10}}"#,
            r#"{"a":{"big":1180591620717411303424},"l":[10, {"x":1,"y":2} ,30],"s":"\ud800"}"#,
        ),
        (
            &["/l/0", "/l/1/x"],
            r#"{"l":[10,{"x":1}]}"#,
            r#"{"a":{"n":1.10,"big":1180591620717411303424},"l":[{"y":2},30],"s":"\ud800"}"#,
        ),
        (
            &["/a", "/a/n"],
            r#"{"a":{"n":1.10,"big":1180591620717411303424}}"#,
            r#"{"l":[10, {"x":1,"y":2} ,30],"s":"\ud800"}"#,
        ),
        (
            &["/l/01", "/l/3", "/l/-"],
            "{}",
            r#"{"a":{"n":1.10,"big":1180591620717411303424},"l":[10,{"x":1,"y":2},30],"s":"\ud800"}"#,
        ),
        (&["/s/x", "/none/x"], "{}", EVENT),
        (
            &["/s"],
            r#"{"s":"\ud800"}"#,
            r#"{"a":{"n":1.10,"big":1180591620717411303424},"l":[10, {"x":1,"y":2} ,30]}"#,
        ),
    ];
    for (pointers, kept, rest) in table {
        assert_eq!(edited(EVENT, |tree| tree.keep(&paths(pointers))), kept, "{pointers:?}");
        assert_eq!(edited(EVENT, |tree| tree.remove(&paths(pointers))), rest, "{pointers:?}");
    }
}

#[test]
fn no_spelling_of_a_key_escapes_removal() {
    let event = r#"{"c":{"ip":1},"\u0063":{"\u0069p":2,"ip":3,"\ud800":4},"x":0}"#;
    assert_eq!(edited(event, |tree| tree.remove(&paths(&["/c/ip"]))), r#"{"c":{"\ud800":4},"x":0}"#);
    let many = (0..60).map(|n| format!("\"k{}\":{n}", n % 40)).collect::<Vec<_>>().join(",");
    let without = edited(&format!("{{\"o\":{{{many}}}}}"), |tree| tree.remove(&paths(&["/o/k3"])));
    assert_eq!((without.matches("\"k").count(), without.contains("\"k5\":45")), (39, true));
}

#[test]
fn pieces_are_put_where_they_are_wanted() {
    let table = [
        ("/v", r#"{"a":{"b":1},"l":[1],"s":"t","v":9}"#),
        ("/a/b", r#"{"a":{"b":9},"l":[1],"s":"t"}"#),
        ("/a/x/y", r#"{"a":{"b":1,"x":{"y":9}},"l":[1],"s":"t"}"#),
        ("/s/x", r#"{"a":{"b":1},"l":[1],"s":{"x":9}}"#),
        ("/l/0", r#"{"a":{"b":1},"l":[9],"s":"t"}"#),
        ("/l/1", r#"{"a":{"b":1},"l":[1,9],"s":"t"}"#),
        ("/l/-", r#"{"a":{"b":1},"l":[1,9],"s":"t"}"#),
        ("/l/2", r#"{"a":{"b":1},"l":{"2":9},"s":"t"}"#),
        ("/q\"~1", r#"{"a":{"b":1},"l":[1],"s":"t","q\"/":9}"#),
    ];
    for (place, wanted) in table {
        let event = r#"{"a":{"b":1},"l":[1],"s":"t"}"#;
        assert_eq!(edited(event, |tree| tree.set(&pointer(place), "9".into())), wanted, "{place}");
    }
    let within = edited("{}", |tree| {
        tree.set(&pointer("/a"), r#"{"x": [1.10, 2]}"#.into());
        tree.set(&pointer("/a/x/1"), "3".into());
    });
    assert_eq!(within, r#"{"a":{"x":[1.10,3]}}"#);
    let moved = edited(EVENT, |tree| {
        let piece = tree.take(&pointer("/l/1")).unwrap();
        assert!(tree.take(&pointer("/l/2")).is_none() && tree.take(&pointer("/s/x")).is_none());
        tree.put(&pointer("/a"), piece);
    });
    assert_eq!(moved, r#"{"a":{"x":1,"y":2},"l":[10,30],"s":"\ud800"}"#);
}

#[test]
fn changes_see_the_text_as_it_stands() {
    let changed = edited(EVENT, |tree| {
        tree.change(&pointer("/a/n"), |text| Some(format!("[{text}]")));
        tree.change(&pointer("/a"), |text| Some(super::quoted(text)));
        tree.change(&pointer("/l/0"), |_| None);
        tree.change(&pointer("/none"), |_| Some("1".into()));
    });
    let wanted =
        r#"{"a":"{\"n\":[1.10],\"big\":1180591620717411303424}","l":[10,{"x":1,"y":2},30],"s":"\ud800"}"#;
    assert_eq!(changed, wanted);
}
