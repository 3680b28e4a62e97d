//! `marmoset mini`: the embedded cluster alone, for other frameworks.
//!
//! Owns its ports and folders, and waits for the signal to end it.

use std::{fs, net::SocketAddr, path::PathBuf};

use anyhow::Context as _;
use marmoset_mini::{
    AgentConfig, AgentTimers, Cluster, ClusterConfig, Credential, DockerConfig, MasterConfig,
    MasterTimers,
};
use serde_json::json;

use crate::{
    args::{Containerizer, MiniArgs},
    exit::{Ending, UsageError},
    folder::Temporary,
    interrupt::Interrupts,
    logging::{self, Wanted},
    output,
    run::{Screen, embedded},
};

/// Runs a cluster until it is interrupted.
///
/// # Errors
/// The command line is wrong, or the cluster did not start.
pub(crate) fn perform(args: &MiniArgs) -> anyhow::Result<Ending> {
    check(args).map_err(UsageError)?;
    let wanted = if args.verbose { Wanted::Cluster } else { Wanted::Warnings };
    logging::start(&Screen::without_progress(), wanted);
    let (work_dir, _removed_at_the_end) = work_dir(args)?;
    let config = config(args, &work_dir)?;
    let runtime = tokio::runtime::Runtime::new().context("cannot start the runtime")?;
    runtime.block_on(serve(args, config))
}

async fn serve(args: &MiniArgs, config: ClusterConfig) -> anyhow::Result<Ending> {
    let interrupts = Interrupts::listen(|| {}, || {})?;
    let hostname = config.hostname.clone();
    let cluster = Cluster::start(config).await.map_err(|error| {
        anyhow::Error::new(error).context(
            "cannot start the cluster: check `--port` (0 takes a free one), `--ip`, \
             `--resources`, `--attributes`, `--work-dir` and `--containerizers`",
        )
    })?;
    tell(args, &hostname, &cluster);
    let interrupted = interrupts.token();
    tokio::select! {
        () = interrupted.cancelled() => {}
        () = end_of_stdin(), if args.until_stdin_ends => {}
    }
    cluster.shutdown().await;
    Ok(Ending::Good)
}

/// Waits until whoever holds the other end of the standard input is gone.
pub(crate) async fn end_of_stdin() {
    let (ended, wait) = tokio::sync::oneshot::channel();
    // A thread of its own: a read that blocks must not hold up the end of the runtime.
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
        let _ = ended.send(());
    });
    let _ = wait.await;
}

fn tell(args: &MiniArgs, hostname: &str, cluster: &Cluster) {
    let at = |address: SocketAddr| match hostname.parse::<std::net::IpAddr>() {
        Ok(_) | Err(_) if hostname == address.ip().to_string() => address.to_string(),
        Ok(_) | Err(_) => format!("{hostname}:{}", address.port()),
    };
    let master = at(cluster.master_addr());
    let agents: Vec<String> =
        (0..cluster.agents()).filter_map(|index| cluster.agent_addr(index)).map(at).collect();
    if args.json {
        output::print(format_args!("{}", json!({"master": master, "agents": agents})));
        return;
    }
    output::print(format_args!("master  http://{master}/api/v1/scheduler"));
    for agent in &agents {
        output::print(format_args!("agent   http://{agent}/state"));
    }
    output::print(format_args!("try     marmoset run --master {master} --count 100 -- /bin/true"));
    output::print(format_args!("Ctrl-C ends it"));
}

fn check(args: &MiniArgs) -> Result<(), String> {
    let last = u64::from(args.port) + u64::from(args.agents.get());
    if args.port != 0 && last > 65535 {
        return Err(format!(
            "`--port {}` leaves no ports for {} agents: the last would be {last}; choose a lower one",
            args.port, args.agents
        ));
    }
    if args.agents.get() > 1000 {
        return Err("`--agents` is too large: 1000 are the most on one machine".to_owned());
    }
    Ok(())
}

/// The folder of the sandboxes; the second value removes it when it is ours.
fn work_dir(args: &MiniArgs) -> anyhow::Result<(PathBuf, Option<Temporary>)> {
    if let Some(folder) = &args.work_dir {
        fs::create_dir_all(folder).and_then(|()| fs::canonicalize(folder)).map_or_else(
            |error| {
                Err(UsageError(format!(
                    "`--work-dir {}` cannot be made: {error}; name a folder you may write to",
                    folder.display()
                ))
                .into())
            },
            |folder| Ok((folder, None)),
        )
    } else {
        let folder = Temporary::new()?;
        Ok((folder.path().to_owned(), Some(folder)))
    }
}

fn config(args: &MiniArgs, work_dir: &std::path::Path) -> anyhow::Result<ClusterConfig> {
    let master = MasterTimers::default();
    let master = MasterTimers {
        allocation_interval: args.allocation_interval.unwrap_or(master.allocation_interval),
        heartbeat_interval: args.heartbeat_interval.unwrap_or(master.heartbeat_interval),
        agent_timeout: args.agent_timeout.unwrap_or(master.agent_timeout),
        offer_timeout: args.offer_timeout.or(master.offer_timeout),
        ..master
    };
    let agent = AgentTimers::default();
    let agent = AgentTimers {
        executor_registration_timeout: args
            .executor_registration_timeout
            .unwrap_or(agent.executor_registration_timeout),
        executor_shutdown_grace_period: args
            .executor_shutdown_grace_period
            .unwrap_or(agent.executor_shutdown_grace_period),
        update_retry_min: args.update_retry.unwrap_or(agent.update_retry_min),
        update_retry_max: agent.update_retry_max.max(args.update_retry.unwrap_or_default()),
        ..agent
    };
    let command_executor = embedded::command_executor()?;
    let agents = (1..=args.agents.get())
        .map(|number| AgentConfig {
            ip: args.ip,
            port: match args.port {
                0 => 0,
                // Checked before: it stays below 65536.
                port => port + u16::try_from(number).unwrap_or(0),
            },
            resources: args.resources.clone(),
            attributes: args.attributes.clone(),
            work_dir: work_dir.join(format!("agent-{number}")),
            timers: agent.clone(),
            command_executor: command_executor.clone(),
            containerizers: containerizers(args),
            docker: docker(args),
            ..AgentConfig::default()
        })
        .collect();
    Ok(ClusterConfig {
        hostname: args.hostname.clone().unwrap_or_else(|| args.ip.to_string()),
        master: MasterConfig {
            ip: args.ip,
            port: args.port,
            timers: master,
            credentials: credentials(args)?,
            ..MasterConfig::default()
        },
        agents,
    })
}

fn containerizers(args: &MiniArgs) -> Vec<marmoset_mini::Containerizer> {
    let of = |containerizer: &Containerizer| match containerizer {
        Containerizer::Mesos => marmoset_mini::Containerizer::Mesos,
        Containerizer::Docker => marmoset_mini::Containerizer::Docker,
    };
    args.containerizers.iter().map(of).collect()
}

fn docker(args: &MiniArgs) -> DockerConfig {
    DockerConfig {
        program: args.docker.clone(),
        socket: args.docker_socket.clone(),
        kill_orphans: args.docker_kill_orphans,
        ..DockerConfig::default()
    }
}

fn credentials(args: &MiniArgs) -> Result<Option<Vec<Credential>>, UsageError> {
    let Some(path) = &args.credentials else { return Ok(None) };
    let refuse =
        |problem: String| UsageError(format!("`--credentials {}`: {problem}", path.display()));
    let text = fs::read_to_string(path).map_err(|error| refuse(error.to_string()))?;
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    lines
        .map(|(index, line)| match line.split_whitespace().collect::<Vec<_>>()[..] {
            [principal, secret] if !secret.contains(':') => {
                Ok(Credential { principal: principal.to_owned(), secret: secret.to_owned() })
            }
            _ => Err(refuse(format!(
                "line {} is not a principal, a space, and a secret without colons",
                index + 1
            ))),
        })
        .collect::<Result<Vec<_>, _>>()
        .map(Some)
}
