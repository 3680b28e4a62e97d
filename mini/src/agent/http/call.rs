//! The executor API: one endpoint, four calls, checked in Mesos' order.
//!
//! Mesos 1.11, `src/slave/http.cpp` (`Http::executor`) and
//! `src/common/validation.cpp` (`validateExecutorCall`).

use http::StatusCode;
use marmoset_proto::mesos::v1::{
    CheckStatusInfo, TaskState, TaskStatus, check_info,
    executor::{Call, call},
    task_status::Source,
};

use super::{AgentService, gone};
use crate::{
    agent::{
        actor,
        core::{Refusal, Subscription},
    },
    http::{
        Request, Response, accepted, accepted_encoding, check_call_headers, decode_call, events,
        text,
    },
};

impl AgentService {
    /// Answers a request on the executor endpoint.
    pub(super) async fn executor(&self, request: Request) -> Response {
        self.checked(request).await.unwrap_or_else(|refused| refused)
    }

    async fn checked(&self, request: Request) -> Result<Response, Response> {
        let encoding = check_call_headers(&request)?;
        let accepts = accepted_encoding(&request.headers);
        let body = request.into_body().await?;
        let call: Call = decode_call(&body, encoding)?;
        let kind = validate(&call).map_err(|why| {
            let text_ = format!("Failed to validate Executor::Call: {why}");
            text(StatusCode::BAD_REQUEST, text_)
        })?;
        let Call { executor_id, framework_id, subscribe, update, message, .. } = call;
        match kind {
            call::Type::Heartbeat => Ok(accepted()),
            call::Type::Unknown => Ok(text(StatusCode::NOT_IMPLEMENTED, "")),
            call::Type::Subscribe => {
                let encoding = accepts.ok_or_else(|| {
                    text(
                        StatusCode::NOT_ACCEPTABLE,
                        "Expecting 'Accept' to allow 'application/x-protobuf' or 'application/json'",
                    )
                })?;
                let subscribe = subscribe.unwrap_or_default();
                let subscription = Subscription {
                    framework: framework_id,
                    executor: executor_id,
                    tasks: subscribe.unacknowledged_tasks,
                    updates: subscribe
                        .unacknowledged_updates
                        .into_iter()
                        .map(|update| update.status)
                        .collect(),
                };
                let asked = |reply| actor::Request::Subscribe(subscription, encoding, reply);
                let subscribed = self.ask(asked).await.ok_or_else(gone)?.map_err(refused)?;
                Ok(events(subscribed.0, encoding))
            }
            call::Type::Update => {
                let status = Box::new(update.unwrap_or_default().status);
                let asked =
                    |reply| actor::Request::Update(framework_id, executor_id, status, reply);
                self.ask(asked).await.ok_or_else(gone)?.map_err(refused)?;
                Ok(accepted())
            }
            call::Type::Message => {
                let data = message.unwrap_or_default().data;
                let asked = |reply| actor::Request::Message(framework_id, executor_id, data, reply);
                self.ask(asked).await.ok_or_else(gone)?.map_err(refused)?;
                Ok(accepted())
            }
        }
    }
}

fn refused(refusal: Refusal) -> Response {
    let status = match refusal {
        Refusal::Recovering => StatusCode::SERVICE_UNAVAILABLE,
        Refusal::UnknownFramework | Refusal::UnknownExecutor => StatusCode::BAD_REQUEST,
        Refusal::NotSubscribed => StatusCode::FORBIDDEN,
    };
    text(status, refusal.to_string())
}

/// Checks what the schema does not; yields the type of the call.
fn validate(call: &Call) -> Result<call::Type, String> {
    let missing = |name: &str| format!("Expecting '{name}' to be present");
    let kind = call
        .r#type
        .and_then(|number| call::Type::try_from(number).ok())
        .ok_or_else(|| missing("type"))?;
    match kind {
        call::Type::Subscribe if call.subscribe.is_none() => Err(missing("subscribe")),
        call::Type::Message if call.message.is_none() => Err(missing("message")),
        call::Type::Update => {
            let update = call.update.as_ref().ok_or_else(|| missing("update"))?;
            validate_status(call, &update.status).map(|()| kind)
        }
        call::Type::Subscribe
        | call::Type::Message
        | call::Type::Heartbeat
        | call::Type::Unknown => Ok(kind),
    }
}

fn validate_status(call: &Call, status: &TaskStatus) -> Result<(), String> {
    let (executor, framework) = (&call.executor_id, &call.framework_id);
    let uuid = status.uuid.as_ref().ok_or("Expecting 'uuid' to be present")?;
    let version = uuid::Uuid::from_slice(uuid).ok().map(|uuid| uuid.get_version_num());
    if version != Some(4) {
        return Err("Not a valid UUID".to_owned());
    }
    if let Some(other) = status.executor_id.as_ref().filter(|other| *other != executor) {
        return Err(format!(
            "ExecutorID in Call: {executor} does not match ExecutorID in TaskStatus: {other}"
        ));
    }
    if status.source() != Source::Executor {
        return Err(format!(
            "Received Call from executor {executor} of framework {framework} with invalid source, \
             expecting 'SOURCE_EXECUTOR'"
        ));
    }
    if status.state() == TaskState::TaskStaging {
        return Err(format!(
            "Received TASK_STAGING from executor {executor} of framework {framework} which is not \
             allowed"
        ));
    }
    status.check_status.as_ref().map_or(Ok(()), validate_check)
}

fn validate_check(check: &CheckStatusInfo) -> Result<(), String> {
    let kind = check
        .r#type
        .and_then(|number| check_info::Type::try_from(number).ok())
        .ok_or("CheckStatusInfo must specify 'type'")?;
    let has = [
        (check_info::Type::Command, check.command.is_some(), "command"),
        (check_info::Type::Http, check.http.is_some(), "http"),
        (check_info::Type::Tcp, check.tcp.is_some(), "tcp"),
    ];
    if kind == check_info::Type::Unknown {
        return Err(format!("'{}' is not a valid check status type", kind.as_str_name()));
    }
    for (of, present, name) in has {
        if of == kind && !present {
            return Err(format!(
                "Expecting '{name}' to be set for {} check's status",
                kind.as_str_name()
            ));
        }
        if of != kind && present {
            return Err(format!(
                "Expecting '{name}' to be unset for {} check's status",
                kind.as_str_name()
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn update(status: serde_json::Value) -> Result<call::Type, String> {
        let call = serde_json::json!({
            "type": "UPDATE", "framework_id": {"value": "f"}, "executor_id": {"value": "e"},
            "update": {"status": status},
        });
        validate(&marmoset_proto::json::from_value(call).unwrap())
    }

    #[test]
    fn updates_are_refused_in_the_recorded_words() {
        const GOOD: &str = "fTwaUpseTFiKdy9tDluaEA==";
        const ZERO: &str = "AAAAAAAAAAAAAAAAAAAAAA==";
        const SHORT: &str = "AAECAwQFBgcICQoLDA0O";
        let status = |uuid: Option<&str>, source: Option<&str>, state: &str| {
            serde_json::json!({
                "task_id": {"value": "t"}, "state": state, "uuid": uuid, "source": source,
            })
        };
        let executor = Some("SOURCE_EXECUTOR");
        let cases = [
            (status(None, executor, "TASK_RUNNING"), "Expecting 'uuid' to be present"),
            (status(Some(ZERO), None, "TASK_RUNNING"), "Not a valid UUID"),
            (status(Some(SHORT), executor, "TASK_RUNNING"), "Not a valid UUID"),
            (
                status(Some(GOOD), None, "TASK_RUNNING"),
                "Received Call from executor e of framework f with invalid source, expecting 'SOURCE_EXECUTOR'",
            ),
            (
                status(Some(GOOD), executor, "TASK_STAGING"),
                "Received TASK_STAGING from executor e of framework f which is not allowed",
            ),
        ];
        for (status, expected) in cases {
            assert_eq!(update(status).unwrap_err(), expected);
        }
        assert_eq!(update(status(Some(GOOD), executor, "TASK_RUNNING")), Ok(call::Type::Update));
    }

    #[test]
    fn a_check_status_has_exactly_its_own_part() {
        let mut check = CheckStatusInfo::default();
        assert!(validate_check(&check).is_err());
        check.r#type = Some(check_info::Type::Command.into());
        assert!(validate_check(&check).is_err());
        check.command = Some(Default::default());
        assert_eq!(validate_check(&check), Ok(()));
        check.tcp = Some(Default::default());
        assert!(validate_check(&check).is_err());
    }
}
