//! `cargo xtask types`: the client protocol's TypeScript types, generated from `crates/wire`.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::{ExitCode, Stdio};

use anyhow::{Context, bail};
use clap::Args;

use crate::cargo::cargo;
use crate::runner::Runner;
use crate::workspace;

/// Differing lines that a failed check shows: enough to see what changed.
const DIFFERENCES_SHOWN: usize = 20;

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Write nothing; fail when the file differs from what would be written.
    #[arg(long)]
    check: bool,
}

pub(crate) fn run(_runner: &mut Runner, options: &Options) -> anyhow::Result<ExitCode> {
    if options.check {
        check()?;
        println!("{} is up to date", path().display());
        return Ok(ExitCode::SUCCESS);
    }
    let path = path();
    let generated = generate()?;
    if std::fs::read_to_string(&path).is_ok_and(|existing| existing == generated) {
        println!("{} is up to date", path.display());
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory)
            .with_context(|| format!("make {}", directory.display()))?;
    }
    std::fs::write(&path, generated).with_context(|| format!("write {}", path.display()))?;
    println!("wrote {}", path.display());
    Ok(ExitCode::SUCCESS)
}

/// Compares the committed file with what `crates/wire` would write now.
pub(crate) fn check() -> anyhow::Result<()> {
    let path = path();
    let generated = generate()?;
    let existing =
        std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    if existing == generated {
        return Ok(());
    }
    bail!(
        "{} differs from crates/wire; run `cargo xtask types` and commit the result\n{}",
        path.display(),
        differences(&existing, &generated)
    )
}

fn path() -> PathBuf {
    workspace::web()
        .join("src")
        .join("wire")
        .join("frames.gen.ts")
}

fn generate() -> anyhow::Result<String> {
    let output = cargo(&[
        "run",
        "--quiet",
        "--package",
        "hubbub-wire",
        "--example",
        "types",
    ])
    .stdin(Stdio::null())
    .stderr(Stdio::inherit())
    .output()
    .context("run the example `types` of hubbub-wire")?;
    if !output.status.success() {
        bail!("the example `types` of hubbub-wire: {}", output.status);
    }
    let generated = String::from_utf8(output.stdout).context("the types are not UTF-8")?;
    if generated.trim().is_empty() {
        bail!("the example `types` of hubbub-wire printed nothing");
    }
    Ok(generated)
}

/// The lines that only one of the two texts has, in order: `-` for the file, `+` for what it should say.
fn differences(existing: &str, generated: &str) -> String {
    let only_in = |sign: char, text: &str, other: &str| -> Vec<String> {
        let known: std::collections::HashSet<&str> = other.lines().collect();
        let alone = text.lines().filter(|line| !known.contains(line));
        alone.map(|line| format!("{sign} {line}")).collect()
    };
    let mut lines = only_in('-', existing, generated);
    lines.extend(only_in('+', generated, existing));
    if lines.is_empty() {
        return "the same lines in another order".to_owned();
    }
    let hidden = lines.len().saturating_sub(DIFFERENCES_SHOWN);
    lines.truncate(DIFFERENCES_SHOWN);
    let mut text = lines.join("\n");
    if hidden > 0 {
        let _infallible = write!(text, "\n… and {hidden} more");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_shows_what_to_take_away_and_what_to_add() {
        assert_eq!(differences("a\nb\n", "a\nc\n"), "- b\n+ c");
        assert_eq!(
            differences("a\nb\n", "b\na\n"),
            "the same lines in another order"
        );
        let long: String = "line\n".repeat(50);
        assert!(differences("", &long).ends_with("… and 30 more"));
    }
}
