//! One file per command.

pub(crate) mod config;
pub(crate) mod demo;
pub(crate) mod migrate;
pub(crate) mod serve;

use anyhow::Context;
use hubbub_telemetry::init::{Guard, LogFormat as Format, TelemetryOptions};
use tokio::runtime::Runtime;

use crate::settings::{LogFormat, Settings};

/// Telemetry first (its exporter must not be made inside a runtime), then the runtime.
pub(crate) fn environment(settings: &Settings) -> anyhow::Result<(Guard, Runtime)> {
    let guard = hubbub_telemetry::init::init(&TelemetryOptions {
        log_format: match settings.log_format {
            LogFormat::Human => Format::Human,
            LogFormat::Json => Format::Json,
        },
        filter: Some(settings.log_filter.clone()),
        otlp_endpoint: settings.otlp_endpoint.clone(),
        service_instance: settings
            .node_id
            .clone()
            .unwrap_or_else(|| "embedded".to_owned()),
        sample_ratio: settings.trace_sample_ratio,
    })
    .context("set up telemetry")?;
    hubbub_telemetry::fault::announce().context("read the plan of faults")?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("hubbub")
        .build()
        .context("start the runtime")?;
    Ok((guard, runtime))
}

/// Prints a line for whoever started the command.
#[expect(
    clippy::print_stdout,
    reason = "what a command has to say goes to standard output; logs go to standard error"
)]
pub(crate) fn say(line: &str) {
    println!("{line}");
}
