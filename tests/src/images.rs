//! The executor's image, built by `images/build` for the test, and the engine that has it.
//!
//! Nothing is pulled. Without an engine there is no image, and the test says by name that it is skipped.

use std::{
    path::Path,
    process::{Command, Stdio},
    sync::LazyLock,
};

use marmoset_mini::{AgentConfig, Containerizer, DockerConfig};

use crate::programs;

const TAG: &str = "test";

/// The executor with a shell, as an image of the machine's engine; none without an engine.
#[must_use]
pub fn executor_with_shell(test: &str) -> Option<&'static str> {
    static BUILT: LazyLock<Result<(), String>> = LazyLock::new(build);
    match BUILT.as_ref() {
        Ok(()) => Some("marmoset-executor-busybox:test"),
        Err(why) => {
            eprintln!("SKIPPED {test}: {why}");
            None
        }
    }
}

fn build() -> Result<(), String> {
    let silent = |command: &mut Command| {
        let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
        status.is_ok_and(|status| status.success())
    };
    if !silent(Command::new("docker").arg("version")) {
        return Err("no Docker engine answers (tests/run says how to get one)".to_owned());
    }
    if !Path::new("/bin/busybox").exists() {
        return Err("no static /bin/busybox (busybox-static)".to_owned());
    }
    let status = Command::new(programs::tree().join("images/build"))
        .arg("executor-busybox")
        // Beside the debug programs of the other tests; what only a debugger reads is left out.
        .envs([("PROFILE", "dev"), ("TAG", TAG), ("CARGO_PROFILE_DEV_DEBUG", "0")])
        .env_remove("PREFIX")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status();
    assert!(status.is_ok_and(|status| status.success()), "images/build failed");
    Ok(())
}

/// The same agent with the Docker containerizer; containers of others are spared.
#[must_use]
pub fn with_docker(agent: AgentConfig) -> AgentConfig {
    AgentConfig {
        containerizers: vec![Containerizer::Docker, Containerizer::Mesos],
        docker: DockerConfig { kill_orphans: false, ..DockerConfig::default() },
        ..agent
    }
}

/// Names of all containers whose names begin so.
///
/// # Panics
/// When the engine does not answer.
#[must_use]
pub fn containers(prefix: &str) -> Vec<String> {
    let output = Command::new("docker").args(["ps", "-a", "--format", "{{.Names}}"]).output();
    let output = output.expect("`docker` is there").stdout;
    let text = String::from_utf8_lossy(&output).into_owned();
    text.lines().filter(|name| name.starts_with(prefix)).map(str::to_owned).collect()
}
