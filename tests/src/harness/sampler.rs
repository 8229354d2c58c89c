//! The most memory a process was seen to hold.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::Node;
use super::node::resident;

/// Between two looks.
const EVERY: Duration = Duration::from_millis(20);

/// Reads a node's resident memory many times a second; ends when dropped.
#[derive(Debug)]
pub struct Sampler {
    peak: Arc<AtomicU64>,
    task: tokio::task::JoinHandle<()>,
}

impl Sampler {
    /// Starts reading.
    pub fn start(node: &Node) -> Result<Sampler, String> {
        let pid = node.pid().ok_or("the node has ended")?;
        let peak = Arc::new(AtomicU64::new(0));
        let shared = peak.clone();
        let task = tokio::spawn(async move {
            while let Some(bytes) = resident(pid) {
                shared.fetch_max(bytes, Ordering::Relaxed);
                tokio::time::sleep(EVERY).await;
            }
        });
        Ok(Sampler { peak, task })
    }

    /// The most there was so far, in bytes.
    pub fn peak(&self) -> u64 {
        self.peak.load(Ordering::Relaxed)
    }
}

impl Drop for Sampler {
    fn drop(&mut self) {
        self.task.abort();
    }
}
