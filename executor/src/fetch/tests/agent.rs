//! Files of the agent, and users.

use std::os::unix::fs::{MetadataExt as _, symlink};

use nix::unistd::{chown, geteuid, mkfifo};

use super::*;

#[tokio::test]
async fn local_files_are_copied() {
    let site = Site::new();
    let a = site.source("a", "contents");
    let tool = site.source("tool", "#!/bin/sh\n");
    symlink(&a, site.path("source/link")).unwrap();
    let link = site.path("source/link").to_str().unwrap().to_owned();
    let uris = [
        uri(format!("file://{a}")),
        Uri { executable: Some(true), ..uri(&tool) },
        uri(link),
        Uri { output_file: Some("d/b".into()), cache: Some(true), ..uri(&a) },
    ];
    site.fetch(&uris).await.unwrap();
    assert_eq!(list(&site.target()), ["a", "d/", "d/b", "link", "tool"]);
    for name in ["a", "d/b", "link"] {
        assert_eq!(fs::read(site.target().join(name)).unwrap(), b"contents");
        assert!(!site.target().join(name).is_symlink());
    }
    assert_eq!(mode(&site.target().join("tool")), 0o755);
    // A copy: the task may do with it what it likes.
    fs::write(site.target().join("a"), "other").unwrap();
    assert_eq!(fs::read(a).unwrap(), b"contents");
}

#[tokio::test]
async fn only_regular_files_are_copied() {
    let site = Site::new();
    let folder = site.path("source");
    fs::create_dir(&folder).unwrap();
    mkfifo(&folder.join("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let folder = folder.to_str().unwrap();
    for (path, reason) in [
        (folder, "it is not a regular file: pack folders into an archive"),
        (&format!("{folder}/pipe"), "it is not a regular file: pack folders into an archive"),
        ("/dev/zero", "it is not a regular file: pack folders into an archive"),
        (
            &format!("{folder}/missing"),
            "cannot read it on the agent: No such file or directory (os error 2)",
        ),
    ] {
        let text = Site::new().refusal(&[uri(path)]).await;
        assert_eq!(text, format!("could not fetch '{path}': {reason}"));
    }
    let site = Site::with(|config| config.max_bytes = 3);
    let text = site.refusal(&[uri(site.source("a", "four"))]).await;
    assert!(text.ends_with("it is larger than the 3 bytes that are allowed"), "{text}");
}

#[tokio::test]
async fn one_bad_uri_spoils_all() {
    let site = Site::new();
    let text = site.refusal(&[uri(site.source("a", "")), uri("s3://bucket/a")]).await;
    assert!(text.starts_with("could not fetch 's3://bucket/a': scheme `s3` is not"), "{text}");
    let many = vec![uri("/a"); 257];
    let text = site.refusal(&many).await;
    assert_eq!(text, "there are 257 of them, and at most 256 are allowed: pack files together");
    site.fetch(&[]).await.unwrap();
    assert!(!site.target().exists());
}

#[tokio::test]
async fn what_is_there_is_joined_or_refused() {
    let site = Site::new();
    let target = site.target();
    let a = site.source("a", "new");
    fs::create_dir_all(target.join("d")).unwrap();
    fs::write(target.join("a"), "old").unwrap();
    fs::write(target.join("d/old"), "").unwrap();
    let inner = Uri { output_file: Some("d/new".into()), ..uri(&a) };
    site.fetch(&[uri(&a), inner]).await.unwrap();
    assert_eq!(fs::read(target.join("a")).unwrap(), b"new");
    assert_eq!(list(&target), ["a", "d/", "d/new", "d/old"]);

    // A link there is replaced, not followed.
    let elsewhere = site.path("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    symlink(&elsewhere, target.join("way")).unwrap();
    symlink(elsewhere.join("a"), target.join("link")).unwrap();
    let onto = |name: &str| Uri { output_file: Some(name.into()), ..uri(&a) };
    site.fetch(&[onto("link")]).await.unwrap();
    assert!(!target.join("link").is_symlink());
    for name in ["d", "a/b", "way/a"] {
        let before = list(&target);
        let text = site.fetch(&[onto("0"), onto(name)]).await.unwrap_err().to_string();
        assert!(text.contains("is there already, and only one of both is a folder"), "{text}");
        assert!(text.contains(&format!("cannot use the folder `{}`", target.display())), "{text}");
        assert_eq!(list(&target), before);
    }
    assert_eq!(list(&elsewhere), [""; 0]);
}

#[tokio::test]
async fn a_user_gets_what_that_user_may_read() {
    if !geteuid().is_root() {
        crate::skipped::skip("a_user_gets_what_that_user_may_read", "needs root");
        return;
    }
    let (uid, gid) = (54_321, 54_322);
    let owner = Owner { uid: Uid::from_raw(uid), gid: Gid::from_raw(gid) };
    let site = Site::new();
    fs::set_permissions(site.root.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let fetch = async |name: &str, uri: Uri| {
        let cancel = CancellationToken::new();
        let target = site.path(name);
        site.fetcher.fetch(&[uri], &target, Some(owner), &cancel).await
    };
    let set = |path: &str, user: Option<u32>, group: Option<u32>, mode: u32| {
        chown(path, user.map(Uid::from_raw), group.map(Gid::from_raw)).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    let secret = site.source("secret", "s");
    for (user, group, mode) in [(0, 0, 0o600), (0, 0, 0o640), (0, 54_323, 0o640)] {
        set(&secret, Some(user), Some(group), mode);
        let text = fetch("refused", uri(&secret)).await.unwrap_err().to_string();
        let reason = "cannot read it on the agent as user 54321: Permission denied (os error 13)";
        assert!(text.ends_with(reason), "{text}");
        assert!(!site.path("refused").exists());
    }
    for (name, user, group, mode) in
        [("own", uid, 0, 0o400), ("group", 0, gid, 0o040), ("others", 0, 0, 0o004)]
    {
        set(&secret, Some(user), Some(group), mode);
        fetch(name, uri(&secret)).await.unwrap();
    }
    // This thread kept its rights.
    fs::read(&secret).unwrap();

    let archive =
        Tar::default().file("d/e/file", "").symlink("d/link", "e").link("hard", "d/e/file").end();
    let archive = site.source("a.tar", archive);
    fetch("unpacked", uri(&archive)).await.unwrap();
    let unpacked = site.path("unpacked");
    for name in ["", "a.tar", "d", "d/e", "d/e/file", "d/link", "hard"] {
        let found = fs::symlink_metadata(unpacked.join(name)).unwrap();
        assert_eq!((found.uid(), found.gid()), (uid, gid), "{name}");
    }
}
