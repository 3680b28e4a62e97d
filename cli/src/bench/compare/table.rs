//! The comparison for people at a terminal, and for spreadsheets.
//!
//! Owns the layout. All figures are the document's.

use std::fmt::Write as _;

use serde_json::Value;

use crate::report::number;

/// Dashes for what is not known.
const UNKNOWN: &str = "–";

/// A heading, and what is under it for a side.
type Column<'a> = (&'a str, &'a dyn Fn(&Value) -> String);

/// Tables with the notes under them.
pub(super) fn text(doc: &Value) -> String {
    let mut text = heading(doc);
    let sides = doc["sides"].as_array().map(Vec::as_slice).unwrap_or_default();
    let present: Vec<&Value> = sides.iter().filter(|side| side["absent"].is_null()).collect();
    let columns: &[Column<'_>] = &[
        ("a round", &|side| figure(&side["commands_per_round"])),
        ("a second", &|side| estimate(&side["per_second"])),
        ("× built-in", &|side| estimate(&side["ratio"])),
        ("failed", &|side| figure(&side["failed"])),
    ];
    text.push_str(&table("", &present, columns));
    let columns: &[Column<'_>] = &[
        ("to running: p50 / p90 / p99", &|side| spans(&side["launch_ms"])),
        ("to end: p50 / p90 / p99", &|side| spans(&side["end_ms"])),
        ("one at a time: to end", &|side| spans(&side["alone"]["end_ms"])),
    ];
    text.push_str(&table("ms from ACCEPT", &present, columns));
    let columns: &[Column<'_>] = &[
        ("agent", &|side| figure(&side["cpu_us_per_task"]["agent"])),
        ("executors + commands", &|side| figure(&side["cpu_us_per_task"]["executors"])),
        ("executor alone", &|side| figure(&side["cpu_us_per_task"]["executors_own"])),
        ("scheduler", &|side| figure(&side["cpu_us_per_task"]["scheduler"])),
    ];
    text.push_str(&table("processor µs a command", &present, columns));
    let columns: &[Column<'_>] = &[
        ("agent MB", &|side| figure(&side["peak_mb"]["agent"])),
        ("executors MB", &|side| figure(&side["peak_mb"]["executors"])),
        ("scheduler MB", &|side| figure(&side["peak_mb"]["scheduler"])),
        ("updates", &|side| figure(&side["updates_per_task"])),
        ("offers", &|side| figure(&side["offers_per_task"])),
    ];
    text.push_str(&table("peak memory; updates, offers a command", &present, columns));
    for side in sides.iter().filter(|side| !side["absent"].is_null()) {
        let _ = write!(text, "\nleft out: {}: {}", word(&side["name"]), word(&side["absent"]));
    }
    for (name, section) in [
        ("interval", crate::bench::interval::text as fn(&Value) -> String),
        ("scale", crate::bench::scale::text),
        ("peers", crate::bench::peers::text),
    ] {
        if let Some(section_doc) = doc.get(name) {
            let _ = write!(text, "\n\n{}", section(section_doc));
        }
    }
    text.push('\n');
    for note in doc["notes"].as_array().map(Vec::as_slice).unwrap_or_default() {
        let _ = write!(text, "\n{}", wrapped(word(note)));
    }
    text
}

fn heading(doc: &Value) -> String {
    let command: Vec<&str> =
        doc["command"].as_array().map(|words| words.iter().map(word).collect()).unwrap_or_default();
    let cluster = &doc["cluster"];
    let kind = if cluster["kind"] == "mini" { "mini, which claims to be Mesos" } else { "Mesos" };
    let agents = cluster["agents"].as_array().map_or(0, Vec::len);
    format!(
        "`{}`, {} cpus and {} MB each\non {kind} {}, allocation interval {}, {agents} agent{}\n",
        command.join(" "),
        doc["given"]["cpus"],
        doc["given"]["mem_mb"],
        cluster["version"].as_str().unwrap_or("of unknown version"),
        cluster["allocation_interval"].as_str().unwrap_or("unknown"),
        if agents == 1 { "" } else { "s" },
    )
}

/// A row for each side.
fn table(title: &str, sides: &[&Value], columns: &[Column<'_>]) -> String {
    let wide = |text: &str| text.chars().count();
    let name_width =
        sides.iter().map(|side| wide(word(&side["name"]))).chain([wide(title)]).max().unwrap_or(0);
    let cells: Vec<Vec<String>> =
        sides.iter().map(|side| columns.iter().map(|(_, cell)| cell(side)).collect()).collect();
    let widths: Vec<usize> = columns
        .iter()
        .enumerate()
        .map(|(at, (name, _))| cells.iter().map(|row| wide(&row[at])).chain([wide(name)]).max())
        .map(Option::unwrap_or_default)
        .collect();
    let mut text = format!("\n{title:<name_width$}");
    for ((name, _), width) in columns.iter().zip(&widths) {
        let _ = write!(text, "  {name:>width$}");
    }
    for (side, row) in sides.iter().zip(&cells) {
        let _ = write!(text, "\n{:<name_width$}", word(&side["name"]));
        for (cell, width) in row.iter().zip(&widths) {
            let _ = write!(text, "  {cell:>width$}");
        }
    }
    text.push('\n');
    text
}

/// One line for each side and round.
pub(super) fn csv(doc: &Value) -> String {
    let mut text =
        "side,round,commands,failed,seconds,per_second,mesos_tasks,offers,updates,revives,\
                    agent_cpu_s,executors_cpu_s,scheduler_cpu_s"
            .to_owned();
    for side in doc["sides"].as_array().map(Vec::as_slice).unwrap_or_default() {
        for (number, round) in
            side["rounds"].as_array().map(Vec::as_slice).unwrap_or_default().iter().enumerate()
        {
            let _ = write!(text, "\n{},{}", word(&side["id"]), number + 1);
            for key in [
                "commands",
                "failed",
                "seconds",
                "per_second",
                "mesos_tasks",
                "offers",
                "updates",
                "revives",
            ] {
                let _ = write!(text, ",{}", plain(&round[key]));
            }
            for key in ["agent", "executors", "scheduler"] {
                let _ = write!(text, ",{}", plain(&round["cpu_s"][key]));
            }
        }
    }
    text
}

/// Nothing for what is not known.
fn plain(value: &Value) -> String {
    if value.is_null() { String::new() } else { value.to_string() }
}

fn word(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn figure(value: &Value) -> String {
    match (value.as_u64(), value.as_f64()) {
        (Some(whole), _) => whole.to_string(),
        (None, Some(value)) => number(value),
        (None, None) => UNKNOWN.to_owned(),
    }
}

/// `1523 (1480 to 1570)`, or `1523 (n = 1)`.
fn estimate(value: &Value) -> String {
    let Some(mean) = value["mean"].as_f64() else { return UNKNOWN.to_owned() };
    match (value["low"].as_f64(), value["high"].as_f64()) {
        (Some(low), Some(high)) => {
            format!("{} ({} to {})", number(mean), number(low), number(high))
        }
        (None, _) | (_, None) => format!("{} (n = {})", number(mean), value["n"]),
    }
}

fn spans(value: &Value) -> String {
    if value["p50"].is_null() {
        return UNKNOWN.to_owned();
    }
    let all: Vec<String> = ["p50", "p90", "p99"].iter().map(|key| figure(&value[*key])).collect();
    all.join(" / ")
}

/// Lines of at most a hundred characters, the later ones indented.
fn wrapped(note: &str) -> String {
    let mut text = String::from("-");
    let mut column = 1;
    for word in note.split_whitespace() {
        let length = word.chars().count();
        if column + 1 + length > 100 {
            text.push_str("\n ");
            column = 1;
        }
        text.push(' ');
        text.push_str(word);
        column += 1 + length;
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn doc() -> Value {
        json!({
            "command": ["/bin/true"],
            "given": {"cpus": 0.1, "mem_mb": 32.0},
            "cluster": {"kind": "mini", "version": "1.11.0", "allocation_interval": "1secs", "agents": [{}]},
            "notes": ["A note."],
            "sides": [
                {
                    "id": "batches", "name": "batches", "commands_per_round": 2000, "failed": 0,
                    "per_second": {"mean": 1500.0, "low": 1450.0, "high": 1550.0, "n": 3},
                    "ratio": {"mean": 15.0, "low": 14.0, "high": 16.1, "n": 3},
                    "launch_ms": {"p50": 400.0, "p90": 700.0, "p99": 800.5},
                    "end_ms": {"p50": 401.0, "p90": 701.0, "p99": 801.0},
                    "rounds": [{
                        "commands": 2000, "failed": 0, "seconds": 1.3, "per_second": 1500.0,
                        "mesos_tasks": 9, "offers": 12, "updates": 30, "revives": 4,
                        "cpu_s": {"agent": null, "executors": null, "scheduler": 0.05},
                    }],
                },
                {"id": "default", "name": "default executor", "absent": "not here"},
            ],
        })
    }

    #[test]
    fn rows_and_what_is_left_out() {
        let text = text(&doc());
        for part in [
            "`/bin/true`, 0.1 cpus and 32.0 MB each",
            "on mini, which claims to be Mesos 1.11.0, allocation interval 1secs, 1 agent\n",
            "1500 (1450 to 1550)",
            "15.0 (14.0 to 16.1)",
            "400 / 700 / 800",
            "left out: default executor: not here",
            "- A note.",
        ] {
            assert!(text.contains(part), "no `{part}` in\n{text}");
        }
    }

    #[test]
    fn one_round_has_no_interval() {
        assert_eq!(
            estimate(&json!({"mean": 5.0, "low": null, "high": null, "n": 1})),
            "5.00 (n = 1)"
        );
        assert_eq!(estimate(&Value::Null), "–");
    }

    #[test]
    fn lines_for_spreadsheets() {
        let csv = csv(&doc());
        let lines: Vec<&str> = csv.lines().collect();
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[1], "batches,1,2000,0,1.3,1500.0,9,12,30,4,,,0.05");
        assert_eq!(lines[0].split(',').count(), lines[1].split(',').count());
    }
}
