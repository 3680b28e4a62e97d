//! Resources of calls in the form the master works with.
//!
//! Schedulers may leave the allocation out and may use the older reservation
//! fields; both are filled in before anything is validated. What cannot be
//! upgraded stays as it is, for validation to complain about.

use marmoset_proto::mesos::v1::{
    ExecutorInfo, Resource, TaskInfo,
    health_check::Type as HealthCheckType,
    resource::{AllocationInfo, ReservationInfo, reservation_info::Type as ReservationType},
};

/// Upgrades a task with its executor; infers the type of a health check that has none.
pub(crate) fn task(task: &mut TaskInfo, role: &str) {
    resources(&mut task.resources, role);
    if let Some(info) = &mut task.executor {
        executor(info, role);
    }
    if let Some(check) = &mut task.health_check
        && check.r#type.is_none()
    {
        let inferred = match (&check.command, &check.http) {
            (Some(_), None) => Some(HealthCheckType::Command),
            (None, Some(_)) => Some(HealthCheckType::Http),
            (Some(_), Some(_)) | (None, None) => None,
        };
        check.r#type = inferred.map(Into::into);
    }
}

/// Upgrades an executor.
pub(crate) fn executor(executor: &mut ExecutorInfo, role: &str) {
    resources(&mut executor.resources, role);
}

/// Upgrades resources and allocates those that are not.
pub(crate) fn resources(resources: &mut [Resource], role: &str) {
    for resource in resources {
        resource
            .allocation_info
            .get_or_insert_with(|| AllocationInfo { role: Some(role.to_owned()) });
        if !resource.reservations.is_empty() {
            continue;
        }
        match (resource.role.as_deref(), &resource.reservation) {
            (None | Some("*"), None) => resource.role = None,
            (None | Some("*"), Some(_)) => {}
            (Some(owner), old) => {
                let (kind, principal, labels) = match old {
                    Some(old) => {
                        (ReservationType::Dynamic, old.principal.clone(), old.labels.clone())
                    }
                    None => (ReservationType::Static, None, None),
                };
                resource.reservations = vec![ReservationInfo {
                    principal,
                    labels,
                    role: Some(owner.to_owned()),
                    r#type: Some(kind.into()),
                }];
                resource.role = None;
                resource.reservation = None;
            }
        }
    }
}
