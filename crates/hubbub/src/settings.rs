//! The one typed table of settings: defaults, then the file, then the environment, then the command line.
//!
//! Every field of [`Settings`] has a row in [`TABLE`], which is what `hubbub config show` prints; a test keeps them together.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

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
    /// NATS of the cluster.
    pub(crate) nats_url: Option<String>,
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
    /// Arbiter threads of the actors; 0 = one per core.
    pub(crate) arbiters: u16,
    /// Time between heartbeats.
    pub(crate) heartbeat_ms: u64,
    /// How long a joining node waits beside active ones.
    pub(crate) join_delay_ms: u64,
    /// Share of the partitions that an owner hands over in ten seconds.
    pub(crate) rebalance_percent: u32,
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

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            data_dir: PathBuf::from("hubbub-data"),
            database_url: None,
            nats_url: None,
            node_id: None,
            public_url: None,
            migrate: true,
            log_format: LogFormat::Human,
            log_filter: "info".to_owned(),
            otlp_endpoint: None,
            trace_sample_ratio: 0.01,
            metrics_listen: None,
            partitions: 1024,
            lanes: 8,
            arbiters: 0,
            heartbeat_ms: 1_000,
            join_delay_ms: 15_000,
            rebalance_percent: 2,
            drain_ms: 2_000,
            sends_per_second: 20,
            sends_burst: 100,
            sockets_per_user: 20,
        }
    }
}

/// A row of the table: key, unit or form, since which version, meaning.
pub(crate) struct Setting {
    /// Key in the file; `HUBBUB_` and capitals in the environment.
    pub(crate) key: &'static str,
    /// Unit or form.
    pub(crate) form: &'static str,
    /// First version that knows it.
    pub(crate) since: &'static str,
    /// What it does.
    pub(crate) meaning: &'static str,
}

const fn setting(key: &'static str, form: &'static str, meaning: &'static str) -> Setting {
    Setting {
        key,
        form,
        since: "0.1",
        meaning,
    }
}

/// Every setting, in the order of [`Settings`].
pub(crate) const TABLE: &[Setting] = &[
    setting(
        "listen",
        "address:port",
        "where the edge serves web, REST and WebSocket",
    ),
    setting(
        "data_dir",
        "folder",
        "what embedded mode keeps: log, accounts, read models",
    ),
    setting(
        "database_url",
        "postgres://…",
        "PostgreSQL 15+ of the cluster; goes with nats_url",
    ),
    setting(
        "nats_url",
        "nats://…",
        "NATS 2.10+ of the cluster; goes with database_url",
    ),
    setting(
        "node_id",
        "name",
        "lasting name of this node; required in a cluster",
    ),
    setting(
        "public_url",
        "https://…",
        "address that people use, when it is not the listen address",
    ),
    setting(
        "migrate",
        "true|false",
        "bring the database's tables up to date at start",
    ),
    setting("log_format", "human|json", "form of the log"),
    setting(
        "log_filter",
        "filter",
        "which log lines, for example info,hubbub_edge=debug",
    ),
    setting(
        "otlp_endpoint",
        "http://…",
        "where traces go (OTLP over HTTP); nothing is exported without it",
    ),
    setting(
        "trace_sample_ratio",
        "0.0–1.0",
        "share of traces that are exported",
    ),
    setting(
        "metrics_listen",
        "address:port",
        "where /metrics is served; off without it",
    ),
    setting(
        "partitions",
        "power of two",
        "partitions of a new cluster; fixed once it exists",
    ),
    setting("lanes", "connections", "write lanes to PostgreSQL per node"),
    setting(
        "arbiters",
        "threads",
        "threads of the conversation actors; 0 = one per core",
    ),
    setting(
        "heartbeat_ms",
        "milliseconds",
        "time between heartbeats; a lease is four seconds",
    ),
    setting(
        "join_delay_ms",
        "milliseconds",
        "steady heartbeats before a node takes part beside active ones",
    ),
    setting(
        "rebalance_percent",
        "percent of all",
        "partitions an owner hands over in ten seconds",
    ),
    setting(
        "drain_ms",
        "milliseconds",
        "how long clients have to go elsewhere at shutdown",
    ),
    setting(
        "sends_per_second",
        "messages/s",
        "what one person may send over time",
    ),
    setting(
        "sends_burst",
        "messages",
        "what one person may send at once",
    ),
    setting(
        "sockets_per_user",
        "sockets",
        "open sockets of one person on one node",
    ),
];

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
    /// NATS of the cluster.
    #[arg(long, value_name = "URL")]
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
