//! What the states of a task mean.

use crate::mesos::v1::TaskState;

impl TaskState {
    /// Whether no other state can follow.
    ///
    /// UNREACHABLE and UNKNOWN are not terminal: the agent may come back.
    pub fn is_terminal(self) -> bool {
        match self {
            Self::TaskFinished
            | Self::TaskFailed
            | Self::TaskKilled
            | Self::TaskError
            | Self::TaskLost
            | Self::TaskDropped
            | Self::TaskGone
            | Self::TaskGoneByOperator => true,
            Self::TaskStaging
            | Self::TaskStarting
            | Self::TaskRunning
            | Self::TaskKilling
            | Self::TaskUnreachable
            | Self::TaskUnknown => false,
        }
    }

    /// Gives the name without its prefix, in lower case: `finished`.
    pub fn short_name(self) -> &'static str {
        match self {
            Self::TaskStaging => "staging",
            Self::TaskStarting => "starting",
            Self::TaskRunning => "running",
            Self::TaskKilling => "killing",
            Self::TaskFinished => "finished",
            Self::TaskFailed => "failed",
            Self::TaskKilled => "killed",
            Self::TaskError => "error",
            Self::TaskLost => "lost",
            Self::TaskDropped => "dropped",
            Self::TaskUnreachable => "unreachable",
            Self::TaskGone => "gone",
            Self::TaskGoneByOperator => "gone_by_operator",
            Self::TaskUnknown => "unknown",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_names_follow_the_wire_names() {
        for number in 0..=13 {
            let state = TaskState::try_from(number).unwrap();
            assert_eq!(format!("TASK_{}", state.short_name().to_uppercase()), state.as_str_name());
        }
    }

    #[test]
    fn terminal_states() {
        let terminal = (0..=13)
            .filter_map(|number| TaskState::try_from(number).ok())
            .filter(|state| state.is_terminal())
            .map(TaskState::short_name)
            .collect::<Vec<_>>();
        assert_eq!(
            terminal,
            [
                "finished",
                "failed",
                "killed",
                "lost",
                "error",
                "dropped",
                "gone",
                "gone_by_operator"
            ]
        );
    }
}
