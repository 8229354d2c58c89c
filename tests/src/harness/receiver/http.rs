//! As much of HTTP/1.1 as a receiver of POSTs needs, written by hand so that an answer can be torn and a connection reset.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

/// The longest head that is read.
const HEAD: usize = 64 << 10;
/// The longest body that is read.
const BODY: usize = 64 << 20;

/// A request: what a receiver looks at.
#[derive(Debug, Default)]
pub(super) struct Request {
    /// The path.
    pub path: String,
    /// The header `webhook-id`.
    pub id: Option<String>,
    /// The header `authorization`.
    pub authorization: Option<String>,
    /// Whether the header `content-encoding` says that the body is compressed.
    pub gzip: bool,
    /// The body.
    pub body: Vec<u8>,
}

/// One connection of a client.
#[derive(Debug)]
pub(super) struct Connection {
    stream: BufReader<TcpStream>,
}

impl Connection {
    pub(super) fn new(stream: TcpStream) -> Self {
        // Answers are small: waiting for more to send would only add latency.
        _ = stream.set_nodelay(true);
        Connection { stream: BufReader::new(stream) }
    }

    /// The next request; `None` when the client has closed.
    pub(super) async fn read(&mut self) -> io::Result<Option<Request>> {
        let mut request = Request::default();
        let (mut line, mut head, mut length) = (String::new(), 0, 0);
        loop {
            line.clear();
            let read = (&mut self.stream).take((HEAD - head) as u64).read_line(&mut line).await?;
            if read == 0 {
                return if head == 0 { Ok(None) } else { Err(broken("the head ends early or is too long")) };
            }
            let first = head == 0;
            head += read;
            match line.trim_end() {
                "" => break,
                text if first => request.path = text.split(' ').nth(1).unwrap_or_default().to_owned(),
                text => length = header(text, &mut request)?.unwrap_or(length),
            }
        }
        if length > BODY {
            return Err(broken("the body is too long"));
        }
        request.body.resize(length, 0);
        self.stream.read_exact(&mut request.body).await?;
        Ok(Some(request))
    }

    /// Answers.
    pub(super) async fn answer(
        &mut self,
        status: u16,
        retry_after: Option<u64>,
        body: &str,
    ) -> io::Result<()> {
        let wait = retry_after.map(|seconds| format!("retry-after: {seconds}\r\n")).unwrap_or_default();
        let content = match status {
            204 => String::new(),
            _ => format!("content-type: application/json\r\ncontent-length: {}\r\n", body.len()),
        };
        let text = format!("HTTP/1.1 {status} {}\r\n{content}{wait}\r\n{body}", reason(status));
        self.stream.write_all(text.as_bytes()).await?;
        self.stream.flush().await
    }

    /// Sends the beginning of an answer that says nothing yet, and closes.
    pub(super) async fn tear(mut self) -> io::Result<()> {
        self.stream.write_all(b"HTTP/1.1 2").await?;
        self.stream.shutdown().await
    }

    /// Closes with a reset in place of an answer.
    pub(super) fn reset(self) -> io::Result<()> {
        self.stream.get_ref().set_zero_linger()
    }

    /// Says nothing until the client gives up, or for `most`.
    pub(super) async fn withhold(mut self, most: Duration) {
        let mut rest = [0; 512];
        let gone = async { while self.stream.read(&mut rest).await.is_ok_and(|read| read > 0) {} };
        _ = tokio::time::timeout(most, gone).await;
    }
}

/// Takes in a header line; the body's length when it is that.
fn header(line: &str, request: &mut Request) -> io::Result<Option<usize>> {
    let (name, value) = line.split_once(':').ok_or_else(|| broken("a header has no colon"))?;
    let value = value.trim();
    match name.to_ascii_lowercase().as_str() {
        "content-length" => return value.parse().map(Some).map_err(|_| broken("the length is no number")),
        "transfer-encoding" => return Err(broken("only bodies with a content-length are read")),
        "webhook-id" => request.id = Some(value.to_owned()),
        "authorization" => request.authorization = Some(value.to_owned()),
        "content-encoding" => request.gzip = value == "gzip",
        _ => {}
    }
    Ok(None)
}

fn broken(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        204 => "No Content",
        400 => "Bad Request",
        401 => "Unauthorized",
        422 => "Unprocessable Content",
        429 => "Too Many Requests",
        503 => "Service Unavailable",
        _ => "Other",
    }
}
