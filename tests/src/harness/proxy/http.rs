//! As much of HTTP/1.1 as it takes to know where a message ends.

use std::io::{Error, ErrorKind, Result};

use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// The longest head.
const MOST: usize = 1 << 20;

/// The first line and the headers of a message, as they were sent.
#[derive(Debug, Clone)]
pub(super) struct Head {
    text: Vec<u8>,
}

/// How the length of a body is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Body {
    None,
    Length(u64),
    Chunked,
    UntilClosed,
}

impl Head {
    /// Reads a head; `None` when the other side closed before its first byte.
    pub(super) async fn read(from: &mut (impl AsyncBufRead + Unpin)) -> Result<Option<Head>> {
        let mut text = Vec::new();
        loop {
            let line = text.len();
            if from.read_until(b'\n', &mut text).await? == 0 {
                return if text.is_empty() { Ok(None) } else { Err(ErrorKind::UnexpectedEof.into()) };
            }
            if text.len() > MOST {
                return Err(Error::other("a head without an end"));
            }
            match &text[line..] {
                b"\r\n" | b"\n" if line > 0 => return Ok(Some(Head { text })),
                b"\r\n" | b"\n" => text.clear(),
                _ => {}
            }
        }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.text
    }

    fn lines(&self) -> impl Iterator<Item = &str> {
        // A line that is not text is not one that we look for.
        self.text
            .split(|byte| *byte == b'\n')
            .filter_map(|line| std::str::from_utf8(line).ok())
            .map(str::trim_end)
    }

    /// A header's value.
    pub(super) fn value(&self, name: &str) -> Option<&str> {
        let headers = self.lines().skip(1).filter_map(|line| line.split_once(':'));
        headers.filter(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim()).next()
    }

    /// Method and target of a request.
    pub(super) fn request(&self) -> (String, String) {
        let mut words = self.lines().next().unwrap_or_default().split(' ');
        let mut word = || words.next().unwrap_or_default().to_owned();
        (word(), word())
    }

    /// Status of an answer.
    pub(super) fn status(&self) -> u16 {
        let line = self.lines().next().unwrap_or_default();
        line.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_default()
    }

    /// Whether the connection ends with this message.
    pub(super) fn closes(&self) -> bool {
        let old = self.lines().next().is_some_and(|line| line.contains("HTTP/1.0"));
        let connection = self.value("connection").unwrap_or_default().to_ascii_lowercase();
        connection.contains("close") || (old && !connection.contains("keep-alive"))
    }

    /// Whether the sender waits for a `100 Continue` before the body.
    pub(super) fn expects(&self) -> bool {
        self.value("expect").is_some_and(|value| value.eq_ignore_ascii_case("100-continue"))
    }

    /// The same head without a header.
    pub(super) fn without(&self, name: &str) -> Head {
        let is = |line: &&[u8]| {
            let found = line.split(|byte| *byte == b':').next().unwrap_or_default();
            !found.eq_ignore_ascii_case(name.as_bytes())
        };
        Head {
            text: self.text.split_inclusive(|byte| *byte == b'\n').filter(is).collect::<Vec<_>>().concat(),
        }
    }

    fn told(&self) -> Option<Body> {
        let coding = self.value("transfer-encoding").unwrap_or_default().to_ascii_lowercase();
        if coding.contains("chunked") {
            return Some(Body::Chunked);
        }
        self.value("content-length").and_then(|length| length.parse().ok()).map(Body::Length)
    }

    /// The body of a request.
    pub(super) fn request_body(&self) -> Body {
        self.told().unwrap_or(Body::None)
    }

    /// The body of the answer to `method`.
    pub(super) fn answer_body(&self, method: &str) -> Body {
        match self.status() {
            100..200 | 204 | 304 => Body::None,
            _ if method == "HEAD" => Body::None,
            _ => self.told().unwrap_or(Body::UntilClosed),
        }
    }
}

/// Copies a body as it is; flushes whenever nothing more is there, so that what is streamed arrives.
pub(super) async fn copy<R, W>(body: Body, from: &mut R, to: &mut W) -> Result<()>
where
    R: AsyncBufRead + Unpin,
    W: AsyncWrite + Unpin,
{
    match body {
        Body::None => {}
        Body::Length(length) => exactly(length, from, to).await?,
        Body::UntilClosed => {
            tokio::io::copy_buf(from, to).await?;
        }
        Body::Chunked => chunks(from, to).await?,
    }
    to.flush().await
}

async fn chunks<R, W>(from: &mut R, to: &mut W) -> Result<()>
where
    R: AsyncBufRead + Unpin,
    W: AsyncWrite + Unpin,
{
    loop {
        let line = line(from, to).await?;
        let size = line.trim_end().split(';').next().unwrap_or_default().trim();
        let size = u64::from_str_radix(size, 16).map_err(Error::other)?;
        if size > 0 {
            exactly(size + 2, from, to).await?;
            to.flush().await?;
            continue;
        }
        // Trailers, and the empty line at the end.
        loop {
            let trailer = self::line(from, to).await?;
            if trailer.trim_end().is_empty() {
                return Ok(());
            }
        }
    }
}

async fn line<R, W>(from: &mut R, to: &mut W) -> Result<String>
where
    R: AsyncBufRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let mut line = Vec::new();
    if from.read_until(b'\n', &mut line).await? == 0 {
        return Err(ErrorKind::UnexpectedEof.into());
    }
    to.write_all(&line).await?;
    Ok(String::from_utf8_lossy(&line).into_owned())
}

async fn exactly<R, W>(length: u64, from: &mut R, to: &mut W) -> Result<()>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let mut part = from.take(length);
    let copied = tokio::io::copy(&mut part, to).await?;
    if copied == length { Ok(()) } else { Err(ErrorKind::UnexpectedEof.into()) }
}
