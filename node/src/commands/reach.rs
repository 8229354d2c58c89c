//! Which data a command works on: the embedded stores that a configuration file or a data directory names.

use std::path::PathBuf;

use shardmill_actors::verify::Tools;

use super::Error;
use super::ops_client::OpsClient;
use crate::cli::Reach;
use crate::config::{Backend, Config};
use crate::wire::{self, Stores};

/// A configuration with its stores opened, whether a node runs on them or not.
#[derive(Debug)]
pub(super) struct Reached {
    /// The configuration.
    pub(super) config: Config,
    /// Its stores.
    pub(super) stores: Stores,
}

impl Reached {
    /// Opens what `reach` names. A data directory that does not exist is an error: nothing is created by looking.
    pub(super) async fn open(reach: &Reach) -> Result<Reached, Error> {
        let (file, dir) = match (&reach.config, &reach.data_dir, &reach.ops) {
            (None, None, Some(ops)) => told(ops).await?,
            (file, dir, _) => (file.clone(), dir.clone()),
        };
        let mut config = match &file {
            Some(file) => Config::load(file)?,
            None => Config::embedded_default(),
        };
        if let Some(dir) = dir {
            config.data_dir = dir;
        }
        if config.backend == Backend::Embedded && !config.data_dir.is_dir() {
            return Err(Error::Usage(format!(
                "there is no data directory {}: name one with --data-dir, or a configuration with -c",
                config.data_dir.display()
            )));
        }
        let stores = wire::open(&config).await?;
        Ok(Reached { config, stores })
    }

    /// What rewriting hours takes besides the stores.
    pub(super) fn tools(&self) -> Tools {
        let (write, bloom) = (wire::write_options(&self.config), self.stores.bloom());
        Tools { write, bloom, liveness: self.stores.liveness() }
    }
}

/// What a node on this machine works with: its configuration file and its data directory.
async fn told(ops: &str) -> Result<(Option<PathBuf>, Option<PathBuf>), Error> {
    let status = OpsClient::new(ops, None)?.ask("status", &[]).await?;
    let path = |key: &str| status[key].as_str().map(PathBuf::from);
    Ok((path("config"), path("data_dir")))
}
