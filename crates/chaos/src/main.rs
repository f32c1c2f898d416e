//! The program behind `cargo xtask chaos`: runs rows of the fault matrix one after the other and says how each ended.
//!
//! Never: a process left behind. Rows own what they start and end it by process id when they are dropped: at their end, after
//! a panic, and when a signal ends the program.
//!
//! Start reading at [`run_rows`].

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command-line tool talks to whoever runs it"
)]

use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail, ensure};
use clap::Parser;
use futures_util::FutureExt as _;
use hubbub_chaos::faults;
use hubbub_chaos::progress::Progress;
use hubbub_chaos::report::proof::{Circumstances, page};
use hubbub_chaos::report::{runs, table, word};
use hubbub_chaos::row::{Ending, Fault, RowReport};
use hubbub_chaos::scene::Bench;
use hubbub_testkit::fresh_uuid;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::signal::unix::{SignalKind, signal};

/// Open files that the largest row needs: a socket is one here and one in a node.
const OPEN_FILES: u64 = 20_000;
/// Threads of the harness: it shares the machine with what it measures.
const THREADS: usize = 4;
/// After this a row that has not ended is void; the longest one takes about half of it.
const ROW_DEADLINE: Duration = Duration::from_mins(15);
/// By how much times are stretched on a machine whose speed nobody knows.
const PATIENCE_ON_ANY_MACHINE: u64 = 3;

/// Breaks a cluster on purpose and judges what it did.
#[derive(Debug, Parser)]
#[command(name = "hubbub-chaos")]
struct Options {
    /// Rows to run, for example F1,F5; all of them without it.
    #[arg(long, value_delimiter = ',')]
    fault: Vec<String>,
    /// How long a fault lasts that can last, in minutes.
    #[arg(long)]
    minutes: Option<f64>,
    /// Repeats a run.
    #[arg(long)]
    seed: Option<u64>,
    /// The rows and sizes of a build machine.
    #[arg(long)]
    short: bool,
    /// Things a second, instead of what each row chooses.
    #[arg(long)]
    rate: Option<f64>,
    /// The server under test, built with `--features fault-injection`.
    #[arg(long)]
    server: PathBuf,
    /// The server of the previous revision.
    #[arg(long)]
    old_server: Option<PathBuf>,
    /// Where JSON lines are appended.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Where the page with the figures goes.
    #[arg(long)]
    proof: Option<PathBuf>,
    /// Runs nothing: writes the page from JSON lines of earlier runs, the last two seeds of each row.
    #[arg(long)]
    from: Option<PathBuf>,
    /// Goes on with a matrix that was stopped: rows that `--json` has of this seed, size, revision and profile are not run again.
    #[arg(long, requires = "seed", requires = "json")]
    resume: bool,
    /// Why a row is above a limit, for the page, for example `F12=a third of all partitions changes hands at once`.
    #[arg(long, value_parser = cause)]
    cause: Vec<(String, String)>,
    /// Profile that the servers and this program were built with, for the page.
    #[arg(long, default_value = "unknown")]
    profile: String,
    /// Fails when a promise is broken or nothing was shown, not when a figure is above its limit: for machines whose speed nobody knows.
    /// The time in which things must be whole again is stretched, too.
    #[arg(long)]
    any_machine: bool,
    /// Revision of the source, for the page.
    #[arg(long, default_value = "unknown")]
    revision: String,
    /// Where the words of broken runs are kept.
    #[arg(long)]
    keep: PathBuf,
}

fn main() -> ExitCode {
    let options = Options::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(THREADS)
        .enable_all()
        .build();
    let outcome = runtime
        .context("start a runtime")
        .and_then(|runtime| runtime.block_on(run(options)));
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Everything, until it is done or a signal ends it. `true`: every row passed.
async fn run(options: Options) -> anyhow::Result<bool> {
    raise_open_files();
    leave_no_cores();
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    // In a task of its own, so that rows may block their thread while others go on.
    let mut rows = tokio::spawn(run_rows(options));
    tokio::select! {
        done = &mut rows => done.context("a row panicked")?,
        _signal = interrupt.recv() => stop(rows).await,
        _signal = terminate.recv() => stop(rows).await,
    }
}

async fn stop(rows: tokio::task::JoinHandle<anyhow::Result<bool>>) -> anyhow::Result<bool> {
    eprintln!("==> interrupted: end everything");
    rows.abort();
    // Everything that ran is dropped, and with that ended, when this returns.
    let _aborted = rows.await;
    bail!("interrupted")
}

async fn run_rows(options: Options) -> anyhow::Result<bool> {
    if let Some(lines) = &options.from {
        let reports = shown_of(lines)?;
        println!("{}", table(&reports));
        write_proof(&options, &reports).await?;
        return Ok(reports.iter().all(|report| report.ending == Ending::Passed));
    }
    let directory = tempfile::Builder::new().prefix("hubbub-chaos-").tempdir()?;
    let binary = private_copy(&options.server, directory.path(), "hubbub")?;
    let old_binary = options
        .old_server
        .as_ref()
        .map(|old| private_copy(old, directory.path(), "hubbub-old"))
        .transpose()?;
    std::fs::create_dir_all(&options.keep)?;
    let mut rows = chosen(&options)?;
    let bench = Bench {
        binary,
        old_binary,
        seed: options
            .seed
            .unwrap_or_else(|| fresh_uuid().as_u64_pair().1 >> 12),
        short: options.short,
        revision: options.revision.clone(),
        profile: options.profile.clone(),
        patience: if options.any_machine {
            PATIENCE_ON_ANY_MACHINE
        } else {
            1
        },
        minutes: options.minutes,
        rate: options.rate,
        keep: options.keep.clone(),
        progress: Progress::default(),
    };
    println!("seed: {}", bench.seed);
    let before = match &options.json {
        Some(path) if options.resume => runs::read(path)?,
        _anew => Vec::new(),
    };
    let mut reports = Vec::with_capacity(rows.len());
    let count = rows.len();
    for (n, row) in rows.iter_mut().enumerate() {
        if let Some(done) = runs::done_before(&before, row.id(), &bench) {
            eprintln!("==> {} was run before", row.id());
            reports.push(done.clone());
            continue;
        }
        let title = format!("{} {}", row.id(), row.name());
        bench.progress.begin(n, count, &title);
        let report = run_row(row.as_mut(), &bench).await;
        let line = serde_json::to_string(&report)?;
        println!("{line}");
        if let Some(path) = &options.json {
            append(path, &line)?;
        }
        let took_s = report.took_s;
        eprintln!(
            "==> {}: {} after {took_s:.0} s",
            row.id(),
            word(report.ending)
        );
        reports.push(report);
    }
    println!("\n{}", table(&reports));
    // With the runs of another seed beside it, when there are any.
    match &options.json {
        Some(path) => write_proof(&options, &shown_of(path)?).await?,
        None => write_proof(&options, &reports).await?,
    }
    Ok(reports.iter().all(|report| match report.ending {
        Ending::Passed => true,
        Ending::Slow => options.any_machine,
        Ending::Broken | Ending::Void => false,
    }))
}

/// One row. Whatever becomes of it, the next one gets its turn: a row that fails, panics or does not end is void.
async fn run_row(row: &mut dyn Fault, bench: &Bench) -> RowReport {
    let began = tokio::time::Instant::now();
    let load_before = load_average();
    let patience = ROW_DEADLINE + Duration::from_secs_f64(bench.minutes.unwrap_or(0.0) * 60.0);
    let running = AssertUnwindSafe(tokio::time::timeout(patience, row.run(bench)));
    let outcome = match running.catch_unwind().await {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(_elapsed)) => Err(anyhow!("it did not end within {} s", patience.as_secs())),
        Err(_panic) => Err(anyhow!("the harness panicked; its words stand above")),
    };
    let mut report = outcome.unwrap_or_else(|error| RowReport::void(row, bench, &error));
    report.took_s = began.elapsed().as_secs_f64();
    report.load_before = load_before;
    report
}

/// The load average of the last minute; zero when nobody tells.
fn load_average() -> f64 {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let first = text.split(' ').next().unwrap_or_default();
    first.parse().unwrap_or(0.0)
}

/// What a page shows of a file of JSON lines.
fn shown_of(lines: &Path) -> anyhow::Result<Vec<RowReport>> {
    let rows = faults::all();
    let order: Vec<&str> = rows.iter().map(|row| row.id()).collect();
    Ok(runs::shown(&runs::read(lines)?, &order))
}

/// `row=words`.
fn cause(text: &str) -> Result<(String, String), String> {
    let (row, words) = text
        .split_once('=')
        .ok_or("expected a row, `=` and words")?;
    Ok((row.to_owned(), words.to_owned()))
}

async fn write_proof(options: &Options, reports: &[RowReport]) -> anyhow::Result<()> {
    if let Some(path) = &options.proof {
        let circumstances = circumstances(options).await;
        std::fs::write(path, page(&circumstances, reports))
            .with_context(|| format!("write {}", path.display()))?;
    }
    Ok(())
}

fn chosen(options: &Options) -> anyhow::Result<Vec<Box<dyn Fault>>> {
    let all = faults::all();
    for wanted in &options.fault {
        ensure!(
            all.iter().any(|row| row.id().eq_ignore_ascii_case(wanted)),
            "there is no row {wanted}"
        );
    }
    let is_chosen = |row: &dyn Fault| {
        if options.fault.is_empty() {
            !options.short || faults::SHORT.contains(&row.id())
        } else {
            options
                .fault
                .iter()
                .any(|wanted| row.id().eq_ignore_ascii_case(wanted))
        }
    };
    Ok(all
        .into_iter()
        .filter(|row| is_chosen(row.as_ref()))
        .collect())
}

/// Somebody may build the server again while a run lasts.
fn private_copy(binary: &Path, directory: &Path, name: &str) -> anyhow::Result<PathBuf> {
    let copy = directory.join(name);
    std::fs::copy(binary, &copy).with_context(|| format!("copy {}", binary.display()))?;
    Ok(copy)
}

fn append(path: &Path, line: &str) -> anyhow::Result<()> {
    use std::io::Write as _;
    let mut file = std::fs::File::options()
        .create(true)
        .append(true)
        .open(path)
        .with_context(|| format!("open {}", path.display()))?;
    writeln!(file, "{line}").context("write a line")
}

/// Nodes abort themselves hundreds of times: what they would leave behind could fill the disk.
fn leave_no_cores() {
    let none = Rlimit {
        current: Some(0),
        maximum: getrlimit(Resource::Core).maximum,
    };
    if let Err(error) = setrlimit(Resource::Core, none) {
        eprintln!("ended processes may leave cores: {error}");
    }
}

fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= OPEN_FILES) {
        return;
    }
    let raised = Rlimit {
        current: limit
            .maximum
            .map_or(Some(OPEN_FILES), |most| Some(most.min(OPEN_FILES))),
        maximum: limit.maximum,
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        eprintln!("open files stay at {:?}: {error}", limit.current);
    }
}

async fn circumstances(options: &Options) -> Circumstances {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let memory = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let gigabytes = memory
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))
        .and_then(|rest| rest.trim().split(' ').next()?.parse::<u64>().ok())
        .map_or(0, |kilobytes| kilobytes.div_ceil(1024 * 1024));
    let mut versions = Vec::new();
    for (what, program, arguments) in [
        ("", "postgres", ["--version"]),
        ("", "nats-server", ["--version"]),
    ] {
        if let Some(version) = version_of(program, &arguments).await {
            versions.push(format!("{what}{version}"));
        }
    }
    let date = version_of("date", &["-u", "+%Y-%m-%d %H:%M UTC"])
        .await
        .unwrap_or_default();
    Circumstances {
        date,
        versions,
        machine: format!("{cores} cores, {gigabytes} GB of memory, Linux"),
        command: "cargo xtask chaos --seed <seed>".to_owned(),
        causes: options.cause.iter().cloned().collect(),
    }
}

async fn version_of(program: &str, arguments: &[&str]) -> Option<String> {
    let program = match program {
        "postgres" => hubbub_testkit::pg::Binaries::find()?.path("postgres"),
        "nats-server" => PathBuf::from(hubbub_testkit::settings::read(
            hubbub_testkit::settings::NATS_BIN,
        )?),
        other => PathBuf::from(other),
    };
    let output = tokio::process::Command::new(program)
        .args(arguments)
        .output()
        .await
        .ok()?;
    output
        .status
        .success()
        .then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
