//! The sections of the report, from top to bottom.

use std::fmt::Write as _;

use serde_json::Value;

use super::{
    chart::{Bar, Line, Lines, ScaleKind, bars, legend, lines},
    figure::{Cell, escape, estimate, figure, table},
};
use crate::report::number;

fn list<'a>(doc: &'a Value, key: &str) -> &'a [Value] {
    doc[key].as_array().map(Vec::as_slice).unwrap_or_default()
}

/// Sides that took part, each with its place in the document, which is its colour, too.
fn present(doc: &Value) -> Vec<(usize, &Value)> {
    list(doc, "sides").iter().enumerate().filter(|(_, side)| side["absent"].is_null()).collect()
}

fn name(row: &Value) -> String {
    row["name"].as_str().unwrap_or_default().to_owned()
}

fn framed(caption: &str, content: &str) -> String {
    format!("<figure><figcaption>{caption}</figcaption>\n{content}</figure>\n")
}

/// What is compared, where, and what came of it in a sentence.
pub(super) fn heading(doc: &Value) -> String {
    let command: Vec<&str> = list(doc, "command").iter().filter_map(Value::as_str).collect();
    let cluster = &doc["cluster"];
    let is_mini = cluster["kind"] == "mini";
    let mut text = format!(
        "<h1><code>{}</code> through Marmoset and through Mesos’ own executors</h1>\n",
        escape(&command.join(" "))
    );
    let verdicts: Vec<String> = present(doc)
        .into_iter()
        .filter(|(_, side)| !side["ratio"].is_null())
        // What they are compared with, and what runs nothing.
        .filter(|(_, side)| side["id"] != "command" && side["id"] != "null")
        .map(|(index, side)| {
            let ratio = estimate(doc, &format!("/sides/{index}/ratio"));
            format!("{}: <strong>× {ratio}</strong>", escape(&name(side)))
        })
        .collect();
    if !verdicts.is_empty() {
        let whose = if is_mini {
            "mini’s built-in command executor"
        } else {
            "the built-in command executor"
        };
        let _ = write!(text, "<p>Commands a second, as multiples of {whose}:</p><ul>");
        for verdict in verdicts {
            let _ = write!(text, "<li>{verdict}</li>");
        }
        text.push_str("</ul>\n");
    }
    let kind = if is_mini {
        "mini, the embedded cluster of Marmoset: its built-in side is mini’s own command executor, not Mesos’"
    } else {
        "a Mesos cluster"
    };
    let word = |value: &Value| escape(value.as_str().unwrap_or("unknown"));
    let agents = list(cluster, "agents");
    let _ = writeln!(
        text,
        "<dl><dt>cluster</dt><dd>{kind}</dd><dt>version</dt><dd>{}</dd><dt>allocation interval</dt><dd>{}</dd>\
         <dt>agents</dt><dd>{}{}</dd><dt>each command</dt><dd>{} cpus, {} MB</dd><dt>rounds</dt><dd>{}</dd>\
         <dt>marmoset</dt><dd>{}, {} build, on {} processors</dd></dl>",
        word(&cluster["version"]),
        word(&cluster["allocation_interval"]),
        agents.len(),
        agents.first().map_or_else(String::new, |agent| format!(
            ", the first with {} cpus and {} MB",
            agent["cpus"],
            number(agent["mem_mb"].as_f64().unwrap_or_default())
        )),
        figure(doc, "/given/cpus"),
        figure(doc, "/given/mem_mb"),
        figure(doc, "/rounds"),
        word(&doc["marmoset"]),
        word(&doc["machine"]["build"]),
        figure(doc, "/machine/processors"),
    );
    text
}

pub(super) fn rates(doc: &Value) -> String {
    let rows: Vec<Bar> = present(doc)
        .into_iter()
        .map(|(index, side)| {
            let value = |key: &str| side["per_second"][key].as_f64();
            let rate = value("mean").unwrap_or_default();
            let ratio = side["ratio"]["mean"].as_f64().filter(|_| side["id"] != "command");
            Bar {
                name: name(side),
                parts: vec![(rate, index)],
                interval: value("low").zip(value("high")),
                label: match ratio {
                    Some(ratio) => format!("{}/s, × {}", number(rate), number(ratio)),
                    None => format!("{}/s", number(rate)),
                },
            }
        })
        .collect();
    let chart = bars(
        "Commands a second",
        "A bar for each side, with its 95 % interval. The table below has the figures.",
        &rows,
    );
    let columns = [
        ("commands a round", Cell::Figure("/commands_per_round")),
        ("a second (95 %)", Cell::Estimate("/per_second")),
        ("× built-in (95 %)", Cell::Estimate("/ratio")),
        ("failed", Cell::Figure("/failed")),
        ("Mesos tasks a command", Cell::Figure("/mesos_tasks_per_task")),
        ("updates a command", Cell::Figure("/updates_per_task")),
        ("offers a command", Cell::Figure("/offers_per_task")),
    ];
    format!(
        "<h2>Commands a second</h2>\n{}{}",
        framed(
            "All commands of a round over the time from the start of the framework to the last end",
            &chart
        ),
        table(doc, "Rates, and what they cost in messages", "/sides", name, &columns)
    )
}

pub(super) fn latencies(doc: &Value) -> String {
    let chart = |key: &str, title: &str| {
        let all: Vec<Line> = present(doc)
            .into_iter()
            .map(|(index, side)| {
                let values: Vec<f64> = list(side, key).iter().filter_map(Value::as_f64).collect();
                let last = values.len().saturating_sub(1).max(1) as f64;
                let points =
                    values.iter().enumerate().map(|(at, value)| (*value, at as f64 / last * 100.0));
                Line { name: name(side), points: points.collect(), colour: index }
            })
            .collect();
        framed(
            &format!("Share of commands, {title}, all rounds"),
            &lines(&Lines {
                title,
                description: "The share of commands that took no longer. The table below has three points of each line.",
                x: ("milliseconds, logarithmic", ScaleKind::Logarithmic),
                y: ("% of commands", ScaleKind::Linear),
                height: 320.0,
                marks: false,
                lines: all,
            }),
        )
    };
    let columns = [
        ("to running p50", Cell::Figure("/launch_ms/p50")),
        ("p90", Cell::Figure("/launch_ms/p90")),
        ("p99", Cell::Figure("/launch_ms/p99")),
        ("to end p50", Cell::Figure("/end_ms/p50")),
        ("p90", Cell::Figure("/end_ms/p90")),
        ("p99", Cell::Figure("/end_ms/p99")),
    ];
    let alone = [
        ("to running p50", Cell::Figure("/alone/launch_ms/p50")),
        ("p90", Cell::Figure("/alone/launch_ms/p90")),
        ("to end p50", Cell::Figure("/alone/end_ms/p50")),
        ("p90", Cell::Figure("/alone/end_ms/p90")),
    ];
    format!(
        "<h2>From ACCEPT to running, and to the end</h2>\n\
         <p>In a flood a command’s time contains those before it: a batch is one long queue. How long a single command takes, \
         with nobody else there, is in the second table; batches are not in it, since a batch of one is a Mesos task of one.</p>\n\
         <div class=\"pair\">{}{}</div>\n{}{}",
        chart("launch_quantiles_ms", "ACCEPT to running"),
        chart("end_quantiles_ms", "ACCEPT to end"),
        table(doc, "In the flood, milliseconds", "/sides", name, &columns),
        table(doc, "One command at a time, milliseconds", "/sides", name, &alone),
    )
}

pub(super) fn costs(doc: &Value) -> String {
    const PARTS: [(&str, &str, usize); 3] = [
        ("agent", "agent (on mini: and master)", 0),
        ("executors", "executors and commands", 1),
        ("scheduler", "scheduler", 3),
    ];
    let rows: Vec<Bar> = present(doc)
        .into_iter()
        .filter(|(_, side)| !side["cpu_us_per_task"]["agent"].is_null())
        .map(|(_, side)| {
            let of = |key: &str| side["cpu_us_per_task"][key].as_f64().unwrap_or_default();
            let parts: Vec<(f64, usize)> =
                PARTS.iter().map(|(key, _, colour)| (of(key), *colour)).collect();
            let all = parts.iter().map(|(length, _)| length).sum::<f64>();
            Bar { name: name(side), parts, interval: None, label: format!("{} µs", number(all)) }
        })
        .collect();
    let mut text = String::from("<h2>Processor time and memory</h2>\n");
    if rows.is_empty() {
        text.push_str(
            "<p>Not known: the agent is not on this machine, or there are several.</p>\n",
        );
    } else {
        let chart = bars(
            "Processor time for each command",
            "A bar for each side, parted into agent, executors with commands, and scheduler. The table below has the figures.",
            &rows,
        );
        let legend = legend(PARTS.iter().map(|(_, name, colour)| (*name, *colour, false)));
        text.push_str(&framed(
            "Microseconds of processor time for each command",
            &(chart + &legend),
        ));
    }
    let columns = [
        ("agent µs", Cell::Figure("/cpu_us_per_task/agent")),
        ("executors and commands µs", Cell::Figure("/cpu_us_per_task/executors")),
        ("executor alone µs", Cell::Figure("/cpu_us_per_task/executors_own")),
        ("scheduler µs", Cell::Figure("/cpu_us_per_task/scheduler")),
        ("agent MB", Cell::Figure("/peak_mb/agent")),
        ("executors MB", Cell::Figure("/peak_mb/executors")),
        ("their processes", Cell::Figure("/executor_processes")),
        ("scheduler MB", Cell::Figure("/peak_mb/scheduler")),
    ];
    text.push_str(&table(doc, "For each command, and peaks of memory", "/sides", name, &columns));
    text
}

pub(super) fn timelines(doc: &Value) -> String {
    let mut text = String::from(
        "<h2>Commands that run at a time</h2>\n<p>The last round of each side, from the start of its framework. Each has an \
         axis of its own: the built-in sides run fewer commands, for longer.</p>\n<div class=\"pair\">",
    );
    for (index, side) in present(doc) {
        let line = &side["timeline"];
        let seconds = line["seconds"].as_f64().unwrap_or_default();
        let running = list(line, "running");
        let last = running.len().saturating_sub(1).max(1) as f64;
        let points = running
            .iter()
            .enumerate()
            .map(|(at, value)| (at as f64 / last * seconds, value.as_f64().unwrap_or_default()));
        let chart = lines(&Lines {
            title: "Commands that run at a time",
            description: "The most that ran at a time, over the seconds of the last round.",
            x: ("seconds", ScaleKind::Linear),
            y: ("running", ScaleKind::Linear),
            height: 240.0,
            marks: false,
            lines: vec![Line { name: name(side), points: points.collect(), colour: index }],
        });
        text.push_str(&framed(&escape(&name(side)), &chart));
    }
    text.push_str("</div>\n");
    text
}

pub(super) fn interval(doc: &Value) -> String {
    let section = &doc["interval"];
    if section.is_null() {
        return String::new();
    }
    let row_name = |row: &Value| {
        let way = if row["batch"] == "batches" { "batches" } else { "--batch 1" };
        format!("{way}, interval {} s", row["allocation_interval_s"])
    };
    let rows: Vec<Bar> = list(section, "rows")
        .iter()
        .map(|row| {
            let busy = row["busy"].as_f64().unwrap_or_default() * 100.0;
            let colour = usize::from(row["batch"] == "batches");
            Bar {
                name: row_name(row),
                parts: vec![(busy, colour)],
                interval: None,
                label: format!("{busy:.1} %"),
            }
        })
        .collect();
    let idle = |id: &str| {
        let share = section["idle_at_default"][id].as_f64().unwrap_or_default();
        format!("{:.1} %", share * 100.0)
    };
    let chart = bars(
        "Busy share of the processors",
        "A bar for each allocation interval and way. The table below has the figures.",
        &rows,
    );
    format!(
        "<h2>What the allocation interval costs</h2>\n<p>A master offers freed resources again only on its allocation interval \
         (1 s by default), unless it is asked. Here commands of 5 ms hold a processor each on an agent with {} of them. At the \
         default {} of the processors’ time is idle with batches, {} with one Mesos task for each command.</p>\n{}{}",
        figure(doc, "/interval/processors"),
        idle("batches"),
        idle("single"),
        framed("Busy share of the processors, %", &chart),
        table(
            doc,
            "Always on mini",
            "/interval/rows",
            row_name,
            &[
                ("commands", Cell::Figure("/commands")),
                ("a second", Cell::Figure("/per_second")),
                ("busy", Cell::Share("/busy")),
            ],
        )
    )
}

pub(super) fn scale(doc: &Value) -> String {
    let section = &doc["scale"];
    if section.is_null() {
        return String::new();
    }
    let line = |key: &str, x: &str, y: &str, name: &str, colour| Line {
        name: name.to_owned(),
        points: list(section, key)
            .iter()
            .filter_map(|point| Some((point[x].as_f64()?, point.pointer(y)?.as_f64()?)))
            .collect(),
        colour,
    };
    let chart = |title: &str, x: &str, y: &str, all: Vec<Line>| {
        framed(
            title,
            &lines(&Lines {
                title,
                description: "Both axes are logarithmic. The tables below have the figures.",
                x: (x, ScaleKind::Logarithmic),
                y: (y, ScaleKind::Logarithmic),
                height: 300.0,
                marks: true,
                lines: all,
            }),
        )
    };
    let memory = |key: &str, x: &str| {
        vec![
            line(key, x, "/peak_mb/scheduler", "scheduler", 3),
            line(key, x, "/peak_mb/cluster", "master and simulated agents", 0),
        ]
    };
    let columns = || {
        [
            ("seconds", Cell::Figure("/seconds")),
            ("a second", Cell::Figure("/per_second")),
            ("Mesos tasks", Cell::Figure("/mesos_tasks")),
            ("scheduler µs a task", Cell::Figure("/cpu_us_per_task/scheduler")),
            ("master µs a task", Cell::Figure("/cpu_us_per_task/cluster")),
            ("scheduler MB", Cell::Figure("/peak_mb/scheduler")),
            ("master MB", Cell::Figure("/peak_mb/cluster")),
        ]
    };
    let row_name = |row: &Value| format!("{} agents, {} tasks", row["agents"], row["tasks"]);
    format!(
        "<h2>Scale</h2>\n<p>Simulated agents: they register and answer as agents do, with results at once, without executors and \
         processes. So these are the control plane’s own limits: <code>marmoset run</code> as one process, the embedded master \
         with all agents as another. Slopes of the logarithms (1 is linear, 0 is flat), from 10 000 tasks on: time {}, the \
         scheduler’s processor time {}, its memory {}.</p>\n<div class=\"pair\">{}{}{}{}</div>\n{}{}",
        figure(doc, "/scale/slopes/seconds_by_tasks"),
        figure(doc, "/scale/slopes/scheduler_cpu_by_tasks"),
        figure(doc, "/scale/slopes/scheduler_memory_by_tasks"),
        chart(
            "Tasks a second by agents",
            "agents",
            "tasks a second",
            vec![line("by_agents", "agents", "/per_second", "tasks a second", 3)]
        ),
        chart("Memory by agents", "agents", "MB", memory("by_agents", "agents")),
        chart(
            "Seconds by tasks",
            "tasks",
            "seconds",
            vec![line("by_tasks", "tasks", "/seconds", "seconds", 3)]
        ),
        chart("Memory by tasks", "tasks", "MB", memory("by_tasks", "tasks")),
        table(doc, "By agents", "/scale/by_agents", row_name, &columns()),
        table(doc, "By tasks", "/scale/by_tasks", row_name, &columns()),
    )
}

pub(super) fn peers(doc: &Value) -> String {
    let section = &doc["peers"];
    if section.is_null() {
        return String::new();
    }
    let rows: Vec<Bar> = list(section, "rows")
        .iter()
        .filter(|row| row["absent"].is_null())
        .map(|row| {
            let rate = row["per_second"].as_f64().unwrap_or_default();
            let colour = match row["id"].as_str() {
                Some("floor") => 2,
                Some("marmoset" | "marmoset-null") => 1,
                Some(_) | None => 0,
            };
            Bar {
                name: name(row),
                parts: vec![(rate, colour)],
                interval: None,
                label: format!("{}/s", number(rate)),
            }
        })
        .collect();
    let chart = bars(
        "Commands a second on this machine",
        "A bar for each tool. The table below has the figures.",
        &rows,
    );
    format!(
        "<h2>Other tools of this machine</h2>\n<p><code>/bin/true</code>, {} times, through each of them, one after the other, \
         and through <code>marmoset run</code> on mini. The bare loop spawns and waits, and does nothing else: the floor of all \
         that start a process for each command.</p>\n{}{}",
        figure(doc, "/peers/count"),
        framed("Commands a second", &chart),
        table(
            doc,
            "One run of each",
            "/peers/rows",
            name,
            &[
                ("seconds", Cell::Figure("/seconds")),
                ("a second", Cell::Figure("/per_second")),
                ("of the bare loop", Cell::Figure("/of_floor")),
                ("marmoset’s rate over it", Cell::Figure("/marmoset_over_it")),
            ],
        )
    )
}

/// What each side was given, and what one has to know.
pub(super) fn notes(doc: &Value) -> String {
    let mut text = String::from("<h2>What each side was given</h2>\n<dl>");
    for side in list(doc, "sides") {
        let given = side["given"].as_str().unwrap_or_default();
        let _ = write!(text, "<dt>{}</dt><dd>{}", escape(&name(side)), escape(given));
        if let Some(why) = side["absent"].as_str() {
            let _ = write!(text, ". Left out: {}", escape(why));
        }
        text.push_str("</dd>");
    }
    text.push_str("</dl>\n<h2>How to read this</h2>\n<ul>");
    for note in list(doc, "notes").iter().filter_map(Value::as_str) {
        let _ = write!(text, "<li>{}</li>", escape(note));
    }
    text.push_str("</ul>\n");
    text
}
