//! One connection of a client: call after call, each on a connection of its own to the server.

use std::io::Result;

use tokio::io::{AsyncWriteExt, BufReader, sink};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::http::{self, Body, Head};
use super::spoil::{Rest, Spoiled};
use super::{Call, Fault, Shared, answer};

/// Both ways of a connection.
struct Pipe {
    reader: BufReader<OwnedReadHalf>,
    writer: OwnedWriteHalf,
}

/// What becomes of a connection after a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    Next,
    Close,
    Reset,
}

/// Takes connections until it is aborted; they end with it.
pub(super) async fn accept(listener: TcpListener, shared: Shared) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => if let Ok((stream, _)) = accepted {
                connections.spawn(serve(stream, shared.clone()));
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn serve(stream: TcpStream, shared: Shared) {
    let mut client = Pipe::new(stream);
    // A connection that broke is reset, too: the client must not take half an answer for a whole one.
    let then = loop {
        match call(&mut client, &shared).await {
            Ok(Then::Next) => {}
            Ok(then) => break then,
            Err(_) => break Then::Reset,
        }
    };
    client.end(then == Then::Reset);
}

impl Pipe {
    fn new(stream: TcpStream) -> Self {
        // Only a hint: without it, answers may be late by 40 ms.
        let _ = stream.set_nodelay(true);
        let (reader, writer) = stream.into_split();
        Pipe { reader: BufReader::with_capacity(64 << 10, reader), writer }
    }

    /// Closes the connection; a reset throws away what was not delivered.
    fn end(self, reset: bool) {
        let Ok(stream) = self.reader.into_inner().reunite(self.writer) else { return };
        if reset {
            let _ = stream.set_zero_linger();
        }
    }
}

/// One request and its answer.
async fn call(client: &mut Pipe, shared: &Shared) -> Result<Then> {
    let Some(request) = Head::read(&mut client.reader).await? else { return Ok(Then::Close) };
    if request.expects() {
        client.writer.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
    }
    let call = Call::of(&request);
    let fault = shared.decide(&call);
    match &fault {
        Some(Fault::Error { status, code, region }) => {
            http::copy(request.request_body(), &mut client.reader, &mut sink()).await?;
            client.writer.write_all(&answer::error(&call, *status, code, region.as_deref())).await?;
            return Ok(if request.closes() { Then::Close } else { Then::Next });
        }
        Some(Fault::Reset) => {
            http::copy(request.request_body(), &mut client.reader, &mut sink()).await?;
            return Ok(Then::Reset);
        }
        Some(Fault::Delay(time)) => tokio::time::sleep(*time).await,
        _ => {}
    }
    let mut server = Pipe::new(TcpStream::connect(shared.upstream).await?);
    server.writer.write_all(request.without("expect").bytes()).await?;
    http::copy(request.request_body(), &mut client.reader, &mut server.writer).await?;
    let then = reply(client, &mut server, &call, fault.as_ref()).await?;
    // The answer is complete. A reset keeps the port from waiting for stragglers: there may be thousands of calls.
    server.end(true);
    Ok(if request.closes() && then == Then::Next { Then::Close } else { then })
}

/// The answer, as the server gave it or as the fault leaves it.
async fn reply(client: &mut Pipe, server: &mut Pipe, call: &Call, fault: Option<&Fault>) -> Result<Then> {
    let head = loop {
        let Some(head) = Head::read(&mut server.reader).await? else { return Ok(Then::Reset) };
        if head.status() >= 200 {
            break head;
        }
    };
    let body = head.answer_body(&call.method);
    match fault {
        Some(Fault::Lost) => {
            http::copy(body, &mut server.reader, &mut sink()).await?;
            Ok(Then::Reset)
        }
        Some(Fault::Truncate) => {
            let mut whole = Vec::new();
            http::copy(body, &mut server.reader, &mut whole).await?;
            if whole.is_empty() {
                return Ok(Then::Reset); // half of nothing would be a whole answer
            }
            client.writer.write_all(head.bytes()).await?;
            client.writer.write_all(&whole[..whole.len() / 2]).await?;
            client.writer.flush().await?;
            // Closed and not reset: what was sent arrives, and then nothing more.
            Ok(Then::Close)
        }
        _ => {
            client.writer.write_all(head.bytes()).await?;
            let spoiled = match fault {
                Some(Fault::Cut(after)) => Some((*after, Rest::Cut)),
                Some(Fault::Damage(after)) => Some((*after, Rest::Damaged)),
                Some(Fault::Stall(after)) => Some((*after, Rest::Stalled)),
                _ => None,
            };
            match spoiled {
                Some((after, rest)) => {
                    let mut writer = Spoiled::new(&mut client.writer, after, rest);
                    http::copy(body, &mut server.reader, &mut writer).await?;
                }
                None => http::copy(body, &mut server.reader, &mut client.writer).await?,
            }
            Ok(if head.closes() || body == Body::UntilClosed { Then::Close } else { Then::Next })
        }
    }
}
