//! Flags of `marmoset run` for containers, against a real engine.

use e2e::{
    Dock,
    docker::{Engine, IMAGE},
    printed,
};

#[test]
fn containers_run_as_the_user_that_was_named() {
    let test = "containers_run_as_the_user_that_was_named";
    for runtime in ["--docker", "--warm"] {
        let Some(engine) = Engine::of_the_machine(test) else { return };
        let dock = Dock::new(engine, runtime);
        let output = dock.scene.path().join("out");
        let more = ["--output", output.to_str().unwrap(), "--container-user", "7:8"];
        let script = "echo $(id -u) $(id -g) > mine && cat mine";
        let script = format!("cd $MESOS_SANDBOX && {script}");
        let done = dock.run(IMAGE, &[&more[..], &["--shell", "--", &script]].concat());
        done.assert_all_finished(1);
        assert_eq!(printed(&output, 0), "7 8\n", "{runtime}");
        dock.assert_deserted();
    }
}

#[test]
fn the_embedded_executor_takes_arguments() {
    let test = "the_embedded_executor_takes_arguments";
    let Some(engine) = Engine::of_the_machine(test) else { return };
    let dock = Dock::new(engine, "--docker");
    let more = ["--docker-parameter", "device=/dev/null:/dev/nothing", "--shell", "--"];
    let more = [&more[..], &["test -c /dev/nothing"]].concat();
    let text = dock.run(IMAGE, &more).failure_message();
    assert!(text.contains("--allow-privileged"), "{text}");
    let allowed = ["--executor-argument=--allow-privileged"];
    dock.run(IMAGE, &[&allowed[..], &more].concat()).assert_all_finished(1);
    dock.assert_deserted();
}
