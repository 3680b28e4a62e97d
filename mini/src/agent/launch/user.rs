//! Whom an executor runs as.
//!
//! Names are read from `/etc/passwd` and `/etc/group`, not through the C
//! library: a static binary has no name service switch.

use std::{fs, path::Path};

use crate::processes::Identity;

/// Why nobody can be found.
#[derive(Debug, thiserror::Error)]
pub(super) enum UserError {
    #[error("Failed to get user information for '{0}': no such user in /etc/passwd")]
    Unknown(String),
    #[error("Failed to get user information for '{user}': {source}")]
    Unreadable { user: String, source: std::io::Error },
}

/// Finds the user to switch to; nobody if the agent is not root, or root is asked for.
pub(super) fn switch_to(user: &str) -> Result<Option<Identity>, UserError> {
    if !nix::unistd::geteuid().is_root() || user.is_empty() || user == "root" {
        return Ok(None);
    }
    let read = |path: &str| {
        fs::read_to_string(Path::new(path))
            .map_err(|source| UserError::Unreadable { user: user.to_owned(), source })
    };
    let passwd = read("/etc/passwd")?;
    let group = fs::read_to_string("/etc/group").unwrap_or_default();
    find(user, &passwd, &group).map(Some).ok_or_else(|| UserError::Unknown(user.to_owned()))
}

fn find(user: &str, passwd: &str, group: &str) -> Option<Identity> {
    let entry = passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next()? == user).then_some(())?;
        let mut fields = fields.skip(1);
        Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
    });
    let (uid, gid): (u32, u32) = entry?;
    let mut groups = vec![gid];
    for line in group.lines() {
        let fields: Vec<&str> = line.split(':').collect();
        let &[_, _, id, members] = fields.as_slice() else { continue };
        let Ok(id) = id.parse() else { continue };
        if id != gid && members.split(',').any(|member| member == user) {
            groups.push(id);
        }
    }
    Some(Identity { uid, gid, groups })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_and_their_groups_are_found_in_the_files() {
        let passwd = "root:x:0:0::/root:/bin/sh\nbroken\nann:x:1000:100:Ann:/home/ann:/bin/sh\n";
        let group = "root:x:0:\nusers:x:100:ann\naudio:x:29:bob,ann\nstaff:x:50:annabel\n";
        let ann = Identity { uid: 1000, gid: 100, groups: vec![100, 29] };
        assert_eq!(find("ann", passwd, group), Some(ann));
        assert_eq!(find("bob", passwd, group), None);
        assert_eq!(find("broken", passwd, group), None);
    }
}
