//! Any framing and packing of the same events gives the same events, however the bytes are cut.

use std::io::Write;

use proptest::prelude::*;

use super::split::{LONGEST, Splitter, What};
use super::unpack::Unpack;

/// Pieces as text: values as they are, anything else marked.
fn pieces(bytes: &[u8], chunk: usize, longest: usize) -> Vec<String> {
    let mut splitter = Splitter::new(longest);
    let mut found = Vec::new();
    let mut take = |splitter: &mut Splitter| {
        while let Some(piece) = splitter.next_piece() {
            assert_eq!(piece.index, found.len() as u64);
            let at = usize::try_from(piece.offset).unwrap();
            found.push(match piece.what {
                What::Value(value) => {
                    assert_eq!(&bytes[at..at + value.len()], value);
                    String::from_utf8_lossy(value).into_owned()
                }
                What::Broken(broken) => {
                    assert_eq!(&bytes[at..at + broken.len()], broken);
                    format!("broken {}", String::from_utf8_lossy(broken))
                }
                What::TooLong(length) => format!("too long {at} {length}"),
                What::Unclosed => "unclosed".to_owned(),
            });
        }
    };
    for chunk in bytes.chunks(chunk.max(1)) {
        splitter.push(chunk);
        take(&mut splitter);
    }
    splitter.finish();
    take(&mut splitter);
    found
}

/// The pieces of a text, the same for every size of chunks.
fn split(text: &str) -> Vec<String> {
    let whole = pieces(text.as_bytes(), usize::MAX, LONGEST);
    for chunk in [1, 2, 3, 7] {
        assert_eq!(pieces(text.as_bytes(), chunk, LONGEST), whole, "{text} in chunks of {chunk}");
    }
    whole
}

#[test]
fn every_framing_gives_the_same_events() {
    let events = ["{\"a\":1}", "{\"b\":\"}{\\\"\"}", "{\"c\":[{},{\"d\":[]}]}"];
    for text in [
        events.join("\n"),
        events.join("\r\n") + "\r\n",
        events.concat(),
        format!("[{}]", events.join(",")),
        format!("[\n  {}\n]\n", events.join(",\n  ")),
        format!("\u{feff}{}\n[{} , {}]", events[0], events[1], events[2]),
        format!("[]{}[{}]\n\n[{}]", events[0], events[1], events[2]),
        format!("\x1e{}\n\x1e{}\n\x1e{}\n", events[0], events[1], events[2]),
        events.join(","),
    ] {
        assert_eq!(split(&text), events, "{text}");
    }
    assert!(split("").is_empty() && split(" \n[ ]\n").is_empty());
}

#[test]
fn what_is_broken_is_one_piece_and_the_rest_goes_on() {
    for (text, expected) in [
        // Lines: cut off, not closed, garbage, two in a row.
        ("{\"a\":1\n{\"b\":2}\n", vec!["broken {\"a\":1", "{\"b\":2}"]),
        ("{\"a\":\"x\n{\"b\":2}\n", vec!["broken {\"a\":\"x", "{\"b\":2}"]),
        ("{\"a\":[1,\n{\"b\":2}\n{\"c\":3}", vec!["broken {\"a\":[1,", "{\"b\":2}", "{\"c\":3}"]),
        ("{\"a\":\n{\"b\":\n{\"c\":3}\n", vec!["broken {\"a\":", "broken {\"b\":", "{\"c\":3}"]),
        ("not json\n{\"b\":2}\n", vec!["not json", "{\"b\":2}"]),
        ("{\"a\":1}\n{\"b\":\"x", vec!["{\"a\":1}", "broken {\"b\":\"x"]),
        // Balanced, and wrong: a parser's business, the next one stands.
        ("{\"a\":nul}{\"b\":2}", vec!["{\"a\":nul}", "{\"b\":2}"]),
        // Concatenated: a quote that is missing, a bracket too few, one too many.
        ("{\"a\":\"x}{\"b\":\"y\"}{\"c\":3}", vec!["broken {\"a\":\"x}", "{\"b\":\"y\"}", "{\"c\":3}"]),
        ("{\"a\":{\"x\":1}{\"b\":2}{\"c\":3}", vec!["broken {\"a\":{\"x\":1}", "{\"b\":2}", "{\"c\":3}"]),
        ("{\"a\":1}}{\"b\":2}", vec!["{\"a\":1}", "}", "{\"b\":2}"]),
        // A nested object is never taken for an event.
        (
            "{\"a\":\"x,\"k\":{\"n\":1},\"b\":2}\n{\"c\":3}\n",
            vec!["broken {\"a\":\"x,\"k\":{\"n\":1},\"b\":2}", "{\"c\":3}"],
        ),
        (
            "{\n \"a\": x\" [\n {\"n\":1},\n {\"n\":2}\n ]\n}\n{\n \"c\": 3\n}\n",
            vec!["broken {\n \"a\": x\" [\n {\"n\":1},\n {\"n\":2}\n ]\n}", "{\n \"c\": 3\n}"],
        ),
        // Arrays: elements that are no objects; one broken on a line of its own; one broken among others on a line.
        ("[1, {\"a\":1}, \"x,]\", [2], null]", vec!["1", "{\"a\":1}", "\"x,]\"", "[2]", "null"]),
        (
            "[\n{\"a\":\"x},\n{\"b\":2},\n{\"c\":3}\n]\n{\"d\":4}",
            vec!["broken {\"a\":\"x},", "{\"b\":2}", "{\"c\":3}", "{\"d\":4}"],
        ),
        ("[{\"a\":\"x},{\"b\":2}]\n{\"c\":3}\n", vec!["broken {\"a\":\"x},{\"b\":2}]", "{\"c\":3}"]),
        ("[{\"a\":1},{\"b\":2}", vec!["{\"a\":1}", "{\"b\":2}", "unclosed"]),
    ] {
        assert_eq!(split(text), expected, "{text}");
    }
}

#[test]
fn memory_is_bounded_by_the_longest_piece() {
    let long = format!("{{\"a\":\"{}\"}}", "x".repeat(1_000));
    let text = format!("{{\"b\":1}}{long}{{\"c\":2}}\n{}\n{{\"d\":3}}", "g".repeat(900));
    for chunk in [1, 10, 64] {
        let found = pieces(text.as_bytes(), chunk, 100);
        assert_eq!(
            found[..3],
            ["{\"b\":1}".to_owned(), format!("too long 7 {}", long.len()), "{\"c\":2}".to_owned()]
        );
        assert_eq!(found.last().unwrap(), "{\"d\":3}");
        assert!(
            found[3..found.len() - 1]
                .iter()
                .all(|piece| piece.starts_with("too long") || piece.starts_with("broken g"))
        );
    }
    let mut splitter = Splitter::new(100);
    for _ in 0..1_000 {
        splitter.push(&[b'{'; 50]);
        while splitter.next_piece().is_some() {}
        assert!(splitter.held() <= 250);
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn packed(bytes: &[u8], packing: u8, parts: usize) -> Vec<u8> {
    let parts = bytes.chunks(bytes.len().div_ceil(parts.max(1)).max(1));
    match packing {
        0 => bytes.to_vec(),
        1 => parts.flat_map(gzip).collect(),
        _ => parts.flat_map(|part| zstd::encode_all(part, 1).unwrap()).collect(),
    }
}

fn unpacked(bytes: &[u8], chunk: usize) -> Result<Vec<u8>, String> {
    let (mut unpack, mut output) = (Unpack::default(), Vec::new());
    for mut input in bytes.chunks(chunk.max(1)) {
        while unpack.step(&mut input, &mut output)? {}
        assert!(input.is_empty());
    }
    unpack.finish(&mut output)?;
    Ok(output)
}

#[test]
fn a_file_that_is_cut_off_or_damaged_is_an_error() {
    let text = "{\"a\":\"hello\"}\n".repeat(500);
    for packing in [1, 2] {
        let whole = packed(text.as_bytes(), packing, 1);
        assert_eq!(unpacked(&whole, 13).unwrap(), text.as_bytes());
        for cut in [5, 9, whole.len() / 2, whole.len() - 9, whole.len() - 1] {
            assert!(unpacked(&whole[..cut], 13).is_err(), "{packing} cut at {cut} of {}", whole.len());
        }
        let mut wrong = whole.clone();
        let middle = wrong.len() - 6;
        wrong[middle] ^= 0x55;
        if packing == 1 {
            assert!(unpacked(&wrong, 13).is_err(), "gzip has a checksum");
        }
        let mut garbage = whole;
        garbage.extend_from_slice(b"garbage behind the end");
        assert!(unpacked(&garbage, 13).is_err(), "{packing}");
    }
    assert_eq!(unpacked(b"", 1).unwrap(), b"");
    assert_eq!(unpacked(b"{}", 1).unwrap(), b"{}");
}

#[test]
fn what_unpacks_to_very_much_is_unpacked_in_steps() {
    let zeros = vec![b' '; 64 << 20];
    for packing in [1, 2] {
        let whole = packed(&zeros, packing, 1);
        let (mut unpack, mut output, mut total) = (Unpack::default(), Vec::new(), 0);
        let mut input = whole.as_slice();
        loop {
            let more = unpack.step(&mut input, &mut output).unwrap();
            assert!(output.len() <= 4 << 20, "{} bytes at once", output.len());
            total += output.len();
            output.clear();
            if !more && input.is_empty() {
                break;
            }
        }
        unpack.finish(&mut output).unwrap();
        assert_eq!(total + output.len(), zeros.len());
    }
}

/// Events with strings full of what framing is made of.
fn event() -> impl Strategy<Value = String> {
    let text = proptest::collection::vec(
        prop_oneof![
            Just('{'),
            Just('}'),
            Just('['),
            Just(']'),
            Just('"'),
            Just('\\'),
            Just('\n'),
            Just(','),
            Just('ü'),
            Just('a')
        ],
        0..8,
    );
    let text = text.prop_map(|chars| chars.into_iter().collect::<String>());
    let leaf = prop_oneof![
        text.prop_map(serde_json::Value::from),
        any::<i32>().prop_map(serde_json::Value::from),
        Just(serde_json::Value::Null)
    ];
    let value = leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(serde_json::Value::from),
            proptest::collection::btree_map("[a-z\"}]{0,3}", inner, 0..4)
                .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
        ]
    });
    let object = proptest::collection::btree_map("[a-z]{1,3}", value, 0..4)
        .prop_map(|map| serde_json::Value::Object(map.into_iter().collect()));
    (object, any::<bool>()).prop_map(|(object, pretty)| match pretty {
        true => serde_json::to_string_pretty(&object).unwrap(),
        false => object.to_string(),
    })
}

fn framed(events: &[String], framing: u8) -> String {
    match framing {
        0 => events.join("\n") + "\n",
        1 => events.concat(),
        2 => format!("[{}]", events.join(",")),
        3 => format!("[\n{}\n]\n", events.join(" ,\n")),
        _ => events.chunks(2).enumerate().fold(String::new(), |text, (index, some)| match index % 3 {
            0 => text + &some.concat(),
            1 => text + "[" + &some.join(", ") + "]",
            _ => text + "\n" + &some.join("\r\n") + "\n",
        }),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_framing_and_packing_gives_the_same_events(
        events in proptest::collection::vec(event(), 0..12),
        framing in 0_u8..5,
        packing in 0_u8..3,
        parts in 1_usize..4,
        chunk in 1_usize..40,
    ) {
        let packed = packed(framed(&events, framing).as_bytes(), packing, parts);
        let unpacked = unpacked(&packed, chunk).unwrap();
        prop_assert_eq!(pieces(&unpacked, chunk, LONGEST), events);
    }

    #[test]
    fn one_broken_line_is_one_piece(
        events in proptest::collection::vec("[a-z]{1,4}", 2..9),
        broken in 0_usize..9,
        cut in 1_usize..12,
        chunk in 1_usize..40,
    ) {
        let mut lines: Vec<String> = events.iter().map(|text| format!("{{\"k\":{{\"v\":\"{text}\"}}}}")).collect();
        let broken = broken % lines.len();
        let at = cut.min(lines[broken].len() - 1);
        lines[broken].truncate(at);
        let found = pieces((lines.join("\n") + "\n").as_bytes(), chunk, LONGEST);
        lines[broken].insert_str(0, "broken ");
        prop_assert_eq!(found, lines);
    }

    #[test]
    fn any_bytes_at_all_give_the_same_pieces_for_any_chunks(
        bytes in proptest::collection::vec(prop_oneof![
            Just(b'{'), Just(b'}'), Just(b'['), Just(b']'), Just(b'"'), Just(b'\\'), Just(b'\n'), Just(b','), Just(b':'),
            Just(b' '), Just(b'1'), Just(0xef), Just(0xbb), Just(0xbf)], 0..60),
        chunk in 1_usize..10,
    ) {
        for longest in [LONGEST, 7] {
            let whole = pieces(&bytes, usize::MAX, longest);
            prop_assert_eq!(pieces(&bytes, chunk, longest), whole);
        }
    }
}
