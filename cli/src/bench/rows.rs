//! What was measured, for people and for programs.
//!
//! Owns the form of a row. A row stands for one figure: beside it the floor (what
//! the same costs without us), and what it is to reach.

use std::fmt::{self, Write as _};

use serde_json::{Value, json};

/// One figure.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Row {
    pub(super) name: String,
    pub(super) figure: f64,
    pub(super) unit: Unit,
    pub(super) floor: Option<f64>,
    pub(super) reach: Option<Reach>,
}

/// What a figure counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    PerSecond,
    /// So few that tenths count.
    FewPerSecond,
    Microseconds,
    Milliseconds,
    Megabytes,
    Count,
}

/// What a figure is to come to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Reach {
    /// At least this part of the floor.
    OfFloor(f64),
    /// At most so many times the floor.
    TimesFloor(f64),
    AtMost(f64),
}

impl Row {
    pub(super) fn new(name: impl Into<String>, figure: f64, unit: Unit) -> Self {
        Self { name: name.into(), figure, unit, floor: None, reach: None }
    }

    pub(super) fn floor(self, floor: f64) -> Self {
        Self { floor: Some(floor), ..self }
    }

    pub(super) fn reach(self, reach: Reach) -> Self {
        Self { reach: Some(reach), ..self }
    }

    fn ratio(&self) -> Option<f64> {
        self.floor.filter(|floor| *floor > 0.0).map(|floor| self.figure / floor)
    }

    /// Whether it came to what it is to reach, if there is such a thing.
    fn is_met(&self) -> Option<bool> {
        Some(match self.reach? {
            Reach::OfFloor(part) => self.ratio()? >= part,
            Reach::TimesFloor(most) => self.ratio()? <= most,
            Reach::AtMost(most) => self.figure <= most,
        })
    }

    /// The figure and its unit.
    pub(super) fn show(&self) -> String {
        format!("{} {}", self.unit.number(self.figure), self.unit)
    }
}

impl Unit {
    fn number(self, value: f64) -> String {
        match self {
            Self::PerSecond | Self::Count => format!("{value:.0}"),
            Self::FewPerSecond | Self::Microseconds | Self::Megabytes => format!("{value:.1}"),
            Self::Milliseconds => format!("{value:.2}"),
        }
    }
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::PerSecond | Self::FewPerSecond => "/s",
            Self::Microseconds => "µs",
            Self::Milliseconds => "ms",
            Self::Megabytes => "MB",
            Self::Count => "",
        })
    }
}

impl fmt::Display for Reach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OfFloor(part) => write!(f, "≥ {part} ×"),
            Self::TimesFloor(most) => write!(f, "≤ {most} ×"),
            Self::AtMost(most) => write!(f, "≤ {most}"),
        }
    }
}

/// For people.
pub(super) fn text(program: &str, rows: &[Row]) -> String {
    let mut text = format!(
        "{program:<48} {:>8} {:<2} {:>8} {:>6}  {:<9} {}",
        "figure", "", "floor", "ratio", "reach", "met"
    );
    for row in rows {
        let floor = row.floor.map(|floor| row.unit.number(floor)).unwrap_or_default();
        let ratio = row.ratio().map(|ratio| format!("{ratio:.2}")).unwrap_or_default();
        let reach = row.reach.map(|reach| reach.to_string()).unwrap_or_default();
        let met = row.is_met().map_or("", |met| if met { "yes" } else { "NO" });
        let line = format!(
            "{:<48} {:>8} {:<2} {floor:>8} {ratio:>6}  {reach:<9} {met}",
            row.name,
            row.unit.number(row.figure),
            row.unit
        );
        // Writing to a string does not fail.
        let _ = write!(text, "\n{}", line.trim_end());
    }
    text
}

/// For programs.
pub(super) fn json(program: &str, rows: &[Row], executor: &str) -> Value {
    let three = |value: f64| (value * 1000.0).round() / 1000.0;
    json!({
        "program": program,
        "executor": executor,
        "rows": rows.iter().map(|row| json!({
            "name": row.name,
            "figure": three(row.figure),
            "unit": row.unit.to_string(),
            "floor": row.floor.map(three),
            "ratio": row.ratio().map(three),
            "reach": row.reach.map(|reach| reach.to_string()),
            "met": row.is_met(),
        })).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows() -> Vec<Row> {
        vec![
            Row::new("floor", 2000.0, Unit::PerSecond),
            Row::new("run", 1500.0, Unit::PerSecond).floor(2000.0).reach(Reach::OfFloor(0.85)),
            Row::new("start, p50", 0.25, Unit::Milliseconds).floor(0.1).reach(Reach::AtMost(1.0)),
        ]
    }

    #[test]
    fn each_figure_stands_beside_its_floor_and_its_aim() {
        assert_eq!(
            text("/bin/true", &rows()),
            "\
/bin/true                                          figure       floor  ratio  reach     met
floor                                                2000 /s
run                                                  1500 /s     2000   0.75  ≥ 0.85 ×  NO
start, p50                                           0.25 ms     0.10   2.50  ≤ 1       yes"
        );
        let json = json("/bin/true", &rows(), "/x");
        assert_eq!(json["rows"][1]["ratio"], 0.75);
        assert_eq!(json["rows"][1]["met"], false);
        assert_eq!(json["rows"][2]["met"], true);
        assert_eq!(json["rows"][0]["met"], Value::Null);
    }
}
