//! Where spans go: nowhere, or to an OTLP collector over HTTP.

use std::thread;
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};

use crate::init::{InitError, TelemetryOptions};

/// How long the collector may take for one batch before it is dropped.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(5);

/// Makes ids for every span; records and exports a share of them when an endpoint is set.
pub(super) fn tracer_provider(options: &TelemetryOptions) -> Result<SdkTracerProvider, InitError> {
    let Some(endpoint) = &options.otlp_endpoint else {
        return Ok(SdkTracerProvider::builder()
            .with_sampler(Sampler::AlwaysOff)
            .build());
    };
    let exporter = exporter(endpoint)?;
    let ratio = Sampler::TraceIdRatioBased(options.sample_ratio.clamp(0.0, 1.0));
    let resource = Resource::builder_empty()
        .with_service_name("hubbub")
        .with_attributes([
            KeyValue::new("service.instance.id", options.service_instance.clone()),
            KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
        ])
        .build();
    Ok(SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_sampler(Sampler::ParentBased(Box::new(ratio)))
        .with_resource(resource)
        .build())
}

/// The blocking HTTP client runs its own small runtime, which must not be made or dropped on a thread of ours: so on a thread of its own.
/// (The asynchronous client would need a runtime on the batch thread, which has none, and ends it with a panic.)
fn exporter(endpoint: &str) -> Result<SpanExporter, InitError> {
    let url = traces_url(endpoint);
    let building = thread::Builder::new()
        .name("otlp setup".to_owned())
        .spawn(move || {
            // The HTTP client wants a TLS provider even for plain HTTP. One that the process has installed stays.
            if rustls::crypto::ring::default_provider()
                .install_default()
                .is_err()
            {
                tracing::trace!("the process has a TLS provider");
            }
            SpanExporter::builder()
                .with_http()
                .with_protocol(Protocol::HttpBinary)
                .with_endpoint(url)
                .with_timeout(EXPORT_TIMEOUT)
                .build()
        })
        .map_err(|error| InitError::Exporter(Box::new(error)))?;
    match building.join() {
        Ok(built) => built.map_err(|error| InitError::Exporter(Box::new(error))),
        Err(panic) => Err(InitError::Exporter(
            crate::task::panic_message(panic.as_ref()).into(),
        )),
    }
}

/// The signal's own path below the base URL, unless it is there already.
fn traces_url(endpoint: &str) -> String {
    let base = endpoint.trim_end_matches('/');
    if base.ends_with("/v1/traces") {
        base.to_owned()
    } else {
        format!("{base}/v1/traces")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_of_traces_is_added_once() {
        for endpoint in [
            "http://c:4318",
            "http://c:4318/",
            "http://c:4318/v1/traces",
            "http://c:4318/v1/traces/",
        ] {
            assert_eq!(traces_url(endpoint), "http://c:4318/v1/traces");
        }
    }
}
