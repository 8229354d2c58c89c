//! What two nodes say to each other before anything else on a connection: who, to whom, which build and protocol.
//!
//! So a wrong version, a node that was restarted, and whoever speaks something else are found, and told why, before
//! `ractor_cluster` sees a byte.

use std::io;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::envelope::Protocol;
use crate::node::NodeId;

/// Longer ones, in bytes, are not read.
const LONGEST: usize = 4 << 10;

/// What tells our protocol from others.
const MAGIC: &str = "shardmill";

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Purpose {
    /// To become a session.
    Session,
    /// To see who is there.
    Probe,
}

/// The first words of whoever dials, and the answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Hello {
    magic: String,
    pub(super) protocol: u32,
    understands: u32,
    pub(super) build: String,
    pub(super) node: NodeId,
    pub(super) to: NodeId,
    pub(super) purpose: Purpose,
}

/// The answer of whoever was dialed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Welcome {
    /// Go on.
    Yes(Hello),
    /// No, says this node.
    No { node: NodeId, reason: String },
}

/// Who is speaking.
#[derive(Debug, Clone)]
pub(super) struct Me {
    pub(super) node: NodeId,
    pub(super) protocol: Protocol,
    pub(super) build: String,
}

impl Me {
    /// What we say to `to`.
    pub(super) fn hello(&self, to: &NodeId, purpose: Purpose) -> Hello {
        Hello {
            magic: MAGIC.into(),
            protocol: self.protocol.speaks,
            understands: self.protocol.understands,
            build: self.build.clone(),
            node: self.node.clone(),
            to: to.clone(),
            purpose,
        }
    }

    /// Whether we talk to whoever said this; if not, why.
    pub(super) fn judge(&self, hello: &Hello) -> Result<(), String> {
        let theirs = Protocol { speaks: hello.protocol, understands: hello.understands };
        if hello.magic != MAGIC {
            return Err("this is something else".into());
        }
        if hello.node == self.node {
            return Err("this is the same node".into());
        }
        if hello.to != self.node {
            return Err(format!("this is {}, not {}", self.node, hello.to));
        }
        if !self.protocol.fits(&theirs) {
            return Err(format!(
                "protocol {} (understands {}) does not go with {} (understands {}): replace nodes one version at a time",
                theirs.speaks, theirs.understands, self.protocol.speaks, self.protocol.understands
            ));
        }
        Ok(())
    }
}

/// Writes a message with its length before it.
pub(super) async fn write<S, T>(stream: &mut S, message: &T) -> io::Result<()>
where
    S: AsyncWrite + Unpin,
    T: Serialize,
{
    let body = serde_json::to_vec(message)?;
    let length = u32::try_from(body.len()).map_err(|_| too_long())?;
    let mut bytes = length.to_be_bytes().to_vec();
    bytes.extend(body);
    stream.write_all(&bytes).await?;
    stream.flush().await
}

/// Reads a message with its length before it.
pub(super) async fn read<S, T>(stream: &mut S) -> io::Result<T>
where
    S: AsyncRead + Unpin,
    T: DeserializeOwned,
{
    let length = usize::try_from(stream.read_u32().await?).unwrap_or(usize::MAX);
    if length > LONGEST {
        return Err(too_long());
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;
    Ok(serde_json::from_slice(&body)?)
}

fn too_long() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "this is no hello: it is too long")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn me(node: &str, speaks: u32, understands: u32) -> Me {
        Me { node: node.into(), protocol: Protocol { speaks, understands }, build: "0".into() }
    }

    #[test]
    fn only_the_node_that_is_meant_and_a_near_version_are_talked_to() {
        let (a, b) = (me("a-1", 2, 1), me("b-1", 2, 1));
        let to_b = |from: &Me| from.hello(&b.node, Purpose::Session);
        assert_eq!(b.judge(&to_b(&a)), Ok(()));
        assert_eq!(b.judge(&a.hello(&"b-0".into(), Purpose::Session)), Err("this is b-1, not b-0".into()));
        assert!(b.judge(&to_b(&b)).is_err());
        assert!(b.judge(&Hello { magic: "x".into(), ..to_b(&a) }).is_err());
        assert_eq!(b.judge(&to_b(&me("a-1", 1, 1))), Ok(()));
        assert_eq!(b.judge(&to_b(&me("a-1", 3, 2))), Ok(()));
        assert!(b.judge(&to_b(&me("a-1", 4, 3))).unwrap_err().contains("one version at a time"));
    }

    #[tokio::test]
    async fn a_hello_comes_through_and_nothing_long_does() {
        let (mut near, mut far) = tokio::io::duplex(8 << 10);
        let hello = me("a-1", 1, 1).hello(&"b-1".into(), Purpose::Probe);
        write(&mut near, &hello).await.unwrap();
        assert_eq!(read::<_, Hello>(&mut far).await.unwrap(), hello);
        near.write_all(&u32::MAX.to_be_bytes()).await.unwrap();
        assert!(read::<_, Hello>(&mut far).await.unwrap_err().to_string().contains("too long"));
        near.write_all(b"\0\0\0\x02{]").await.unwrap();
        assert!(read::<_, Hello>(&mut far).await.is_err());
    }
}
