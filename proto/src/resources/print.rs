//! How Mesos shows resources in its messages.

use std::fmt;

use super::{
    Resources,
    entry::{Amount, Entry},
};
use crate::mesos::v1::{
    Labels, Resource, Volume,
    resource::{DiskInfo, ReservationInfo, disk_info::Source, disk_info::source},
    value, volume,
};

/// `cpus(allocated: *):7.8; ports(allocated: *):[8000-8100]`, and `{}` for nothing.
impl fmt::Display for Resources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.entries.is_empty() {
            return f.write_str("{}");
        }
        for (index, entry) in self.entries.iter().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            write!(f, "{separator}{entry}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&head(
            self.name(),
            self.allocated_to(),
            self.reservations(),
            self.disk(),
            (self.is_revocable(), self.is_shared()),
        ))?;
        write!(f, ":{}", self.amount())?;
        if self.is_shared() {
            write!(f, "<{}>", self.shares)?;
        }
        Ok(())
    }
}

/// `7.8`, `[8000-8100]`, `{a, b}`.
impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Scalar(value) => value.fmt(f),
            Self::Ranges(ranges) => ranges.fmt(f),
            Self::Set(items) => {
                let items = items.iter().map(String::as_str).collect::<Vec<_>>();
                write!(f, "{{{}}}", items.join(", "))
            }
        }
    }
}

/// Shows a resource that may not be valid.
pub(super) fn wire(resource: &Resource) -> String {
    let head = head(
        &resource.name,
        resource.allocation_info.as_ref().map(|info| info.role()),
        &resource.reservations,
        resource.disk.as_ref(),
        (resource.revocable.is_some(), resource.shared.is_some()),
    );
    let amount = match value::Type::try_from(resource.r#type) {
        Ok(value::Type::Scalar) => {
            resource.scalar.map(|scalar| crate::text::number(scalar.value)).unwrap_or_default()
        }
        Ok(value::Type::Ranges) => {
            let ranges = resource.ranges.iter().flat_map(|ranges| &ranges.range);
            let ranges = ranges.map(|range| format!("{}-{}", range.begin, range.end));
            format!("[{}]", ranges.collect::<Vec<_>>().join(", "))
        }
        Ok(value::Type::Set) => {
            let items = resource.set.iter().flat_map(|set| &set.item).map(String::as_str);
            format!("{{{}}}", items.collect::<Vec<_>>().join(", "))
        }
        Ok(value::Type::Text) | Err(_) => String::new(),
    };
    format!("{head}:{amount}")
}

fn head(
    name: &str,
    allocated_to: Option<&str>,
    reservations: &[ReservationInfo],
    disk: Option<&DiskInfo>,
    (is_revocable, is_shared): (bool, bool),
) -> String {
    let mut out = name.to_string();
    if let Some(role) = allocated_to {
        out += &format!("(allocated: {role})");
    }
    if !reservations.is_empty() {
        let all = reservations.iter().map(reservation).collect::<Vec<_>>();
        out += &format!("(reservations: [{}])", all.join(","));
    }
    if let Some(disk) = disk {
        out += &format!("[{}]", disk_info(disk));
    }
    if is_revocable {
        out += "{REV}";
    }
    if is_shared {
        out += "<SHARED>";
    }
    out
}

fn reservation(reservation: &ReservationInfo) -> String {
    let mut parts = vec![reservation.r#type().as_str_name().to_string(), reservation.role().into()];
    parts.extend(reservation.principal.clone());
    parts.extend(reservation.labels.as_ref().map(labels));
    format!("({})", parts.join(","))
}

fn labels(labels: &Labels) -> String {
    let all = labels.labels.iter().map(|label| match &label.value {
        Some(value) => format!("{}: {value}", label.key),
        None => label.key.clone(),
    });
    format!("{{{}}}", all.collect::<Vec<_>>().join(", "))
}

fn disk_info(disk: &DiskInfo) -> String {
    let mut parts = Vec::new();
    parts.extend(disk.source.as_ref().map(disk_source));
    parts.extend(disk.persistence.as_ref().map(|persistence| persistence.id.clone()));
    let mut out = parts.join(",");
    if let Some(volume) = &disk.volume {
        out += &format!(":{}", volume_text(volume));
    }
    out
}

fn disk_source(source: &Source) -> String {
    let root = match source.r#type() {
        source::Type::Path => source.path.as_ref().and_then(|path| path.root.as_deref()),
        source::Type::Mount => source.mount.as_ref().and_then(|mount| mount.root.as_deref()),
        source::Type::Block | source::Type::Raw | source::Type::Unknown => None,
    };
    let detail = if source.id.is_some() || source.profile.is_some() {
        format!("({},{},{})", source.vendor(), source.id(), source.profile())
    } else {
        root.map(|root| format!(":{root}")).unwrap_or_default()
    };
    format!("{}{detail}", source.r#type().as_str_name())
}

fn volume_text(volume: &Volume) -> String {
    let host = volume.host_path.as_ref().map(|path| format!("{path}:")).unwrap_or_default();
    let mode = match volume.mode() {
        volume::Mode::Rw => "rw",
        volume::Mode::Ro => "ro",
    };
    format!("{host}{}:{mode}", volume.container_path)
}
