//! Files that `marmoset run` reads: the lines of a job, a secret.
//!
//! Owns their checks. Every message names the flag, the file, and the way out.

use std::{
    fs::{self, File},
    io::{self, Read as _},
    os::unix::fs::PermissionsExt as _,
    path::Path,
};

use secrecy::SecretString;

use crate::exit::UsageError;

/// Reads the lines of `--each-line`; `-` is the standard input.
///
/// The line end is not part of a line; an empty line is a task of its own.
pub(super) fn lines(path: &Path) -> Result<Vec<String>, UsageError> {
    let mut bytes = Vec::new();
    let read = if path == Path::new("-") {
        io::stdin().lock().read_to_end(&mut bytes)
    } else {
        File::open(path).and_then(|mut file| file.read_to_end(&mut bytes))
    };
    read.map_err(|error| {
        UsageError(format!(
            "`--each-line {}` cannot be read: {error}; name a file with one line for each task, \
             or `-` for the standard input",
            path.display()
        ))
    })?;
    split(&bytes).map_err(|(number, problem)| {
        UsageError(format!("`--each-line {}`, line {number}: {problem}", path.display()))
    })
}

fn split(bytes: &[u8]) -> Result<Vec<String>, (usize, &'static str)> {
    let whole = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    if bytes.is_empty() {
        return Ok(Vec::new());
    }
    whole
        .split(|byte| *byte == b'\n')
        .enumerate()
        .map(|(index, line)| {
            if line.contains(&0) {
                return Err((index + 1, "it contains a NUL byte: no argument can; take it out"));
            }
            String::from_utf8(line.to_vec()).map_err(|_| {
                (index + 1, "it is not UTF-8: Mesos carries no other text; convert it")
            })
        })
        .collect()
}

/// Reads `--secret-file`. The second value is a warning for the one who watches.
pub(crate) fn secret(path: &Path) -> Result<(SecretString, Option<String>), UsageError> {
    let refuse =
        |problem: String| UsageError(format!("`--secret-file {}` {problem}", path.display()));
    let mode = fs::metadata(path)
        .map_err(|error| refuse(format!("cannot be read: {error}")))?
        .permissions()
        .mode();
    let text = fs::read(path).map_err(|error| refuse(format!("cannot be read: {error}")))?;
    let text = String::from_utf8(text)
        .map_err(|_| refuse("is not text: write the secret into it as one line".to_owned()))?;
    let secret = text.strip_suffix('\n').unwrap_or(&text);
    let secret = secret.strip_suffix('\r').unwrap_or(secret);
    if secret.is_empty() {
        return Err(refuse("is empty: write the secret into it".to_owned()));
    }
    if secret.contains(['\n', '\0']) {
        return Err(refuse("has more than one line: only the secret belongs there".to_owned()));
    }
    if secret.contains(':') {
        return Err(refuse(
            "contains a colon: Mesos cannot authenticate such a secret; choose another".to_owned(),
        ));
    }
    let warning = (mode & 0o077 != 0).then(|| {
        format!("`--secret-file {0}` can be read by others: run `chmod 600 {0}`", path.display())
    });
    Ok((secret.to_owned().into(), warning))
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;

    #[test]
    fn lines_end_at_newlines() {
        for (bytes, lines) in [
            (&b""[..], &[][..]),
            (b"\n", &[""]),
            (b"a", &["a"]),
            (b"a\nb\n", &["a", "b"]),
            (b"a\n\nb", &["a", "", "b"]),
            (b" a \r\n", &[" a \r"]),
        ] {
            assert_eq!(split(bytes).unwrap(), lines, "{bytes:?}");
        }
        assert_eq!(split(b"a\nb\0c\n").unwrap_err().0, 2);
        assert_eq!(split(b"a\nb\n\xff\n").unwrap_err().0, 3);
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = lines(Path::new("/no/such/file")).unwrap_err().to_string();
        assert!(error.contains("--each-line /no/such/file") && error.contains("`-`"), "{error}");
    }

    fn secret_of(content: &[u8], mode: u32) -> Result<(String, Option<String>), String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        secret(&path)
            .map(|(secret, warning)| (secret.expose_secret().to_owned(), warning))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn secrets() {
        assert_eq!(secret_of(b"s3cret\n", 0o600), Ok(("s3cret".into(), None)));
        assert_eq!(secret_of(b" s ", 0o400), Ok((" s ".into(), None)));
        let (_, warning) = secret_of(b"s", 0o644).unwrap();
        assert!(warning.unwrap().contains("chmod 600"));
        for (content, problem) in [
            (&b""[..], "empty"),
            (b"\n", "empty"),
            (b"a\nb\n", "more than one line"),
            (b"a:b", "colon"),
            (b"\xff\xfe", "not text"),
        ] {
            let error = secret_of(content, 0o600).unwrap_err();
            assert!(error.contains("--secret-file") && error.contains(problem), "{error}");
        }
        let error = secret(Path::new("/no/such/secret")).unwrap_err().to_string();
        assert!(error.contains("/no/such/secret"), "{error}");
    }
}
