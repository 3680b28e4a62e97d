//! Runs commands in containers that run.

use bollard::{exec::StartExecResults, models::ExecConfig};
use futures_util::StreamExt as _;

use super::{Engine, EngineError};

/// Most of what a command prints that is kept.
const OUTPUT_BYTES_MAX: usize = 4096;

impl Engine {
    /// Runs a command, and tells its exit code and the beginning of what it printed. It may take
    /// any time: whoever does not want to wait drops this.
    pub(crate) async fn execute(
        &self,
        name: &str,
        command: Vec<String>,
        env: Vec<String>,
        user: Option<String>,
    ) -> Result<(i64, String), EngineError> {
        let options = ExecConfig {
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            cmd: Some(command),
            env: Some(env),
            user,
            ..ExecConfig::default()
        };
        // Never closed.
        let _place = self.0.executions.acquire().await;
        let created =
            self.call("exec", async |docker| docker.create_exec(name, options).await).await?;
        let started = self
            .call("start exec", async |docker| docker.start_exec(&created.id, None).await)
            .await?;
        let mut text = Vec::new();
        if let StartExecResults::Attached { mut output, .. } = started {
            while let Some(piece) = output.next().await {
                let piece = piece.map_err(|error| self.failure("start exec", &error))?.into_bytes();
                let room = OUTPUT_BYTES_MAX.saturating_sub(text.len());
                text.extend_from_slice(&piece[..piece.len().min(room)]);
            }
        }
        let ended = self
            .call("inspect exec", async |docker| docker.inspect_exec(&created.id).await)
            .await?;
        Ok((ended.exit_code.unwrap_or(-1), String::from_utf8_lossy(&text).into_owned()))
    }
}
