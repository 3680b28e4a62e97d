//! How a probe is tried: a command, a request, a connection.

use std::{process::Stdio, time::Duration};

use marmoset_proto::mesos::v1::CommandInfo;

use super::{
    check::{Answer, Probe},
    edge::command_of,
};
use crate::processes::{in_own_session, signal_tree};

/// Tries it, for no longer than the timeout.
pub(super) async fn run(probe: Probe, timeout: Option<Duration>) -> Answer {
    match probe {
        Probe::Command(command) => run_command(&command, timeout).await,
        Probe::Http { url } => within(timeout, get(&url)).await,
        Probe::Tcp { host, port } => within(timeout, connect(host, port)).await,
    }
}

async fn within(timeout: Option<Duration>, answer: impl Future<Output = Answer>) -> Answer {
    match timeout {
        None => answer.await,
        Some(timeout) => tokio::time::timeout(timeout, answer).await.unwrap_or(Answer::Nothing),
    }
}

async fn run_command(command: &CommandInfo, timeout: Option<Duration>) -> Answer {
    let Some(mut command) = command_of(command) else { return Answer::Nothing };
    command.stdin(Stdio::null());
    in_own_session(&mut command, None);
    let Ok(mut child) = tokio::process::Command::from(command).spawn() else {
        return Answer::Nothing;
    };
    let ended = async { child.wait().await.ok().and_then(|status| status.code()) };
    let ended = match timeout {
        None => Some(ended.await),
        Some(timeout) => tokio::time::timeout(timeout, ended).await.ok(),
    };
    match ended {
        Some(Some(code)) => Answer::ExitCode(code),
        Some(None) => Answer::Nothing,
        None => {
            if let Some(pid) = child.id() {
                signal_tree(pid, nix::sys::signal::Signal::SIGKILL);
            }
            let _reaped = child.wait().await;
            Answer::Nothing
        }
    }
}

/// As `curl -L -k` does it: redirects are followed, certificates are not looked at.
async fn get(url: &str) -> Answer {
    // Nobody else in this process can have chosen one.
    let _chosen = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder().tls_danger_accept_invalid_certs(true).build();
    let Ok(client) = client else { return Answer::Nothing };
    match client.get(url).send().await {
        Ok(response) => Answer::StatusCode(response.status().as_u16()),
        Err(_) => Answer::Nothing,
    }
}

async fn connect(host: &str, port: u32) -> Answer {
    let connected = tokio::net::TcpStream::connect(format!("{host}:{port}")).await;
    Answer::Connected(connected.is_ok())
}
