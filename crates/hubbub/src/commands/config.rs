//! `hubbub config check` and `hubbub config show`.

use std::collections::BTreeMap;
use std::process::ExitCode;

use anyhow::Context;

use crate::commands::say;
use crate::settings::{Overrides, Settings, TABLE};

pub(crate) fn check(overrides: &Overrides) -> anyhow::Result<ExitCode> {
    let settings = Settings::load(overrides)?;
    let mode = if settings.is_cluster() {
        "a node of a cluster"
    } else {
        "embedded mode"
    };
    say(&format!(
        "settings are fine: {mode}, listening on {}",
        settings.listen
    ));
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn show(overrides: &Overrides) -> anyhow::Result<ExitCode> {
    let settings = Settings::load(overrides)?;
    let values: BTreeMap<String, ::config::Value> = ::config::Config::try_from(&settings)
        .and_then(::config::Config::try_deserialize)
        .context("list the settings")?;
    for row in TABLE {
        let value = match values.get(row.key) {
            Some(_) if is_secret(row.key) => hidden(&settings, row.key),
            Some(value) => value.to_string(),
            None => String::new(),
        };
        let value = if value.is_empty() || value == "nil" {
            "–".to_owned()
        } else {
            value
        };
        say(&format!("{:<20} {value}", row.key));
        say(&format!(
            "{:<20}   {} ({}; HUBBUB_{}; since {})",
            "",
            row.meaning,
            row.form,
            row.key.to_uppercase(),
            row.since
        ));
    }
    Ok(ExitCode::SUCCESS)
}

/// A connection string carries a password.
fn is_secret(key: &str) -> bool {
    key == "nats_password" || (key.ends_with("_url") && key != "public_url")
}

fn hidden(settings: &Settings, key: &str) -> String {
    let set = match key {
        "database_url" => settings.database_url.is_some(),
        "nats_url" => settings.nats_url.is_some(),
        "nats_password" => settings.nats_password.is_some(),
        _ => false,
    };
    if set {
        "(set)".to_owned()
    } else {
        String::new()
    }
}
