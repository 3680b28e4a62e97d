//! Resources, attributes and labels as the state endpoints show them.

use marmoset_proto::{
    mesos::v1::{Attribute, Labels},
    resources::{Amount, Resources},
};
use serde_json::{Map, Value, json};

/// `{"disk":0.0,"mem":0.0,"gpus":0.0,"cpus":0.0,"ports":"[1-2]"}`: the four scalars always.
pub(super) fn resources(resources: &Resources) -> Value {
    let mut shown = Map::new();
    for name in ["disk", "mem", "gpus", "cpus"] {
        shown.insert(name.to_owned(), json!(0.0));
    }
    for entry in resources.iter() {
        let suffix = if entry.is_revocable() { "_revocable" } else { "" };
        let name = format!("{}{suffix}", entry.name());
        let value = match entry.amount() {
            Amount::Scalar(amount) => {
                let sum = shown.get(&name).and_then(Value::as_f64).unwrap_or(0.0);
                // Thousandths survive the detour through a double.
                json!(((sum + amount.to_f64()) * 1000.0).round() / 1000.0)
            }
            Amount::Ranges(_) if entry.is_revocable() => json!(entry.amount().to_string()),
            Amount::Ranges(_) => json!(resources.ranges(entry.name()).to_string()),
            Amount::Set(_) => json!(entry.amount().to_string()),
        };
        shown.insert(name, value);
    }
    Value::Object(shown)
}

/// By role.
pub(super) fn reserved(of: &Resources) -> Value {
    of.reserved().iter().map(|(role, part)| (role.clone(), resources(part))).collect()
}

/// Raw resources, as the `*_full` fields have them.
pub(super) fn full(resources: &Resources) -> Value {
    resources.to_proto().iter().map(marmoset_proto::json::to_value).collect()
}

/// `{"rack":"r1"}`: scalars as numbers, the rest as text.
pub(super) fn attributes(attributes: &[Attribute]) -> Value {
    let value = |attribute: &Attribute| -> Value {
        if let Some(scalar) = &attribute.scalar {
            json!(scalar.value)
        } else if let Some(text) = &attribute.text {
            json!(text.value)
        } else if let Some(ranges) = &attribute.ranges {
            let shown = ranges
                .range
                .iter()
                .map(|range| format!("{}-{}", range.begin, range.end))
                .collect::<Vec<_>>();
            json!(format!("[{}]", shown.join(", ")))
        } else if let Some(set) = &attribute.set {
            json!(format!("{{{}}}", set.item.join(", ")))
        } else {
            Value::Null
        }
    };
    attributes.iter().map(|attribute| (attribute.name.clone(), value(attribute))).collect()
}

/// An array of `{key, value?}`.
pub(super) fn labels(labels: &Labels) -> Value {
    labels.labels.iter().map(marmoset_proto::json::to_value).collect()
}
