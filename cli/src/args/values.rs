//! Readers of single values: what each flag accepts, and what it says when it does not.
//!
//! Owns the texts after "invalid value … for …"; clap puts the flag's name in front.

use std::{
    num::{NonZeroU32, NonZeroU64},
    time::Duration,
};

use marmoset_proto::{marmoset::v1::output::Target, mesos::v1::command_info::Uri, output, size};

use super::Batch;

/// A number of tasks.
pub(super) fn count(text: &str) -> Result<NonZeroU64, String> {
    whole(text)?.ok_or_else(|| "must be at least 1".to_owned())
}

/// A number of things that may be none.
pub(super) fn amount(text: &str) -> Result<u32, String> {
    let number = whole(text)?.map_or(0, NonZeroU64::get);
    u32::try_from(number).map_err(|_| "is too large".to_owned())
}

/// A number of things of which there is at least one.
pub(super) fn at_least_one(text: &str) -> Result<NonZeroU32, String> {
    NonZeroU32::new(amount(text)?).ok_or_else(|| "must be at least 1".to_owned())
}

fn whole(text: &str) -> Result<Option<NonZeroU64>, String> {
    if text.starts_with('-') {
        return Err("must not be negative".to_owned());
    }
    match text.parse::<u64>() {
        Ok(number) => Ok(NonZeroU64::new(number)),
        Err(_) if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) => {
            Err("is too large".to_owned())
        }
        Err(_) => Err("is not a whole number: write it like `100`".to_owned()),
    }
}

/// An amount of a resource, in thousandths: Mesos knows no finer ones.
pub(super) fn thousandths(text: &str) -> Result<u64, String> {
    if text.starts_with('-') {
        return Err("must not be negative".to_owned());
    }
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if text.is_empty() || text == "." || !digits(whole) || !digits(fraction) {
        return Err("is not a number: write it like `0.5` or `16`".to_owned());
    }
    if fraction.trim_end_matches('0').len() > 3 {
        return Err("is too fine: Mesos counts in thousandths".to_owned());
    }
    let fraction = format!("{:0<3}", fraction.trim_end_matches('0'));
    let number = format!("0{whole}{fraction}").parse::<u64>().ok();
    match number.filter(|number| *number <= 1_000_000_000_000) {
        None => Err("is too large".to_owned()),
        Some(0) => Err("must be more than 0".to_owned()),
        Some(number) => Ok(number),
    }
}

/// `auto`, or a number of tasks in each Mesos task.
pub(super) fn batch(text: &str) -> Result<Batch, String> {
    if text == "auto" {
        return Ok(Batch::Auto);
    }
    at_least_one(text)
        .map(Batch::Fixed)
        .map_err(|error| format!("{error}; `auto` and numbers from 1 are known"))
}

/// A span of time, for people: `30s`, `1m 30s`, `250ms`.
pub(super) fn span(text: &str) -> Result<Duration, String> {
    let span = humantime::parse_duration(text)
        .map_err(|_| "is not a duration: write it like `30s`, `250ms` or `1h 30m`".to_owned())?;
    if span.is_zero() {
        return Err("must be longer than 0".to_owned());
    }
    // Mesos counts nanoseconds in an i64.
    if i64::try_from(span.as_nanos()).is_err() {
        return Err("is too long: 292 years are the most".to_owned());
    }
    Ok(span)
}

/// Where a stream of the tasks goes.
pub(super) fn target(text: &str) -> Result<Target, String> {
    output::target(text).map_err(|error| error.to_string())
}

/// A number of bytes with its unit.
pub(super) fn size(text: &str) -> Result<u64, String> {
    size::parse(text).map_err(|_| "is no size: write it like `10MB`".to_owned())
}

/// One variable of a task's environment.
pub(super) fn variable(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        None => Err("has no `=`: write it like `NAME=value`".to_owned()),
        Some(("", _)) => Err("has no name in front of the `=`".to_owned()),
        Some((name, value)) => Ok((name.to_owned(), value.to_owned())),
    }
}

/// A file for the tasks' folders: its URI, and words behind commas.
pub(super) fn uri(text: &str) -> Result<Uri, String> {
    // A URL may hold commas: words are taken from the end as long as they are words.
    let mut uri = Uri::default();
    let mut rest = text;
    while let Some((before, word)) = rest.rsplit_once(',') {
        match word {
            "executable" => uri.executable = Some(true),
            "extract" => uri.extract = Some(true),
            "noextract" => uri.extract = Some(false),
            "cache" => uri.cache = Some(true),
            _ => match word.strip_prefix("output=") {
                Some("") => return Err("has no name behind `output=`".to_owned()),
                Some(name) => uri.output_file = Some(name.to_owned()),
                None => break,
            },
        }
        rest = before;
    }
    if uri.executable() && uri.extract == Some(true) {
        return Err("has both `executable` and `extract`, which exclude each other".to_owned());
    }
    let absolute = rest.starts_with('/')
        || ["http://", "https://", "file://"].iter().any(|scheme| rest.starts_with(scheme));
    if !absolute {
        return Err(format!(
            "`{rest}` is neither a URL (`http://`, `https://`, `file://`) nor an absolute path on \
             the agents; behind it `,executable`, `,extract`, `,noextract`, `,cache` and \
             `,output=NAME` are known"
        ));
    }
    uri.value = rest.to_owned();
    Ok(uri)
}

/// One or more `host:port`, separated by commas.
pub(super) fn master(text: &str) -> Result<String, String> {
    if text.starts_with("zk://") {
        return Err("ZooKeeper is not spoken yet: name the masters as `host:port,host:port`, \
                    the leader is found among them"
            .to_owned());
    }
    if let Some((scheme, rest)) = text.split_once("://") {
        return Err(format!("write it without `{scheme}://`: `{}`", rest.trim_end_matches('/')));
    }
    let (host, port) =
        text.rsplit_once(':').ok_or_else(|| format!("has no port: write it like `{text}:5050`"))?;
    if host.is_empty() {
        return Err(format!("has no host: write it like `10.0.0.5:{port}`"));
    }
    let bracketed = host.starts_with('[') && host.ends_with(']');
    if !bracketed && host.contains(':') {
        return Err(format!("an IPv6 address needs brackets: `[{host}]:{port}`"));
    }
    if host.contains(|c: char| c.is_whitespace() || c == '/' || c == '@' || c == '?' || c == '#') {
        return Err(format!("`{host}` is no host name"));
    }
    match port.parse::<u16>() {
        Ok(1..) => Ok(text.to_owned()),
        Ok(0) | Err(_) => Err(format!("`{port}` is no port: ports are 1 to 65535")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resources_are_thousandths() {
        for (text, number) in [
            ("1", 1000),
            ("0.1", 100),
            (".5", 500),
            ("2.", 2000),
            ("0.001", 1),
            ("1.2300", 1230),
            ("100000", 100_000_000),
        ] {
            assert_eq!(thousandths(text), Ok(number), "{text}");
        }
        for (text, reason) in [
            ("", "is not a number"),
            (".", "is not a number"),
            ("nan", "is not a number"),
            ("inf", "is not a number"),
            ("1e3", "is not a number"),
            ("0x10", "is not a number"),
            ("1.2.3", "is not a number"),
            ("-1", "negative"),
            ("0", "more than 0"),
            ("0.0", "more than 0"),
            ("0.0001", "too fine"),
            ("99999999999999999999999", "too large"),
        ] {
            assert!(thousandths(text).unwrap_err().contains(reason), "{text}");
        }
    }

    #[test]
    fn masters() {
        for text in ["a:5050", "10.0.0.1:1", "[::1]:5050", "m-1.example.org:65535"] {
            assert_eq!(master(text).as_deref(), Ok(text));
        }
        for (text, reason) in [
            ("nowhere", "`nowhere:5050`"),
            (":5050", "no host"),
            ("h:99999", "1 to 65535"),
            ("h:0", "1 to 65535"),
            ("h:", "1 to 65535"),
            ("h:http", "1 to 65535"),
            ("::1:5050", "[::1]:5050"),
            ("http://h:5050/", "`h:5050`"),
            ("zk://a:2181/mesos", "ZooKeeper"),
            ("a b:1", "no host name"),
        ] {
            assert!(master(text).unwrap_err().contains(reason), "{text}: {:?}", master(text));
        }
    }

    #[test]
    fn spans() {
        assert_eq!(span("30s"), Ok(Duration::from_secs(30)));
        assert_eq!(span("1m 30s"), Ok(Duration::from_secs(90)));
        for (text, reason) in
            [("soon", "30s"), ("30", "30s"), ("-1s", "30s"), ("0s", "longer"), ("999y", "292")]
        {
            assert!(span(text).unwrap_err().contains(reason), "{text}");
        }
    }

    #[test]
    fn whole_numbers() {
        assert_eq!(count("7").map(NonZeroU64::get), Ok(7));
        for (text, reason) in [
            ("0", "at least 1"),
            ("-3", "negative"),
            ("", "whole number"),
            ("1.5", "whole number"),
            ("ten", "whole number"),
            ("99999999999999999999999", "too large"),
        ] {
            assert!(count(text).unwrap_err().contains(reason), "{text}");
        }
        assert_eq!(amount("0"), Ok(0));
        assert!(amount("5000000000").unwrap_err().contains("too large"));
        assert_eq!(batch("auto"), Ok(Batch::Auto));
        assert!(batch("0").unwrap_err().contains("at least 1"));
        assert!(batch("many").unwrap_err().contains("auto"));
    }

    #[test]
    fn uris() {
        let plain = |value: &str| Uri { value: value.to_owned(), ..Uri::default() };
        for (text, read) in [
            ("http://h/a.tgz", plain("http://h/a.tgz")),
            ("/opt/a,b", plain("/opt/a,b")),
            ("file:///opt/a,noextract", Uri { extract: Some(false), ..plain("file:///opt/a") }),
            ("http://h/a?x=1,2,cache", Uri { cache: Some(true), ..plain("http://h/a?x=1,2") }),
            (
                "https://h/a,executable,output=d/b,cache",
                Uri {
                    executable: Some(true),
                    output_file: Some("d/b".to_owned()),
                    cache: Some(true),
                    ..plain("https://h/a")
                },
            ),
        ] {
            assert_eq!(uri(text), Ok(read), "{text}");
        }
        for (text, reason) in [
            ("", "neither a URL"),
            ("a.tgz", "neither a URL"),
            ("hdfs://a/b", "neither a URL"),
            ("cache", "neither a URL"),
            ("/a,output=", "no name"),
            ("/a,executable,extract", "exclude"),
        ] {
            assert!(uri(text).unwrap_err().contains(reason), "{text}: {:?}", uri(text));
        }
    }

    #[test]
    fn variables() {
        assert_eq!(variable("A=b=c"), Ok(("A".into(), "b=c".into())));
        assert_eq!(variable("A="), Ok(("A".into(), String::new())));
        assert!(variable("NOVALUE").unwrap_err().contains("NAME=value"));
        assert!(variable("=x").unwrap_err().contains("no name"));
    }
}
