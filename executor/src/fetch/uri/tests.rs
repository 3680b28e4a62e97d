use super::*;
use crate::fetch::archive::Compression;

fn uri(value: &str) -> Uri {
    Uri { value: value.into(), ..Uri::default() }
}

fn item(value: &str) -> Item {
    Item::read(&uri(value)).unwrap()
}

fn refusal(uri: &Uri) -> String {
    let (shown, problem) = Item::read(uri).unwrap_err();
    format!("{shown}: {problem}")
}

#[test]
fn local_files_are_taken_as_they_are_written() {
    for (value, path) in [
        ("/data/a b", "/data/a b"),
        ("  /data/a", "/data/a"),
        ("file:///data/a", "/data/a"),
        ("file://localhost/data/a", "/data/a"),
        ("FILE:///data/a", "/data/a"),
        ("file:///data/a%20b?c#d", "/data/a%20b?c#d"),
        ("/data/http://a", "/data/http://a"),
    ] {
        assert_eq!(item(value).source, Source::Local(path.into()), "{value}");
    }
    assert_eq!(item("file:///data/a%20b?c#d").place.as_path(), Path::new("a%20b?c#d"));
}

#[test]
fn names_come_from_the_path() {
    for (value, name) in [
        ("http://h/a.tgz", "a.tgz"),
        ("http://h/d/a.tgz?x=/y.zip#z", "a.tgz"),
        ("http://h/a%20b", "a b"),
        ("http://h/a%zz%4", "a%zz%4"),
        ("http://h/%C3%A9", "é"),
        ("HTTPS://h:8443/x/../y", "y"),
        ("/data/a.jar", "a.jar"),
    ] {
        assert_eq!(item(value).place.as_path(), Path::new(name), "{value}");
    }
    let named = Uri { output_file: Some("./lib/b.jar".into()), ..uri("http://h/") };
    assert_eq!(Item::read(&named).unwrap().place.as_path(), Path::new("lib/b.jar"));
}

#[test]
fn what_follows_depends_on_the_flags_and_the_name() {
    let tgz = Then::Unpack(Format::Tar(Compression::Gzip));
    assert_eq!(item("/a/b.tgz").then, tgz);
    assert_eq!(item("/a/b.jar").then, Then::Nothing);
    let with = |change: &dyn Fn(&mut Uri)| {
        let mut uri = uri("/a/b.tgz");
        change(&mut uri);
        Item::read(&uri).unwrap().then
    };
    assert_eq!(with(&|uri| uri.executable = Some(true)), Then::MakeExecutable);
    assert_eq!(with(&|uri| uri.extract = Some(false)), Then::Nothing);
    assert_eq!(with(&|uri| uri.output_file = Some("b".into())), Then::Nothing);
    assert_eq!(with(&|uri| uri.output_file = Some("b.zip".into())), Then::Unpack(Format::Zip));
}

#[test]
fn only_what_a_server_has_is_cached() {
    let cached = |value: &str| Item::read(&Uri { cache: Some(true), ..uri(value) }).unwrap().source;
    assert!(matches!(cached("http://h/a"), Source::Cached(_)));
    assert!(matches!(cached("/a"), Source::Local(_)));
    assert!(matches!(item("http://h/a").source, Source::Web(_)));
}

#[test]
fn refusals_name_the_way_out() {
    let output = |path: &str| Uri { output_file: Some(path.into()), ..uri("http://h/a") };
    for (uri, text) in [
        (
            uri("hdfs://nn/a.tgz"),
            "hdfs://nn/a.tgz: scheme `hdfs` is not supported: use `http://`, `https://`, \
             `file://` or an absolute path",
        ),
        (
            uri("data/a"),
            "data/a: a relative path has no meaning here: give an absolute path, or a URL that \
             begins with `http://`, `https://` or `file://`",
        ),
        (
            uri("http://h/"),
            "http://h/: its last part `` is empty: set `output_file` to a name for the file",
        ),
        (
            uri("http://h/a%2F..%2Fb"),
            "http://h/a%2F..%2Fb: its last part `a/../b` contains `/`: set `output_file` to a \
             name for the file",
        ),
        (
            uri("/data/.."),
            "/data/..: its last part `..` contains `..`: only paths inside the task's folder are \
             allowed: set `output_file` to a name for the file",
        ),
        (
            output("../a"),
            "http://h/a: `output_file` `../a` contains `..`: only paths inside the task's folder \
             are allowed",
        ),
        (
            output("/etc/cron.d/a"),
            "http://h/a: `output_file` `/etc/cron.d/a` is absolute: only paths inside the task's \
             folder are allowed",
        ),
        (output(""), "http://h/a: `output_file` `` is empty"),
        (uri("http://h:port/a"), "http://h:port/a: it is not a valid URL: invalid port number"),
    ] {
        assert_eq!(refusal(&uri), text);
    }
    for relative in ["", "file://", "file://other/a", "file:a"] {
        assert!(refusal(&uri(relative)).contains("relative path"), "{relative}");
    }
}

#[test]
fn secrets_are_never_shown() {
    for (value, text) in [
        ("http://me:tamarin@h:81/a?sig=tamarin", "http://***@h:81/a?…"),
        ("https://tamarin@h/a", "https://***@h/a"),
        ("https://:tamarin@[::1]/a", "https://***@[::1]/a"),
        ("http://h/pkg@1.2", "http://h/pkg@1.2"),
    ] {
        let item = item(value);
        assert_eq!(item.shown, text);
    }
    for value in [
        "http://me:tama/rin@h/",
        "http://me:tama?rin@h/a",
        "s3://me:tamarin@bucket/a",
        "hdfs://h/a?token=tamarin",
        "http://me:tamarin@h:port/a",
        "http://me:tamarin@h/",
    ] {
        let text = refusal(&uri(value));
        assert!(!text.contains("tama") && !text.contains("rin@"), "{text}");
    }
}
