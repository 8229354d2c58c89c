//! The admin actor: answers operators' questions from the documents and the registry, and passes their commands on.
//!
//! Any node's answers for the whole cluster. What only an owner knows it asks the others for; a node that does not answer is
//! named, the rest still counts.
//!
//! ```text
//! here.rs        what this node knows, does, and tells its peers      audit.rs    who asked for which change
//! deliveries.rs  of that, what is about lanes and destinations        compact.rs, redrive.rs  changes that take their time
//! everywhere.rs  asking all nodes                                 answers.rs  what they say, put together
//! ```

mod answers;
pub mod audit;
mod compact;
mod deliveries;
pub(crate) mod everywhere;
mod here;
mod redrive;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::FutureExt;
use serde_json::Value;
use shardmill_connectors::clock::Millis;
use shardmill_connectors::failure::Failure;
use tokio::sync::{Mutex, mpsc, oneshot};

use crate::shared::Shared;
use crate::supervision::registry::View;
use crate::supervision::{Body, ChildSpec, Next, Worker};
use crate::tree::Kind;

/// Requests that may wait for an answer; more are refused.
const WAITING: usize = 64;
/// How long one request may take.
const DEADLINE: Duration = Duration::from_secs(120);
struct Request {
    command: String,
    arguments: Value,
    answer: oneshot::Sender<Result<Value, Failure>>,
}

/// Asks the admin actor. Cheap to clone.
#[derive(Debug, Clone)]
pub struct AdminHandle {
    send: mpsc::Sender<Request>,
}

impl AdminHandle {
    /// One request and its answer.
    pub async fn request(&self, command: &str, arguments: Value) -> Result<Value, Failure> {
        let (answer, reply) = oneshot::channel();
        let request = Request { command: command.to_owned(), arguments, answer };
        self.send.try_send(request).map_err(|_| {
            Failure::throttled("the admin actor is busy: try again", Some(Duration::from_secs(1)))
        })?;
        match tokio::time::timeout(DEADLINE, reply).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => {
                Err(Failure::transient(format!("`{command}` was not answered: the admin actor restarted")))
            }
            Err(_) => {
                Err(Failure::transient(format!("`{command}` is not done after {} s", DEADLINE.as_secs())))
            }
        }
    }
}

/// The admin actor as a child of the root, and the handle to ask it. Peers are answered by this node from now on.
pub fn spec(shared: &Shared) -> (ChildSpec, AdminHandle) {
    here::serve(&here::Here { shared: shared.clone(), since: Millis::now() });
    let (send, receive) = mpsc::channel(WAITING);
    let receive = Arc::new(Mutex::new(receive));
    let shared = shared.clone();
    let make = move || {
        let admin = Admin { shared: shared.clone(), receive: receive.clone(), since: Millis::now() };
        async move { Ok(Box::new(admin) as Box<dyn Worker>) }.boxed()
    };
    let view: View = Arc::new(|| Value::Null);
    let spec =
        ChildSpec { name: "admin".into(), kind: Kind::Admin, body: Body::Worker(Arc::new(make)), view };
    (spec, AdminHandle { send })
}

/// See the [module](self).
struct Admin {
    shared: Shared,
    receive: Arc<Mutex<mpsc::Receiver<Request>>>,
    since: Millis,
}

#[async_trait]
impl Worker for Admin {
    async fn step(&mut self) -> Result<Next, Failure> {
        let request = {
            let mut receive = self.receive.lock().await;
            tokio::time::timeout(Duration::from_millis(500), receive.recv()).await
        };
        let Ok(Some(Request { command, arguments, answer })) = request else { return Ok(Next::Again) };
        // A command that waits must not hold up the questions behind it.
        let (shared, since) = (self.shared.clone(), self.since);
        tokio::spawn(async move {
            let desk = here::Here { shared, since };
            let _ = answer.send(everywhere::respond(&desk, &command, arguments).await);
        });
        Ok(Next::Again)
    }
}
