//! The one typed table of settings: defaults, then the file, then the environment, then the command line.
//!
//! Every field of [`Settings`] has a row in [`TABLE`], which is what `hubbub config show` prints; a test keeps them together.

mod table;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub(crate) use self::table::TABLE;

/// Everything an operator can choose. Field names are the keys of the file and, in capitals behind `HUBBUB_`, of the environment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    /// Address and port of the edge.
    pub(crate) listen: SocketAddr,
    /// Folder of everything embedded mode keeps.
    pub(crate) data_dir: PathBuf,
    /// PostgreSQL of the cluster; with `nats_url` this node is part of one.
    pub(crate) database_url: Option<String>,
    /// NATS of the cluster: one or more servers, separated by commas.
    pub(crate) nats_url: Option<String>,
    /// Name and password at NATS, when the URL has none.
    pub(crate) nats_user: Option<String>,
    /// Goes with `nats_user`.
    pub(crate) nats_password: Option<String>,
    /// File with the seed of an nkey (`SU…`), instead of name and password.
    pub(crate) nats_nkey_file: Option<PathBuf>,
    /// Lasting name of this node.
    pub(crate) node_id: Option<String>,
    /// Address that people use, when it is not the listen address.
    pub(crate) public_url: Option<String>,
    /// Bring the database's tables up to date at start.
    pub(crate) migrate: bool,
    /// `human` or `json`.
    pub(crate) log_format: LogFormat,
    /// Which log lines: an env-filter expression.
    pub(crate) log_filter: String,
    /// Where traces go: an OTLP endpoint over HTTP.
    pub(crate) otlp_endpoint: Option<String>,
    /// Share of traces that are exported.
    pub(crate) trace_sample_ratio: f64,
    /// Address of `/metrics`.
    pub(crate) metrics_listen: Option<SocketAddr>,
    /// Partitions of a new cluster.
    pub(crate) partitions: u16,
    /// Write lanes to PostgreSQL.
    pub(crate) lanes: u16,
    /// Connections to PostgreSQL for the owner's loads, look-ups and snapshots.
    pub(crate) owner_connections: u16,
    /// Connections for what edges read of the log: gaps, resumes, the tail of history.
    pub(crate) edge_connections: u16,
    /// Connections for history, members and inbox.
    pub(crate) query_connections: u16,
    /// Connections with which projectors write, and as many to read the log.
    pub(crate) projector_connections: u16,
    /// Connections for accounts.
    pub(crate) account_connections: u16,
    /// What a commit must have survived before it counts: `local` or `replicated`.
    pub(crate) durability: Durability,
    /// Arbiter threads of the actors; 0 = one per core.
    pub(crate) arbiters: u16,
    /// Time between heartbeats.
    pub(crate) heartbeat_ms: u64,
    /// How long a joining node waits beside active ones.
    pub(crate) join_delay_ms: u64,
    /// Share of the partitions that an owner hands over in ten seconds.
    pub(crate) rebalance_percent: u32,
    /// How long nothing is moved after a node came, went or was lost.
    pub(crate) hold_off_ms: u64,
    /// Bytes of conversations in memory, about, in MiB.
    pub(crate) conversations_mib: u64,
    /// Open connections of clients; 0 = what the descriptor limit allows, up to 60,000.
    pub(crate) connections: u32,
    /// How long clients have to go elsewhere at shutdown.
    pub(crate) drain_ms: u64,
    /// Messages a second that one person may send.
    pub(crate) sends_per_second: u32,
    /// Messages that one person may send at once.
    pub(crate) sends_burst: u32,
    /// Sockets of one person.
    pub(crate) sockets_per_user: u32,
}

/// Form of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub(crate) enum LogFormat {
    /// For people.
    Human,
    /// One JSON object per line.
    Json,
}

/// What a commit must have survived before it counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Durability {
    /// The crash of the database server.
    Local,
    /// The loss of the database server: a synchronous standby has it, too.
    Replicated,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            data_dir: PathBuf::from("hubbub-data"),
            database_url: None,
            nats_url: None,
            nats_user: None,
            nats_password: None,
            nats_nkey_file: None,
            node_id: None,
            public_url: None,
            migrate: true,
            log_format: LogFormat::Human,
            log_filter: "info".to_owned(),
            otlp_endpoint: None,
            trace_sample_ratio: 0.01,
            metrics_listen: None,
            partitions: 1024,
            lanes: hubbub_event_log::postgres::LANES_DEFAULT,
            owner_connections: hubbub_event_log::postgres::OWNER_READS_DEFAULT,
            edge_connections: 6,
            query_connections: hubbub_projections::QUERY_CONNECTIONS_MAX,
            projector_connections: hubbub_projections::PROJECTOR_CONNECTIONS_MAX,
            account_connections: hubbub_accounts::CONNECTIONS_MAX,
            durability: Durability::Local,
            arbiters: 0,
            heartbeat_ms: 1_000,
            join_delay_ms: 15_000,
            rebalance_percent: 2,
            hold_off_ms: 10_000,
            conversations_mib: 512,
            connections: 0,
            drain_ms: 2_000,
            sends_per_second: 20,
            sends_burst: 100,
            sockets_per_user: 20,
        }
    }
}

/// What the command line may override. `None` leaves what file and environment say.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct Overrides {
    /// Settings file (TOML); `hubbub.toml` in the working directory is read when it exists.
    #[arg(long, env = "HUBBUB_CONFIG", value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Where the edge serves.
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) listen: Option<String>,
    /// Folder of everything embedded mode keeps.
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<String>,
    /// PostgreSQL of the cluster.
    #[arg(long, value_name = "URL")]
    pub(crate) database_url: Option<String>,
    /// NATS of the cluster: one or more servers, separated by commas.
    #[arg(long, value_name = "URL[,URL…]")]
    pub(crate) nats_url: Option<String>,
    /// Lasting name of this node.
    #[arg(long, value_name = "NAME")]
    pub(crate) node_id: Option<String>,
    /// Any other setting, as key=value; see `hubbub config show`.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
}

/// Why the settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SettingsError {
    /// A source cannot be read, has an unknown key or a value of another type; the text names key and source.
    #[error("{0}")]
    Source(#[from] config::ConfigError),
    /// `--set` without `=`.
    #[error("--set {0}: write KEY=VALUE")]
    NotAPair(String),
    /// Each value is well formed, together they make no sense.
    #[error("{0}")]
    Combination(&'static str),
}

impl Settings {
    /// Reads defaults, file, environment and overrides, in this order, later ones winning.
    ///
    /// # Errors
    /// [`SettingsError`], in words that name the key and where it came from.
    pub(crate) fn load(overrides: &Overrides) -> Result<Self, SettingsError> {
        let defaults = config::Config::try_from(&Self::default())?;
        let mut sources = config::Config::builder().add_source(defaults);
        sources = match &overrides.config {
            Some(file) => sources
                .add_source(config::File::from(Path::new(file)).format(config::FileFormat::Toml)),
            None => sources.add_source(
                config::File::new("hubbub.toml", config::FileFormat::Toml).required(false),
            ),
        };
        // HUBBUB_CONFIG names the file and HUBBUB_TEST_* belongs to the tests; neither is a setting.
        let environment = config::Environment::with_prefix("HUBBUB")
            .try_parsing(true)
            .source(Some(environment_settings()));
        sources = sources.add_source(environment);
        let named = [
            ("listen", &overrides.listen),
            ("data_dir", &overrides.data_dir),
            ("database_url", &overrides.database_url),
            ("nats_url", &overrides.nats_url),
            ("node_id", &overrides.node_id),
        ];
        for (key, value) in named {
            if let Some(value) = value {
                sources = sources.set_override(key, value.as_str())?;
            }
        }
        for pair in &overrides.set {
            let (key, value) = pair
                .split_once('=')
                .ok_or_else(|| SettingsError::NotAPair(pair.clone()))?;
            sources = sources.set_override(key, value)?;
        }
        let settings: Self = sources.build()?.try_deserialize()?;
        settings.check()?;
        Ok(settings)
    }

    /// Whether this is a node of a cluster.
    pub(crate) fn is_cluster(&self) -> bool {
        self.database_url.is_some()
    }

    fn check(&self) -> Result<(), SettingsError> {
        match (&self.database_url, &self.nats_url, &self.node_id) {
            (Some(_), None, _) => Err(SettingsError::Combination(
                "database_url needs nats_url: a cluster has both",
            )),
            (None, Some(_), _) => Err(SettingsError::Combination(
                "nats_url needs database_url: a cluster has both",
            )),
            (Some(_), Some(_), None) => Err(SettingsError::Combination(
                "node_id is required in a cluster",
            )),
            _ => Ok(()),
        }?;
        if hubbub_domain::position::PartitionCount::new(self.partitions).is_none() {
            return Err(SettingsError::Combination(
                "partitions must be a power of two from 1 to 16384",
            ));
        }
        if !(0.0..=1.0).contains(&self.trace_sample_ratio) {
            return Err(SettingsError::Combination(
                "trace_sample_ratio must be from 0.0 to 1.0",
            ));
        }
        if self.heartbeat_ms == 0 || self.heartbeat_ms > 2_000 {
            return Err(SettingsError::Combination(
                "heartbeat_ms must be from 1 to 2000: half a lease",
            ));
        }
        if self.lanes == 0 || self.lanes > 64 {
            return Err(SettingsError::Combination("lanes must be from 1 to 64"));
        }
        let pools = [
            self.owner_connections,
            self.edge_connections,
            self.query_connections,
            self.projector_connections,
            self.account_connections,
        ];
        if pools.iter().any(|size| !(1..=200).contains(size)) {
            return Err(SettingsError::Combination(
                "owner_, edge_, query_, projector_ and account_connections must be from 1 to 200",
            ));
        }
        if self.conversations_mib == 0 {
            return Err(SettingsError::Combination(
                "conversations_mib must be at least 1",
            ));
        }
        if self.nats_user.is_some() != self.nats_password.is_some() {
            return Err(SettingsError::Combination(
                "nats_user and nats_password go together",
            ));
        }
        if self.nats_user.is_some() && self.nats_nkey_file.is_some() {
            return Err(SettingsError::Combination(
                "nats_nkey_file stands instead of nats_user and nats_password",
            ));
        }
        if self.sends_per_second == 0 || self.sends_burst == 0 || self.sockets_per_user == 0 {
            return Err(SettingsError::Combination(
                "sends_per_second, sends_burst and sockets_per_user must be at least 1",
            ));
        }
        Ok(())
    }
}

/// Variables of this process that name a setting.
fn environment_settings() -> config::Map<String, String> {
    let mut known = config::Map::new();
    for setting in TABLE {
        let name = format!("HUBBUB_{}", setting.key.to_uppercase());
        #[expect(
            clippy::disallowed_methods,
            reason = "the one place where settings are read from the environment"
        )]
        if let Ok(value) = std::env::var(&name) {
            known.insert(name, value);
        }
    }
    known
}

#[cfg(test)]
mod tests {
    use super::{Overrides, Settings, SettingsError, TABLE};

    fn with(pairs: &[&str]) -> Result<Settings, SettingsError> {
        let set = pairs.iter().map(|pair| (*pair).to_owned()).collect();
        Settings::load(&Overrides {
            set,
            ..Overrides::default()
        })
    }

    #[test]
    fn the_table_names_every_setting_and_nothing_else() {
        let serialized = config::Config::try_from(&Settings::default()).unwrap();
        let mut fields: Vec<String> = serialized
            .try_deserialize::<std::collections::BTreeMap<String, config::Value>>()
            .unwrap()
            .into_keys()
            .collect();
        // Absent options are serialized as nil and stay in the map.
        fields.sort();
        let mut rows: Vec<String> = TABLE.iter().map(|row| row.key.to_owned()).collect();
        rows.sort();
        assert_eq!(fields, rows);
    }

    #[test]
    fn defaults_are_embedded_mode_on_loopback() {
        let settings = with(&[]).unwrap();
        assert!(settings.listen.ip().is_loopback());
        assert!(!settings.is_cluster());
    }

    #[test]
    fn a_later_source_wins_and_values_are_typed() {
        let settings = with(&["heartbeat_ms=200", "migrate=false"]).unwrap();
        assert_eq!(settings.heartbeat_ms, 200);
        assert!(!settings.migrate);
    }

    #[test]
    fn a_cluster_needs_its_three_settings_together() {
        assert!(matches!(
            with(&["database_url=postgres://x"]),
            Err(SettingsError::Combination(_))
        ));
        assert!(matches!(
            with(&["nats_url=nats://x"]),
            Err(SettingsError::Combination(_))
        ));
        assert!(matches!(
            with(&["database_url=postgres://x", "nats_url=nats://x"]),
            Err(SettingsError::Combination(_))
        ));
        assert!(
            with(&[
                "database_url=postgres://x",
                "nats_url=nats://x",
                "node_id=a"
            ])
            .unwrap()
            .is_cluster()
        );
    }

    #[test]
    fn credentials_of_nats_are_one_kind_and_whole() {
        assert!(with(&["nats_user=hub"]).is_err());
        assert!(with(&["nats_user=hub", "nats_password=x"]).is_ok());
        assert!(with(&["nats_user=hub", "nats_password=x", "nats_nkey_file=seed"]).is_err());
        assert!(with(&["nats_nkey_file=seed"]).is_ok());
    }

    #[test]
    fn a_pool_without_connections_is_refused() {
        assert!(with(&["edge_connections=0"]).is_err());
        assert!(with(&["conversations_mib=0"]).is_err());
    }

    #[test]
    fn unknown_keys_and_wrong_types_are_named() {
        let unknown = with(&["listne=1"]).unwrap_err().to_string();
        assert!(unknown.contains("listne"), "{unknown}");
        let mistyped = with(&["heartbeat_ms=soon"]).unwrap_err().to_string();
        assert!(mistyped.contains("heartbeat_ms"), "{mistyped}");
        assert!(matches!(
            with(&["partitions=1000"]),
            Err(SettingsError::Combination(_))
        ));
    }
}
