//! How a test that cannot run here is skipped: by its name, where people see it.
//!
//! On stderr past the harness, which hides what good tests print, and in the file that
//! `MARMOSET_SKIPPED` names, for whoever collects the names, as tests/run does.

use std::{fs::OpenOptions, io::Write as _};

/// The variable that names a file for the names of skipped tests.
const SKIPPED: &str = "MARMOSET_SKIPPED";

/// Says that a test, or a part of it, is skipped, and why.
pub(crate) fn skip(test: &str, why: &str) {
    let line = format!("SKIPPED {test}: {why}\n");
    let _ = std::io::stderr().write_all(line.as_bytes());
    if let Some(file) = std::env::var_os(SKIPPED) {
        let file = OpenOptions::new().append(true).create(true).open(file);
        let _ = file.and_then(|mut file| file.write_all(line.as_bytes()));
    }
}
