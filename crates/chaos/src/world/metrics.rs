//! What the nodes count: `/metrics` of every incarnation, read again and again, so that a killed node's counters are not lost.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// One reading may take this long; a stopped node gives none.
const READING_TIMEOUT: Duration = Duration::from_secs(2);

/// Metric name (without labels) → value, summed over labels.
pub type Reading = BTreeMap<String, f64>;

/// Reads `/metrics`; `None` when nobody answers in time.
pub async fn read(address: SocketAddr) -> Option<Reading> {
    let reading = async {
        let mut stream = TcpStream::connect(address).await.ok()?;
        let request =
            format!("GET /metrics HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).await.ok()?;
        Some(parse(&text))
    };
    tokio::time::timeout(READING_TIMEOUT, reading)
        .await
        .ok()
        .flatten()
}

fn parse(text: &str) -> Reading {
    let mut reading = Reading::new();
    for line in text.lines().filter(|line| line.starts_with("hubbub_")) {
        let Some((name, value)) = line.rsplit_once(' ') else {
            continue;
        };
        let bare = name.split('{').next().unwrap_or(name);
        if let Ok(value) = value.parse::<f64>() {
            *reading.entry(bare.to_owned()).or_default() += value;
        }
    }
    reading
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "whole numbers are exact")]
mod tests {
    use super::parse;

    #[test]
    fn values_of_one_name_are_summed_over_labels_and_comments_are_passed_over() {
        let read = parse(
            "# TYPE x counter\nhubbub_a_total 3\nhubbub_b{x=\"1\"} 2\nhubbub_b{x=\"2\"} 5\nother 9\n",
        );
        assert_eq!(read["hubbub_a_total"], 3.0);
        assert_eq!(read["hubbub_b"], 7.0);
        assert!(!read.contains_key("other"));
    }
}
