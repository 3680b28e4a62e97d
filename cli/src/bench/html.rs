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
