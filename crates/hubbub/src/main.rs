//! The binary: commands, settings, wiring, shutdown.
//!
//! Owns: clap, the table of settings, the one place where rooms are put together ([`compose`]), signals.
//!
//! Never: a rule, a query, a frame. If a decision is needed here, a room is missing something.
//!
//! Start reading at `compose.rs`: it is the whole program from top to bottom.

mod advice;
mod cli;
mod commands;
mod compose;
mod sabotage;
mod settings;
mod shutdown;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    // Before anything opens a TLS connection; a second provider in the process would make the first handshake panic.
    if rustls::crypto::ring::default_provider()
        .install_default()
        .is_err()
    {
        return failure("a TLS provider is already installed");
    }
    match cli::run(cli::Cli::parse()) {
        Ok(code) => code,
        Err(error) => failure(&advice::sentence(error.as_ref())),
    }
}

#[expect(
    clippy::print_stderr,
    reason = "the last word of a command that failed"
)]
fn failure(sentence: &str) -> ExitCode {
    eprintln!("hubbub: {sentence}");
    ExitCode::FAILURE
}
