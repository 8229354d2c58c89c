//! The sockets: where we listen, and how a silent partition ends a connection within seconds.

use std::net::SocketAddr;
use std::time::Duration;

use shardmill_connectors::failure::Failure;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

/// How long bytes may stay unacknowledged before the kernel gives the connection up.
const UNACKNOWLEDGED: Duration = Duration::from_secs(6);
/// How long a connection may be quiet before the kernel asks, and how long between its questions.
const QUIET: Duration = Duration::from_secs(2);
/// Connections that wait to be accepted.
const BACKLOG: u32 = 1024;

/// Listens at `address`; port 0 picks a free one.
///
/// # Errors
/// `Unauthorized` when the address cannot be listened at: it is configuration.
pub(super) fn listen(address: SocketAddr) -> Result<TcpListener, Failure> {
    let listener = || {
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        // A restarted node takes its port again while old connections still fade.
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)
    };
    listener().map_err(|error: std::io::Error| {
        Failure::unauthorized(format!("other nodes cannot be listened for at {address}: {error}"))
    })
}

/// Sends at once, and notices a peer that has vanished.
pub(super) fn tune(stream: &TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(QUIET).with_interval(QUIET).with_retries(2))?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(UNACKNOWLEDGED))?;
    Ok(())
}
