//! Figures in the page, each with its place in the document; tables of them.
//!
//! Owns escaping: what comes from outside (commands, messages) is text and no markup.

use std::fmt::Write as _;

use serde_json::Value;

use crate::report::number;

/// What a column shows of a row.
pub(super) enum Cell {
    /// The figure at this place below the row.
    Figure(&'static str),
    /// A mean with its interval.
    Estimate(&'static str),
    /// A share of one, as per cent.
    Share(&'static str),
}

/// Text for the page.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c => escaped.push(c),
        }
    }
    escaped
}

/// Three digits; whole numbers as they are.
fn shown(value: &Value) -> Option<String> {
    value.as_u64().map(|whole| whole.to_string()).or_else(|| value.as_f64().map(number))
}

/// One figure of the document.
pub(super) fn figure(doc: &Value, pointer: &str) -> String {
    marked(doc, pointer, shown)
}

fn share(doc: &Value, pointer: &str) -> String {
    marked(doc, pointer, |value| value.as_f64().map(|share| format!("{:.1} %", share * 100.0)))
}

fn marked(doc: &Value, pointer: &str, shown: impl Fn(&Value) -> Option<String>) -> String {
    match doc.pointer(pointer).and_then(|value| Some((value, shown(value)?))) {
        Some((value, text)) => {
            format!("<span data-figure=\"{pointer}\" data-value=\"{value}\">{text}</span>")
        }
        None => "–".to_owned(),
    }
}

/// `1523 (1480 to 1570)`: a mean and its interval.
pub(super) fn estimate(doc: &Value, pointer: &str) -> String {
    let at = |part: &str| figure(doc, &format!("{pointer}/{part}"));
    if doc.pointer(pointer).is_none_or(Value::is_null) {
        return "–".to_owned();
    }
    if doc.pointer(&format!("{pointer}/low")).is_none_or(Value::is_null) {
        return format!("{} (n = {})", at("mean"), at("n"));
    }
    format!("{} ({} to {})", at("mean"), at("low"), at("high"))
}

/// A table with a row for each element of the array at `rows` that is there.
pub(super) fn table(
    doc: &Value,
    caption: &str,
    rows: &str,
    name: impl Fn(&Value) -> String,
    columns: &[(&str, Cell)],
) -> String {
    let mut text = format!(
        "<div class=\"scroll\"><table><caption>{caption}</caption>\n<thead><tr><th scope=\"col\"></th>"
    );
    for (heading, _) in columns {
        let _ = write!(text, "<th scope=\"col\">{heading}</th>");
    }
    text.push_str("</tr></thead>\n<tbody>\n");
    let elements = doc.pointer(rows).and_then(Value::as_array);
    for (index, row) in elements.map(Vec::as_slice).unwrap_or_default().iter().enumerate() {
        let _ = write!(text, "<tr><th scope=\"row\">{}</th>", escape(&name(row)));
        if let Some(why) = row["absent"].as_str() {
            let _ = writeln!(
                text,
                "<td colspan=\"{}\">left out: {}</td></tr>",
                columns.len(),
                escape(why)
            );
            continue;
        }
        for (_, cell) in columns {
            let cell = match cell {
                Cell::Figure(at) => figure(doc, &format!("{rows}/{index}{at}")),
                Cell::Estimate(at) => estimate(doc, &format!("{rows}/{index}{at}")),
                Cell::Share(at) => share(doc, &format!("{rows}/{index}{at}")),
            };
            let _ = write!(text, "<td>{cell}</td>");
        }
        text.push_str("</tr>\n");
    }
    text.push_str("</tbody></table></div>\n");
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn figures_tell_their_place() {
        let doc = json!({"a": [{"x": 1234.56, "n": 3, "s": 0.955}]});
        assert_eq!(
            figure(&doc, "/a/0/x"),
            "<span data-figure=\"/a/0/x\" data-value=\"1234.56\">1235</span>"
        );
        assert_eq!(figure(&doc, "/a/1/x"), "–");
        let table = table(
            &doc,
            "A caption",
            "/a",
            |_| "<b>".to_owned(),
            &[("n", Cell::Figure("/n")), ("share", Cell::Share("/s"))],
        );
        assert!(table.contains("<th scope=\"row\">&lt;b&gt;</th>"), "{table}");
        assert!(table.contains(">95.5 %</span>"), "{table}");
    }

    #[test]
    fn estimates_have_an_interval_or_say_why_not() {
        let doc = json!({
            "many": {"mean": 5.0, "low": 4.0, "high": 6.0, "n": 5},
            "one": {"mean": 5.0, "low": null, "high": null, "n": 1},
            "none": null,
        });
        let plain = |pointer| {
            let marked = estimate(&doc, pointer);
            let mut text = String::new();
            let mut inside = false;
            for c in marked.chars() {
                match c {
                    '<' => inside = true,
                    '>' => inside = false,
                    c if !inside => text.push(c),
                    _ => {}
                }
            }
            text
        };
        assert_eq!(plain("/many"), "5.00 (4.00 to 6.00)");
        assert_eq!(plain("/one"), "5.00 (n = 1)");
        assert_eq!(plain("/none"), "–");
    }

    #[test]
    fn foreign_text_is_no_markup() {
        assert_eq!(escape("<a href=\"x\">&'"), "&lt;a href=&quot;x&quot;&gt;&amp;&#39;");
    }
}
