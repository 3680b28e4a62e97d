//! From a command to what a process needs: program, argv, environment, folder.
//!
//! Owns the environment of tasks and the layout of the sandbox:
//! `<sandbox>/tasks/<task id>/{stdout,stderr}` and `<sandbox>/packs`. What all runs of a template
//! share is made once. Called by the process runtime for each run.

use std::{
    collections::{BTreeMap, VecDeque},
    ffi::{CStr, CString, OsStr, OsString},
    os::unix::ffi::{OsStrExt as _, OsStringExt as _},
    path::{Path, PathBuf},
    sync::{Arc, Weak},
};

use super::{
    path::{self, PathError, Programs, c_string},
    rlimits,
    users::{self, UserError},
};
use crate::{
    cgroup::Limits,
    isolation::Isolation,
    launcher::{self, Keeping, Output, Rlimit, User},
    output::{OutputDefaults, Plan},
};
use marmoset_executor_core::{RunId, Spawn, Template};
use marmoset_proto::{
    marmoset::v1::{Item, output::Target},
    placeholder,
};

/// Marks every process of a run: no other run anywhere has the same value.
pub(super) const MARK: &str = "MARMOSET_RUN";

/// Templates that are kept ready.
const PREPARED: usize = 64;

/// What a shell is called by.
const SHELL: &str = "/bin/sh";

/// Why a run cannot be asked for.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unusable {
    #[error(transparent)]
    Path(#[from] PathError),
    #[error(transparent)]
    User(#[from] UserError),
}

/// Makes requests for the launcher.
#[derive(Debug)]
pub(super) struct Templates {
    sandbox: PathBuf,
    inherited: BTreeMap<OsString, OsString>,
    output: OutputDefaults,
    isolation: Isolation,
    /// Different in every executor.
    mark: String,
    programs: Programs,
    prepared: VecDeque<Prepared>,
}

/// What all runs of a template share.
#[derive(Debug, Clone)]
struct Prepared {
    /// Which it is. That it is kept here does not keep it.
    template: Weak<Template>,
    environment: Arc<[CString]>,
    path: OsString,
    user: Option<User>,
    rlimits: Vec<Rlimit>,
    limits: Option<Limits>,
    output: Plan,
    /// The command says where the sandbox is.
    own_sandbox: bool,
}

impl Templates {
    pub(super) fn new(
        sandbox: PathBuf,
        inherited: BTreeMap<OsString, OsString>,
        output: OutputDefaults,
        isolation: Isolation,
    ) -> Self {
        let mark = uuid::Uuid::new_v4().simple().to_string();
        let (programs, prepared) = (Programs::default(), VecDeque::new());
        Self { sandbox, inherited, output, isolation, mark, programs, prepared }
    }

    /// How [`MARK`] begins in the environment of all runs of this executor.
    pub(super) fn family(&self) -> CString {
        c_string(format!("{MARK}={}.", self.mark).into_bytes())
    }

    /// Makes the request for one run.
    pub(super) fn request(&mut self, spawn: &Spawn) -> Result<launcher::Spawn, Unusable> {
        self.assemble(spawn, spawn.item.as_ref())
    }

    /// Makes the request for a command that probes a run, in the folder of the run and with
    /// its variables. What it prints is thrown away: nobody bounds it.
    pub(super) fn probe(
        &mut self,
        run: RunId,
        spawn: &Spawn,
        template: &Arc<Template>,
    ) -> Result<launcher::Spawn, Unusable> {
        let spawn = Spawn { run, template: template.clone(), ..spawn.clone() };
        let request = self.assemble(&spawn, None)?;
        let (stdout, stderr) = (Output::Null, Output::Null);
        // The folder and what is in it are the run's.
        let keeping = Keeping::default();
        Ok(launcher::Spawn { create_cwd: false, stdout, stderr, keeping, ..request })
    }

    /// Makes a request; `item` is what placeholders stand for.
    fn assemble(
        &mut self,
        spawn: &Spawn,
        item: Option<&Item>,
    ) -> Result<launcher::Spawn, Unusable> {
        let prepared = self.prepare(spawn)?;
        let Template { command, options, .. } = &*spawn.template;
        let folder = self.folder(spawn);
        let value = expand(command.value(), item);
        let (program, argv) = if command.shell() {
            let argv = [b"sh".to_vec(), b"-c".to_vec(), value.into_bytes()];
            (c_string(SHELL.into()), argv.map(c_string).to_vec())
        } else {
            let arguments = command.arguments.iter();
            let argv = arguments.map(|text| c_string(expand(text, item).into_bytes()));
            let program = self.programs.find(&value, &prepared.path, &folder)?;
            (program, argv.collect())
        };
        let mut env = prepared.environment.to_vec();
        env.extend(variables(&self.mark, spawn, &folder, prepared.own_sandbox));
        Ok(launcher::Spawn {
            argv,
            env,
            cwd: c_string(folder.into_os_string().into_vec()),
            create_cwd: true,
            stdout: output(prepared.output.stdout, c"stdout"),
            stderr: output(prepared.output.stderr, c"stderr"),
            keeping: prepared.output.keeping,
            user: prepared.user,
            umask: options.umask,
            nice: options.nice,
            rlimits: prepared.rlimits,
            limits: prepared.limits,
            strand: spawn.strand,
            ..launcher::Spawn::new(spawn.run, program)
        })
    }

    /// The folder of a run, and whose it is unless ours.
    pub(super) fn place(&mut self, spawn: &Spawn) -> Result<(PathBuf, Option<User>), Unusable> {
        let user = self.prepare(spawn)?.user;
        Ok((self.folder(spawn), user))
    }

    fn folder(&self, spawn: &Spawn) -> PathBuf {
        self.sandbox.join("tasks").join(&spawn.task)
    }

    /// Looks every program up anew: one was not where it had been.
    pub(super) fn forget_programs(&mut self) {
        self.programs.forget();
    }

    fn prepare(&mut self, spawn: &Spawn) -> Result<Prepared, Unusable> {
        let known =
            self.prepared.iter().find(|p| p.template.as_ptr() == Arc::as_ptr(&spawn.template));
        if let Some(known) = known {
            return Ok(known.clone());
        }
        let prepared = self.prepare_anew(spawn)?;
        if self.prepared.len() >= PREPARED {
            self.prepared.pop_back();
        }
        self.prepared.push_front(prepared.clone());
        Ok(prepared)
    }

    fn prepare_anew(&self, spawn: &Spawn) -> Result<Prepared, Unusable> {
        let template = &spawn.template;
        let own = template.command.environment.iter().flat_map(|own| &own.variables);
        let own = own.map(|own| (OsString::from(&own.name), OsString::from(own.value())));
        let own = own.collect::<BTreeMap<_, _>>();
        let mut all = self.inherited.clone();
        all.remove(OsStr::new("MESOS_SANDBOX"));
        all.insert("MARMOSET_EXECUTOR_SANDBOX".into(), self.sandbox.clone().into_os_string());
        if let Some(role) = &template.role {
            all.insert("MESOS_ALLOCATION_ROLE".into(), role.into());
        }
        all.entry("PATH".into()).or_insert_with(|| path::DEFAULT.into());
        all.extend(own);
        make_room(&mut all, spawn);
        Ok(Prepared {
            template: Arc::downgrade(template),
            environment: all.iter().map(|(name, value)| variable(name, value)).collect(),
            path: all.get(OsStr::new("PATH")).cloned().unwrap_or_default(),
            user: user(template)?,
            // What the task says itself comes last, and wins.
            rlimits: self
                .isolation
                .rlimit(&template.bounds)
                .into_iter()
                .chain(rlimits::of(template.container.as_deref()))
                .collect(),
            limits: self.isolation.limits(&template.bounds),
            output: self.output.plan(&template.options.output, &self.sandbox),
            own_sandbox: all.contains_key(OsStr::new("MESOS_SANDBOX")),
        })
    }
}

/// The variables that differ from run to run; `mark` is that of the executor.
pub(super) fn variables(
    mark: &str,
    spawn: &Spawn,
    folder: &Path,
    own_sandbox: bool,
) -> Vec<CString> {
    let text = |name: &str, value: &str| c_string(format!("{name}={value}").into_bytes());
    let mut variables = vec![
        variable(OsStr::new("PWD"), folder.as_os_str()),
        text("MARMOSET_TASK_ID", &spawn.task),
        text(MARK, &format!("{mark}.{}", spawn.run)),
    ];
    if !own_sandbox {
        variables.push(variable(OsStr::new("MESOS_SANDBOX"), folder.as_os_str()));
    }
    if let Some(item) = &spawn.item {
        variables.push(text("MARMOSET_INDEX", &item.index.to_string()));
    }
    for (number, port) in spawn.ports.iter().enumerate() {
        if number == 0 {
            variables.push(text("PORT", &port.to_string()));
        }
        variables.push(text(&format!("PORT{number}"), &port.to_string()));
    }
    variables
}

/// Takes those out of an environment that [`variables`] puts in for this run.
pub(super) fn make_room(all: &mut BTreeMap<OsString, OsString>, spawn: &Spawn) {
    for name in ["PWD", "MARMOSET_TASK_ID", MARK] {
        all.remove(OsStr::new(name));
    }
    if spawn.item.is_some() {
        all.remove(OsStr::new("MARMOSET_INDEX"));
    }
    if !spawn.ports.is_empty() {
        all.retain(|name, _| !is_port_variable(name));
    }
}

/// Who the command wants to be, unless that is who we are.
fn user(template: &Template) -> Result<Option<User>, UserError> {
    template.command.user.as_deref().map_or(Ok(None), users::become_user)
}

pub(super) fn output(target: Target, file: &CStr) -> Output {
    match target {
        Target::File => Output::File(file.to_owned()),
        Target::Null => Output::Null,
        Target::Inherit => Output::Inherit,
    }
}

fn is_port_variable(name: &OsStr) -> bool {
    let number = name.as_bytes().strip_prefix(b"PORT");
    number.is_some_and(|number| number.iter().all(u8::is_ascii_digit))
}

pub(super) fn variable(name: &OsStr, value: &OsStr) -> CString {
    let mut text = name.as_bytes().to_vec();
    text.push(b'=');
    text.extend_from_slice(value.as_bytes());
    c_string(text)
}

fn expand(template: &str, item: Option<&Item>) -> String {
    match item {
        Some(item) => placeholder::expand_text(template, item),
        None => template.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use marmoset_proto::mesos::v1::{CommandInfo, Environment, environment::Variable};

    use super::*;

    fn spawn(command: CommandInfo) -> Spawn {
        Spawn {
            run: RunId(7),
            template: Arc::new(Template {
                role: Some("batch".to_string()),
                ..Template::process(command)
            }),
            item: Some(Item { index: 3, line: Some("a b".into()), attempt: None }),
            task: "job.3".into(),
            ports: vec![8003, 8004],
            strand: None,
        }
    }

    fn set(name: &str, value: &str) -> Variable {
        Variable { name: name.into(), value: Some(value.into()), ..Variable::default() }
    }

    fn templates() -> Templates {
        let inherited = [("PATH", "/bin"), ("A", "1"), ("MESOS_SANDBOX", "/s"), ("PORT9", "1")];
        let inherited = inherited.map(|(name, value)| (name.into(), value.into()));
        Templates::new("/s".into(), inherited.into(), OutputDefaults::default(), Isolation::None)
    }

    fn texts(strings: &[CString]) -> Vec<&str> {
        strings.iter().map(|text| text.to_str().unwrap()).collect()
    }

    #[test]
    fn a_shell_command_with_placeholders() {
        let command = CommandInfo { value: Some("echo {} {#}".into()), ..Default::default() };
        let request = templates().request(&spawn(command)).unwrap();
        assert_eq!(request.program.as_c_str(), c"/bin/sh");
        assert_eq!(texts(&request.argv), ["sh", "-c", "echo a b 3"]);
        assert_eq!(request.cwd.as_c_str(), c"/s/tasks/job.3");
    }

    #[test]
    fn the_environment_of_a_task() {
        let variables = vec![set("A", "2"), set("PORT", "1"), set("MARMOSET_TASK_ID", "x")];
        let command = CommandInfo {
            value: Some("true".into()),
            environment: Some(Environment { variables }),
            ..Default::default()
        };
        let mut templates = templates();
        let request = templates.request(&spawn(command)).unwrap();
        let mark = format!("MARMOSET_RUN={}.7", templates.mark);
        assert_eq!(
            texts(&request.env),
            [
                "A=2",
                "MARMOSET_EXECUTOR_SANDBOX=/s",
                "MESOS_ALLOCATION_ROLE=batch",
                "PATH=/bin",
                "PWD=/s/tasks/job.3",
                "MARMOSET_TASK_ID=job.3",
                &mark,
                "MESOS_SANDBOX=/s/tasks/job.3",
                "MARMOSET_INDEX=3",
                "PORT=8003",
                "PORT0=8003",
                "PORT1=8004",
            ]
        );
    }

    #[test]
    fn argv_is_taken_as_it_is_and_the_tasks_own_path_is_searched() {
        let command = |path: &str| CommandInfo {
            value: Some("sh".into()),
            shell: Some(false),
            arguments: vec!["name".into(), "{}".into(), "$A".into()],
            environment: Some(Environment { variables: vec![set("PATH", path)] }),
            ..Default::default()
        };
        let mut templates = templates();
        let request = templates.request(&spawn(command("/nowhere:/bin"))).unwrap();
        assert_eq!(request.program.as_c_str(), c"/bin/sh");
        assert_eq!(texts(&request.argv), ["name", "a b", "$A"]);
        let refusal = templates.request(&spawn(command("/nowhere"))).unwrap_err();
        assert_eq!(refusal.to_string(), "command `sh` not found in PATH `/nowhere`");
    }

    #[test]
    fn templates_are_prepared_once_and_not_for_ever() {
        let mut templates = templates();
        let command = CommandInfo { value: Some("true".into()), ..Default::default() };
        let one = spawn(command.clone());
        templates.request(&one).unwrap();
        templates.request(&one).unwrap();
        assert_eq!(templates.prepared.len(), 1);
        for _ in 0..2 * PREPARED {
            templates.request(&spawn(command.clone())).unwrap();
        }
        assert_eq!(templates.prepared.len(), PREPARED);
    }

    #[test]
    fn a_user_must_be_known() {
        let user = Some("no such user".to_string());
        let command = CommandInfo { value: Some("true".into()), user, ..Default::default() };
        let refusal = templates().request(&spawn(command)).unwrap_err();
        assert_eq!(refusal.to_string(), "user `no such user` is not in `/etc/passwd`");
    }
}
