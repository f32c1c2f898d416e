//! What can be typed.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::commands;
use crate::settings::Overrides;

/// Chat that keeps its promises: nothing lost, nothing twice, nothing out of order.
#[derive(Debug, Parser)]
#[command(name = "hubbub", version, about, arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve: a whole chat from a folder, or a node of a cluster with --database-url, --nats-url and --node-id.
    Serve(Overrides),
    /// Serve a new folder with a few people and conversations in it, for a first look.
    Demo(Overrides),
    /// Bring the tables of the database (or of the data folder) up to date and stop.
    Migrate(Overrides),
    /// Look at the settings.
    #[command(subcommand)]
    Config(ConfigCommand),
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Say whether the settings can be used.
    Check(Overrides),
    /// Show every setting with its value, form and meaning.
    Show(Overrides),
}

pub(crate) fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    match cli.command {
        Command::Serve(overrides) => commands::serve::run(&overrides),
        Command::Demo(overrides) => commands::demo::run(&overrides),
        Command::Migrate(overrides) => commands::migrate::run(&overrides),
        Command::Config(ConfigCommand::Check(overrides)) => commands::config::check(&overrides),
        Command::Config(ConfigCommand::Show(overrides)) => commands::config::show(&overrides),
    }
}
