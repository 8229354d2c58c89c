//! `cluster`: what a cluster of nodes needs before it can run.

use serde_json::json;
use shardmill_cluster::transport::certificates::{self, Order};
use shardmill_connectors::failure::Class;

use super::Error;
use crate::cli::{CertsArgs, ClusterCommand};
use crate::output;

/// Makes certificates.
pub fn cluster(command: ClusterCommand, json: bool) -> Result<(), Error> {
    let ClusterCommand::Certs(CertsArgs { out, nodes, days, name }) = command;
    let order = Order { out, nodes, cluster: name, days };
    let made = certificates::make(&order).map_err(|failure| match failure.class {
        Class::Rejected => Error::Usage(failure.detail),
        _ => Error::Failed(failure),
    })?;
    if json {
        let rows: Vec<_> = order
            .nodes
            .iter()
            .zip(&made)
            .map(|(node, folder)| json!({"node": node, "certificates": folder}))
            .collect();
        return Ok(output::print(&format!("{}\n", json!(rows)))?);
    }
    let mut text = String::new();
    for (node, folder) in order.nodes.iter().zip(&made) {
        text.push_str(&format!("{node}: [cluster] certificates = \"{}\"\n", folder.display()));
    }
    text.push_str("Give each node its own folder only, and keep ca.key where no node is.\n");
    Ok(output::print(&text)?)
}
