//! `marmoset bench peers`: the same commands through other tools of this machine.
//!
//! Owns how each of them is called, and with which settings. What is not installed
//! is told as absent, with the way to get it. The bare loop is the floor.

use std::{
    fmt::Write as _,
    fs::{self, File},
    num::NonZeroU64,
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail, ensure};
use marmoset_executor::floor::floor;
use marmoset_proto::{
    marmoset::v1::{Output, output::Target},
    mesos::v1::CommandInfo,
    resources::{Millis, Need},
};
use marmoset_scheduler::{Items, JobSpec, run_traced};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::{number, site::Site};
use crate::{
    args::PeersArgs,
    exit::Ending,
    folder::Temporary,
    interrupt::Interrupts,
    logging::{self, Wanted},
    output,
    report::number as digits,
    run::{self, Screen},
};

/// Commands within `marmoset bench compare`.
pub(super) const USUAL: NonZeroU64 = NonZeroU64::new(10_000).expect("not zero");

/// What each command holds: what `marmoset run` gives it by default.
const NEED: Need =
    Need { cpus: Millis(100), mem: Millis(16_000), disk: Millis(0), gpus: Millis(0), ports: 0 };

/// What is run: nothing can be shorter.
const PROGRAM: &str = "/bin/true";

/// Processors that HyperQueue's worker is told, beside the real number: it may be better with more.
const HQ_CPUS: [usize; 2] = [8, 64];

/// How long HyperQueue's server and worker may take to start.
const HQ_PATIENCE: Duration = Duration::from_secs(20);

/// One way to run the commands.
#[derive(Debug, Clone, PartialEq)]
struct Row {
    id: &'static str,
    name: String,
    outcome: Outcome,
}

#[derive(Debug, Clone, PartialEq)]
enum Outcome {
    Took(Duration),
    Absent { advice: String },
}

/// Measures and prints.
///
/// # Errors
/// A process cannot be started, or the embedded cluster fails.
pub(super) fn perform(args: &PeersArgs) -> anyhow::Result<Ending> {
    let screen = Screen::without_progress();
    logging::start(&screen, Wanted::Warnings);
    let runtime = tokio::runtime::Runtime::new().context("cannot start the runtime")?;
    runtime.block_on(async {
        let interrupts = Interrupts::listen(|| {}, || {})?;
        let doc = measure(args.count, &screen, &interrupts).await;
        if let Some(signal) = interrupts.signal() {
            return Ok(Ending::Interrupted { signal });
        }
        let doc = doc?;
        if args.json {
            output::print(format_args!("{doc}"));
        } else {
            output::print(format_args!("{}", text(&doc)));
        }
        Ok(Ending::Good)
    })
}

/// Measures all of them, one after the other.
///
/// # Errors
/// As [`perform`].
pub(super) async fn measure(
    count: NonZeroU64,
    screen: &Screen,
    interrupts: &Interrupts,
) -> anyhow::Result<Value> {
    let processors = thread::available_parallelism().map_or(1, usize::from);
    let folder = Temporary::fast()?;
    let lines = folder.path().join("lines");
    let numbers: String = (0..count.get()).map(|number| format!("{number}\n")).collect();
    fs::write(&lines, numbers).context("cannot write the input of xargs and parallel")?;
    let mut rows = Vec::new();
    let mut add = |row: Row| -> anyhow::Result<()> {
        if interrupts.signal().is_some() {
            bail!("interrupted");
        }
        match &row.outcome {
            Outcome::Took(span) => screen.say(format_args!(
                "{}: {} a second",
                row.name,
                digits(count.get() as f64 / span.as_secs_f64())
            )),
            Outcome::Absent { advice } => {
                screen.say(format_args!("{}: absent: {advice}", row.name))
            }
        }
        rows.push(row);
        Ok(())
    };
    let loops = usize::try_from(count.get()).context("`--count` is too large")?;
    let result = floor(processors, loops, false).context("the bare loop")?;
    let name = format!("bare loop, {processors} threads");
    add(Row { id: "floor", name, outcome: Outcome::Took(result.elapsed) })?;
    for (id, name, output) in [
        ("marmoset", "marmoset run, batches, on mini", Output::default()),
        ("marmoset-null", "the same, output to /dev/null", null()),
    ] {
        let span = ours(count, output, interrupts).await?;
        add(Row { id, name: name.to_owned(), outcome: Outcome::Took(span) })?;
    }
    add(xargs(&lines, processors)?)?;
    add(hyperqueue(count, processors, folder.path())?)?;
    add(parallel(&lines, processors)?)?;
    Ok(document(count, processors, &rows))
}

/// No files, as HyperQueue is told to write none.
fn null() -> Output {
    let target = Some(Target::Null.into());
    Output { stdout: target, stderr: target, ..Output::default() }
}

/// The whole path, from SUBSCRIBE to the last end.
async fn ours(
    count: NonZeroU64,
    output: Output,
    interrupts: &Interrupts,
) -> anyhow::Result<Duration> {
    let site = Site::embedded(run::own_user()?, &[], &[]).await?;
    let command = CommandInfo {
        shell: Some(false),
        value: Some(PROGRAM.to_owned()),
        arguments: vec![PROGRAM.to_owned()],
        ..CommandInfo::default()
    };
    let spec = JobSpec {
        need: NEED,
        output,
        ..JobSpec::new("true", command, Items::Array { count: count.get() })
    };
    // Nobody looks: what is told while it runs is dropped.
    let (events, _) = mpsc::channel(1);
    let ran = run_traced(site.framework("peers"), spec, events, interrupts.token()).await;
    site.shutdown();
    let (summary, _) = ran?;
    ensure!(summary.tasks.finished == count.get(), "only {} finished", summary.tasks.finished);
    Ok(summary.elapsed)
}

fn xargs(lines: &Path, processors: usize) -> anyhow::Result<Row> {
    let name = format!("xargs -P{processors} -n1");
    let outcome = if is_there("xargs", "") {
        let mut command = Command::new("xargs");
        command.args([format!("-P{processors}"), "-n1".to_owned(), PROGRAM.to_owned()]);
        timed(command.stdin(File::open(lines)?))?
    } else {
        Outcome::Absent { advice: "Debian and Ubuntu: apt-get install findutils".to_owned() }
    };
    Ok(Row { id: "xargs", name, outcome })
}

fn parallel(lines: &Path, processors: usize) -> anyhow::Result<Row> {
    let name = format!("GNU parallel -j{processors} -N0");
    // moreutils has another program of this name.
    let outcome = if is_there("parallel", "GNU parallel") {
        let mut command = Command::new("parallel");
        command.args([format!("-j{processors}"), "-N0".to_owned(), PROGRAM.to_owned()]);
        timed(command.stdin(File::open(lines)?))?
    } else {
        Outcome::Absent { advice: "Debian and Ubuntu: apt-get install parallel".to_owned() }
    };
    Ok(Row { id: "parallel", name, outcome })
}

/// Whether a program answers `--version`, with this text in it.
fn is_there(program: &str, text: &str) -> bool {
    let asked = Command::new(program).arg("--version").stdin(Stdio::null()).output();
    asked.is_ok_and(|answer| {
        answer.status.success() && String::from_utf8_lossy(&answer.stdout).contains(text)
    })
}

fn timed(command: &mut Command) -> anyhow::Result<Outcome> {
    let begun = Instant::now();
    let name = command.get_program().to_string_lossy().into_owned();
    let status = command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .with_context(|| name.clone())?;
    let took = begun.elapsed();
    ensure!(status.success(), "`{name}` failed: {status}");
    Ok(Outcome::Took(took))
}

/// One array, without output files; the best of several sizes of the worker counts.
fn hyperqueue(count: NonZeroU64, processors: usize, folder: &Path) -> anyhow::Result<Row> {
    let name = "HyperQueue".to_owned();
    if !is_there("hq", "") {
        let advice = "put `hq` of github.com/It4innovations/hyperqueue/releases into PATH";
        let outcome = Outcome::Absent { advice: advice.to_owned() };
        return Ok(Row { id: "hyperqueue", name, outcome });
    }
    let mut best: Option<(Duration, usize)> = None;
    for cpus in [processors].into_iter().chain(HQ_CPUS) {
        let span = Hyperqueue::start(&folder.join(format!("hq-{cpus}")), cpus)?.run(count)?;
        if best.is_none_or(|(shortest, _)| span < shortest) {
            best = Some((span, cpus));
        }
    }
    let (span, cpus) = best.context("some setting was tried")?;
    let name = format!("{name}, best of several settings: --cpus {cpus}");
    Ok(Row { id: "hyperqueue", name, outcome: Outcome::Took(span) })
}

/// A server and a worker on this machine. Both end when it is dropped.
#[derive(Debug)]
struct Hyperqueue {
    folder: std::path::PathBuf,
    processes: Vec<Child>,
}

impl Hyperqueue {
    fn start(folder: &Path, cpus: usize) -> anyhow::Result<Self> {
        fs::create_dir(folder).context("cannot make a folder for HyperQueue")?;
        let mut hq = Self { folder: folder.to_owned(), processes: Vec::new() };
        hq.spawn(&["server", "start", "--host=127.0.0.1"])?;
        hq.await_success(&["server", "info"])?;
        hq.spawn(&["worker", "start", &format!("--cpus={cpus}")])?;
        hq.await_success(&["worker", "wait", "1"])?;
        Ok(hq)
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new("hq");
        command
            .arg(format!("--server-dir={}", self.folder.display()))
            .args(words)
            .current_dir(&self.folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command
    }

    fn spawn(&mut self, words: &[&str]) -> anyhow::Result<()> {
        let child = self.command(words).spawn().context("cannot start `hq`")?;
        self.processes.push(child);
        Ok(())
    }

    /// Repeats a command until it succeeds.
    fn await_success(&self, words: &[&str]) -> anyhow::Result<()> {
        let deadline = Instant::now() + HQ_PATIENCE;
        while !self.command(words).status().context("cannot start `hq`")?.success() {
            ensure!(Instant::now() < deadline, "`hq {}` does not succeed", words.join(" "));
            thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    fn run(self, count: NonZeroU64) -> anyhow::Result<Duration> {
        let array = format!("--array=1-{count}");
        let mut command = self.command(&[
            "submit",
            &array,
            "--stdout=none",
            "--stderr=none",
            "--wait",
            "--",
            PROGRAM,
        ]);
        let begun = Instant::now();
        let status = command.status().context("cannot start `hq`")?;
        let took = begun.elapsed();
        ensure!(status.success(), "`hq submit` failed: {status}");
        Ok(took)
    }
}

impl Drop for Hyperqueue {
    fn drop(&mut self) {
        // The worker ends with the server; what does not is killed.
        let _ = self.command(&["server", "stop"]).status();
        let deadline = Instant::now() + Duration::from_secs(5);
        for child in &mut self.processes {
            while matches!(child.try_wait(), Ok(None)) && Instant::now() < deadline {
                thread::sleep(Duration::from_millis(20));
            }
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn document(count: NonZeroU64, processors: usize, rows: &[Row]) -> Value {
    let rate = |row: &Row| match &row.outcome {
        Outcome::Took(span) => Some(count.get() as f64 / span.as_secs_f64()),
        Outcome::Absent { .. } => None,
    };
    let of = |id: &str| rows.iter().find(|row| row.id == id).and_then(rate);
    let (floor, ours) = (of("floor"), of("marmoset"));
    json!({
        "command": [PROGRAM],
        "count": count,
        "processors": processors,
        "rows": rows.iter().map(|row| match &row.outcome {
            Outcome::Absent { advice } => json!({
                "id": row.id, "name": row.name, "absent": advice,
            }),
            Outcome::Took(span) => {
                let ratio = |other: Option<f64>| Some(number(rate(row)? / other?));
                json!({
                    "id": row.id,
                    "name": row.name,
                    "seconds": number(span.as_secs_f64()),
                    "per_second": rate(row).map(number),
                    "of_floor": ratio(floor),
                    "marmoset_over_it": ours.zip(rate(row)).map(|(ours, rate)| number(ours / rate)),
                })
            }
        }).collect::<Vec<_>>(),
    })
}

/// The rows for people.
pub(super) fn text(doc: &Value) -> String {
    let mut text = format!(
        "{:<52} {:>9} {:>10} {:>9} {:>11}",
        format!("{PROGRAM}, {} times", doc["count"]),
        "seconds",
        "a second",
        "of floor",
        "marmoset ×"
    );
    for row in doc["rows"].as_array().map(Vec::as_slice).unwrap_or_default() {
        let name = row["name"].as_str().unwrap_or_default();
        if let Some(advice) = row["absent"].as_str() {
            let _ = write!(text, "\n{name:<52} absent: {advice}");
            continue;
        }
        let figure = |key: &str| digits(row[key].as_f64().unwrap_or_default());
        let _ = write!(
            text,
            "\n{name:<52} {:>9} {:>10} {:>9} {:>11}",
            figure("seconds"),
            figure("per_second"),
            figure("of_floor"),
            figure("marmoset_over_it"),
        );
    }
    text.push_str("\n(marmoset ×: how many times its rate `marmoset run, batches, on mini` has, in this same run)");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows() -> Vec<Row> {
        let took = |millis| Outcome::Took(Duration::from_millis(millis));
        let absent = Outcome::Absent { advice: "get it".to_owned() };
        [
            ("floor", took(1000)),
            ("marmoset", took(1250)),
            ("xargs", took(2500)),
            ("parallel", absent),
        ]
        .into_iter()
        .map(|(id, outcome)| Row { id, name: id.to_owned(), outcome })
        .collect()
    }

    #[test]
    fn ratios_are_to_the_floor_and_to_ours() {
        let doc = document(NonZeroU64::new(2000).unwrap(), 2, &rows());
        assert_eq!(doc["rows"][1]["of_floor"], 0.8);
        assert_eq!(doc["rows"][2]["marmoset_over_it"], 2.0);
        assert_eq!(doc["rows"][3]["absent"], "get it");
        let text = text(&doc);
        assert!(text.contains("absent: get it") && text.contains("0.80"), "{text}");
    }

    #[test]
    fn programs_are_known_by_what_they_say() {
        assert!(!is_there("/no/such/program", ""));
        assert!(!is_there("/bin/true", "GNU parallel of another world"));
    }
}
