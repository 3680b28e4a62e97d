//! Between wire messages in either reservation format and entries.

use std::{collections::BTreeSet, sync::Arc};

use super::{
    Format,
    entry::{Amount, Entry, Terms, name},
    role,
    scalar::Millis,
};
use crate::mesos::v1::{
    Resource, ResourceProviderId,
    resource::{AllocationInfo, ReservationInfo, RevocableInfo, SharedInfo, reservation_info},
    value::{self, Range, Ranges, Scalar, Set},
};

/// Checks a resource and brings its reservations into the newer form.
pub(super) fn entry(resource: &Resource) -> Result<Entry, String> {
    if resource.name.is_empty() {
        return Err("Empty resource name".to_string());
    }
    let amount = amount(resource)?;
    check_disk(resource)?;
    let terms = Terms {
        allocated_to: resource.allocation_info.as_ref().map(|info| info.role().to_string()),
        reservations: reservations(resource)?,
        disk: resource.disk.clone(),
        is_revocable: resource.revocable.is_some(),
        is_shared: resource.shared.is_some(),
        provider: resource.provider_id.as_ref().map(|id| id.value.clone()),
    };
    Ok(Entry { name: name(&resource.name), amount, terms: Arc::new(terms), shares: 1 })
}

fn amount(resource: &Resource) -> Result<Amount, String> {
    let parts = (&resource.scalar, &resource.ranges, &resource.set);
    match value::Type::try_from(resource.r#type) {
        Ok(value::Type::Scalar) => match parts {
            (Some(scalar), None, None) => scalar_amount(&resource.name, scalar.value),
            _ => Err("Invalid scalar resource".to_string()),
        },
        Ok(value::Type::Ranges) => match parts {
            (None, Some(ranges), None) => ranges_amount(&ranges.range),
            _ => Err("Invalid ranges resource".to_string()),
        },
        Ok(value::Type::Set) => match parts {
            (None, None, Some(set)) => set_amount(&set.item),
            _ => Err("Invalid set resource".to_string()),
        },
        Ok(value::Type::Text) => Err("Unsupported resource type".to_string()),
        Err(_) => Err("Invalid resource type".to_string()),
    }
}

fn scalar_amount(name: &str, value: f64) -> Result<Amount, String> {
    let refused = |reason| Err(format!("Invalid scalar resource: {reason}"));
    if value.is_nan() {
        return refused("NaN is not supported");
    }
    if value.is_infinite() {
        return refused("infinite values are not supported");
    }
    if value.is_subnormal() {
        return refused("subnormal values are not supported");
    }
    if value < 0.0 {
        return refused("value < 0");
    }
    if name == "gpus" && value.fract() != 0.0 {
        return refused("`gpus` must be a whole number");
    }
    match Millis::from_f64(value) {
        Some(value) => Ok(Amount::Scalar(value)),
        None => refused("value is too large"),
    }
}

fn ranges_amount(ranges: &[Range]) -> Result<Amount, String> {
    if ranges.iter().any(|range| range.begin > range.end) {
        return Err("Invalid ranges resource: begin > end".to_string());
    }
    let mut sorted = ranges.iter().map(|range| (range.begin, range.end)).collect::<Vec<_>>();
    sorted.sort_unstable();
    if sorted.windows(2).any(|pair| pair[1].0 <= pair[0].1) {
        return Err("Invalid ranges resource: overlapping ranges".to_string());
    }
    Ok(Amount::Ranges(sorted.into_iter().collect()))
}

fn set_amount(items: &[String]) -> Result<Amount, String> {
    let set = items.iter().cloned().collect::<BTreeSet<_>>();
    if set.len() < items.len() {
        return Err("Invalid set resource: duplicated elements".to_string());
    }
    Ok(Amount::Set(set))
}

fn check_disk(resource: &Resource) -> Result<(), String> {
    use crate::mesos::v1::resource::disk_info::source::Type;
    if let Some(disk) = &resource.disk {
        if resource.name != "disk" {
            return Err(format!("DiskInfo should not be set for {} resource", resource.name));
        }
        if let Some(source) = &disk.source
            && matches!(Type::try_from(source.r#type), Err(_) | Ok(Type::Unknown))
        {
            return Err("Unsupported 'DiskInfo.Source.Type'".to_string());
        }
    }
    if resource.shared.is_some() {
        if resource.name != "disk" {
            return Err(format!("Resource {} cannot be shared", resource.name));
        }
        if resource.disk.as_ref().is_none_or(|disk| disk.persistence.is_none()) {
            return Err("Only persistent volumes can be shared".to_string());
        }
    }
    Ok(())
}

fn reservations(resource: &Resource) -> Result<Vec<ReservationInfo>, String> {
    if let Some(reservation) = &resource.reservation {
        let forbidden = |field: &str| {
            Err(format!(
                "'Resource.ReservationInfo.{field}' must not be set for the \
                 'Resource.reservation' field"
            ))
        };
        if reservation.r#type.is_some() {
            return forbidden("type");
        }
        if reservation.role.is_some() {
            return forbidden("role");
        }
    }
    if resource.reservations.is_empty() {
        older_format(resource)
    } else {
        newer_format(resource)?;
        Ok(resource.reservations.clone())
    }
}

fn older_format(resource: &Resource) -> Result<Vec<ReservationInfo>, String> {
    use reservation_info::Type;
    let holder = resource.role.as_deref().unwrap_or("*");
    role::validate(holder)?;
    match (&resource.reservation, holder) {
        (None, "*") => Ok(Vec::new()),
        (Some(_), "*") => {
            Err("Invalid reservation: role \"*\" cannot be dynamically reserved".to_string())
        }
        (None, holder) => Ok(vec![ReservationInfo {
            r#type: Some(Type::Static.into()),
            role: Some(holder.to_string()),
            ..Default::default()
        }]),
        (Some(reservation), holder) => Ok(vec![ReservationInfo {
            r#type: Some(Type::Dynamic.into()),
            role: Some(holder.to_string()),
            ..reservation.clone()
        }]),
    }
}

fn newer_format(resource: &Resource) -> Result<(), String> {
    use reservation_info::Type;
    let mut ancestor: Option<&str> = None;
    for reservation in &resource.reservations {
        if reservation.r#type.is_none() || reservation.r#type() == Type::Unknown {
            return Err("Invalid reservation: 'Resource.ReservationInfo.type' field must be set."
                .to_string());
        }
        let Some(holder) = reservation.role.as_deref() else {
            return Err("Invalid reservation: 'Resource.ReservationInfo.role' field must be set."
                .to_string());
        };
        role::validate(holder)?;
        if holder == "*" {
            return Err("Invalid reservation: role \"*\" cannot be reserved".to_string());
        }
        if let Some(ancestor) = ancestor {
            if reservation.r#type() == Type::Static {
                return Err("Invalid refined reservation: A refined reservation cannot be STATIC"
                    .to_string());
            }
            if holder == ancestor || !role::is_at_or_below(holder, ancestor) {
                return Err(format!(
                    "Invalid refined reservation: role '{holder}' is not a refinement of '{ancestor}'"
                ));
            }
        }
        ancestor = Some(holder);
    }
    agree(resource)
}

/// Both formats in one resource must tell the same single reservation.
fn agree(resource: &Resource) -> Result<(), String> {
    if resource.role.is_none() && resource.reservation.is_none() {
        return Ok(());
    }
    let [only] = &resource.reservations[..] else {
        return Err("Invalid resource format: 'Resource.role' and 'Resource.reservation' \
                    must not be set next to several 'Resource.reservations'"
            .to_string());
    };
    if let Some(holder) = &resource.role
        && *holder != only.role()
    {
        return Err(format!(
            "Invalid resource format: 'Resource.role' field with '{holder}' does not match \
             the role '{}' in 'Resource.reservations'",
            only.role()
        ));
    }
    let is_same = match (&resource.reservation, only.r#type()) {
        (Some(older), reservation_info::Type::Dynamic) => {
            older.principal == only.principal && older.labels == only.labels
        }
        (Some(_), reservation_info::Type::Static | reservation_info::Type::Unknown) => false,
        (None, _) => true,
    };
    if is_same {
        Ok(())
    } else {
        Err("Invalid resource format: 'Resource.reservation' does not match \
             'Resource.reservations'"
            .to_string())
    }
}

/// Writes an entry; more than once when it is a shared volume that is held more than once.
pub(super) fn wire(entry: &Entry, format: Format) -> Vec<Resource> {
    let terms = &entry.terms;
    let mut resource = Resource {
        name: entry.name.to_string(),
        disk: terms.disk.clone(),
        revocable: terms.is_revocable.then_some(RevocableInfo {}),
        shared: terms.is_shared.then_some(SharedInfo {}),
        allocation_info: terms
            .allocated_to
            .as_ref()
            .map(|role| AllocationInfo { role: Some(role.clone()) }),
        provider_id: terms
            .provider
            .as_ref()
            .map(|value| ResourceProviderId { value: value.clone() }),
        ..Default::default()
    };
    match &entry.amount {
        Amount::Scalar(value) => {
            resource.r#type = value::Type::Scalar.into();
            resource.scalar = Some(Scalar { value: value.to_f64() });
        }
        Amount::Ranges(ranges) => {
            resource.r#type = value::Type::Ranges.into();
            let range = ranges.iter().map(|(begin, end)| Range { begin, end }).collect();
            resource.ranges = Some(Ranges { range });
        }
        Amount::Set(items) => {
            resource.r#type = value::Type::Set.into();
            resource.set = Some(Set { item: items.iter().cloned().collect() });
        }
    }
    match format {
        Format::PostRefinement => resource.reservations = terms.reservations.clone(),
        Format::PreRefinement => match &terms.reservations[..] {
            [] => resource.role = Some("*".to_string()),
            [only] => {
                resource.role = only.role.clone();
                if only.r#type() == reservation_info::Type::Dynamic {
                    resource.reservation = Some(ReservationInfo {
                        principal: only.principal.clone(),
                        labels: only.labels.clone(),
                        ..Default::default()
                    });
                }
            }
            _ => return Vec::new(),
        },
    }
    let copies = usize::try_from(entry.shares).unwrap_or(usize::MAX);
    std::iter::repeat_n(resource, copies).collect()
}
