//! From flags to a job.
//!
//! Owns what the words of the command line mean for the tasks. Called by `marmoset run`.

use std::num::NonZeroU64;

use marmoset_proto::{
    marmoset::v1::Output,
    mesos::v1::{CommandInfo, Environment, environment},
    resources::{Millis, Need},
};
use marmoset_scheduler::{BatchSize, Items, Job, JobSpec};

use crate::args::{Batch, RunArgs};

/// What subprocesses are placed with that say nothing.
const MEM_DEFAULT: Millis = Millis(16_000);

/// How often a task is tried again that was lost with its executor or agent.
const LOST_RETRIES: u32 = 5;

/// Builds the job; `lines` are those of `--each-line`.
pub(super) fn build(args: &RunArgs, lines: Option<Vec<String>>) -> Job {
    let items = match lines {
        Some(lines) => Items::Lines(lines.into()),
        None => Items::Array { count: args.count.map_or(1, NonZeroU64::get) },
    };
    let name = name(args.program());
    let spec = JobSpec {
        need: Need {
            cpus: Millis(args.cpus),
            mem: mem(args),
            ports: args.ports.into(),
            ..Need::default()
        },
        batch: match args.batch {
            Batch::Auto => BatchSize::Auto,
            Batch::Fixed(size) => BatchSize::Fixed(size.into()),
        },
        max_running: args.max_running.map(NonZeroU64::from),
        retries: args.retries,
        lost_retries: LOST_RETRIES,
        timeout: args.timeout,
        kill_grace: args.kill_grace,
        output: Output {
            stdout: args.stdout.map(Into::into),
            stderr: args.stderr.map(Into::into),
            limit_bytes: args.output_limit,
            pack: args.pack_output.then(|| name.clone()),
            // What is to be fetched must not be gone before.
            keep: args.output.is_some().then_some(true),
        },
        runtime: args.container.runtime(),
        container: args.container.container(),
        pull: args.container.pull(),
        ..JobSpec::new(name, command(args), items)
    };
    Job { spec, output: args.output.clone() }
}

/// What each task holds of the memory.
///
/// An amount that nobody named is a guess for placement: it must end no task. The executor is told
/// so for its subprocesses, and to Docker whatever a task holds is a limit. An infinite one in
/// `TaskInfo.limits` is no way out: masters refuse it for agents of Mesos 1.9, and agents where
/// their memory isolator is not that of cgroups. So containers hold none.
fn mem(args: &RunArgs) -> Millis {
    let unsaid = if args.container.image().is_some() { Millis::ZERO } else { MEM_DEFAULT };
    args.mem.map_or(unsaid, Millis)
}

fn command(args: &RunArgs) -> CommandInfo {
    let variables = args
        .env
        .iter()
        .map(|(name, value)| environment::Variable {
            name: name.clone(),
            value: Some(value.clone()),
            ..environment::Variable::default()
        })
        .collect::<Vec<_>>();
    let environment = (!variables.is_empty()).then_some(Environment { variables });
    let user = args.container.container_user.clone();
    let common =
        CommandInfo { environment, user, uris: args.uris.clone(), ..CommandInfo::default() };
    if args.shell {
        return CommandInfo { shell: Some(true), value: Some(args.command.join(" ")), ..common };
    }
    if args.container.image().is_some() {
        // In a container the arguments follow the program, whose name is not among them.
        return CommandInfo {
            shell: Some(false),
            value: args.command.first().cloned(),
            arguments: args.command.iter().skip(1).cloned().collect(),
            ..common
        };
    }
    CommandInfo {
        shell: Some(false),
        value: Some(args.command[0].clone()),
        arguments: args.command.clone(),
        ..common
    }
}

/// Whether `{}` is missing although there are lines for it.
pub(super) fn ignores_its_lines(args: &RunArgs) -> bool {
    args.each_line.is_some() && !args.command.iter().any(|word| word.contains("{}"))
}

/// Names the tasks after their program: `true.0`, `true.1`.
fn name(program: &str) -> String {
    let program = program.split_whitespace().next().unwrap_or_default();
    let base = program.rsplit('/').next().unwrap_or_default();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '+');
    let plain = !base.is_empty()
        && base.len() <= 100
        && base.chars().all(is_plain)
        && base.starts_with(|c: char| c.is_ascii_alphanumeric());
    if plain { base.to_owned() } else { "task".to_owned() }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;
    use marmoset_proto::{marmoset::v1::Item, placeholder};

    use super::*;
    use crate::args::{Cli, Command};

    fn args(words: &[&str]) -> RunArgs {
        match Cli::try_parse_from([&["marmoset", "run"], words].concat()).unwrap().command {
            Command::Run(args) => *args,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn words_stay_words() {
        let job = build(&args(&["--count", "3", "--", "printf", "%s", "a b", "-x"]), None).spec;
        assert_eq!(job.items, Items::Array { count: 3 });
        assert_eq!(job.command.shell, Some(false));
        assert_eq!(job.command.value.as_deref(), Some("printf"));
        assert_eq!(job.command.arguments, ["printf", "%s", "a b", "-x"]);
        let need = Need { cpus: Millis(100), mem: Millis(16_000), ..Need::default() };
        assert_eq!((job.need, job.batch), (need, BatchSize::Auto));
    }

    #[test]
    fn containers_hold_no_memory_that_nobody_named() {
        for image in ["--docker", "--warm"] {
            let need =
                |more: &[&str]| build(&args(&[&[image, "i"], more].concat()), None).spec.need;
            assert_eq!(need(&[]).mem, Millis::ZERO);
            assert_eq!(need(&["--mem", "64"]).mem, Millis(64_000));
        }
    }

    #[test]
    fn the_user_of_containers_is_not_that_of_the_framework() {
        let user = |more: &[&str]| build(&args(more), None).spec.command.user;
        assert_eq!(user(&["--user", "ada", "--docker", "i"]), None);
        let own = ["--docker", "i", "--container-user", "7:8"];
        for more in [&[][..], &["--", "id"], &["--shell", "--", "id"]] {
            assert_eq!(user(&[&own[..], more].concat()).as_deref(), Some("7:8"), "{more:?}");
        }
    }

    #[test]
    fn the_grace_of_a_kill_is_told_only_if_it_was_said() {
        assert_eq!(build(&args(&["--", "true"]), None).spec.kill_grace, None);
        let job = build(&args(&["--kill-grace", "500ms", "--", "true"]), None).spec;
        assert_eq!(job.kill_grace, Some(std::time::Duration::from_millis(500)));
    }

    #[test]
    fn a_shell_gets_one_string() {
        let job = build(&args(&["--shell", "--", "echo $A", "|", "wc -c"]), None).spec;
        assert_eq!(job.items, Items::Array { count: 1 });
        assert_eq!(job.command.shell, Some(true));
        assert_eq!(job.command.value.as_deref(), Some("echo $A | wc -c"));
        assert!(job.command.arguments.is_empty());
    }

    #[test]
    fn placeholders_are_filled_for_each_item() {
        let item = Item { index: 4, line: Some("x y{#}".into()), attempt: None };
        let job = build(&args(&["--", "cp", "{}", "out-{#}/{}"]), None).spec;
        assert_eq!(
            placeholder::expand(&job.command, &item).arguments,
            ["cp", "x y{#}", "out-4/x y{#}"]
        );
        let job = build(&args(&["--shell", "--", "cp '{}' {#}"]), None).spec;
        let filled = placeholder::expand(&job.command, &item);
        assert_eq!(filled.value.as_deref(), Some("cp 'x y{#}' 4"));
    }

    #[test]
    fn lines_without_a_place_are_noticed() {
        assert!(ignores_its_lines(&args(&["--each-line", "-", "--", "echo", "{#}"])));
        assert!(!ignores_its_lines(&args(&["--each-line", "-", "--", "echo", "<{}>"])));
        assert!(!ignores_its_lines(&args(&["--count", "3", "--", "echo"])));
    }

    #[test]
    fn the_environment_is_what_was_said() {
        let job = build(&args(&["--env", "A=1", "--env", "B=x=y", "--", "env"]), None).spec;
        let pairs: Vec<_> = job
            .command
            .environment
            .unwrap()
            .variables
            .into_iter()
            .map(|variable| (variable.name, variable.value.unwrap()))
            .collect();
        assert_eq!(pairs, [("A".into(), "1".into()), ("B".into(), "x=y".into())]);
        assert_eq!(build(&args(&["--", "env"]), None).spec.command.environment, None);
    }

    #[test]
    fn tasks_are_named_after_their_program() {
        for (program, expected) in [
            ("/bin/true", "true"),
            ("sh", "sh"),
            ("g++", "g++"),
            ("echo hello | wc", "echo"),
            ("./a b/c", "a"),
            ("", "task"),
            ("/", "task"),
            ("..", "task"),
            ("prög", "task"),
            ("{}", "task"),
            ("-x", "task"),
        ] {
            assert_eq!(name(program), expected, "{program}");
        }
    }
}
