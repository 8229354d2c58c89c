//! Who lives, by documents alone: every node renews one of its own, and whoever needs a node's work watches that node's; the
//! leader watches all.
//!
//! Renewing and watching have a thread, a runtime and a client of their own: nothing that a node is busy with delays them.
//! Death is a compare-and-set on the dead node's document: the node itself learns of it by its next renewal, and ends. A wrong
//! declaration is safe, because every hold is fenced by its own document; it only costs the node a restart.
//!
//! ```text
//! about.rs    what a node says of itself        watch.rs    when silence proves death
//! member.rs   renews, reads, declares           watched.rs  what is known of others
//! view.rs     for the rest of the node to ask   mod.rs      the thread
//! ```

mod about;
mod member;
mod view;
pub mod watch;
mod watched;

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::thread::JoinHandle;

use shardmill_connectors::failure::Failure;
use shardmill_connectors::ports::Documents;
use tokio::sync::{oneshot, watch as channel};

pub use self::about::{About, Activity, Load, NodeState, PREFIX, Roster, key};
pub use self::member::{Member, Settings};
pub use self::view::View;
pub use self::watch::{Lease, Watch};
pub use crate::hold::Standing;

/// This node's membership: renews until it is dropped, then leaves. Can be asked whatever a [`View`] can.
pub struct Membership {
    view: View,
    stop: channel::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

impl fmt::Debug for Membership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Membership").field("view", &self.view).finish_non_exhaustive()
    }
}

impl Deref for Membership {
    type Target = View;

    fn deref(&self) -> &View {
        &self.view
    }
}

impl Membership {
    /// Creates the node's document and begins to renew it. `open` makes the store's client, within the thread's own runtime.
    ///
    /// # Errors
    /// That of the first write: a node that cannot write its document cannot be a member.
    pub async fn join<F, Opened>(settings: Settings, open: F) -> Result<Membership, Failure>
    where
        F: FnOnce() -> Opened + Send + 'static,
        Opened: Future<Output = Result<Arc<dyn Documents>, Failure>>,
    {
        let (joined, first) = oneshot::channel();
        let (stop, stopped) = channel::channel(false);
        let work = move || {
            let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
                Ok(runtime) => runtime,
                Err(error) => {
                    let failure = Failure::crashed(format!("no runtime for the membership: {error}"));
                    let _ = joined.send(Err(failure));
                    return;
                }
            };
            runtime.block_on(async move {
                let member = async { Member::join(settings, open().await?).await };
                match member.await {
                    Err(failure) => _ = joined.send(Err(failure)),
                    Ok((member, view, _)) => {
                        let _ = joined.send(Ok(view));
                        member.run(stopped).await;
                    }
                }
            });
        };
        let thread = std::thread::Builder::new().name("membership".into()).spawn(work);
        let thread =
            thread.map_err(|error| Failure::crashed(format!("no thread for the membership: {error}")))?;
        let view = first.await.map_err(|_| Failure::crashed("the membership's thread is gone"))??;
        Ok(Membership { view, stop, thread: Some(thread) })
    }

    /// For the rest of the node to ask.
    pub fn view(&self) -> View {
        self.view.clone()
    }

    /// Takes the node's document away, so that nobody waits for its lease to end. Work must have been released before.
    pub fn leave(mut self) {
        self.end();
    }

    fn end(&mut self) {
        self.stop.send_replace(true);
        if let Some(thread) = self.thread.take() {
            // It ends with the store's next answer, at the latest by the lease.
            let _ = thread.join();
        }
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        self.end();
    }
}

#[cfg(test)]
mod tests;
