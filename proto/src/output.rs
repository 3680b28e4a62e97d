//! Names of the places that output can go to, as flags spell them.

use crate::marmoset::v1::output::Target;

/// A text that names no [`Target`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownTarget(String);

impl std::fmt::Display for UnknownTarget {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "`{}` is none of `file`, `null`, `inherit`", self.0)
    }
}

impl std::error::Error for UnknownTarget {}

/// Finds a target by its name.
///
/// # Errors
/// There is none of this name.
pub fn target(name: &str) -> Result<Target, UnknownTarget> {
    match name {
        "file" => Ok(Target::File),
        "null" => Ok(Target::Null),
        "inherit" => Ok(Target::Inherit),
        other => Err(UnknownTarget(other.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        assert_eq!(target("null"), Ok(Target::Null));
        let error = target("Null").unwrap_err().to_string();
        assert_eq!(error, "`Null` is none of `file`, `null`, `inherit`");
    }
}
