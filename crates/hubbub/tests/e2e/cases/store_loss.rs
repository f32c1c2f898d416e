//! The database dies under load and comes back: what was acked is there, once, and what was not is still answered.

use hubbub_testkit::nats::NatsCluster;
use hubbub_testkit::pg::{PgScratch, PgServer};
use hubbub_testkit::settings;

use crate::cases::crowd::Crowd;
use crate::harness::deployment::Deployment;

/// How often the database dies.
const DEATHS: usize = 2;
/// Acks before the database dies, of those that are on their way.
const ACKS_BEFORE_A_DEATH: usize = 40;

pub(crate) async fn a_database_that_dies_under_load_loses_nothing_and_doubles_nothing() {
    if settings::read_or_skip(settings::PG_URL, "PostgreSQL").is_none() {
        return;
    }
    let Some(nats) = NatsCluster::start() else {
        return;
    };
    // An instance of its own, since it is killed. It must outlive the cluster: declared first.
    let mut server = PgServer::start_reference(&[]).expect("a PostgreSQL server can be started");
    let database = PgScratch::create_at(&server.url()).expect("a database can be made");
    let cluster = Deployment::cluster_on(database, nats, &[]).await;
    let mut crowd = Crowd::gather(&cluster).await;
    for _death in 0..DEATHS {
        crowd
            .say_everything(ACKS_BEFORE_A_DEATH, async || {
                server.kill();
                server.restart().expect("the database comes back");
            })
            .await;
    }
    crowd.judge().await;
}
