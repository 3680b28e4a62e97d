//! `check`: tells what a probe gave, and judges nothing.

use marmoset_proto::{
    mesos::v1::{CheckStatusInfo, check_info::Type, check_status_info},
    status::{self, Ending},
};

use super::{round::Round, spec::GeneralSpec};
use crate::input::Answer;

/// A `check` at work.
#[derive(Debug)]
pub(super) struct General {
    pub(super) round: Round,
    /// What the last probe gave; the empty status before the first.
    pub(super) status: CheckStatusInfo,
    kind: Type,
}

impl General {
    pub(super) fn new(spec: &GeneralSpec) -> Self {
        Self {
            round: Round::new(spec.pace, spec.attempt.clone()),
            status: result(spec.kind, None),
            kind: spec.kind,
        }
    }

    /// Takes an answer in; says whether the status is another one now.
    pub(super) fn take(&mut self, answer: &Answer) -> bool {
        let status = result(self.kind, Some(answer));
        let changed = status != self.status;
        self.status = status;
        changed
    }
}

/// The status for an answer; without one, or if it says nothing, the part of `kind` is empty.
fn result(kind: Type, answer: Option<&Answer>) -> CheckStatusInfo {
    let (mut exit_code, mut status_code, mut succeeded) = (None, None, None);
    match answer {
        Some(Answer::Exited { wait_status }) => match status::ending(*wait_status) {
            Ending::Exited(code) => exit_code = Some(code.into()),
            Ending::Signalled { .. } | Ending::Other => {}
        },
        Some(Answer::Responded { code }) => status_code = Some((*code).into()),
        Some(Answer::Connected) => succeeded = Some(true),
        Some(Answer::NotConnected { .. }) => succeeded = Some(false),
        Some(Answer::Nothing { .. }) | None => {}
    }
    let mut status = CheckStatusInfo { r#type: Some(kind.into()), ..CheckStatusInfo::default() };
    match kind {
        Type::Command => status.command = Some(check_status_info::Command { exit_code }),
        Type::Http => status.http = Some(check_status_info::Http { status_code }),
        Type::Tcp => status.tcp = Some(check_status_info::Tcp { succeeded }),
        Type::Unknown => {}
    }
    status
}
