//! `hubbub migrate`: tables up to date, nothing served.

use std::process::ExitCode;

use crate::commands::{environment, say};
use crate::compose::Stores;
use crate::settings::{Overrides, Settings};

pub(crate) fn run(overrides: &Overrides) -> anyhow::Result<ExitCode> {
    let settings = Settings {
        migrate: true,
        ..Settings::load(overrides)?
    };
    let (_telemetry, runtime) = environment(&settings)?;
    runtime.block_on(Stores::open(&settings))?;
    say("tables are up to date");
    Ok(ExitCode::SUCCESS)
}
