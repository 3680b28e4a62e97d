//! Names of users, without the C library's name service: a static binary has none.

use std::{fs, io};

use crate::launcher::User;

/// Why a user cannot be found.
#[derive(Debug, thiserror::Error)]
pub(super) enum UserError {
    #[error("cannot read `{file}`: {source}")]
    File { file: &'static str, source: io::Error },
    #[error("user `{0}` is not in `/etc/passwd`")]
    Unknown(String),
}

const PASSWD: &str = "/etc/passwd";
const GROUP: &str = "/etc/group";

/// Looks a user up, with all groups.
pub(super) fn find(name: &str) -> Result<User, UserError> {
    let read = |file| fs::read_to_string(file).map_err(|source| UserError::File { file, source });
    let passwd = read(PASSWD)?;
    let group = fs::read_to_string(GROUP).unwrap_or_default();
    find_in(name, &passwd, &group).ok_or_else(|| UserError::Unknown(name.to_string()))
}

/// Reads lines of passwd(5) and group(5); skips those that it does not understand.
fn find_in(name: &str, passwd: &str, group: &str) -> Option<User> {
    let (uid, gid) = passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(name)).then_some(())?;
        let uid = fields.nth(1)?.parse().ok()?;
        Some((uid, fields.next()?.parse().ok()?))
    })?;
    let mut groups = vec![gid];
    for line in group.lines() {
        let mut fields = line.split(':').skip(2);
        let (Some(id), Some(members)) = (fields.next(), fields.next()) else { continue };
        if let Ok(id) = id.parse()
            && id != gid
            && members.split(',').any(|member| member == name)
        {
            groups.push(id);
        }
    }
    Some(User { uid, gid, groups })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_passwd_and_group() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\n\nbroken\nada:x:1001:100::/home/ada:/bin/sh\n";
        let group = "root:x:0:\nusers:x:100:ada\ndocker:x:999:bob,ada\nada\nadm:x:4:adam\n";
        let ada = find_in("ada", passwd, group).unwrap();
        assert_eq!((ada.uid, ada.gid, ada.groups), (1001, 100, vec![100, 999]));
        assert_eq!(find_in("root", passwd, group).unwrap().groups, [0]);
        assert!(find_in("ad", passwd, group).is_none());
        assert_eq!(
            find("no such user").unwrap_err().to_string(),
            "user `no such user` is not in `/etc/passwd`"
        );
    }
}
