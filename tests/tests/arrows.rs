//! The arrows between crates are those of docs/ARCHITECTURE.md, and no others.

#![expect(clippy::unwrap_used, reason = "a helper of a test that cannot go on fails it")]

use std::{collections::BTreeMap, fs, path::PathBuf};

use e2e::programs::tree;

/// Each crate with all that it may use of the workspace.
const ALLOWED: &[(&str, &str, &[&str])] = &[
    ("proto", "marmoset-proto", &[]),
    ("proto/http", "marmoset-http", &["marmoset-proto"]),
    ("executor/core", "marmoset-executor-core", &["marmoset-proto"]),
    (
        "executor",
        "marmoset-executor",
        &["marmoset-proto", "marmoset-http", "marmoset-executor-core"],
    ),
    ("scheduler/core", "marmoset-scheduler-core", &["marmoset-proto"]),
    (
        "scheduler",
        "marmoset-scheduler",
        &["marmoset-proto", "marmoset-http", "marmoset-scheduler-core"],
    ),
    ("mini", "marmoset-mini", &["marmoset-proto"]),
    (
        "cli",
        "marmoset",
        &[
            "marmoset-proto",
            "marmoset-http",
            "marmoset-executor",
            "marmoset-scheduler",
            "marmoset-mini",
        ],
    ),
];

/// What a core must not reach for: it takes the time as an argument and does no I/O.
const NOT_IN_A_CORE: &[&str] = &[
    "tokio::",
    "Instant::now",
    "SystemTime::now",
    "std::net",
    "std::fs",
    "std::process",
    "std::env",
];

/// Names on the left of the `=` in the manifest's `[dependencies]`.
fn dependencies(folder: &str) -> Vec<String> {
    let manifest = fs::read_to_string(tree().join(folder).join("Cargo.toml")).unwrap();
    manifest
        .lines()
        .skip_while(|line| *line != "[dependencies]")
        .skip(1)
        .take_while(|line| !line.starts_with('['))
        .filter_map(|line| line.split(['.', '=', ' ']).next())
        .filter(|name| !name.is_empty() && !name.starts_with('#'))
        .map(str::to_owned)
        .collect()
}

#[test]
fn crates_use_only_what_the_architecture_allows() {
    let own: BTreeMap<&str, &&[&str]> =
        ALLOWED.iter().map(|(_, name, allowed)| (*name, allowed)).collect();
    for (folder, name, allowed) in ALLOWED {
        let used = dependencies(folder);
        assert!(!used.is_empty(), "{name} has no dependencies: is the manifest read rightly?");
        for dependency in used.iter().filter(|one| own.contains_key(one.as_str())) {
            assert!(allowed.contains(&dependency.as_str()), "{name} must not use {dependency}");
        }
    }
}

#[test]
fn cores_and_wire_types_have_no_runtime() {
    for folder in ["proto", "executor/core", "scheduler/core"] {
        for forbidden in ["tokio", "reqwest", "axum", "nix", "libc", "tracing-subscriber"] {
            assert!(!dependencies(folder).contains(&forbidden.to_owned()), "{folder}: {forbidden}");
        }
    }
}

/// All Rust files below a folder.
fn sources(folder: PathBuf) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![folder];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    files
}

#[test]
fn cores_reach_for_no_clock_and_no_io() {
    for folder in ["executor/core/src", "scheduler/core/src"] {
        let files = sources(tree().join(folder));
        let texts: Vec<String> =
            files.iter().map(|path| fs::read_to_string(path).unwrap()).collect();
        // Modules that only tests have are declared `#[cfg(test)] mod name;`.
        let test_modules: Vec<&str> = texts
            .iter()
            .flat_map(|text| text.split("#[cfg(test)]").skip(1))
            .filter_map(|rest| rest.trim_start().strip_prefix("mod ")?.split_once(';'))
            .map(|(name, _)| name)
            .filter(|name| !name.contains(' '))
            .collect();
        let mut read = 0;
        for (path, text) in files.iter().zip(&texts) {
            if test_modules.contains(&path.file_stem().unwrap().to_str().unwrap()) {
                continue;
            }
            read += 1;
            let product = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
            for (number, line) in product.lines().enumerate() {
                let code = line.split("//").next().unwrap_or_default();
                for forbidden in NOT_IN_A_CORE {
                    let place = format!("{}:{}", path.display(), number + 1);
                    assert!(!code.contains(forbidden), "{place}: `{forbidden}`");
                }
            }
        }
        assert!(read > 5, "{folder}: hardly a file was read");
    }
}
