//! Where the programs under test are: built once by cargo, in the profile of the test.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
    sync::LazyLock,
};

/// The `marmoset` command.
#[must_use]
pub fn marmoset() -> &'static Path {
    static PATH: LazyLock<PathBuf> = LazyLock::new(|| built("marmoset"));
    &PATH
}

/// The executor as it is deployed.
#[must_use]
pub fn executor() -> &'static Path {
    static PATH: LazyLock<PathBuf> = LazyLock::new(|| built("marmoset-executor"));
    &PATH
}

/// The example framework of one-shot network services.
#[must_use]
pub fn hello_nc() -> &'static Path {
    static PATH: LazyLock<PathBuf> = LazyLock::new(|| built("hello-nc"));
    &PATH
}

/// The root of the source tree.
#[must_use]
pub fn tree() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("this crate lies one folder below the root")
        .to_path_buf()
}

/// Builds all programs (a no-op when they are fresh) and returns the path of one, beside this test's own folder.
///
/// All of them in one call, as `tests/run` does: cargo unites the features of what it builds
/// together, so that one program alone would be built anew.
fn built(program: &str) -> PathBuf {
    let test = env::current_exe().expect("a test knows its own path");
    let profile = test.ancestors().nth(2).expect("a test lies in <target>/<profile>/deps");
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(tree()).args(["build", "--quiet", "--locked"]);
    for package in ["marmoset", "marmoset-executor", "hello-nc"] {
        cargo.args(["--package", package]);
    }
    if let Some(target) = profile.parent() {
        cargo.arg("--target-dir").arg(target);
    }
    if profile.ends_with("release") {
        cargo.arg("--release");
    }
    let status = cargo.status().expect("cargo started this test, so it can be started");
    assert!(status.success(), "cargo could not build `{program}`");
    profile.join(program)
}
