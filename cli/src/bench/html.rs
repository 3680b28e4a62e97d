//! The report of a comparison: one file, no network, no scripts.
//!
//! Owns which chart and table stands where. Everything in it is a figure of the
//! document, which [`figure`] marks with its place there, so that a test can hold
//! one against the other. Drawing is for [`chart`].

mod chart;
mod figure;
mod sections;

use serde_json::Value;

use figure::escape;

/// The whole page.
pub(super) fn page(doc: &Value) -> String {
    let style = include_str!("html/style.css");
    let command: Vec<&str> = doc["command"]
        .as_array()
        .map(|words| words.iter().filter_map(Value::as_str).collect())
        .unwrap_or_default();
    let title = format!("marmoset: {} compared", escape(&command.join(" ")));
    let sections: String = [
        sections::heading(doc),
        sections::rates(doc),
        sections::latencies(doc),
        sections::costs(doc),
        sections::timelines(doc),
        sections::interval(doc),
        sections::scale(doc),
        sections::peers(doc),
        sections::notes(doc),
    ]
    .concat();
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{title}</title>\n<style>\n{style}</style>\n</head>\n<body>\n<main>\n{sections}</main>\n\
         </body>\n</html>\n"
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// A document with every section, each as its measurement makes it.
    fn doc() -> Value {
        let side = |id: &str, name: &str, rate: f64| {
            json!({
                "id": id, "name": name, "given": "all of it", "commands_per_round": 100, "failed": 0,
                "per_second": {"mean": rate, "low": rate * 0.9, "high": rate * 1.1, "n": 5},
                "ratio": {"mean": rate / 10.0, "low": rate / 11.0, "high": rate / 9.0, "n": 5},
                "launch_ms": {"p50": 1.0, "p90": 2.0, "p99": 3.0},
                "end_ms": {"p50": 1.5, "p90": 2.5, "p99": 3.5},
                "launch_quantiles_ms": [0.5, 1.0, 3.0], "end_quantiles_ms": [0.6, 1.5, 3.5],
                "cpu_us_per_task": {"agent": 10.0, "executors": 900.0, "executors_own": 50.0, "scheduler": 12.0},
                "peak_mb": {"agent": 40.0, "executors": 20.0, "scheduler": 15.0},
                "timeline": {"seconds": 1.2, "running": [0, 2, 2, 0]},
            })
        };
        let point = |agents: u32, tasks: u64| {
            json!({
                "agents": agents, "tasks": tasks, "seconds": 1.0, "per_second": 1000.0, "mesos_tasks": 7,
                "cpu_us_per_task": {"scheduler": 2.0, "cluster": 3.0},
                "peak_mb": {"scheduler": 20.0, "cluster": 30.0},
            })
        };
        json!({
            "marmoset": "0.1.0", "command": ["/bin/echo", "<b>&"], "rounds": 5,
            "given": {"cpus": 0.1, "mem_mb": 32.0},
            "machine": {"processors": 2, "build": "release"},
            "cluster": {"kind": "mesos", "version": "1.11.0", "allocation_interval": "1secs", "agents": []},
            "notes": ["A <note>."],
            "sides": [
                side("batches", "ours", 1500.0),
                side("command", "theirs", 10.0),
                {"id": "default", "name": "other", "given": "x", "absent": "it is <not> there"},
            ],
            "interval": {
                "processors": 2,
                "idle_at_default": {"batches": 0.02, "single": 0.4},
                "rows": [{"allocation_interval_s": 1.0, "batch": "batches", "commands": 9, "per_second": 250.0, "busy": 0.98}],
            },
            "scale": {
                "by_agents": [point(1, 1000), point(1000, 1000)],
                "by_tasks": [point(10, 1000), point(10, 100_000)],
                "slopes": {"seconds_by_tasks": 1.0, "scheduler_cpu_by_tasks": 1.0, "scheduler_memory_by_tasks": 0.1},
            },
            "peers": {
                "count": 2000,
                "rows": [
                    {"id": "floor", "name": "bare loop", "seconds": 1.0, "per_second": 2000.0, "of_floor": 1.0, "marmoset_over_it": 0.8},
                    {"id": "parallel", "name": "GNU parallel", "absent": "apt-get install parallel"},
                ],
            },
        })
    }

    #[test]
    fn every_figure_of_every_section_is_the_documents() {
        let doc = doc();
        let page = page(&doc);
        let places: Vec<&str> = page
            .split("data-figure=\"")
            .skip(1)
            .filter_map(|rest| rest.split('"').next())
            .collect();
        for place in &places {
            assert!(doc.pointer(place).is_some_and(Value::is_number), "{place}");
        }
        for part in ["/sides/0/", "/interval/rows/0/", "/scale/by_tasks/1/", "/peers/rows/0/"] {
            assert!(places.iter().any(|place| place.starts_with(part)), "nothing of {part}");
        }
        assert!(page.matches("<svg viewBox").count() >= 10);
        assert!(!page.contains("NaN") && !page.contains("null"), "{page}");
    }

    #[test]
    fn foreign_text_is_text() {
        let page = page(&doc());
        for text in ["&lt;b&gt;&amp;", "A &lt;note&gt;.", "it is &lt;not&gt; there"] {
            assert!(page.contains(text), "{text}");
        }
        assert!(!page.contains("<b>&") && !page.contains("<script"));
    }

    #[test]
    fn sections_that_were_not_asked_for_are_not_there() {
        let mut doc = doc();
        for section in ["interval", "scale", "peers"] {
            doc.as_object_mut().unwrap().remove(section);
        }
        let page = page(&doc);
        assert!(!page.contains("allocation interval costs") && !page.contains("<h2>Scale"));
    }
}
