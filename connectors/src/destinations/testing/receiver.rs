//! A third party on loopback that answers as it is told, and breaks as it is told.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinHandle;

/// What the receiver does with a request.
#[derive(Debug, Clone)]
pub enum Reply {
    /// A whole answer.
    Answer {
        /// The status.
        status: u16,
        /// Headers beside the content's length.
        headers: Vec<(&'static str, String)>,
        /// The body.
        body: Bytes,
    },
    /// Nothing, with the connection open.
    Hang,
    /// The connection is reset after the request was read.
    Reset,
    /// The connection is reset in the middle of an answer of this status.
    ResetWithin(u16),
}

impl Reply {
    /// An answer without headers.
    pub fn new(status: u16, body: impl Into<Bytes>) -> Self {
        Reply::Answer { status, headers: Vec::new(), body: body.into() }
    }

    /// The same with a header.
    #[must_use]
    pub fn with(self, name: &'static str, value: impl Into<String>) -> Self {
        match self {
            Reply::Answer { status, mut headers, body } => {
                headers.push((name, value.into()));
                Reply::Answer { status, headers, body }
            }
            other => other,
        }
    }
}

/// A request as it arrived.
#[derive(Debug, Clone, Default)]
pub struct Received {
    /// The method.
    pub method: String,
    /// The path with the query.
    pub path: String,
    /// The headers, names in lower case.
    pub headers: BTreeMap<String, String>,
    /// The body.
    pub body: Bytes,
}

impl Received {
    /// The header of this name; empty without it.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    /// The body as JSON; null when it is none.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

#[derive(Debug)]
struct State {
    script: VecDeque<Reply>,
    otherwise: Reply,
    received: Vec<Received>,
}

/// The receiver. Ends with its value.
#[derive(Debug)]
pub struct Receiver {
    url: String,
    state: Arc<Mutex<State>>,
    server: JoinHandle<()>,
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Receiver {
    /// A receiver that answers `otherwise` to everything no reply was scripted for.
    pub async fn start(otherwise: Reply) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port on loopback");
        let url = format!("http://{}", listener.local_addr().expect("the bound address"));
        let state = State { script: VecDeque::new(), otherwise, received: Vec::new() };
        let state = Arc::new(Mutex::new(state));
        let served = state.clone();
        let server = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new(); // aborted with the server
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(stream, served.clone()));
            }
        });
        Receiver { url, state, server }
    }

    /// Where it listens, without a path.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// What it does with the next request that has no reply yet.
    pub fn script(&self, reply: Reply) {
        self.state.lock().unwrap().script.push_back(reply);
    }

    /// The requests since the last call, in the order they arrived.
    pub fn take(&self) -> Vec<Received> {
        std::mem::take(&mut self.state.lock().unwrap().received)
    }
}

/// A port of loopback at which nobody listens, and nobody else can as long as this value lives.
#[derive(Debug)]
pub struct Closed {
    socket: TcpSocket,
}

impl Closed {
    /// A port that is bound, and refuses connections.
    pub fn port() -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind(([127, 0, 0, 1], 0).into()).expect("a free port on loopback");
        Closed { socket }
    }

    /// Its address.
    pub fn address(&self) -> SocketAddr {
        self.socket.local_addr().expect("the bound address")
    }

    /// Its URL, without a path.
    pub fn url(&self) -> String {
        format!("http://{}", self.address())
    }
}

async fn serve(mut stream: TcpStream, state: Arc<Mutex<State>>) {
    let mut buffer = Vec::new();
    while let Some(request) = read(&mut stream, &mut buffer).await {
        let reply = {
            let mut state = state.lock().unwrap();
            state.received.push(request);
            state.script.pop_front().unwrap_or_else(|| state.otherwise.clone())
        };
        let going_on = match reply {
            Reply::Answer { status, headers, body } => {
                let head = head(status, &headers, body.len());
                stream.write_all(&[head.as_bytes(), &body].concat()).await.is_ok()
            }
            Reply::Hang => std::future::pending().await,
            Reply::Reset => false,
            Reply::ResetWithin(status) => {
                let _ = stream.write_all(head(status, &[], 1000).as_bytes()).await;
                let _ = stream.write_all(b"{\"half\":").await;
                false
            }
        };
        if !going_on {
            let _ = stream.set_zero_linger();
            return;
        }
    }
}

fn head(status: u16, headers: &[(&str, String)], length: usize) -> String {
    let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    format!("HTTP/1.1 {status} Told\r\n{headers}content-length: {length}\r\n\r\n")
}

/// The next request of a connection; `None` at its end.
async fn read(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<Received> {
    let head = loop {
        match buffer.windows(4).position(|four| four == b"\r\n\r\n") {
            Some(end) => break end + 4,
            None => more(stream, buffer).await?,
        }
    };
    let text = String::from_utf8_lossy(&buffer[..head]).into_owned();
    let mut lines = text.lines();
    let mut start = lines.next()?.split(' ').map(str::to_owned);
    let headers = lines.filter_map(|line| line.split_once(':'));
    let headers: BTreeMap<String, String> =
        headers.map(|(name, value)| (name.to_lowercase(), value.trim().to_owned())).collect();
    let length: usize = headers.get("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    while buffer.len() < head + length {
        more(stream, buffer).await?;
    }
    let body = Bytes::copy_from_slice(&buffer[head..head + length]);
    buffer.drain(..head + length);
    Some(Received { method: start.next()?, path: start.next()?, headers, body })
}

async fn more(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<()> {
    let count = stream.read_buf(buffer).await.ok()?;
    (count > 0).then_some(())
}
