//! Each fault really happens: what a client sees, and what is remembered.

use std::time::Instant;

use serde_json::{Value, json};

use super::*;

fn client() -> reqwest::Client {
    reqwest::Client::builder().timeout(Duration::from_millis(400)).build().unwrap()
}

fn event(id: &str) -> Value {
    json!({"messageId": id, "userId": "k", "number": 1, "sentMs": 7})
}

fn post(client: &reqwest::Client, receiver: &Receiver, body: &Value) -> reqwest::RequestBuilder {
    let id = body["messageId"].as_str().unwrap_or("batch").to_owned();
    client.post(receiver.url()).header("Webhook-Id", id).body(body.to_string())
}

async fn receiver(script: Script) -> Receiver {
    Receiver::start(script).await.unwrap()
}

fn always(fault: impl FnOnce(&mut Faults)) -> Script {
    let mut script = Script::default();
    fault(&mut script.faults);
    script
}

fn replies(receiver: &Receiver) -> Vec<Reply> {
    receiver.look(|record| record.entries.iter().map(|entry| entry.reply).collect())
}

#[tokio::test]
async fn answers_have_their_status_and_say_when_to_come_back() {
    let refused = (0..1_000).map(|n| format!("e{n}"));
    let share = Script { refused_one_in: 10, ..Script::default() };
    let of = |wanted| refused.clone().find(|id| share.refusal(id) == Some(wanted)).unwrap();
    let (bad, unprocessable) = (of(Reply::BadRequest), of(Reply::Unprocessable));
    let cases: [(Script, &str, u16, Option<&str>); 8] = [
        (Script::default(), "a", 200, None),
        (always(|faults| faults.unavailable = 1.0), "a", 503, None),
        (always(|faults| faults.throttled = 1.0), "a", 429, None),
        (always(|faults| faults.throttled_0s = 1.0), "a", 429, Some("0")),
        (always(|faults| faults.throttled_1s = 1.0), "a", 429, Some("1")),
        (share.clone(), &bad, 400, None),
        (share.clone(), &unprocessable, 422, None),
        (Script { outage: Some(Outage::Unavailable), ..Script::default() }, "a", 503, None),
    ];
    for (script, id, status, retry_after) in cases {
        let receiver = receiver(script).await;
        let answer = post(&client(), &receiver, &event(id)).send().await.unwrap();
        assert_eq!(answer.status(), status);
        assert_eq!(answer.headers().get("retry-after").map(|value| value.to_str().unwrap()), retry_after);
        let record = receiver.record();
        let entry = &record.entries[0];
        assert_eq!((entry.id.as_deref(), &*entry.events[0].id), (Some(id), id));
        assert_eq!(entry.reply.is_taken(), status == 200);
        assert_eq!(receiver.tally().events, u64::from(status == 200));
    }
}

#[tokio::test]
async fn only_the_right_token_is_let_in() {
    let receiver = receiver(Script { authorization: Some("Bearer right".into()), ..Script::default() }).await;
    for (token, status) in [(None, 401), (Some("wrong"), 401), (Some("right"), 200)] {
        let mut request = post(&client(), &receiver, &event("a"));
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        assert_eq!(request.send().await.unwrap().status(), status);
    }
    assert_eq!(replies(&receiver), [Reply::Unauthorized, Reply::Unauthorized, Reply::Accepted]);
}

#[tokio::test]
async fn the_client_is_left_without_an_answer() {
    let cases = [
        (always(|faults| faults.reset_before = 1.0), Reply::ResetBefore, false),
        (always(|faults| faults.reset_after = 1.0), Reply::ResetAfter, false),
        (always(|faults| faults.torn = 1.0), Reply::Torn, false),
        (always(|faults| faults.withheld = 1.0), Reply::Withheld, true),
    ];
    for (script, reply, times_out) in cases {
        let receiver = receiver(script).await;
        let error = post(&client(), &receiver, &event("a")).send().await.unwrap_err();
        assert_eq!(error.is_timeout(), times_out, "{reply:?}: {error:?}");
        if reply == Reply::ResetBefore || reply == Reply::ResetAfter {
            assert!(format!("{error:?}").contains("ConnectionReset"), "{error:?}");
        }
        assert_eq!(replies(&receiver), [reply]);
        assert_eq!(receiver.tally().events, u64::from(reply.is_taken()));
        receiver.until(AT_ONCE, |tally| tally.under_way == 0 && tally.connections == 0).await.unwrap();
    }
}

#[tokio::test]
async fn nobody_listens_during_an_outage_and_afterwards_the_same_address_answers() {
    let receiver = receiver(Script::default()).await;
    let client = client();
    assert_eq!(post(&client, &receiver, &event("a")).send().await.unwrap().status(), 200);
    receiver.change(|script| script.outage = Some(Outage::Refused));
    receiver.until(AT_ONCE, |tally| tally.connections == 0).await.unwrap();
    let since = Instant::now();
    while TcpStream::connect(receiver.address).await.is_ok() {
        assert!(since.elapsed() < AT_ONCE, "somebody listens");
        tokio::task::yield_now().await;
    }
    assert!(post(&client, &receiver, &event("b")).send().await.unwrap_err().is_connect());
    receiver.change(|script| script.outage = None);
    let answer = loop {
        match post(&client, &receiver, &event("b")).send().await {
            Ok(answer) => break answer,
            Err(error) => assert!(since.elapsed() < AT_ONCE, "nobody listens: {error:?}"),
        }
    };
    assert_eq!(answer.status(), 200);
    assert_eq!(receiver.tally().events, 2);
}

#[tokio::test]
async fn a_behaviour_can_change_under_an_open_connection() {
    let receiver = receiver(always(|faults| faults.unavailable = 1.0)).await;
    let client = client();
    assert_eq!(post(&client, &receiver, &event("a")).send().await.unwrap().status(), 503);
    receiver.change(|script| script.faults = Faults::default());
    assert_eq!(post(&client, &receiver, &event("a")).send().await.unwrap().status(), 200);
    receiver.change(|script| script.latency = Duration::from_millis(80));
    let since = Instant::now();
    assert_eq!(post(&client, &receiver, &event("b")).send().await.unwrap().status(), 200);
    assert!(since.elapsed() >= Duration::from_millis(80));
}

#[tokio::test]
async fn batches_are_taken_whole_and_what_is_no_event_is_not() {
    let receiver = receiver(Script::default()).await;
    let bodies = [
        (json!([event("a"), event("b")]), 200),
        (json!([event("c"), {"messageId": "d", "refuse": true}]), 422),
        (json!([]), 400),
        (json!("text"), 400),
    ];
    for (body, status) in bodies {
        let answer = post(&client(), &receiver, &body).send().await.unwrap();
        assert_eq!(answer.status(), status, "{body}");
    }
    let tally = receiver.tally();
    assert_eq!((tally.requests, tally.events, tally.taken), (4, 2, 2));
    let record = receiver.record();
    let ids: Vec<&str> = record.taken().map(|(_, event)| &*event.id).collect();
    assert_eq!(ids, ["a", "b"]);
}

#[tokio::test]
async fn what_an_older_connection_brings_belongs_to_the_epoch_it_was_opened_in() {
    let receiver = receiver(Script::default()).await;
    let (old, new) = (client(), client());
    assert_eq!(post(&old, &receiver, &event("a")).send().await.unwrap().status(), 200);
    receiver.mark().await.unwrap();
    assert_eq!(post(&old, &receiver, &event("b")).send().await.unwrap().status(), 200);
    assert_eq!(post(&new, &receiver, &event("c")).send().await.unwrap().status(), 200);
    drop((old, new));
    receiver.mark_gone().await.unwrap();
    assert_eq!(post(&client(), &receiver, &event("d")).send().await.unwrap().status(), 200);
    let epochs = receiver.look(|record| record.entries.iter().map(|entry| entry.epoch).collect::<Vec<_>>());
    assert_eq!(epochs, [0, 0, 1, 2]);
    assert_eq!(receiver.tally().requests, 4, "knocks are not remembered");
}

#[tokio::test]
async fn a_request_under_way_is_seen_until_its_client_is_gone() {
    let receiver = receiver(always(|faults| faults.withheld = 1.0)).await;
    let request = post(&reqwest::Client::new(), &receiver, &event("a"));
    let waiting = tokio::spawn(request.send());
    receiver.until(AT_ONCE, |tally| tally.under_way == 1).await.unwrap();
    waiting.abort();
    receiver.until(AT_ONCE, |tally| tally.under_way == 0).await.unwrap();
}

#[tokio::test]
async fn many_clients_at_once_lose_nothing() {
    let faults =
        Faults { unavailable: 0.1, reset_before: 0.1, reset_after: 0.1, torn: 0.1, ..Faults::default() };
    let receiver = Arc::new(receiver(Script { faults, seed: 3, ..Script::default() }).await);
    let one = |worker: usize, receiver: Arc<Receiver>| async move {
        let client = client();
        for number in 0..100 {
            let event = event(&format!("{worker}-{number}"));
            while !post(&client, &receiver, &event).send().await.is_ok_and(|answer| answer.status() == 200) {}
        }
    };
    let workers: Vec<_> = (0..8).map(|worker| tokio::spawn(one(worker, receiver.clone()))).collect();
    for worker in workers {
        worker.await.unwrap();
    }
    let (tally, record) = (receiver.tally(), receiver.record());
    assert_eq!(tally.events, 800);
    assert_eq!(tally.requests as usize, record.entries.len());
    assert_eq!(record.replies()["accepted"], 800, "each ends with one answer that was read");
    assert_eq!(tally.taken as usize, record.taken().count());
    assert!(
        ["503", "reset_before_accepting", "reset_after_accepting", "answer_torn"]
            .iter()
            .all(|name| record.replies()[name] > 40)
    );
}

#[tokio::test]
async fn what_is_not_http_is_hung_up_on() {
    let receiver = receiver(Script::default()).await;
    for text in [
        "POST /in HTTP/1.1\r\nno colon\r\n\r\n",
        "POST /in HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n",
        "POST /in",
    ] {
        let mut stream = TcpStream::connect(receiver.address).await.unwrap();
        stream.write_all(text.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut rest = Vec::new();
        _ = stream.read_to_end(&mut rest).await;
        assert!(rest.is_empty(), "{text}");
    }
    assert_eq!(receiver.tally().requests, 0);
}
