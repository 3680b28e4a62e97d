//! Checks a `CommandInfo` before anything is started.

use marmoset_proto::mesos::v1::{
    CommandInfo, Environment,
    environment::{Variable, variable},
};

use crate::action::RuntimeKind;

/// URIs of one command.
pub const URIS_MAX: usize = 256;

/// Why a command cannot be run; reads as the end of a sentence about its field.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// Nothing to run.
    #[error("has no `value`: set it to {}", if *.shell { "the text for `/bin/sh -c`" } else { "the program" })]
    NoValue {
        /// Whether a shell would read it.
        shell: bool,
    },
    /// Not even the program's name.
    #[error(
        "has `shell` false and no `arguments`: they are the whole argv, \
         the program's name first"
    )]
    NoArguments,
    /// Cannot be handed to a process.
    #[error("contains a NUL character in `{0}`")]
    Nul(&'static str),
    /// A file from nowhere.
    #[error("has a URI without a `value` in `uris`: set it to a path or a URL, or remove it")]
    UriValue,
    /// More than are fetched.
    #[error("has {0} `uris`, and {URIS_MAX} at most are fetched: pack files together")]
    Uris(usize),
    /// Not the name of a variable.
    #[error("has an environment variable with the name `{0}`: it is empty or contains `=`")]
    VariableName(String),
    /// Nothing to set it to.
    #[error("has the environment variable `{0}` without a `value`")]
    VariableValue(String),
    /// Nobody here can look it up.
    #[error(
        "has the environment variable `{0}` of type SECRET, which this executor cannot \
         resolve: set it on the executor"
    )]
    Secret(String),
}

/// Checks everything that needs no look at the machine.
///
/// An image may have a program of its own: in a container only a shell needs a `value`, and
/// `arguments` need not begin with a name.
pub(crate) fn check(command: &CommandInfo, runtime: RuntimeKind) -> Result<(), CommandError> {
    let shell = command.shell();
    let image = match runtime {
        RuntimeKind::Process => false,
        RuntimeKind::Docker | RuntimeKind::Warm => true,
    };
    match command.value.as_deref() {
        None if image && !shell => {}
        None => return Err(CommandError::NoValue { shell }),
        Some("") => return Err(CommandError::NoValue { shell }),
        Some(value) if value.contains('\0') => return Err(CommandError::Nul("value")),
        Some(_) => {}
    }
    if !image && !shell && command.arguments.is_empty() {
        return Err(CommandError::NoArguments);
    }
    if command.arguments.iter().any(|argument| argument.contains('\0')) {
        return Err(CommandError::Nul("arguments"));
    }
    if command.uris.len() > URIS_MAX {
        return Err(CommandError::Uris(command.uris.len()));
    }
    for uri in &command.uris {
        if uri.value.trim().is_empty() {
            return Err(CommandError::UriValue);
        }
        if uri.value.contains('\0') || uri.output_file().contains('\0') {
            return Err(CommandError::Nul("uris"));
        }
    }
    command.environment.as_ref().map_or(Ok(()), check_environment)
}

fn check_environment(environment: &Environment) -> Result<(), CommandError> {
    for Variable { name, value, .. } in &environment.variables {
        if name.is_empty() || name.contains('=') {
            return Err(CommandError::VariableName(name.clone()));
        }
        if name.contains('\0') || value.as_ref().is_some_and(|value| value.contains('\0')) {
            return Err(CommandError::Nul("environment"));
        }
    }
    for variable in &environment.variables {
        match (variable.r#type(), &variable.value) {
            (variable::Type::Secret, _) => {
                return Err(CommandError::Secret(variable.name.clone()));
            }
            (variable::Type::Value | variable::Type::Unknown, None) => {
                return Err(CommandError::VariableValue(variable.name.clone()));
            }
            (variable::Type::Value | variable::Type::Unknown, Some(_)) => {}
        }
    }
    Ok(())
}
