//! The stored form of a history: one JSON object a line, the first of which names the version.

use serde::{Deserialize, Serialize};

use super::{History, Meta, Record};

/// Version of the stored form. A reader takes exactly its own: histories are evidence of one revision, not an archive.
pub const VERSION: u32 = 1;

/// A line that is not what it should be.
#[derive(Debug, thiserror::Error)]
pub enum BadHistory {
    /// There is no first line, or it is not a header.
    #[error("no header of a history: {0}")]
    NoHeader(String),
    /// Another version wrote it.
    #[error("a history of version {0}, not of {VERSION}")]
    OtherVersion(u32),
    /// A line that is no record.
    #[error("line {number}: {source}")]
    BadLine {
        /// Which line, from 1.
        number: usize,
        /// What is wrong with it.
        source: serde_json::Error,
    },
}

#[derive(Serialize, Deserialize)]
struct Header {
    hubbub_history: u32,
    #[serde(flatten)]
    meta: Meta,
}

impl History {
    /// The lines of the stored form, without line ends.
    pub fn lines(&self) -> impl Iterator<Item = String> {
        let header = Header {
            hubbub_history: VERSION,
            meta: self.meta.clone(),
        };
        // Neither can fail: no map has keys that are not text. An empty line would be told by the reader.
        let first = serde_json::to_string(&header).unwrap_or_default();
        std::iter::once(first).chain(
            self.records()
                .map(|record| serde_json::to_string(&record).unwrap_or_default()),
        )
    }

    /// Reads what [`Self::lines`] wrote. Records of different kinds may stand in any order.
    pub fn of_lines<'a>(lines: impl IntoIterator<Item = &'a str>) -> Result<Self, BadHistory> {
        let mut lines = lines.into_iter();
        let first = lines.next().unwrap_or_default();
        let header: Header =
            serde_json::from_str(first).map_err(|error| BadHistory::NoHeader(error.to_string()))?;
        if header.hubbub_history != VERSION {
            return Err(BadHistory::OtherVersion(header.hubbub_history));
        }
        let mut history = Self {
            meta: header.meta,
            ..Self::default()
        };
        for (index, line) in lines.enumerate() {
            let record: Record =
                serde_json::from_str(line).map_err(|source| BadHistory::BadLine {
                    number: index + 2,
                    source,
                })?;
            history.push(record);
        }
        Ok(history)
    }
}
