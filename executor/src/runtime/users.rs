//! Users by name, without the C library's name service: a static binary has none.
//!
//! A name is looked up in `/etc/passwd`. One that is not there and is a number, `UID`
//! or `UID:GID`, stands for that id; a `UID` alone must be in `/etc/passwd`, since
//! nothing else says which group is its own.

use std::{fs, io};

use nix::unistd::{getegid, geteuid};

use crate::launcher::User;

/// Why a user cannot be found, or not become.
#[derive(Debug, thiserror::Error)]
pub(super) enum UserError {
    #[error("cannot read `{file}`: {source}")]
    File { file: &'static str, source: io::Error },
    #[error("user `{0}` is not in `/etc/passwd`")]
    Unknown(String),
    #[error(
        "user `{0}` is a number that is not in `/etc/passwd`: name its group as well, as in \
         `{0}:GID`"
    )]
    NoGroup(String),
    #[error(
        "`CommandInfo.user` is `{name}`, and the executor, which runs with the user id {own}, \
         may not become another user: run it as root, or leave `user` out"
    )]
    Forbidden { name: String, own: u32 },
}

const PASSWD: &str = "/etc/passwd";
const GROUP: &str = "/etc/group";

/// Looks a user up, with all groups. None if that is who we are.
pub(super) fn become_user(name: &str) -> Result<Option<User>, UserError> {
    let user = find(name)?;
    let same = user.uid == geteuid().as_raw();
    if same && user.gid == getegid().as_raw() {
        return Ok(None);
    }
    if !may_change(&fs::read_to_string("/proc/self/status").unwrap_or_default()) {
        if same {
            // Only in another group, as a container engine may start us.
            return Ok(None);
        }
        let (name, own) = (name.to_owned(), geteuid().as_raw());
        return Err(UserError::Forbidden { name, own });
    }
    Ok(Some(user))
}

/// Reads from `/proc/<pid>/status` whether that process may become another user and
/// give away a folder. Yes if it does not say: then trying will.
fn may_change(status: &str) -> bool {
    const CHOWN: u64 = 1 << 0;
    const SETGID: u64 = 1 << 6;
    const SETUID: u64 = 1 << 7;
    const NEEDED: u64 = CHOWN | SETGID | SETUID;
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let effective = effective.and_then(|text| u64::from_str_radix(text.trim(), 16).ok());
    effective.is_none_or(|capabilities| capabilities & NEEDED == NEEDED)
}

fn find(name: &str) -> Result<User, UserError> {
    let read = |file| fs::read_to_string(file).map_err(|source| UserError::File { file, source });
    let passwd = read(PASSWD)?;
    let group = fs::read_to_string(GROUP).unwrap_or_default();
    find_in(name, &passwd, &group)
}

/// Reads lines of passwd(5) and group(5); skips those that it does not understand.
fn find_in(name: &str, passwd: &str, group: &str) -> Result<User, UserError> {
    if let Some(user) = by_field(name, 0, passwd, group) {
        return Ok(user);
    }
    let numbers = || match name.split_once(':') {
        Some((uid, gid)) => Some((id(uid)?, Some(id(gid)?))),
        None => Some((id(name)?, None)),
    };
    let Some((uid, gid)) = numbers() else { return Err(UserError::Unknown(name.to_owned())) };
    let known = by_field(&uid.to_string(), 2, passwd, group);
    match (gid, known) {
        (None, Some(user)) => Ok(user),
        (None, None) => Err(UserError::NoGroup(name.to_owned())),
        // The group that was named, and no other.
        (Some(gid), _) => Ok(User { uid, gid, groups: vec![gid] }),
    }
}

/// A user or group id in digits. The largest one means "none" to the kernel.
fn id(text: &str) -> Option<u32> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|id| digits && *id != u32::MAX)
}

/// The first line of passwd(5) whose field is `value`.
fn by_field(value: &str, field: usize, passwd: &str, group: &str) -> Option<User> {
    let (name, uid, gid) = passwd.lines().find_map(|line| {
        let fields = line.split(':').collect::<Vec<_>>();
        (fields.get(field) == Some(&value)).then_some(())?;
        Some((*fields.first()?, id(fields.get(2)?)?, id(fields.get(3)?)?))
    })?;
    let mut groups = vec![gid];
    for line in group.lines() {
        let mut fields = line.split(':').skip(2);
        let (Some(other), Some(members)) = (fields.next(), fields.next()) else { continue };
        if let Some(other) = id(other)
            && other != gid
            && members.split(',').any(|member| member == name)
        {
            groups.push(other);
        }
    }
    Some(User { uid, gid, groups })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "root:x:0:0:root:/root:/bin/sh\n\nbroken\nada:x:1001:100::/home/ada:/bin/sh\n77:x:5:6::/:\n";
    const GROUPS: &str = "root:x:0:\nusers:x:100:ada\ndocker:x:999:bob,ada\nada\nadm:x:4:adam\n";

    fn found(name: &str) -> Result<(u32, u32, Vec<u32>), String> {
        let user = find_in(name, TABLE, GROUPS).map_err(|error| error.to_string())?;
        Ok((user.uid, user.gid, user.groups))
    }

    #[test]
    fn names_come_first_then_numbers() {
        let ada = Ok((1001, 100, vec![100, 999]));
        assert_eq!(found("ada"), ada);
        assert_eq!(found("1001"), ada);
        assert_eq!(found("root"), Ok((0, 0, vec![0])));
        // Somebody whose name is a number.
        assert_eq!(found("77"), Ok((5, 6, vec![6])));
        assert_eq!(found("1001:7"), Ok((1001, 7, vec![7])));
        assert_eq!(found("4000:4001"), Ok((4000, 4001, vec![4001])));
    }

    #[test]
    fn strangers_are_refused() {
        for name in ["ad", "", "+1", "-1", "1:", ":1", "ada:100", "1001:-1", "4294967295", "1:2:3"]
        {
            assert_eq!(found(name), Err(format!("user `{name}` is not in `/etc/passwd`")));
        }
        let text = found("4000").unwrap_err();
        assert!(text.contains("name its group as well, as in `4000:GID`"), "{text}");
    }

    #[test]
    fn who_may_not_change_is_recognised() {
        assert!(may_change("CapEff:\t000001ffffffffff\n"));
        assert!(may_change("Uid:\t0\nCapEff:\t00000000a80425fb\n"));
        assert!(!may_change("CapEff:\t0000000000000000\n"));
        assert!(!may_change("CapEff:\t0000000000000041\n"));
        assert!(may_change(""));
        let forbidden = UserError::Forbidden { name: "ada".into(), own: 5 }.to_string();
        assert!(forbidden.starts_with("`CommandInfo.user` is `ada`"), "{forbidden}");
    }

    #[test]
    fn nothing_changes_for_who_we_are() {
        let own = format!("{}:{}", geteuid(), getegid());
        assert!(become_user(&own).unwrap().is_none());
    }
}
