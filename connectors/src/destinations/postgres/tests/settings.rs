//! What it may be told, and what is said about what it may not.

use serde_json::{Value, json};

use super::{open_in, shaped};
use crate::destinations::testing::batch;

/// A PEM file whose contents are a certificate in form only.
const NO_CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----\naGVsbG8=\n-----END CERTIFICATE-----\n";

#[test]
fn where_it_is_and_how_the_way_is_secured() {
    for (settings, database, tls) in [
        (
            json!({"url": "postgres://ingest@127.0.0.1:5433/wh"}),
            "postgres://ingest@127.0.0.1:5433/wh",
            "prefer",
        ),
        (
            json!({"url": "postgresql://me:s3cr3t%20x@localhost/wh"}),
            "postgres://me@localhost:5432/wh",
            "prefer",
        ),
        (
            json!({"url": "postgres://me@[fd00::1]/wh?sslmode=require"}),
            "postgres://me@[fd00::1]:5432/wh",
            "require",
        ),
        (json!({"url": "postgres://me@a:1,b:2/wh?sslmode=require"}), "postgres://me@a:1,b:2/wh", "require"),
        (
            json!({"host": "db.example.net", "user": "me", "tls": "Disable"}),
            "postgres://me@db.example.net:5432/me",
            "disable",
        ),
        (
            json!({"host": "10.0.0.7", "user": "me", "port": 6432, "database": "wh"}),
            "postgres://me@10.0.0.7:6432/wh",
            "prefer",
        ),
        (
            json!({"host": "/run/postgresql", "user": "me", "tls": "require"}),
            "postgres://me@/run/postgresql:5432/me",
            "disable",
        ),
        (
            json!({"url": "postgres://me@10.0.0.7/wh?sslmode=require", "tls": "disable"}),
            "postgres://me@10.0.0.7:5432/wh",
            "disable",
        ),
    ] {
        let mut all = settings.clone();
        all["table"] = "events".into();
        let destination =
            open_in(".".as_ref(), &all).unwrap_or_else(|problems| panic!("{settings}: {problems:?}"));
        let shown = destination.preview(batch(&[shaped(&*destination, "id-0", "{}")]));
        assert_eq!(
            (shown["database"].as_str(), shown["tls"].as_str()),
            (Some(database), Some(tls)),
            "{settings}"
        );
        assert!(!format!("{shown} {destination:?}").contains("s3cr3t"), "{shown}");
    }
}

#[test]
fn a_name_may_be_anybodys_unless_an_authority_says_otherwise() {
    let folder = tempfile::tempdir().unwrap();
    for (file, text, wanted) in [
        ("none.pem", None, "cannot be read"),
        ("empty.pem", Some(""), "holds no certificate"),
        ("wrong.pem", Some(NO_CERTIFICATE), "holds what is no certificate of an authority"),
    ] {
        if let Some(text) = text {
            std::fs::write(folder.path().join(file), text).unwrap();
        }
        let settings = json!({"host": "db.example.net", "user": "me", "table": "t", "root_cert": file});
        let problems = open_in(folder.path(), &settings).unwrap_err();
        assert_eq!((problems.len(), problems[0].key.as_str()), (1, "root_cert"), "{problems:?}");
        assert!(problems[0].message.starts_with(wanted), "{problems:?}");
        for other in ["require", "prefer", "disable"] {
            let mut settings = settings.clone();
            settings["tls"] = other.into();
            assert!(
                open_in(folder.path(), &settings).unwrap_err()[0].message.starts_with("is of no use"),
                "{other}"
            );
        }
    }
}

#[test]
fn wrong_settings_are_told_and_not_shown() {
    let near = |more: Value| {
        let mut all = json!({"host": "127.0.0.1", "user": "u", "table": "t"});
        all.as_object_mut().unwrap().append(&mut more.as_object().unwrap().clone());
        all
    };
    let long = "x".repeat(64);
    for (settings, key) in [
        (json!({}), "host"),
        (json!({"host": "127.0.0.1", "table": "t"}), "user"),
        (json!({"url": "postgres://u:s3cr3t@127.0.0.1/d"}), "table"),
        (json!({"url": "http://u:s3cr3t@127.0.0.1/d", "table": "t"}), "url"),
        (json!({"url": "host=127.0.0.1 password=s3cr3t", "table": "t"}), "url"),
        (json!({"url": "postgres://127.0.0.1/s3cr3t", "table": "t"}), "url"),
        (json!({"url": "postgres://u:s3cr3t@/d", "table": "t"}), "url"),
        (json!({"url": "postgres://u@127.0.0.1:s3cr3t/d", "table": "t"}), "url"),
        (json!({"url": "postgres://u@127.0.0.1/d?password=s3cr3t", "table": "t"}), "url"),
        (json!({"url": "postgres://u@127.0.0.1/d?sslmode=s3cr3t", "table": "t"}), "url"),
        (json!({"url": "postgres://u@127.0.0.1/d", "table": "t", "user": "s3cr3t"}), "user"),
        (json!({"url": "postgres://u:s3cr3t@127.0.0.1/d", "table": "t", "password": "s3cr3t"}), "password"),
        (near(json!({"port": 0})), "port"),
        (near(json!({"port": "s3cr3t"})), "port"),
        (near(json!({"table": "a.b.c"})), "table"),
        (near(json!({"table": "a."})), "table"),
        (near(json!({ "table": long })), "table"),
        (near(json!({"tls": "s3cr3t"})), "tls"),
        (near(json!({"timeout": "s3cr3t"})), "timeout"),
        (near(json!({"id_column": "s3cr3t"})), "id_column"),
        (near(json!({"id_column": "ts"})), "id_column"),
        (near(json!({"columns": {}})), "columns"),
        (near(json!({"columns": {"a": "/s3cr3t"}})), "columns"),
        (near(json!({"columns": {"a": "id", "b": "id"}})), "id_column"),
        (near(json!({"columns": {"id": "id", "b": "s3cr3t"}})), "columns.b"),
        (near(json!({"columns": {"id": "id", "b": {"from": "/x", "type": "s3cr3t"}}})), "columns.b"),
        (near(json!({"columns": {"id": "id", "b": {"from": "/x", "tpye": "text"}}})), "columns.b"),
        (near(json!({"columns": {"id": "id", "": "/x"}})), "columns."),
        (near(json!({"allow_private": true})), "allow_private"),
    ] {
        let problems = open_in(".".as_ref(), &settings).unwrap_err();
        assert_eq!(problems[0].key, key, "{settings}: {problems:?}");
        assert!(!format!("{problems:?}").contains("s3cr3t"), "{problems:?}");
        assert!(problems.iter().all(|problem| !problem.fix.is_empty()), "{problems:?}");
    }
    assert!(
        open_in(".".as_ref(), &near(json!({"columns": {"a": "id", "b": "id"}, "id_column": "b"}))).is_ok()
    );
}
