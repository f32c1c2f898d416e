//! Version numbers, as far as `--version` lines go.

use std::fmt;

/// Major and minor: nothing here depends on more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Version {
    pub(crate) major: u32,
    pub(crate) minor: u32,
}

impl Version {
    /// The first number with a dot in a line such as `v20.20.2` or `nats-server: v2.15.1`.
    pub(crate) fn find_in(line: &str) -> Option<Self> {
        line.split_whitespace().find_map(|word| {
            let mut parts = word.trim_start_matches('v').split('.');
            let major = parts.next()?.parse().ok()?;
            let minor = parts.next()?.parse().ok()?;
            Some(Self { major, minor })
        })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_found_and_compared_as_numbers() {
        let found = |line| Version::find_in(line).expect("has a version");
        assert_eq!(found("nats-server: v2.15.1").to_string(), "2.15");
        assert!(found("v20.9.0") < found("v20.19.0"));
        assert_eq!(Version::find_in("no number here"), None);
    }
}
