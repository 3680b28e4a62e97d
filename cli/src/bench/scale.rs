//! `marmoset bench scale`: how the control plane grows with agents and with tasks.
//!
//! Owns the points, and what they amount to: a slope. Each point is one
//! `marmoset run` as a process of its own, so that its memory is that of this job
//! and of nothing before it, against a master whose agents are
//! [`simulated`]. Real executors are measured by the other benches.

pub(super) mod simulated;

use std::{
    fmt::Write as _,
    fs,
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use anyhow::{Context as _, bail, ensure};
use serde_json::{Value, json};

use super::{
    number,
    site::Mini,
    stats::log_slope,
    usage::{self, processor_time},
};
use crate::{
    args::ScaleArgs,
    exit::Ending,
    folder::Temporary,
    interrupt::Interrupts,
    logging::{self, Wanted},
    output,
    report::number as digits,
    run::{Screen, embedded},
};

/// How far the points go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Range {
    /// Half a minute.
    Usual,
    /// To 1000 agents and a million tasks.
    Full,
}

impl Range {
    fn agents(self) -> &'static [u32] {
        match self {
            Self::Usual | Self::Full => &[1, 10, 100, 1000],
        }
    }

    fn tasks(self) -> &'static [u64] {
        match self {
            Self::Usual => &[1_000, 10_000, 100_000],
            Self::Full => &[1_000, 10_000, 100_000, 1_000_000],
        }
    }

    /// Tasks while the agents vary.
    fn tasks_for_agents(self) -> u64 {
        match self {
            Self::Usual => 100_000,
            Self::Full => 1_000_000,
        }
    }
}

/// Agents while the tasks vary.
const AGENTS_FOR_TASKS: u32 = 10;

/// Measures and prints.
///
/// # Errors
/// A process does not start, or tasks do not finish.
pub(super) fn perform(args: &ScaleArgs) -> anyhow::Result<Ending> {
    let screen = Screen::without_progress();
    logging::start(&screen, Wanted::Warnings);
    let runtime = tokio::runtime::Runtime::new().context("cannot start the runtime")?;
    runtime.block_on(async {
        let interrupts = Interrupts::listen(|| {}, || {})?;
        let range = if args.full { Range::Full } else { Range::Usual };
        let doc = measure(range, &screen, &interrupts).await;
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

/// Measures all points.
///
/// # Errors
/// As [`perform`].
pub(super) async fn measure(
    range: Range,
    screen: &Screen,
    interrupts: &Interrupts,
) -> anyhow::Result<Value> {
    let mut by_agents = Vec::new();
    for agents in range.agents() {
        by_agents.push(told(*agents, range.tasks_for_agents(), screen, interrupts).await?);
    }
    let mut by_tasks = Vec::new();
    for tasks in range.tasks() {
        by_tasks.push(told(AGENTS_FOR_TASKS, *tasks, screen, interrupts).await?);
    }
    Ok(document(&by_agents, &by_tasks))
}

async fn told(
    agents: u32,
    tasks: u64,
    screen: &Screen,
    interrupts: &Interrupts,
) -> anyhow::Result<Point> {
    // It waits for processes: not on a thread that others need.
    let point = tokio::task::spawn_blocking(move || Point::measure(agents, tasks)).await?;
    if interrupts.signal().is_some() {
        bail!("interrupted");
    }
    let point = point.with_context(|| format!("{agents} agents, {tasks} tasks"))?;
    screen.say(format_args!(
        "{agents} simulated agents, {tasks} tasks: {} a second",
        digits(point.per_second())
    ));
    Ok(point)
}

/// One job on one cluster.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Point {
    agents: u32,
    tasks: u64,
    seconds: f64,
    mesos_tasks: u64,
    /// Processor time of `marmoset run`.
    scheduler: Duration,
    /// Processor time of the embedded master and the simulated agents.
    cluster: Duration,
    /// The most memory of `marmoset run`, in bytes.
    scheduler_peak: u64,
    cluster_peak: u64,
}

impl Point {
    fn measure(agents: u32, tasks: u64) -> anyhow::Result<Self> {
        let cluster = Mini::start_in(
            Temporary::fast()?,
            &["bench", "simulated-cluster"],
            &[format!("--agents={agents}")],
        )?;
        let before = processor_time(cluster.pid()).unwrap_or_default();
        let run = Command::new(embedded::own_program()?)
            .args(["run", "--json", "--cpus", "1", "--master", &cluster.master])
            .args(["--count", &tasks.to_string(), "--", "/bin/true"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .context("cannot start `marmoset run`")?;
        let (scheduler, scheduler_peak, summary) = watched(run)?;
        ensure!(
            summary["tasks"]["finished"].as_u64() == Some(tasks),
            "not all tasks finished: {summary}"
        );
        Ok(Self {
            agents,
            tasks,
            seconds: summary["seconds"].as_f64().unwrap_or_default(),
            mesos_tasks: summary["mesos_tasks"].as_u64().unwrap_or_default(),
            scheduler,
            cluster: processor_time(cluster.pid()).unwrap_or_default().saturating_sub(before),
            scheduler_peak,
            cluster_peak: usage::peak(&cluster.pid().to_string()),
        })
    }

    fn per_second(&self) -> f64 {
        if self.seconds > 0.0 { self.tasks as f64 / self.seconds } else { 0.0 }
    }

    fn document(&self) -> Value {
        let per_task = |span: Duration| number(span.as_secs_f64() * 1e6 / self.tasks as f64);
        json!({
            "agents": self.agents,
            "tasks": self.tasks,
            "seconds": number(self.seconds),
            "per_second": number(self.per_second()),
            "mesos_tasks": self.mesos_tasks,
            "cpu_us_per_task": {
                "scheduler": per_task(self.scheduler),
                "cluster": per_task(self.cluster),
            },
            "peak_mb": {
                "scheduler": number(self.scheduler_peak as f64 / 1e6),
                "cluster": number(self.cluster_peak as f64 / 1e6),
            },
        })
    }
}

/// Waits for a `marmoset run`; yields its processor time, its most memory, and what it printed.
fn watched(mut run: Child) -> anyhow::Result<(Duration, u64, Value)> {
    let pid = i32::try_from(run.id()).context("a process id fits")?;
    let mut peak = 0;
    // A zombie still tells its processor time, but no memory: that is looked at while it runs.
    while !ended(pid) {
        peak = peak.max(usage::peak(&pid.to_string()));
        thread::sleep(Duration::from_millis(5));
    }
    let time = processor_time(pid).unwrap_or_default();
    let mut printed = String::new();
    if let Some(mut stdout) = run.stdout.take() {
        std::io::Read::read_to_string(&mut stdout, &mut printed)
            .context("cannot read what `marmoset run` printed")?;
    }
    let status = run.wait().context("cannot wait for `marmoset run`")?;
    ensure!(status.success(), "`marmoset run` failed: {status}");
    let summary = serde_json::from_str(&printed).context("`marmoset run` printed no JSON")?;
    Ok((time, peak, summary))
}

/// Whether a child is a zombie by now, or gone.
fn ended(pid: i32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat"))
        .ok()
        .and_then(|stat| stat.rsplit_once(") ").map(|(_, rest)| rest.starts_with(['Z', 'X'])))
        .unwrap_or(true)
}

fn document(by_agents: &[Point], by_tasks: &[Point]) -> Value {
    let slope = |points: &[Point], x: fn(&Point) -> f64, y: fn(&Point) -> f64| {
        let points: Vec<(f64, f64)> = points.iter().map(|point| (x(point), y(point))).collect();
        log_slope(&points).map(number)
    };
    // The first points are shorter than a subscription takes: they say nothing of a slope.
    let long: Vec<Point> = by_tasks.iter().copied().filter(|point| point.tasks >= 10_000).collect();
    json!({
        "by_agents": by_agents.iter().map(Point::document).collect::<Vec<_>>(),
        "by_tasks": by_tasks.iter().map(Point::document).collect::<Vec<_>>(),
        "slopes": {
            "seconds_by_tasks": slope(&long, |point| point.tasks as f64, |point| point.seconds),
            "scheduler_cpu_by_tasks":
                slope(&long, |point| point.tasks as f64, |point| point.scheduler.as_secs_f64()),
            "scheduler_memory_by_tasks":
                slope(&long, |point| point.tasks as f64, |point| point.scheduler_peak as f64),
            "per_second_by_agents": slope(by_agents, |point| point.agents.into(), Point::per_second),
        },
    })
}

/// The points for people.
pub(super) fn text(doc: &Value) -> String {
    let mut text = String::from(
        "simulated agents, no executors: `marmoset run` and the embedded master alone\n\
         \u{20} agents    tasks   seconds   a second  Mesos tasks  scheduler µs, MB     master µs, MB",
    );
    for key in ["by_agents", "by_tasks"] {
        for point in doc[key].as_array().map(Vec::as_slice).unwrap_or_default() {
            let figure = |value: &Value| digits(value.as_f64().unwrap_or_default());
            let _ = write!(
                text,
                "\n{:>8} {:>8} {:>9} {:>10} {:>12} {:>9} {:>8} {:>8} {:>8}",
                point["agents"],
                point["tasks"],
                figure(&point["seconds"]),
                figure(&point["per_second"]),
                point["mesos_tasks"],
                figure(&point["cpu_us_per_task"]["scheduler"]),
                figure(&point["peak_mb"]["scheduler"]),
                figure(&point["cpu_us_per_task"]["cluster"]),
                figure(&point["peak_mb"]["cluster"]),
            );
        }
    }
    let slope = |key: &str| digits(doc["slopes"][key].as_f64().unwrap_or_default());
    let _ = write!(
        text,
        "\nslopes (1: linear, 0: flat): time by tasks {}, scheduler's processor time by tasks {}, \
         its memory by tasks {}",
        slope("seconds_by_tasks"),
        slope("scheduler_cpu_by_tasks"),
        slope("scheduler_memory_by_tasks"),
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(tasks: u64, seconds: f64) -> Point {
        Point {
            agents: 10,
            tasks,
            seconds,
            mesos_tasks: 5,
            scheduler: Duration::from_micros(tasks),
            cluster: Duration::ZERO,
            scheduler_peak: 20_000_000,
            cluster_peak: 30_000_000,
        }
    }

    #[test]
    fn slopes_leave_the_start_out() {
        let points = [point(1_000, 0.9), point(10_000, 1.0), point(100_000, 10.0)];
        let doc = document(&points, &points);
        assert_eq!(doc["slopes"]["seconds_by_tasks"], 1.0);
        assert_eq!(doc["slopes"]["scheduler_memory_by_tasks"], 0.0);
        assert_eq!(doc["by_tasks"][1]["cpu_us_per_task"]["scheduler"], 1.0);
        assert!(text(&doc).contains("time by tasks 1.00"), "{}", text(&doc));
    }

    #[test]
    fn a_child_that_ended_is_seen() {
        let mut child = Command::new("/bin/true").spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        while !ended(pid) {
            thread::sleep(Duration::from_millis(1));
        }
        child.wait().unwrap();
        assert!(ended(pid));
    }
}
