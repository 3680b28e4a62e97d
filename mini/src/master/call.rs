//! Whether a scheduler's call is complete: what is answered 400 before anything is looked up.
//!
//! The texts follow `Failed to validate scheduler::Call: `. (Mesos 1.11,
//! src/master/validation.cpp, `scheduler::call::validate`.)

use marmoset_proto::mesos::v1::{
    FrameworkId,
    scheduler::{Call, call::Type},
};

/// Checks a decoded call; yields its type.
///
/// # Errors
/// The text after the prefix.
pub(crate) fn validate(call: &Call, principal: Option<&str>) -> Result<Type, String> {
    // A number that this version does not know counts as absent.
    let Some(kind) = call.r#type.and_then(|kind| Type::try_from(kind).ok()) else {
        return Err(expecting("type"));
    };
    if kind == Type::Subscribe {
        let Some(subscribe) = &call.subscribe else { return Err(expecting("subscribe")) };
        let info = &subscribe.framework_info;
        let id = |id: &Option<FrameworkId>| id.clone().unwrap_or_default();
        if id(&info.id) != id(&call.framework_id) {
            return Err("'framework_id' differs from 'subscribe.framework_info.id'".to_owned());
        }
        if let (Some(caller), Some(claimed)) = (principal, &info.principal)
            && caller != claimed
        {
            return Err(format!(
                "Authenticated principal '{caller}' does not match principal '{claimed}' set in \
                 `FrameworkInfo`"
            ));
        }
        return Ok(kind);
    }
    let Some(framework_id) = &call.framework_id else { return Err(expecting("framework_id")) };
    let (present, name) = match kind {
        Type::Unknown | Type::Subscribe | Type::Teardown | Type::Revive | Type::Suppress => {
            return Ok(kind);
        }
        Type::Accept => (call.accept.is_some(), "accept"),
        Type::Decline => (call.decline.is_some(), "decline"),
        Type::AcceptInverseOffers => {
            (call.accept_inverse_offers.is_some(), "accept_inverse_offers")
        }
        Type::DeclineInverseOffers => {
            (call.decline_inverse_offers.is_some(), "decline_inverse_offers")
        }
        Type::Kill => (call.kill.is_some(), "kill"),
        Type::Shutdown => (call.shutdown.is_some(), "shutdown"),
        Type::Acknowledge => (call.acknowledge.is_some(), "acknowledge"),
        Type::AcknowledgeOperationStatus => {
            (call.acknowledge_operation_status.is_some(), "acknowledge_operation_status")
        }
        Type::Reconcile => (call.reconcile.is_some(), "reconcile"),
        Type::ReconcileOperations => (call.reconcile_operations.is_some(), "reconcile_operations"),
        Type::Message => (call.message.is_some(), "message"),
        Type::Request => (call.request.is_some(), "request"),
        Type::UpdateFramework => (call.update_framework.is_some(), "update_framework"),
    };
    if !present {
        return Err(expecting(name));
    }
    if let Some(acknowledge) = &call.acknowledge
        && kind == Type::Acknowledge
    {
        uuid(&acknowledge.uuid)?;
    }
    if let Some(acknowledge) = &call.acknowledge_operation_status
        && kind == Type::AcknowledgeOperationStatus
    {
        uuid(&acknowledge.uuid)?;
        if acknowledge.agent_id.is_none() {
            return Err(expecting("agent_id"));
        }
    }
    if let Some(update) = &call.update_framework
        && kind == Type::UpdateFramework
        && update.framework_info.id.as_ref() != Some(framework_id)
    {
        return Err("'framework_id' differs from 'update_framework.framework_info.id'".to_owned());
    }
    Ok(kind)
}

fn expecting(name: &str) -> String {
    format!("Expecting '{name}' to be present")
}

/// Sixteen bytes are not enough: Mesos wants a proper variant and version, too.
fn uuid(bytes: &[u8]) -> Result<(), String> {
    uuid::Uuid::from_slice(bytes)
        .ok()
        .filter(|uuid| uuid.get_version().is_some() && !uuid.is_nil())
        .map(|_| ())
        .ok_or_else(|| "Not a valid UUID".to_owned())
}
