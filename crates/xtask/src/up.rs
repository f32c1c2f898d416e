//! `cargo xtask up`: the whole chat on this machine, in the foreground.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context, bail};
use clap::Args;

use crate::runner::Runner;
use crate::steps::Steps;
use crate::tools::node::Node;
use crate::{cargo, web, workspace};

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Address and port to serve on.
    #[arg(long, default_value = "127.0.0.1:8080")]
    listen: SocketAddr,

    /// Where accounts and messages are kept [default: target/up-data].
    #[arg(long)]
    data_dir: Option<PathBuf>,

    /// Further arguments of `hubbub serve`, after `--`.
    #[arg(last = true)]
    more: Vec<String>,
}

const STEPS: usize = 2;

pub(crate) fn run(runner: &mut Runner, options: &Options) -> anyhow::Result<ExitCode> {
    let node = Node::find()?;
    let mut steps = Steps::new(STEPS);
    let built = steps.step("web client", || {
        web::install_if_needed(runner, &node)?;
        web::script(runner, &node, "build")
    }) && steps.commands(
        runner,
        "server (the first build takes minutes)",
        [cargo::build_server()],
    );
    if !built {
        bail!("not everything could be built");
    }
    let data_dir = match &options.data_dir {
        Some(given) => {
            std::path::absolute(given).with_context(|| format!("find {}", given.display()))?
        }
        None => workspace::target().join("up-data"),
    };
    std::fs::create_dir_all(&data_dir).with_context(|| format!("make {}", data_dir.display()))?;
    println!(
        "==> http://{} (data in {}; Ctrl-C ends it)",
        options.listen,
        data_dir.display()
    );
    let mut serve = Command::new(workspace::server_binary());
    serve
        .arg("serve")
        .args(["--listen", &options.listen.to_string(), "--data-dir"])
        .arg(&data_dir)
        .args(&options.more)
        .current_dir(workspace::root());
    let status = runner.run_until_interrupted(&mut serve)?;
    if status.success() || runner.was_interrupted() {
        return Ok(ExitCode::SUCCESS);
    }
    bail!("the server ended by itself: {status}")
}
