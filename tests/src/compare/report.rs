//! The result for people: as plain text, or as tables for a page.

use serde_json::Value;

/// Rows of equal length; the first names the columns.
type Rows = Vec<Vec<String>>;

/// As plain text.
pub fn table(result: &Value) -> String {
    render(result, |title| format!("{title}\n"), aligned)
}

/// As Markdown.
pub fn markdown(result: &Value) -> String {
    render(result, |title| format!("**{title}**\n\n"), piped)
}

fn render(result: &Value, title: impl Fn(&str) -> String, rows: impl Fn(&Rows) -> String) -> String {
    let mut text = String::new();
    for work in result["works"].as_array().into_iter().flatten() {
        text.push_str(&title(&titled(work)));
        for table in tables(work) {
            text.push_str(&rows(&table));
            text.push('\n');
        }
    }
    let claims = claims(&result["claims"]);
    if claims.len() > 1 {
        text.push_str(&title("What is claimed"));
        text.push_str(&rows(&claims));
    }
    text
}

/// What a piece of work was, in a few words.
fn titled(work: &Value) -> String {
    let (events, megabytes) = (whole(&work["events"]), scaled(&work["input_bytes"], 1e6, 1));
    let table = work["table"].as_str().unwrap_or_default();
    match work["work"].as_str().unwrap_or_default() {
        "convert" | "data" => {
            format!("{events} events ({megabytes} MB of NDJSON) to checked, typed Parquet: `{table}`")
        }
        "compact" => {
            format!("{} segments ({megabytes} MB, {events} rows) to one file", whole(&work["segments"]))
        }
        "path" => format!("A filled stream ({events} events) to committed, compacted hours"),
        "stream" => format!("{events} events from a Kinesis server to Parquet on an S3 server"),
        "hour" => format!("A finished hour ({events} rows, ZSTD), and the same rows as DuckDB writes them"),
        other => other.to_owned(),
    }
}

fn tables(work: &Value) -> Vec<Rows> {
    match work["work"].as_str() {
        Some("hour") => vec![finished(work)],
        Some("convert" | "data") => vec![sides(work), checked(&work["checked"])],
        _ => vec![sides(work)],
    }
}

fn sides(work: &Value) -> Rows {
    let servers = work["sides"][0]["servers_cpu_s"].as_object().is_some_and(|servers| !servers.is_empty());
    let mut head =
        words(&["", "CPU s", "by the first", "events per CPU-s", "peak MB", "written MB", "wall s"]);
    if servers {
        head.push("servers' CPU s".to_owned());
    }
    let mut rows = vec![head];
    for side in work["sides"].as_array().into_iter().flatten() {
        let mut row = vec![
            side["side"].as_str().unwrap_or_default().to_owned(),
            scaled(&side["cpu_s"], 1.0, 2),
            scaled(&side["cpu_by_first"], 1.0, 2),
            whole(&side["events_per_cpu_s"]),
            scaled(&side["peak_bytes"], 1e6, 0),
            scaled(&side["bytes"], 1e6, 1),
            scaled(&side["wall_s"], 1.0, 1),
        ];
        if servers {
            let of = |(name, used): (&String, &Value)| format!("{name} {}", scaled(used, 1.0, 1));
            let told = side["servers_cpu_s"].as_object().into_iter().flatten().map(of);
            row.push(told.collect::<Vec<_>>().join(", "));
        }
        rows.push(row);
    }
    rows
}

/// Who refuses an event that breaks which rule.
fn checked(checked: &Value) -> Rows {
    let rules: Vec<&str> =
        checked["rules"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let mut rows =
        vec![[&["refuses what breaks"], rules.as_slice()].concat().into_iter().map(str::to_owned).collect()];
    for (side, refused) in checked["refused_by"].as_object().into_iter().flatten() {
        let refuses = |rule: &&str| {
            let does = refused.as_array().is_some_and(|list| list.iter().any(|known| known == rule));
            if does { "yes".to_owned() } else { "no".to_owned() }
        };
        rows.push(std::iter::once(side.clone()).chain(rules.iter().map(refuses)).collect());
    }
    rows
}

fn finished(work: &Value) -> Rows {
    let names = ["shardmill", "duckdb"];
    let mut head = words(&["", "MB"]);
    let queries: Vec<(&String, &Value)> = work["queries"].as_object().into_iter().flatten().collect();
    head.extend(queries.iter().map(|(question, _)| format!("{question}, CPU ms")));
    let mut rows = vec![head];
    for name in names {
        let mut row = vec![name.to_owned(), scaled(&work["bytes"][name], 1e6, 1)];
        row.extend(queries.iter().map(|(_, times)| scaled(&times[name]["cpu_ms"], 1.0, 1)));
        rows.push(row);
    }
    rows
}

fn claims(claims: &Value) -> Rows {
    let mut rows = vec![words(&["claim", "found", "wanted", "aim", "holds"])];
    for claim in claims.as_array().into_iter().flatten() {
        let bound =
            |key: &str, sign: &str| claim["wanted"][key].as_f64().map(|bound| format!("{sign} {bound}"));
        let wanted = bound("at_least", "≥").or_else(|| bound("at_most", "≤")).unwrap_or_default();
        let aim = claim["aim"].as_f64().map(|aim| aim.to_string()).unwrap_or_default();
        let holds = if claim["holds"] == true { "yes" } else { "NO" };
        let what = claim["what"].as_str().unwrap_or_default().to_owned();
        rows.push(vec![what, scaled(&claim["found"], 1.0, 2), wanted, aim, holds.to_owned()]);
    }
    rows
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// A number divided by `unit`, with so many digits behind the point; a dash when there is none.
fn scaled(number: &Value, unit: f64, digits: usize) -> String {
    number.as_f64().map_or_else(|| "–".to_owned(), |number| format!("{:.digits$}", number / unit))
}

/// A whole number with commas.
fn whole(number: &Value) -> String {
    let digits = scaled(number, 1.0, 0);
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.chars().count() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn aligned(rows: &Rows) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in rows {
        for (place, (cell, width)) in row.iter().zip(&widths).enumerate() {
            match place {
                0 => text.push_str(&format!("  {cell:<width$}")),
                _ => text.push_str(&format!("  {cell:>width$}")),
            }
        }
        text.push('\n');
    }
    text
}

fn piped(rows: &Rows) -> String {
    let mut text = String::new();
    for (place, row) in rows.iter().enumerate() {
        text.push_str(&format!("| {} |\n", row.join(" | ")));
        if place == 0 {
            text.push_str(&format!("|---|{}\n", "--:|".repeat(row.len().saturating_sub(1))));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn result() -> Value {
        let side = |name: &str, by: f64| {
            json!({"side": name, "cpu_s": by, "cpu_by_first": by, "events_per_cpu_s": 400_000.0, "peak_bytes": 9e7,
                "bytes": 55_200_000, "wall_s": 3.0, "servers_cpu_s": {}})
        };
        json!({
            "works": [
                {"work": "convert", "table": "events", "events": 1_000_000, "input_bytes": 512_600_000,
                    "sides": [side("shardmill", 1.0), side("duckdb", 1.7)],
                    "checked": {"rules": ["object"], "refused_by": {"shardmill": ["object"], "duckdb": []}}},
                {"work": "hour", "events": 10, "bytes": {"shardmill": 2e6, "duckdb": 3e6},
                    "queries": {"point": {"shardmill": {"cpu_ms": 1.0}, "duckdb": {"cpu_ms": 2.0}}}},
            ],
            "claims": [{"what": "a", "found": 1.7, "wanted": {"at_least": 1.6}, "aim": 2.0, "holds": true}],
        })
    }

    #[test]
    fn markdown_has_a_table_for_each_work() {
        let text = markdown(&result());
        assert!(
            text.contains(
                "**1,000,000 events (512.6 MB of NDJSON) to checked, typed Parquet: `events`**\n\n|"
            )
        );
        assert!(text.contains("| duckdb | 1.70 | 1.70 | 400,000 | 90 | 55.2 | 3.0 |\n"), "{text}");
        assert!(text.contains("| refuses what breaks | object |\n|---|--:|\n"), "{text}");
        assert!(text.contains("| duckdb | no |\n") && text.contains("| shardmill | 2.0 | 1.0 |\n"), "{text}");
        assert!(text.contains("| a | 1.70 | ≥ 1.6 | 2 | yes |\n"), "{text}");
    }

    #[test]
    fn text_is_aligned() {
        let text = table(&result());
        let lines: Vec<&str> =
            text.lines().filter(|line| line.contains("events per") || line.contains("400,000")).collect();
        assert_eq!(lines.len(), 3);
        assert!(lines.iter().all(|line| line.chars().count() == lines[0].chars().count()), "{text}");
    }

    #[test]
    fn whole_numbers_have_commas() {
        for (number, text) in
            [(json!(7), "7"), (json!(1_234), "1,234"), (json!(123_456.0), "123,456"), (json!(null), "–")]
        {
            assert_eq!(whole(&number), text);
        }
    }
}
