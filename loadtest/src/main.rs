//! Load and benchmarks: real parts, started here, measured against floors of the same run.
//!
//! Owns: the scenarios ([`bench`]), the parts they run on ([`parts`]), the clients that make the load ([`load`]), the bare server that they
//! are compared with ([`floor`]), the report ([`report`]).
//!
//! Never: a figure without the floor or the processor time beside it; a run that counts although a message was lost, doubled or out of
//! order; a wall-clock assertion.
//!
//! Start reading at [`bench`].

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command-line program: figures on standard output, progress on standard error"
)]

mod bench;
mod floor;
mod load;
mod parts;
mod report;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(
    name = "hubbub-loadtest",
    about = "Load and benchmarks for Hubbub",
    version
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start the parts, measure floors and scenarios, print one JSON line per result and a table.
    Bench(bench::Options),
    /// The bare server behind the socket floor.
    #[command(hide = true)]
    SocketFloor(floor::Options),
}

fn main() -> ExitCode {
    let ended = match Cli::parse().command {
        Command::Bench(options) => bench::run(&options),
        Command::SocketFloor(options) => floor::run(&options),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("hubbub-loadtest: {error:#}");
            ExitCode::FAILURE
        }
    }
}
