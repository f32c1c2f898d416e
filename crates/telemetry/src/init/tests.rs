//! Lines as they are written, and spans as a collector receives them.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;

use super::*;

/// How long the collector of a test waits for a batch.
const DEADLINE: Duration = Duration::from_mins(1);

/// What was logged.
#[derive(Clone, Debug, Default)]
pub(crate) struct Output(Arc<Mutex<Vec<u8>>>);

impl Output {
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.0.lock().expect("not poisoned").clone()).expect("is UTF-8")
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("not poisoned").write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A subscriber as `init` makes it, for one test instead of the whole process.
pub(crate) fn test_subscriber() -> (Dispatch, Output, Guard) {
    subscriber(&TelemetryOptions::default())
}

fn subscriber(options: &TelemetryOptions) -> (Dispatch, Output, Guard) {
    let output = Output::default();
    let writer = output.clone();
    let (dispatch, guard) = build(options, move || writer.clone(), false).expect("is set up");
    (dispatch, output, guard)
}

#[test]
fn every_line_inside_a_span_has_its_trace_id_and_a_line_outside_has_none() {
    for log_format in [LogFormat::Human, LogFormat::Json] {
        let (dispatch, output, _guard) = subscriber(&TelemetryOptions {
            log_format,
            ..TelemetryOptions::default()
        });
        let trace_id = tracing::dispatcher::with_default(&dispatch, || {
            tracing::info!("outside");
            let _inside = tracing::info_span!("work", { crate::fields::PARTITION } = 7).entered();
            tracing::warn!(rows = 3, "inside");
            crate::current_trace_id().expect("inside a span")
        });
        let text = output.text();
        let lines: Vec<&str> = text.lines().collect();
        let [outside, inside] = lines.as_slice() else {
            panic!("two lines: {text}");
        };
        assert!(
            outside.contains("outside") && !outside.contains("trace_id"),
            "{text}"
        );
        assert!(inside.contains(&trace_id), "{text}");
        assert!(
            inside.contains("partition") && inside.contains("work"),
            "{text}"
        );
        if log_format == LogFormat::Json {
            assert!(
                inside.starts_with(&format!("{{\"trace_id\":\"{trace_id}\",\"")),
                "{text}"
            );
            assert!(
                inside.contains("\"message\":\"inside\",\"rows\":3"),
                "{text}"
            );
            assert!(lines.iter().all(|line| line.ends_with('}')), "{text}");
        }
    }
}

#[test]
fn lines_below_the_filter_are_left_out_and_their_trace_goes_on() {
    let (dispatch, output, _guard) = subscriber(&TelemetryOptions {
        filter: Some("warn".to_owned()),
        ..TelemetryOptions::default()
    });
    tracing::dispatcher::with_default(&dispatch, || {
        let _quiet = tracing::info_span!("quiet").entered();
        tracing::info!("not wanted");
        tracing::error!("wanted");
    });
    let text = output.text();
    assert!(!text.contains("not wanted"), "{text}");
    assert!(
        text.contains("wanted") && text.contains("trace_id="),
        "{text}"
    );
}

#[test]
fn a_filter_that_cannot_be_read_is_an_error() {
    let options = TelemetryOptions {
        filter: Some("hubbub=loud".to_owned()),
        ..TelemetryOptions::default()
    };
    let built = build(&options, io::sink, false);
    assert!(matches!(built, Err(InitError::Filter(_))));
}

#[test]
fn a_log_format_is_one_of_two_words() {
    assert_eq!("human".parse(), Ok(LogFormat::Human));
    assert_eq!("json".parse(), Ok(LogFormat::Json));
    assert!("JSON".parse::<LogFormat>().is_err());
}

/// Accepts one export, answers it and passes its request line and body on.
fn collector() -> (String, mpsc::Receiver<(String, Vec<u8>)>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("binds");
    let address = listener.local_addr().expect("is bound");
    let (received, receiver) = mpsc::sync_channel(1);
    thread::spawn(move || {
        let (stream, _) = listener.accept().expect("a client comes");
        received.send(serve(stream)).expect("the test waits");
    });
    (format!("http://{address}"), receiver)
}

fn serve(mut stream: TcpStream) -> (String, Vec<u8>) {
    let mut request = Vec::new();
    let mut chunk = [0; 4_096];
    loop {
        let length = stream.read(&mut chunk).expect("is sent");
        assert!(length > 0, "ended early");
        request.extend_from_slice(&chunk[..length]);
        let Some(end) = request.windows(4).position(|four| four == b"\r\n\r\n") else {
            continue;
        };
        let head = String::from_utf8_lossy(&request[..end]).into_owned();
        let body_bytes: usize = head
            .lines()
            .find_map(|line| {
                line.to_lowercase()
                    .strip_prefix("content-length: ")?
                    .parse()
                    .ok()
            })
            .expect("has a length");
        let body = request.get(end + 4..).unwrap_or_default();
        if body.len() < body_bytes {
            continue;
        }
        stream
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-type: application/x-protobuf\r\ncontent-length: 0\r\n\r\n")
            .expect("is read");
        let line = head.lines().next().unwrap_or_default().to_owned();
        return (line, body.to_vec());
    }
}

fn contains(haystack: &[u8], needle: &str) -> bool {
    haystack
        .windows(needle.len())
        .any(|window| window == needle.as_bytes())
}

#[tokio::test]
async fn a_collector_receives_the_spans_with_the_name_of_the_service() {
    let (otlp_endpoint, received) = collector();
    let (dispatch, _output, guard) = subscriber(&TelemetryOptions {
        otlp_endpoint: Some(otlp_endpoint),
        service_instance: "node-7".to_owned(),
        sample_ratio: 1.0,
        ..TelemetryOptions::default()
    });
    tracing::dispatcher::with_default(&dispatch, || {
        let span = tracing::info_span!(crate::spans::LOG_APPEND, { crate::fields::LANE } = 3);
        span.in_scope(|| tracing::info!("appended"));
    });
    let (request, body) = tokio::task::spawn_blocking(move || {
        drop(guard);
        received.recv_timeout(DEADLINE).expect("is exported")
    })
    .await
    .expect("ends");
    assert_eq!(request, "POST /v1/traces HTTP/1.1");
    for part in [
        "service.name",
        "hubbub",
        "service.instance.id",
        "node-7",
        "log.append",
        "lane",
    ] {
        assert!(contains(&body, part), "{part} is missing");
    }
}
