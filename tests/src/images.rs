//! The executor's image for tests, made with its own Dockerfile, and the engine that has it.
//!
//! The program is the one that the other tests use, so nothing is compiled for it: what it needs of the
//! C library goes into the image, too. `images/build` makes it static instead. Nothing is pulled. Without
//! an engine there is no image, and the test says by name that it is skipped.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::LazyLock,
};

use marmoset_mini::{AgentConfig, Containerizer, DockerConfig};
use tempfile::TempDir;

use crate::{programs, skip};

/// The executor with a shell, as an image of the machine's engine; none without an engine.
#[must_use]
pub fn executor_with_shell(test: &str) -> Option<&'static str> {
    static BUILT: LazyLock<Result<String, String>> = LazyLock::new(build);
    match BUILT.as_deref() {
        Ok(image) => Some(image),
        Err(why) => {
            skip(test, why);
            None
        }
    }
}

/// Of the images that tests make.
const REPOSITORY: &str = "marmoset-test/executor-busybox";

fn build() -> Result<String, String> {
    if !succeeds(Command::new("docker").arg("version")) {
        return Err("no Docker engine answers (tests/run says how to get one)".to_owned());
    }
    let busybox = Path::new("/bin/busybox");
    if !busybox.exists() {
        return Err("no static /bin/busybox (busybox-static)".to_owned());
    }
    let folder = TempDir::new().expect("the temporary directory is writable");
    let at = |name: &str| folder.path().join(name);
    let copy = |from: &Path, to: PathBuf| {
        fs::create_dir_all(to.parent().expect("it lies in the context")).expect("writable");
        fs::copy(from, to).expect("a file of this machine can be read");
    };
    copy(busybox, at("busybox"));
    copy(programs::executor(), at("marmoset-executor"));
    for library in libraries(programs::executor()) {
        copy(&library, at("root").join(library.strip_prefix("/").expect("it is absolute")));
    }
    copy(Path::new("/etc/passwd"), at("root/etc/passwd"));
    fs::create_dir(at("root/tmp")).expect("writable");
    forget_images_of_earlier_tests();
    // Tests of other trees may run on the same engine.
    let image = format!("{REPOSITORY}:{}", std::process::id());
    let dockerfile = programs::tree().join("images/executor/Dockerfile");
    let mut build = Command::new("docker");
    build.args(["build", "--network", "none", "--target", "executor-busybox", "--tag", &image]);
    build.arg("--file").arg(dockerfile).arg(folder.path());
    assert!(succeeds(&mut build), "the image cannot be built: {build:?}");
    Ok(image)
}

/// Removes what tests have left that do not run any more: each has tagged its image with its pid.
fn forget_images_of_earlier_tests() {
    let tags = Command::new("docker").args(["images", REPOSITORY, "--format", "{{.Tag}}"]).output();
    let text = String::from_utf8_lossy(&tags.expect("`docker` is there").stdout).into_owned();
    for tag in text.lines().filter(|tag| !Path::new("/proc").join(tag).exists()) {
        // Somebody else may be doing it as well.
        succeeds(Command::new("docker").args(["rmi", &format!("{REPOSITORY}:{tag}")]));
    }
}

/// What the dynamic linker would load, itself included.
fn libraries(program: &Path) -> Vec<PathBuf> {
    let output = Command::new("ldd").arg(program).output().expect("ldd comes with the C library");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let words = text.split_whitespace().filter(|word| word.starts_with('/'));
    words.map(PathBuf::from).collect()
}

fn succeeds(command: &mut Command) -> bool {
    let quiet = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    quiet.status().is_ok_and(|status| status.success())
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
