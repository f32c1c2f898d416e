//! `hubbub serve`.

use std::process::ExitCode;

use crate::commands::{environment, say};
use crate::compose::Node;
use crate::settings::{Overrides, Settings};
use crate::shutdown::{Ending, ending};

pub(crate) fn run(overrides: &Overrides) -> anyhow::Result<ExitCode> {
    crate::sabotage::refuse()?;
    let settings = Settings::load(overrides)?;
    let (_telemetry, runtime) = environment(&settings)?;
    runtime.block_on(async {
        let mut signals = crate::shutdown::Signals::listen()?;
        let mut node = Node::start(&settings).await?;
        say(&format!("hubbub serves on {}", node.address()));
        let ending = ending(&mut signals, node.fate()).await;
        let clean = node.stop(&mut signals).await;
        Ok(match ending {
            Ending::Asked if clean => ExitCode::SUCCESS,
            Ending::Asked | Ending::Fatal(_) => ExitCode::FAILURE,
        })
    })
}
