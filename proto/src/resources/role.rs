//! Names of roles.

/// Checks a role's name; the text tells what is wrong, in Mesos' words.
///
/// # Errors
/// When the name is empty, or one of its parts is not allowed.
pub fn validate(role: &str) -> Result<(), String> {
    if role == "*" {
        return Ok(());
    }
    if role.is_empty() {
        return Err("Empty role name is invalid".to_string());
    }
    if role.starts_with('/') {
        return Err(format!("Role '{role}' cannot start with a slash"));
    }
    if role.ends_with('/') {
        return Err(format!("Role '{role}' cannot end with a slash"));
    }
    if role.contains("//") {
        return Err(format!("Role '{role}' cannot contain two adjacent slashes"));
    }
    for part in role.split('/') {
        if matches!(part, "." | ".." | "*") {
            return Err(format!("Role '{role}' cannot include '{part}' as a component"));
        }
        if part.starts_with('-') {
            return Err(format!(
                "Role component '{part}' is invalid because it begins with a dash"
            ));
        }
        if part.contains(['\t', '\n', '\u{b}', '\u{c}', '\r', ' ', '\u{7f}']) {
            return Err(format!(
                "Role component '{part}' is invalid because it contains backspace or whitespace"
            ));
        }
    }
    Ok(())
}

/// Whether `role` is `ancestor` or lies below it: `a/b` below `a`.
pub fn is_at_or_below(role: &str, ancestor: &str) -> bool {
    role.strip_prefix(ancestor).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for role in ["*", "a", "a/b", "a.b", "ä", "a-b/c_d"] {
            assert_eq!(validate(role), Ok(()));
        }
        for role in ["", "/a", "a/", "a//b", ".", "a/..", "a/*", "-a", "a b", "a\t", "a\u{7f}"] {
            assert!(validate(role).is_err(), "{role}");
        }
        assert_eq!(
            validate("a b"),
            Err("Role component 'a b' is invalid because it contains backspace or whitespace"
                .into())
        );
    }

    #[test]
    fn below() {
        assert!(is_at_or_below("a/b", "a") && is_at_or_below("a", "a"));
        assert!(!is_at_or_below("ab", "a") && !is_at_or_below("a", "a/b"));
    }
}
