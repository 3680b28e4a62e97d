//! What an agent is told, or finds out, about its machine.
//!
//! Reads `--resources` and `--attributes` in Mesos' notation; what is not named
//! among cpus, mem, disk and ports is detected. Mesos 1.11,
//! `src/slave/containerizer/containerizer.cpp` (`Containerizer::resources`).

use std::{fs, path::Path, thread};

use marmoset_proto::{
    mesos::v1::{Attribute, Resource, value},
    resources,
};

use super::StartError;

const MB: u64 = 1 << 20;
/// Left to the system: 1 GB, or half of a machine with less than 2.
const SPARED_MEM: u64 = 1024;
/// Left to the system: 5 GB, or half of a disk with less than 10.
const SPARED_DISK: u64 = 5 * 1024;
const PORTS: (u64, u64) = (31_000, 32_000);

/// Yields the agent's resources.
pub(super) fn resources(text: &str, work_dir: &Path) -> Result<Vec<Resource>, StartError> {
    let mut resources = match text.trim() {
        "" => Vec::new(),
        text => resources::parse(text)?.to_proto(),
    };
    let missing = |name: &str| !text_names(text, name);
    if missing("cpus") {
        let cpus = thread::available_parallelism().map_or(1, std::num::NonZero::get);
        resources.push(Resource::scalar("cpus", cpus as f64));
    }
    if missing("mem") {
        resources.push(Resource::scalar("mem", spare(memory_mb(), SPARED_MEM)));
    }
    if missing("disk") {
        resources.push(Resource::scalar("disk", spare(disk_mb(work_dir), SPARED_DISK)));
    }
    if missing("ports") {
        resources.push(Resource::ranges("ports", [PORTS]));
    }
    Ok(resources)
}

fn text_names(text: &str, name: &str) -> bool {
    text.split(';')
        .filter_map(|part| part.split([':', '(']).next())
        .any(|named| named.trim() == name)
}

fn spare(total: u64, spared: u64) -> f64 {
    let left = if total < 2 * spared { total / 2 } else { total - spared };
    left as f64
}

fn memory_mb() -> u64 {
    fs::read_to_string("/proc/meminfo")
        .ok()
        .and_then(|text| {
            let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
            line.split_ascii_whitespace().next()?.parse::<u64>().ok()
        })
        .map_or(1024, |kib| kib * 1024 / MB)
}

fn disk_mb(path: &Path) -> u64 {
    nix::sys::statvfs::statvfs(path).map_or(1024, |disk| disk.blocks() * disk.fragment_size() / MB)
}

/// Yields the agent's attributes.
pub(super) fn attributes(text: &str) -> Result<Vec<Attribute>, StartError> {
    text.split([';', '\n'])
        .map(str::trim)
        .filter(|part| !part.is_empty())
        .map(|part| attribute(part).ok_or_else(|| StartError::Attributes(part.to_owned())))
        .collect()
}

fn attribute(part: &str) -> Option<Attribute> {
    let (name, text) = part.split_once(':')?;
    let (name, text) = (name.trim(), text.trim());
    if name.is_empty() || text.is_empty() || text.starts_with('{') {
        return None;
    }
    let mut attribute = Attribute { name: name.to_owned(), ..Attribute::default() };
    if let Some(ranges) = text.strip_prefix('[') {
        let ranges = ranges.strip_suffix(']')?.split(',').map(|range| {
            let (begin, end) = range.trim().split_once('-')?;
            Some(value::Range { begin: begin.trim().parse().ok()?, end: end.trim().parse().ok()? })
        });
        attribute.r#type = value::Type::Ranges.into();
        attribute.ranges = Some(value::Ranges { range: ranges.collect::<Option<_>>()? });
    } else if let Ok(number) = text.parse() {
        attribute.r#type = value::Type::Scalar.into();
        attribute.scalar = Some(value::Scalar { value: number });
    } else {
        attribute.r#type = value::Type::Text.into();
        attribute.text = Some(value::Text { value: text.to_owned() });
    }
    Some(attribute)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_have_the_type_they_look_like() {
        let read = attributes("rack:r1; zone:a;slots:4;ports:[1-2,5-6]").unwrap();
        let types: Vec<_> = read.iter().map(|a| (a.name.as_str(), a.r#type())).collect();
        assert_eq!(
            types,
            [
                ("rack", value::Type::Text),
                ("zone", value::Type::Text),
                ("slots", value::Type::Scalar),
                ("ports", value::Type::Ranges),
            ]
        );
        assert_eq!(attributes("").unwrap(), []);
        for bad in ["rack", "rack:", ":r1", "r:{a,b}", "r:[1-]"] {
            assert!(matches!(attributes(bad), Err(StartError::Attributes(_))), "{bad}");
        }
    }

    #[test]
    fn what_is_not_named_is_detected() {
        assert!(text_names("cpus:8;mem(role):1", "mem"));
        assert!(!text_names("cpus:8;memory:1", "mem"));
        assert_eq!(spare(1000, 1024), 500.0);
        assert_eq!(spare(24_000, 1024), 22_976.0);
        assert!(memory_mb() > 0);
        assert!(disk_mb(Path::new("/")) > 0);
    }
}
