//! From a run to a process in a container that is ready.
//!
//! Owns the environment and the folder of such a process, as the container sees them. What all
//! runs of a template have in one container is made once. Refuses to look anything up in the
//! image: programs are searched where they are. Called by the warm runtime for each run.

use std::{
    collections::{BTreeMap, VecDeque},
    ffi::{CString, OsStr, OsString},
    os::unix::ffi::{OsStrExt as _, OsStringExt as _},
    path::Path,
    sync::{Arc, Weak},
};

use marmoset_executor_core::{RunId, Spawn, Template};

use super::{
    super::plan::{Plan, PlanError, ROOT, Site, TASKS},
    pool::RoomId,
    raise::Found,
};
use crate::{
    cgroup::Limits,
    isolation::Isolation,
    launcher::{self, Keeping, Output, Rlimit},
    output,
    runtime::{
        docker::probe,
        path::{self, c_string},
        template,
    },
};

/// Templates that are kept ready.
const PREPARED: usize = 64;

/// Makes requests for the launchers in containers.
#[derive(Debug)]
pub(super) struct Requests {
    /// Different in every executor.
    mark: String,
    prepared: VecDeque<Prepared>,
}

/// What all runs of a template share in one container.
#[derive(Debug, Clone)]
struct Prepared {
    /// Which it is. That it is kept here does not keep it.
    template: Weak<Template>,
    room: RoomId,
    environment: Arc<[CString]>,
    rlimits: Vec<Rlimit>,
    limits: Option<Limits>,
    output: output::Plan,
    /// The command says where the sandbox is.
    own_sandbox: bool,
}

/// The container that a run goes to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Room<'a> {
    pub(super) id: RoomId,
    pub(super) name: &'a str,
    pub(super) plan: &'a Plan,
    pub(super) found: &'a Found,
}

impl Requests {
    pub(super) fn new() -> Self {
        let mark = uuid::Uuid::new_v4().simple().to_string();
        Self { mark, prepared: VecDeque::new() }
    }

    /// Makes the request for one run.
    pub(super) fn run(
        &mut self,
        spawn: &Spawn,
        room: Room<'_>,
        site: &Site,
    ) -> Result<launcher::Spawn, PlanError> {
        let Template { command, .. } = &*spawn.template;
        let argv = room.plan.argv(command, spawn.item.as_ref(), &room.found.image)?;
        let (program, argv) = argv;
        Ok(self.assemble(spawn, program, argv, room, site))
    }

    /// Makes the request for a command that probes a run, in its folder and with its variables.
    /// What it prints is thrown away: nobody bounds it.
    pub(super) fn probe(
        &mut self,
        id: RunId,
        spawn: &Spawn,
        template: &Arc<Template>,
        room: Room<'_>,
        site: &Site,
    ) -> launcher::Spawn {
        let argv = probe::words(&template.command);
        let program = argv[0].clone();
        let spawn = Spawn { run: id, template: template.clone(), strand: None, ..spawn.clone() };
        let request = self.assemble(&spawn, program, argv, room, site);
        let (stdout, stderr) = (Output::Null, Output::Null);
        // The folder and what is in it are the run's.
        let keeping = Keeping::default();
        launcher::Spawn { create_cwd: false, stdout, stderr, keeping, ..request }
    }

    /// Forgets what it knows of a container.
    pub(super) fn forget(&mut self, room: RoomId) {
        self.prepared.retain(|prepared| prepared.room != room);
    }

    fn assemble(
        &mut self,
        spawn: &Spawn,
        program: String,
        argv: Vec<String>,
        room: Room<'_>,
        site: &Site,
    ) -> launcher::Spawn {
        let prepared = self.prepare(spawn, room, site);
        let folder = Path::new(TASKS).join(&spawn.task);
        let argv = argv.into_iter().map(|word| c_string(word.into_bytes())).collect::<Vec<_>>();
        let mut env = prepared.environment.to_vec();
        env.extend(template::variables(&self.mark, spawn, &folder, prepared.own_sandbox));
        let host = site.host_folder(&spawn.task);
        env.push(template::variable(OsStr::new("MESOS_DIRECTORY"), host.as_os_str()));
        let options = &spawn.template.options;
        launcher::Spawn {
            env,
            cwd: c_string(folder.into_os_string().into_vec()),
            create_cwd: true,
            stdout: template::output(prepared.output.stdout, c"stdout"),
            stderr: template::output(prepared.output.stderr, c"stderr"),
            keeping: prepared.output.keeping,
            umask: options.umask,
            nice: options.nice,
            strand: spawn.strand,
            rlimits: prepared.rlimits,
            limits: prepared.limits,
            argv,
            ..launcher::Spawn::new(spawn.run, c_string(program.into_bytes()))
        }
    }

    fn prepare(&mut self, spawn: &Spawn, room: Room<'_>, site: &Site) -> Prepared {
        let is_it = |prepared: &&Prepared| {
            prepared.template.as_ptr() == Arc::as_ptr(&spawn.template) && prepared.room == room.id
        };
        if let Some(known) = self.prepared.iter().find(is_it) {
            return known.clone();
        }
        let prepared = prepare(spawn, room, site);
        self.prepared.truncate(PREPARED - 1);
        self.prepared.push_front(prepared.clone());
        prepared
    }
}

fn prepare(spawn: &Spawn, room: Room<'_>, site: &Site) -> Prepared {
    let template = &spawn.template;
    let given = room.found.environment.iter().filter_map(|entry| {
        let at = entry.as_bytes().iter().position(|byte| *byte == b'=')?;
        let (name, value) = entry.as_bytes().split_at(at);
        Some((OsStr::from_bytes(name).to_owned(), OsStr::from_bytes(&value[1..]).to_owned()))
    });
    let mut all = given.collect::<BTreeMap<OsString, OsString>>();
    all.entry("PATH".into()).or_insert_with(|| path::DEFAULT.into());
    all.insert("MESOS_CONTAINER_NAME".into(), room.name.into());
    if let Some(role) = &template.role {
        all.insert("MESOS_ALLOCATION_ROLE".into(), role.into());
    }
    let own = template.command.environment.iter().flat_map(|own| &own.variables);
    all.extend(own.map(|own| (own.name.clone().into(), own.value().into())));
    all.remove(OsStr::new("MESOS_DIRECTORY"));
    template::make_room(&mut all, spawn);
    let limits = Limits::of(&template.bounds, false).filter(|_| room.found.cgroups);
    // What cannot be limited together is limited one by one, if the task says so.
    let rlimit = Isolation::Rlimits { of_requests: false }.rlimit(&template.bounds);
    Prepared {
        template: Arc::downgrade(template),
        room: room.id,
        environment: all.iter().map(|(name, value)| template::variable(name, value)).collect(),
        rlimits: rlimit.filter(|_| limits.is_none()).into_iter().collect(),
        limits,
        output: site.output.plan(&template.options.output, Path::new(ROOT)),
        own_sandbox: all.contains_key(OsStr::new("MESOS_SANDBOX")),
    }
}
