//! Subscriptions and updates of frameworks.

use std::collections::BTreeSet;

use marmoset_proto::{
    mesos::v1::{FrameworkInfo, OfferFilters, scheduler::OfferConstraints},
    resources,
};

use super::fields;
use crate::master::{
    allocator::Constraints,
    core::{Capabilities, role_of, roles_of},
};

/// Checks all of a subscription; yields the suppressed roles and the compiled constraints.
///
/// # Errors
/// The text for the framework.
pub(crate) fn subscription(
    info: &FrameworkInfo,
    suppressed: &[String],
    constraints: Option<&OfferConstraints>,
) -> Result<(BTreeSet<String>, Constraints), String> {
    roles(info)?;
    if let Some(id) = info.id.as_ref().filter(|id| !id.value.is_empty()) {
        fields::id(&id.value)?;
    }
    info.offer_filters.values().try_for_each(offer_filters)?;
    let timeout = info.failover_timeout();
    // Mesos counts nanoseconds in 64 bits, either sign.
    if !(timeout * 1e9).is_finite() || (timeout * 1e9).abs() > i64::MAX as f64 {
        return Err(format!("The framework failover_timeout ({timeout}) is invalid"));
    }
    let roles = roles_of(info);
    let suppressed = suppressed.iter().cloned().collect::<BTreeSet<_>>();
    let foreign = suppressed.difference(&roles).cloned().collect::<Vec<_>>();
    if !foreign.is_empty() {
        return Err(format!(
            "Suppressed roles {{ {} }} are not contained in the set of roles",
            foreign.join(", ")
        ));
    }
    if let Some(constraints) = constraints
        && let Some(role) = constraints.role_constraints.keys().find(|role| !roles.contains(*role))
    {
        return Err(format!(
            "Offer constraints specify `role_constraints` for a role '{role}'not contained in the \
             set of roles"
        ));
    }
    Ok((suppressed, Constraints::compile(constraints)?))
}

/// Checks that an update changes nothing that cannot change.
///
/// # Errors
/// The text for the framework.
pub(crate) fn update(old: &FrameworkInfo, new: &FrameworkInfo) -> Result<(), String> {
    if old.principal != new.principal {
        return Err("Changing framework's principal is not allowed.".to_owned());
    }
    if old.user != new.user {
        return Err(format!(
            "Updating 'FrameworkInfo.user' is unsupported; attempted to update from '{}' to '{}'",
            old.user, new.user
        ));
    }
    if old.checkpoint() != new.checkpoint() {
        return Err(format!(
            "Updating 'FrameworkInfo.checkpoint' is unsupported; attempted to update from '{}' to \
             '{}'",
            old.checkpoint(),
            new.checkpoint()
        ));
    }
    Ok(())
}

fn roles(info: &FrameworkInfo) -> Result<(), String> {
    if !Capabilities::of(info).multi_role {
        if !info.roles.is_empty() {
            return Err("'FrameworkInfo.roles' must not be set when the framework is not \
                        MULTI_ROLE capable"
                .to_owned());
        }
        return resources::validate_role(role_of(info))
            .map_err(|error| format!("'FrameworkInfo.role' is not a valid role: {error}"));
    }
    if info.role.is_some() {
        return Err(
            "'FrameworkInfo.role' must not be set when the framework is MULTI_ROLE capable"
                .to_owned(),
        );
    }
    let mut seen = BTreeSet::new();
    let twice =
        info.roles.iter().filter(|role| !seen.insert(*role)).cloned().collect::<BTreeSet<_>>();
    if !twice.is_empty() {
        return Err(format!(
            "'FrameworkInfo.roles' contains duplicate items: {{ {} }}",
            twice.into_iter().collect::<Vec<_>>().join(", ")
        ));
    }
    info.roles.iter().try_for_each(|role| {
        resources::validate_role(role)
            .map_err(|error| format!("'FrameworkInfo.roles' contains invalid role: {error}"))
    })
}

fn offer_filters(filters: &OfferFilters) -> Result<(), String> {
    let Some(least) = &filters.min_allocatable_resources else { return Ok(()) };
    for quantities in &least.quantities {
        if quantities.quantities.is_empty() {
            return Err("Resource quantities must contain at least one quantity".to_owned());
        }
        for (name, quantity) in &quantities.quantities {
            let error = match quantity.value {
                value if value.is_infinite() => "Infinite values not supported",
                value if value.is_nan() => "NaN not supported",
                value if value.is_subnormal() => "Subnormal values not supported",
                value if value < 0.0 => "Negative values not supported",
                _ => continue,
            };
            return Err(format!("Invalid resource quantity for '{name}': {error}"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use marmoset_proto::mesos::v1::framework_info::{Capability, capability::Type};

    use super::*;

    fn info(roles: &[&str], multi_role: bool) -> FrameworkInfo {
        let capability = Capability { r#type: Some(Type::MultiRole.into()) };
        FrameworkInfo {
            roles: roles.iter().map(|role| (*role).to_owned()).collect(),
            capabilities: multi_role.then_some(capability).into_iter().collect(),
            ..FrameworkInfo::default()
        }
    }

    #[test]
    fn refusals_are_told_in_mesos_words() {
        let single = FrameworkInfo { role: Some("a b".to_owned()), ..FrameworkInfo::default() };
        let both = FrameworkInfo { role: Some("x".to_owned()), ..info(&["x"], true) };
        let long = FrameworkInfo { failover_timeout: Some(1e18), ..FrameworkInfo::default() };
        let empty = FrameworkInfo {
            offer_filters: [(
                "*".to_owned(),
                marmoset_proto::json::from_value(
                    serde_json::json!({"min_allocatable_resources": {"quantities": [{}]}}),
                )
                .unwrap(),
            )]
            .into(),
            ..FrameworkInfo::default()
        };
        let cases = [
            (
                single,
                "'FrameworkInfo.role' is not a valid role: Role component 'a b' is invalid \
                      because it contains backspace or whitespace",
            ),
            (
                info(&["x"], false),
                "'FrameworkInfo.roles' must not be set when the framework is \
                                   not MULTI_ROLE capable",
            ),
            (both, "'FrameworkInfo.role' must not be set when the framework is MULTI_ROLE capable"),
            (info(&["x", "y", "x"], true), "'FrameworkInfo.roles' contains duplicate items: { x }"),
            (
                info(&["-x"], true),
                "'FrameworkInfo.roles' contains invalid role: Role component \
                                   '-x' is invalid because it begins with a dash",
            ),
            (long, "The framework failover_timeout (1000000000000000000) is invalid"),
            (empty, "Resource quantities must contain at least one quantity"),
        ];
        for (info, expected) in cases {
            let error = subscription(&info, &[], None).map(|_| ()).unwrap_err();
            assert_eq!(error, expected);
        }
        let suppressed = subscription(&info(&["x"], true), &["y".to_owned()], None);
        assert_eq!(
            suppressed.map(|_| ()).unwrap_err(),
            "Suppressed roles { y } are not contained in the set of roles"
        );
    }
}
