//! The text of an agent's `--resources` flag.

use std::collections::HashMap;

use serde_json::Value;

use super::{ResourceError, Resources, entry::Amount};
use crate::{json, mesos::v1::Resource};

/// Reads `cpus:8;mem(role):8192;ports:[8000-8100,9000-9005];disks:{a,b}`, or the
/// same as a JSON array of `Resource`.
///
/// # Errors
/// Names the item that is wrong.
pub fn parse(text: &str) -> Result<Resources, ResourceError> {
    parse_for_role(text, "*")
}

/// As [`parse`], with the role that items without one are reserved for.
///
/// # Errors
/// Names the item that is wrong.
pub fn parse_for_role(text: &str, default_role: &str) -> Result<Resources, ResourceError> {
    let resources = if text.trim_start().starts_with('[') {
        parse_json(text, default_role)?
    } else {
        text.split(';')
            .map(str::trim)
            .filter(|item| !item.is_empty())
            .map(|item| parse_item(item, default_role))
            .collect::<Result<_, _>>()?
    };
    let resources = Resources::from_proto(&resources)?;
    check_command_line(&resources)?;
    Ok(resources)
}

fn parse_json(text: &str, default_role: &str) -> Result<Vec<Resource>, ResourceError> {
    let refused = |reason: String| {
        ResourceError(format!("resources are not a JSON array of Resource: {reason}"))
    };
    let value = json::parse(text.as_bytes()).map_err(|error| refused(error.to_string()))?;
    let Value::Array(values) = value else { return Err(refused("not an array".to_string())) };
    let mut resources = Vec::new();
    for value in values {
        let mut resource =
            json::from_value::<Resource>(value).map_err(|error| refused(error.to_string()))?;
        if resource.role.is_none() && resource.reservations.is_empty() {
            resource.role = Some(default_role.to_string());
        }
        resources.push(resource);
    }
    Ok(resources)
}

fn parse_item(item: &str, default_role: &str) -> Result<Resource, ResourceError> {
    let Some((key, value)) = item.split_once(':') else {
        return Err(ResourceError(format!("bad resource `{item}`: `:` expected, as in `cpus:8`")));
    };
    let (name, role) = match key.split_once('(') {
        None => (key.trim(), default_role),
        Some((name, rest)) => match rest.trim_end().strip_suffix(')') {
            Some(role) => (name.trim(), role.trim()),
            None => {
                return Err(ResourceError(format!(
                    "bad resource `{item}`: mismatched parentheses"
                )));
            }
        },
    };
    let value = value.replace([' ', '\t'], "");
    let resource = parse_value(name, &value)
        .map_err(|reason| ResourceError(format!("bad resource `{item}`: {reason}")))?;
    Ok(Resource { role: Some(role.to_string()), ..resource })
}

fn parse_value(name: &str, value: &str) -> Result<Resource, String> {
    if let Some(inner) = value.strip_prefix('[') {
        let inner = inner.strip_suffix(']').ok_or("`]` expected at the end of the ranges")?;
        let ranges = inner.split(',').filter(|range| !range.is_empty()).map(parse_range);
        return Ok(Resource::ranges(name, ranges.collect::<Result<Vec<_>, _>>()?));
    }
    if let Some(inner) = value.strip_prefix('{') {
        let inner = inner.strip_suffix('}').ok_or("`}` expected at the end of the set")?;
        let items = inner.split(',').filter(|item| !item.is_empty());
        return Ok(Resource::set(name, items.map(ToString::to_string)));
    }
    match value.parse() {
        Ok(number) => Ok(Resource::scalar(name, number)),
        Err(_) => Err(format!(
            "`{value}` is neither a number, nor ranges as `[1-9]`, nor a set as `{{a,b}}`"
        )),
    }
}

fn parse_range(range: &str) -> Result<(u64, u64), String> {
    let numbers = range
        .split_once('-')
        .and_then(|(begin, end)| Some((begin.parse().ok()?, end.parse().ok()?)));
    numbers.ok_or_else(|| format!("`{range}` is no range: write it as `8000-8100`"))
}

/// What only comes about while a cluster runs cannot be given.
fn check_command_line(resources: &Resources) -> Result<(), ResourceError> {
    use crate::mesos::v1::resource::reservation_info::Type;
    let mut types = HashMap::<&str, &Amount>::new();
    for entry in resources.iter() {
        let refused = if entry.is_persistent_volume() {
            "Persistent volumes cannot be specified at the command line"
        } else if entry.is_revocable() {
            "Revocable resources cannot be specified at the command line; do not include a \
             'revocable' key in the resources JSON"
        } else if entry.reservations().iter().any(|it| it.r#type() == Type::Dynamic) {
            "Dynamic reservations cannot be specified at the command line; do not include a \
             'reservation' key in the resources JSON"
        } else if !types.entry(entry.name()).or_insert(entry.amount()).is_of_type(entry.amount()) {
            return Err(ResourceError(format!(
                "Resources with the same name ('{}') but different types are not allowed",
                entry.name()
            )));
        } else {
            continue;
        };
        return Err(ResourceError(refused.to_string()));
    }
    Ok(())
}
