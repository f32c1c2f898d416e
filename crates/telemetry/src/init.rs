//! The one initialisation of logs and traces, done once by whoever owns the process.
//!
//! Logs go to standard error, human-readable or JSON, with the trace id in every line that is written inside a span. Spans have ids even
//! when nothing is exported; with an OTLP endpoint a share of the traces is sent there in batches.
//!
//! Never: environment variables (settings arrive as values), a blocking call on an executor thread.

mod export;
mod format;

use std::io::IsTerminal;
use std::str::FromStr;
use std::time::Duration;

use opentelemetry::trace::TracerProvider;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::level_filters::LevelFilter;
use tracing::{Dispatch, Level};
use tracing_subscriber::filter::{EnvFilter, Targets};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::registry::Registry;

use crate::init::format::{Lines, Style};

/// What is logged unless told otherwise. Libraries below the tracing pipeline must stay quiet or telemetry traces itself.
pub const DEFAULT_FILTER: &str = "info,opentelemetry=warn,opentelemetry_sdk=error,opentelemetry_otlp=warn,hyper=warn,hyper_util=warn,reqwest=warn,async_nats=warn,sqlx=warn";
/// Our crates' names begin so; only their spans become traces.
const OWN_TARGETS: &str = "hubbub";
/// How long the last spans may take to leave at shutdown.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(3);

/// How log lines look.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum LogFormat {
    /// For eyes: one line, coloured on a terminal.
    #[default]
    Human,
    /// For machines: one JSON object per line.
    Json,
}

/// What the process wants of its logs and traces.
#[derive(Clone, Debug)]
pub struct TelemetryOptions {
    /// How log lines look.
    pub log_format: LogFormat,
    /// Directives of tracing's `EnvFilter`, replacing [`DEFAULT_FILTER`].
    pub filter: Option<String>,
    /// Base URL of an OTLP/HTTP collector such as `http://127.0.0.1:4318`; `None` exports nothing. Plain HTTP: the collector runs beside
    /// the node.
    pub otlp_endpoint: Option<String>,
    /// Which instance this is among its kind: the node's name.
    pub service_instance: String,
    /// Share of the traces that begin here and are exported, from 0 to 1. A trace that begins elsewhere follows its beginning.
    pub sample_ratio: f64,
}

impl Default for TelemetryOptions {
    /// Human-readable logs at the default level, nothing exported.
    fn default() -> Self {
        Self {
            log_format: LogFormat::default(),
            filter: None,
            otlp_endpoint: None,
            service_instance: String::new(),
            sample_ratio: 0.01,
        }
    }
}

/// A word that is no log format.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("unknown log format {0:?}, expected human or json")]
pub struct UnknownLogFormat(String);

impl FromStr for LogFormat {
    type Err = UnknownLogFormat;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "human" => Ok(Self::Human),
            "json" => Ok(Self::Json),
            other => Err(UnknownLogFormat(other.to_owned())),
        }
    }
}

/// Telemetry was not set up.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// The filter cannot be read: a mistake in the settings.
    #[error("cannot read the log filter")]
    Filter(#[source] tracing_subscriber::filter::ParseError),
    /// The exporter cannot be made from this endpoint: a mistake in the settings.
    #[error("cannot set up the export of traces")]
    Exporter(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// This process has its telemetry already.
    #[error("telemetry is already set up")]
    AlreadySet(#[source] tracing::dispatcher::SetGlobalDefaultError),
}

/// Keeps the export running; dropping it sends what is left, within three seconds.
#[must_use = "dropping it ends the export of traces"]
#[derive(Debug)]
pub struct Guard {
    provider: SdkTracerProvider,
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Err(error) = self.provider.shutdown_with_timeout(FLUSH_TIMEOUT) {
            tracing::warn!(%error, "the last spans were not exported");
        }
    }
}

/// Sets up logs and traces of this process. Works inside and outside of a runtime.
pub fn init(options: &TelemetryOptions) -> Result<Guard, InitError> {
    let (dispatch, guard) = build(options, std::io::stderr, std::io::stderr().is_terminal())?;
    tracing::dispatcher::set_global_default(dispatch).map_err(InitError::AlreadySet)?;
    Ok(guard)
}

fn build<W>(
    options: &TelemetryOptions,
    writer: W,
    colours: bool,
) -> Result<(Dispatch, Guard), InitError>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let filter = options.filter.as_deref().unwrap_or(DEFAULT_FILTER);
    let filter = EnvFilter::builder()
        .parse(filter)
        .map_err(InitError::Filter)?;
    let provider = export::tracer_provider(options)?;
    let traces = tracing_opentelemetry::layer()
        .with_tracer(provider.tracer("hubbub"))
        .with_location(false)
        .with_threads(false)
        .with_tracked_inactivity(false)
        .with_filter(
            Targets::new()
                .with_default(LevelFilter::OFF)
                .with_target(OWN_TARGETS, Level::INFO),
        );
    let logs = tracing_subscriber::fmt::layer().with_writer(writer);
    let logs = match options.log_format {
        LogFormat::Human => logs
            .with_ansi(colours)
            .event_format(Lines::new(Style::Human, colours))
            .with_filter(filter)
            .boxed(),
        LogFormat::Json => logs
            .json()
            .event_format(Lines::new(Style::Json, false))
            .with_filter(filter)
            .boxed(),
    };
    // Traces first: a span has its ids before a line is written in it.
    let dispatch = Dispatch::new(Registry::default().with(traces).with(logs));
    Ok((dispatch, Guard { provider }))
}

#[cfg(test)]
pub(crate) use tests::test_subscriber;

#[cfg(test)]
mod tests;
