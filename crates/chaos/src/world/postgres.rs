//! The database server of a world, with the reference settings: on disks that a row chooses, and another server in its place, as an
//! operator or a failover tool would arrange it.

use std::net::{Ipv4Addr, SocketAddr};

use hubbub_testkit::pg::PgServer;

use crate::world::database::Database;
use crate::world::{Shape, World};

/// Name of the nodes' database.
const DATABASE: &str = "hubbub";

/// Starts the server and makes the nodes' database.
pub(super) async fn start(shape: &Shape) -> anyhow::Result<(PgServer, Database)> {
    let settings: Vec<(&str, &str)> = shape
        .database_settings
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    let server = tokio::task::block_in_place(|| match &shape.wal_disk {
        Some(disk) => PgServer::start_reference_with_wal(&settings, disk),
        None => PgServer::start_reference(&settings),
    })?;
    let instance = Database::at(&server.url())?;
    let mut options = String::new();
    if let Some(disk) = &shape.heap_disk {
        let place = server.own_directory(disk, "heap")?;
        instance
            .sql(&format!(
                "create tablespace small location '{}'",
                place.display()
            ))
            .await?;
        options.push_str("tablespace small");
    }
    let database = instance.create(DATABASE, &options).await?;
    Ok((server, database))
}

impl World {
    /// Every node's line leads to that server from now on, and so do our own looks. Returns the server that was there.
    ///
    /// # Errors
    /// When no `PostgreSQL` is installed.
    pub fn fail_over_to(&mut self, server: PgServer) -> anyhow::Result<PgServer> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, server.port()));
        let url = server.url();
        let (instance, _maintenance) = url.rsplit_once('/').unwrap_or_default();
        self.database = Database::at(&format!("{instance}/{DATABASE}"))?;
        for line in self
            .nodes
            .iter()
            .filter_map(|node| node.database_line.as_ref())
        {
            line.resume();
            line.lead_to(address);
        }
        Ok(std::mem::replace(&mut self.postgres, server))
    }
}
