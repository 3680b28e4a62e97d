//! A framework whose tasks run in warm containers.

use std::{
    fs,
    path::{Path, PathBuf},
};

use e2e::{
    Framework, Scene,
    dock::label,
    docker::{Engine, IMAGE},
    wait,
};
use marmoset_proto::{
    codec::{self, Encoding},
    marmoset::v1::TaskSpec,
    mesos::v1::{
        CommandInfo, ContainerInfo, ExecutorInfo, Parameter, Resource, TaskInfo, container_info,
        framework_info::capability,
    },
};

/// See the module.
pub(crate) struct House {
    pub(crate) engine: Engine,
    pub(crate) framework: Framework,
    pub(crate) label: String,
    scene: Scene,
    /// More flags of the executor.
    flags: &'static str,
}

impl House {
    pub(crate) fn new(engine: Engine, flags: &'static str) -> Self {
        let scene = Scene::new();
        let framework = Framework::new(&scene, &[capability::Type::TaskKillingState]);
        Self { engine, framework, label: label(), scene, flags }
    }

    fn executor(&self) -> ExecutorInfo {
        let mut executor = self.framework.executor();
        let command = executor.command.as_mut().unwrap();
        let value = command.value.take().unwrap();
        let socket = self.engine.socket();
        command.value = Some(format!("{value} --docker-socket {socket} {}", self.flags));
        executor
    }

    /// A task with a script for the shell of the image.
    pub(crate) fn task(&self, id: &str, script: &str) -> TaskInfo {
        self.task_of(
            id,
            Some("warm"),
            CommandInfo { value: Some(script.to_owned()), ..CommandInfo::default() },
        )
    }

    pub(crate) fn task_of(
        &self,
        id: &str,
        runtime: Option<&str>,
        command: CommandInfo,
    ) -> TaskInfo {
        let runtime = runtime.map(str::to_owned);
        let spec = TaskSpec { runtime, command: Some(command), ..TaskSpec::default() };
        TaskInfo {
            name: id.into(),
            task_id: id.into(),
            executor: Some(self.executor()),
            data: Some(codec::encode(&spec, Encoding::Protobuf)),
            resources: vec![Resource::scalar("cpus", 0.1), Resource::scalar("mem", 32.0)],
            container: Some(ContainerInfo {
                r#type: container_info::Type::Docker.into(),
                docker: Some(container_info::DockerInfo {
                    image: IMAGE.into(),
                    parameters: vec![Parameter { key: "label".into(), value: self.label.clone() }],
                    ..container_info::DockerInfo::default()
                }),
                ..ContainerInfo::default()
            }),
            ..TaskInfo::default()
        }
    }

    pub(crate) fn until_running(&mut self, tasks: &[&str]) {
        self.framework.until(|told| {
            let runs = |task: &&str| {
                let last = told.get(*task).and_then(|told| told.last());
                last.is_some_and(|status| status.state().as_str_name() == "TASK_RUNNING")
            };
            tasks.iter().all(runs)
        });
    }

    /// The last state and message of a task that has ended.
    pub(crate) fn end(&mut self, task: &str) -> (String, String) {
        self.framework.until_ended(&[task]);
        let (state, _, _, message) = self.framework.story(task).pop().unwrap();
        (state.to_owned(), message)
    }

    /// A file in the folder of a task.
    pub(crate) fn file(&self, task: &str, name: &str) -> String {
        let wanted = Path::new("tasks").join(task).join(name);
        let found = wait::until("the folder of a task", || find(self.scene.path(), &wanted));
        fs::read_to_string(found).unwrap()
    }

    pub(crate) fn assert_deserted(self) {
        let Self { engine, framework, label, scene, .. } = self;
        drop(framework);
        engine.wait_until_deserted(&label);
        scene.assert_deserted();
    }
}

/// Finds a file by the end of its path, not following links.
pub(crate) fn find(folder: &Path, end: &Path) -> Option<PathBuf> {
    let entries = fs::read_dir(folder).ok()?.flatten();
    entries.map(|entry| entry.path()).find_map(|path| {
        if path.ends_with(end) {
            return Some(path);
        }
        let real = fs::symlink_metadata(&path).is_ok_and(|found| found.is_dir());
        if real { find(&path, end) } else { None }
    })
}
