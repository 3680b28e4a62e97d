//! Flags of `marmoset run`.

use std::{
    num::{NonZeroU32, NonZeroU64},
    path::PathBuf,
    time::Duration,
};

use clap::{Args, ValueEnum};
use marmoset_proto::{marmoset::v1::output::Target, mesos::v1::command_info::Uri};

use super::{ContainerArgs, ExecutorArgs, values};

/// How many tasks travel in one Mesos task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Batch {
    /// As many as run in about a second.
    Auto,
    /// That many.
    Fixed(NonZeroU32),
}

/// When the embedded cluster's files stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Keep {
    /// Never
    Never,
    /// When a task did not finish
    Failed,
    /// Always
    Always,
}

/// Run one command many times, or once for each line of a file, and wait
#[derive(Debug, Args)]
#[command(
    override_usage = "marmoset run [OPTIONS] -- COMMAND [ARGUMENT]...",
    after_help = "\
In COMMAND and its arguments `{#}` stands for the task's index (from 0) and, with --each-line, `{}`
for its line. What was put in is not looked at again. With --shell the text is put into the shell's
input as it is: quote it there.

In a task's environment: MARMOSET_TASK_ID, MARMOSET_INDEX, PORT0, PORT1, ..., what the built-in
executor of Mesos sets (MESOS_SANDBOX, ...), and what --env says. Its working directory is its own.

The embedded cluster keeps the tasks' folders in the folder that TMPDIR names; without TMPDIR in
memory (/dev/shm) if 1 GB is free there, else in /tmp. Name one on a disk for tasks that write much.

Examples:
  marmoset run --count 10000 -- /bin/true
  marmoset run --count 8 --cpus 1 -- sh -c 'echo I am $MARMOSET_INDEX'
  ls *.wav | marmoset run --each-line - --output encoded -- flac --stdout \"$PWD/{}\"
  marmoset run --each-line urls --max-running 4 --retries 2 --timeout 30s -- curl --fail {}
  marmoset run --master 10.0.0.5:5050 --executor-path /opt/marmoset-executor \\
      --principal batch --secret-file secret --count 100000 -- /opt/bin/simulate --seed {#}

Exit codes: 0 every task finished, 1 some task did not, 2 marmoset could not do its job,
64 wrong command line, 130 interrupted (143: by SIGTERM)."
)]
pub(crate) struct RunArgs {
    /// How many tasks to run [default: 1]
    #[arg(long, value_name = "N", value_parser = values::count, allow_hyphen_values = true)]
    pub(crate) count: Option<NonZeroU64>,

    /// Run one task for each line of FILE; `-` is the standard input
    #[arg(long, value_name = "FILE|-")]
    pub(crate) each_line: Option<PathBuf>,

    /// Processors that each task holds while it runs
    #[arg(long, value_name = "CPUS", default_value = "0.1", value_parser = values::thousandths, allow_hyphen_values = true)]
    pub(crate) cpus: u64,

    /// Memory that each task holds while it runs, in megabytes, and at most gets where the executor
    /// can limit it; left out, tasks are placed as if they held 16 (in containers: none), and not
    /// limited
    #[arg(long, value_name = "MB", value_parser = values::thousandths, allow_hyphen_values = true)]
    pub(crate) mem: Option<u64>,

    /// Ports that each task is given: PORT0, PORT1, ... in its environment
    #[arg(long, value_name = "N", default_value = "0", value_parser = values::amount, allow_hyphen_values = true)]
    pub(crate) ports: u32,

    /// Tasks in one Mesos task: `auto` makes them last about a second, 1 shows each in Mesos' own UI
    #[arg(long, value_name = "auto|N", default_value = "auto", value_parser = values::batch, allow_hyphen_values = true)]
    pub(crate) batch: Batch,

    /// Run no more than N tasks at a time
    #[arg(long, value_name = "N", value_parser = values::at_least_one, allow_hyphen_values = true)]
    pub(crate) max_running: Option<NonZeroU32>,

    /// Try a task that failed up to N times more (tasks that were lost are tried again anyway)
    #[arg(long, value_name = "N", default_value = "0", value_parser = values::amount, allow_hyphen_values = true)]
    pub(crate) retries: u32,

    /// Kill a task that runs longer, e.g. `30s`: it counts as failed
    #[arg(long, value_name = "TIME", value_parser = values::span, allow_hyphen_values = true)]
    pub(crate) timeout: Option<Duration>,

    /// From SIGTERM to SIGKILL when a task is killed, e.g. `500ms` [default: what the executor is
    /// told, 3s]
    #[arg(long, value_name = "TIME", value_parser = values::span, allow_hyphen_values = true)]
    pub(crate) kill_grace: Option<Duration>,

    /// A variable of the tasks' environment; may be given several times
    #[arg(long = "env", value_name = "NAME=VALUE", value_parser = values::variable, allow_hyphen_values = true)]
    pub(crate) env: Vec<(String, String)>,

    /// A file that is put into each task's folder before it starts: a URL, or an absolute path on the
    /// agents. Archives are unpacked. Words behind it: `,executable`, `,noextract`, `,cache` for all
    /// tasks of an agent, `,output=NAME`; may be given several times
    #[arg(long = "uri", value_name = "URI[,WORD]...", value_parser = values::uri)]
    pub(crate) uris: Vec<Uri>,

    /// Run COMMAND and its arguments, joined by spaces, with `/bin/sh -c`
    #[arg(long)]
    pub(crate) shell: bool,

    /// Collect what the tasks print: DIR/<index>.out and DIR/<index>.err, where not empty
    #[arg(long, value_name = "DIR", help_heading = "Output")]
    pub(crate) output: Option<PathBuf>,

    /// Where the tasks' stdout goes: `file` in the task's folder, `null`, or `inherit` the executor's
    /// own file [default: what the executor is told, `file`]
    #[arg(long, value_name = "TARGET", value_parser = values::target, help_heading = "Output")]
    pub(crate) stdout: Option<Target>,

    /// The same for stderr
    #[arg(long, value_name = "TARGET", value_parser = values::target, help_heading = "Output")]
    pub(crate) stderr: Option<Target>,

    /// Most that is kept of each output of a task, e.g. `1MB`: half from its beginning and half from
    /// its end; `0B` keeps all [default: what the executor is told, 10MB]
    #[arg(long, value_name = "SIZE", value_parser = values::size, help_heading = "Output")]
    pub(crate) output_limit: Option<u64>,

    /// Put small outputs into a few files of each executor instead of two files of each task;
    /// `marmoset unpack` reads them, and --output fetches from them
    #[arg(long, help_heading = "Output")]
    pub(crate) pack_output: bool,

    /// Print one JSON object instead of the summary
    #[arg(long)]
    pub(crate) json: bool,

    /// Tell what happens: registration, offers, tasks and their states
    #[arg(short, long)]
    pub(crate) verbose: bool,

    #[command(flatten)]
    pub(crate) container: ContainerArgs,

    /// Masters of a Mesos cluster, separated by commas; without it one is started here
    #[arg(long, value_name = "HOST:PORT", value_delimiter = ',', value_parser = values::master, help_heading = "Cluster")]
    pub(crate) master: Vec<String>,

    /// How long the first answer of a master is waited for, e.g. `5min` [default: 5s]
    #[arg(long, value_name = "TIME", value_parser = values::span, allow_hyphen_values = true, help_heading = "Cluster")]
    pub(crate) master_timeout: Option<Duration>,

    /// Role to register with
    #[arg(long, value_name = "ROLE", default_value = "*", help_heading = "Cluster")]
    pub(crate) role: String,

    /// User of the executor, which masters allow or not; subprocesses run as it, containers as
    /// --container-user [default: the one who types this]
    #[arg(long, value_name = "USER", help_heading = "Cluster")]
    pub(crate) user: Option<String>,

    /// Principal to authenticate as; needs --secret-file
    #[arg(long, value_name = "NAME", help_heading = "Cluster")]
    pub(crate) principal: Option<String>,

    /// File with the principal's secret
    #[arg(long, value_name = "FILE", help_heading = "Cluster")]
    pub(crate) secret_file: Option<PathBuf>,

    /// Certificates (PEM) that the masters' are checked against; switches TLS on
    #[arg(long, value_name = "FILE", help_heading = "Cluster")]
    pub(crate) ca_file: Option<PathBuf>,

    /// When the embedded cluster's files, the tasks' outputs among them, stay
    #[arg(long, value_name = "WHEN", default_value = "failed", help_heading = "Cluster")]
    pub(crate) keep: Keep,

    /// How agents come by the executor
    #[command(flatten)]
    pub(crate) executor: ExecutorArgs,

    /// What to run
    #[arg(value_name = "COMMAND", required_unless_present_any = ["docker", "warm"], trailing_var_arg = true)]
    pub(crate) command: Vec<String>,
}

impl RunArgs {
    /// What runs: the program, or the image that has one.
    pub(crate) fn program(&self) -> &str {
        let image = self.container.image().map(|(_, image)| image);
        self.command.first().map(String::as_str).or(image).unwrap_or_default()
    }

    /// Finds what no single flag can see.
    ///
    /// # Errors
    /// A text that names the flags and the way out.
    pub(crate) fn check(&self) -> Result<(), String> {
        if self.count.is_some() && self.each_line.is_some() {
            return Err("`--count` and `--each-line` exclude each other: the number of lines is \
                        the number of tasks; leave one out"
                .to_owned());
        }
        if self.output.is_some()
            && [self.stdout, self.stderr]
                .iter()
                .all(|target| target.is_some_and(|target| target != Target::File))
        {
            return Err("`--output` has nothing to collect: `--stdout` and `--stderr` both keep \
                        the tasks' output out of files; leave one of the three out"
                .to_owned());
        }
        match (&self.principal, &self.secret_file) {
            (Some(_), None) => {
                return Err("`--principal` needs `--secret-file FILE`: write the secret into a \
                            file that only you can read"
                    .to_owned());
            }
            (None, Some(_)) => {
                return Err(
                    "`--secret-file` needs `--principal NAME`: say whose secret it is".to_owned()
                );
            }
            (Some(_), Some(_)) | (None, None) => {}
        }
        if self.master.is_empty() {
            let executor = self.executor.first_for_clusters();
            let only_with_master = [
                (executor.unwrap_or_default(), executor.is_some()),
                ("--principal", self.principal.is_some()),
                ("--ca-file", self.ca_file.is_some()),
                ("--master-timeout", self.master_timeout.is_some()),
            ];
            if let Some((flag, _)) = only_with_master.iter().find(|(_, given)| *given) {
                return Err(format!(
                    "`{flag}` needs `--master HOST:PORT`: the embedded cluster has no use for it"
                ));
            }
        }
        self.executor.source()?;
        if self.role.is_empty() {
            return Err("`--role` must not be empty: leave it out for `*`".to_owned());
        }
        if self.user.as_deref() == Some("") {
            return Err("`--user` must not be empty: leave it out for yourself".to_owned());
        }
        self.container.check(self.ports)?;
        if let Some((flag, _)) = self.container.image() {
            self.executor.reaches_engine(flag, self.container.docker_socket.as_deref())?;
        }
        if self.shell && self.command.is_empty() {
            return Err("`--shell` needs COMMAND: put the text for the shell after `--`".to_owned());
        }
        if self.command.first().is_some_and(String::is_empty) {
            return Err("COMMAND must not be empty: name a program after `--`".to_owned());
        }
        self.check_nul()
    }

    /// The system passes texts that end at the first NUL byte.
    fn check_nul(&self) -> Result<(), String> {
        let words = self.command.iter().map(|word| ("COMMAND", word));
        let variables =
            self.env.iter().flat_map(|(name, value)| [("--env", name), ("--env", value)]);
        let uris = self
            .uris
            .iter()
            .flat_map(|uri| uri.output_file.iter().chain([&uri.value]).map(|text| ("--uri", text)));
        match words.chain(variables).chain(uris).find(|(_, text)| text.contains('\0')) {
            Some((what, _)) => Err(format!("`{what}` contains a NUL byte: take it out")),
            None => Ok(()),
        }
    }
}
