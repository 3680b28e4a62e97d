//! Downloads from http and https servers.
//!
//! Owns the client, the number of downloads at one time, redirects, time-outs and second
//! attempts. Refuses to know what becomes of the file it fills.

mod pen;
mod tls;

use std::{error::Error, fmt::Write as _, fs::File, time::Duration};

use reqwest::{Client, Response, StatusCode, Url, redirect};
use tokio::{
    sync::{OnceCell, Semaphore},
    time::{sleep, timeout},
};
use tokio_util::task::TaskTracker;

use self::pen::Pen;
use super::{
    config::{FetchConfig, Proxy},
    error::{Problem, RedirectError, TransferError},
};

/// Everything downloads share.
#[derive(Debug)]
pub(super) struct Web {
    /// Made when first needed: most executors never fetch anything.
    client: OnceCell<Client>,
    slots: Semaphore,
}

/// Why one attempt failed.
enum Failure {
    /// Another one may succeed.
    Passing(TransferError),
    /// The next one would fail too.
    Lasting(TransferError),
    /// It is not the transfer that failed.
    Other(Problem),
}

impl Web {
    /// Allows `slots` downloads at one time.
    pub(super) fn new(slots: usize) -> Self {
        Self { client: OnceCell::new(), slots: Semaphore::new(slots.max(1)) }
    }

    /// Fills an empty file and tells its length.
    pub(super) async fn download(
        &self,
        config: &FetchConfig,
        url: &Url,
        file: File,
        jobs: &TaskTracker,
    ) -> Result<(File, u64), Problem> {
        let _slot = self.slots.acquire().await.expect("the semaphore is never closed");
        let client = self.client(config, jobs).await?;
        let mut pen = Pen::new(file, jobs.clone());
        let mut attempts = 0;
        let filled = timeout(config.total_timeout, async {
            loop {
                attempts += 1;
                let reason = match attempt(client, config, url, &mut pen).await {
                    Ok(()) => return Ok(()),
                    Err(Failure::Other(problem)) => return Err(problem),
                    Err(Failure::Passing(reason)) if attempts < config.attempts => reason,
                    Err(Failure::Passing(reason) | Failure::Lasting(reason)) => {
                        return Err(Problem::Transfer { reason, attempts });
                    }
                };
                tracing::debug!(host = url.host_str(), %reason, attempts, "download tried again");
                sleep(pause(config.backoff, attempts)).await;
                pen.erase().await?;
            }
        });
        match filled.await {
            Ok(filled) => filled?,
            Err(_) => {
                let reason = TransferError::TooLong(config.total_timeout);
                return Err(Problem::Transfer { reason, attempts });
            }
        }
        pen.into_file().await
    }

    async fn client(&self, config: &FetchConfig, jobs: &TaskTracker) -> Result<&Client, Problem> {
        let made = self.client.get_or_try_init(async || {
            let ca_file = config.ca_file.clone();
            let tls = jobs.spawn_blocking(move || tls::trusting(ca_file.as_deref())).await;
            let tls = tls.map_err(|error| Problem::Internal(error.to_string()))?;
            client(config, tls.map_err(transfer(TransferError::Tls))?)
                .map_err(|error| transfer(TransferError::Request)(chain(&error)))
        });
        made.await
    }
}

fn transfer(kind: fn(String) -> TransferError) -> impl Fn(String) -> Problem {
    move |text| Problem::Transfer { reason: kind(text), attempts: 1 }
}

fn client(config: &FetchConfig, tls: rustls::ClientConfig) -> reqwest::Result<Client> {
    let max_redirects = config.max_redirects;
    let follow = redirect::Policy::custom(move |attempt| {
        let before = attempt.previous();
        let leaves_tls = before.last().is_some_and(|url| url.scheme() == "https")
            && attempt.url().scheme() != "https";
        if leaves_tls {
            attempt.error(RedirectError::LeavesTls)
        } else if before.len() > max_redirects {
            attempt.error(RedirectError::TooOften { limit: max_redirects })
        } else {
            attempt.follow()
        }
    });
    let builder = Client::builder()
        .tls_backend_preconfigured(tls)
        .redirect(follow)
        // It could tell one server the secrets in the URL of another.
        .referer(false)
        .connect_timeout(config.connect_timeout)
        .pool_idle_timeout(Duration::from_secs(5))
        .user_agent(concat!("marmoset/", env!("CARGO_PKG_VERSION")));
    match config.proxy {
        Proxy::Environment => builder,
        #[cfg(test)]
        Proxy::Never => builder.no_proxy(),
    }
    .build()
}

async fn attempt(
    client: &Client,
    config: &FetchConfig,
    url: &Url,
    pen: &mut Pen,
) -> Result<(), Failure> {
    let stall = config.stall_timeout;
    let stalled = |_| Failure::Passing(TransferError::Stalled(stall));
    let answer = timeout(stall, client.get(url.clone()).send()).await.map_err(stalled)?;
    let mut answer = accepted(answer.map_err(failure)?)?;
    let limit = config.max_bytes;
    let too_large = || Failure::Other(Problem::TooLarge { limit });
    if answer.content_length().is_some_and(|length| length > limit) {
        return Err(too_large());
    }
    let mut left = limit;
    while let Some(piece) =
        timeout(stall, answer.chunk()).await.map_err(stalled)?.map_err(failure)?
    {
        left = left.checked_sub(piece.len() as u64).ok_or_else(too_large)?;
        pen.write(&piece).await.map_err(Failure::Other)?;
    }
    Ok(())
}

/// Takes 200 alone, as Mesos does: any other success is no file.
fn accepted(answer: Response) -> Result<Response, Failure> {
    let status = answer.status();
    match status {
        StatusCode::OK => Ok(answer),
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS => {
            Err(Failure::Passing(TransferError::Status(status)))
        }
        StatusCode::NOT_IMPLEMENTED | StatusCode::HTTP_VERSION_NOT_SUPPORTED => {
            Err(Failure::Lasting(TransferError::Status(status)))
        }
        _ if status.is_server_error() => Err(Failure::Passing(TransferError::Status(status))),
        _ => Err(Failure::Lasting(TransferError::Status(status))),
    }
}

fn failure(error: reqwest::Error) -> Failure {
    // Nothing may show the URL: its secrets would be shown with it.
    let error = error.without_url();
    let text = chain(&error);
    if let Some(refused) = cause::<RedirectError>(&error) {
        return Failure::Lasting(TransferError::Redirect(*refused));
    }
    match cause::<rustls::Error>(&error) {
        Some(rustls::Error::InvalidCertificate(_)) => {
            let hint = "check the authorities the executor trusts, and the host name";
            return Failure::Lasting(TransferError::Tls(format!("{text}; {hint}")));
        }
        Some(rustls::Error::InvalidMessage(_)) => {
            return Failure::Lasting(TransferError::Tls(format!("{text}; is it `http://`?")));
        }
        Some(_) => return Failure::Passing(TransferError::Tls(text)),
        None => {}
    }
    if error.is_connect() {
        Failure::Passing(TransferError::Connect(text))
    } else if error.is_builder() || error.is_redirect() {
        Failure::Lasting(TransferError::Request(text))
    } else {
        Failure::Passing(TransferError::Broken(text))
    }
}

/// Looks for a kind of error among the causes of another.
fn cause<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<E>() {
            return Some(found);
        }
        // Errors of sockets hide theirs.
        let inner = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        next = match inner {
            Some(inner) => Some(inner as &(dyn Error + 'static)),
            None => error.source(),
        };
    }
    None
}

/// Writes an error's causes; its own text says only that a request failed.
fn chain(error: &reqwest::Error) -> String {
    let mut text = String::new();
    let mut next = error.source();
    while let Some(error) = next {
        let part = error.to_string();
        // Some repeat their cause, and one says what is said already.
        if !text.contains(&part) && part != "client error (Connect)" {
            let _ = write!(text, "{}{part}", if text.is_empty() { "" } else { ": " });
        }
        next = error.source();
    }
    if text.is_empty() { error.to_string() } else { text }
}

fn pause(backoff: Duration, attempts: u32) -> Duration {
    backoff.saturating_mul(1 << (attempts - 1).min(10))
}
