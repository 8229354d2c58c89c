//! The wire between a client and PostgreSQL, held still at a place in a batch: before a message arrives, within one, or before its
//! answer does.
//!
//! It understands as much of the protocol as it takes to know where a message begins, without TLS.

use std::io::Result;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

/// A place in a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Nothing was sent yet.
    BeforeCopy,
    /// The server has half of the rows.
    WithinRows,
    /// The server has all of the rows, in the staging table.
    BeforeMerge,
    /// All is done but the commit.
    BeforeCommit,
    /// All is committed, and the client does not know it.
    AfterCommit,
}

/// Every place, in order.
pub const PLACES: [Place; 5] =
    [Place::BeforeCopy, Place::WithinRows, Place::BeforeMerge, Place::BeforeCommit, Place::AfterCommit];

#[derive(Debug)]
struct State {
    upstream: u16,
    place: Option<Place>,
}

/// What the connections share.
#[derive(Debug, Clone)]
struct Shared {
    state: Arc<Mutex<State>>,
    /// How many connections were held so far.
    held: watch::Sender<u64>,
    /// How often those held were cut.
    cut: watch::Sender<u64>,
}

/// The wire. Dropped, it and its connections end.
#[derive(Debug)]
pub struct Wire {
    port: u16,
    shared: Shared,
    accepting: JoinHandle<()>,
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Wire {
    /// A wire to the server on this port of loopback; everything goes through.
    ///
    /// # Errors
    /// When no port can be had.
    pub async fn start(upstream: u16) -> std::result::Result<Self, String> {
        let listener =
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(|error| error.to_string())?;
        let port = listener.local_addr().map_err(|error| error.to_string())?.port();
        let state = Arc::new(Mutex::new(State { upstream, place: None }));
        let shared = Shared { state, held: watch::channel(0).0, cut: watch::channel(0).0 };
        let accepting = tokio::spawn(accept(listener, shared.clone()));
        Ok(Wire { port, shared, accepting })
    }

    /// Where it listens, on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Where new connections lead to from now on.
    pub fn lead_to(&self, upstream: u16) {
        self.shared.with(|state| state.upstream = upstream);
    }

    /// Holds the next connection that comes to this place, until it is [cut](Self::cut).
    pub fn hold_at(&self, place: Place) -> Held {
        let held = self.shared.held.subscribe();
        self.shared.with(|state| state.place = Some(place));
        Held(held)
    }

    /// Resets what is held.
    pub fn cut(&self) {
        self.shared.cut.send_modify(|times| *times += 1);
    }
}

/// A connection that will be held.
#[derive(Debug)]
pub struct Held(watch::Receiver<u64>);

impl Held {
    /// Waits until it is.
    pub async fn there(mut self) {
        // The wire outlives whoever waits for it; if it does not, nothing is held any more.
        let _ = self.0.changed().await;
    }
}

impl Shared {
    fn with<T>(&self, look: impl FnOnce(&mut State) -> T) -> T {
        look(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The place to be held at, when this message is there. Only the first that comes is.
    fn is_reached(&self, message: &Message) -> Option<Place> {
        self.with(|state| state.place.take_if(|place| message.is_at(*place)))
    }

    /// Tells that a connection is held, and waits until it is cut.
    async fn hold(&self) {
        let mut cut = self.cut.subscribe();
        self.held.send_modify(|times| *times += 1);
        let _ = cut.changed().await;
    }
}

/// A message of the client, with its type and length.
struct Message(Vec<u8>);

impl Message {
    async fn read(from: &mut OwnedReadHalf) -> Result<Self> {
        let kind = from.read_u8().await?;
        let mut whole = vec![kind];
        rest(from, &mut whole).await?;
        Ok(Message(whole))
    }

    fn is_at(&self, place: Place) -> bool {
        let (kind, text) = (self.0[0], &self.0[5..]);
        match place {
            // A name stands before the statement.
            Place::BeforeCopy => kind == b'P' && text.windows(5).any(|window| window == b"COPY "),
            Place::WithinRows => kind == b'd',
            Place::BeforeMerge => kind == b'Q' && text.starts_with(b"INSERT INTO "),
            Place::BeforeCommit | Place::AfterCommit => kind == b'Q' && text.starts_with(b"COMMIT"),
        }
    }
}

/// Appends a length and what follows it.
async fn rest(from: &mut OwnedReadHalf, whole: &mut Vec<u8>) -> Result<()> {
    let length = from.read_u32().await?;
    whole.extend(length.to_be_bytes());
    let begun = whole.len();
    whole.resize(begun + (length as usize).saturating_sub(4), 0);
    from.read_exact(&mut whole[begun..]).await.map(drop)
}

async fn accept(listener: TcpListener, shared: Shared) {
    let mut connections = JoinSet::new(); // aborted with the wire
    while let Ok((stream, _)) = listener.accept().await {
        connections.spawn(serve(stream, shared.clone()));
    }
}

/// Passes everything on until the connection ends, or is held and cut.
async fn serve(client: TcpStream, shared: Shared) {
    let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, shared.with(|state| state.upstream))).await
    else {
        return;
    };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    // What is not delivered when it ends is thrown away, as it is when a machine dies.
    let _ = (client.set_zero_linger(), server.set_zero_linger());
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let (mute, muted) = watch::channel(false);
    let there = requests(from_client, to_server, &shared, &mute);
    let back = answers(from_server, to_client, &shared, muted);
    tokio::select! {
        _ = there => {}
        _ = back => {}
    }
}

/// What the client says.
async fn requests(
    mut client: OwnedReadHalf,
    mut server: OwnedWriteHalf,
    shared: &Shared,
    mute: &watch::Sender<bool>,
) -> Result<()> {
    // The first message has no type.
    let mut first = Vec::new();
    rest(&mut client, &mut first).await?;
    server.write_all(&first).await?;
    loop {
        let message = Message::read(&mut client).await?;
        match shared.is_reached(&message) {
            None => server.write_all(&message.0).await?,
            Some(Place::WithinRows) => {
                server.write_all(&message.0[..message.0.len() / 2]).await?;
                return held(shared).await;
            }
            Some(Place::AfterCommit) => {
                mute.send_replace(true);
                server.write_all(&message.0).await?;
            }
            Some(_) => return held(shared).await,
        }
    }
}

async fn held(shared: &Shared) -> Result<()> {
    shared.hold().await;
    Ok(())
}

/// What the server says. Once it is muted, its next answer ends here.
async fn answers(
    mut server: OwnedReadHalf,
    mut client: OwnedWriteHalf,
    shared: &Shared,
    muted: watch::Receiver<bool>,
) -> Result<()> {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let count = server.read(&mut buffer).await?;
        if count == 0 {
            return Ok(());
        }
        if *muted.borrow() {
            return held(shared).await;
        }
        client.write_all(&buffer[..count]).await?;
    }
}
