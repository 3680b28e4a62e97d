//! What can go wrong, one type per operation.
//!
//! Owns the errors and what each asks of the caller: to try again, to subscribe
//! again, or to give up. Deciding when is the caller's.

use std::time::Duration;

use marmoset_proto::codec::DecodeError;
use marmoset_proto::recordio::RecordIoError;

use crate::endpoint::Endpoint;
use crate::refusal::Refusal;

/// Why there is no connection; nothing was sent.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The name has no address, or nobody could be asked.
    #[error("cannot resolve host name `{host}`")]
    Resolve {
        /// The name.
        host: String,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Refused, unreachable, no such socket.
    #[error("cannot connect to `{address}`")]
    Io {
        /// The address that was tried last.
        address: String,
        /// Why.
        source: std::io::Error,
    },
    /// It took too long.
    #[error("no connection to `{address}` within {after:?}")]
    Timeout {
        /// The address that was tried last.
        address: String,
        /// The limit.
        after: Duration,
    },
    /// The TLS handshake failed.
    #[error("TLS handshake with `{address}` failed: {hint}")]
    Tls {
        /// Whom with.
        address: String,
        /// What to look at.
        hint: &'static str,
        /// Why.
        source: std::io::Error,
    },
    /// No authority is known that could vouch for a server.
    #[error("cannot use TLS: {reason}; name the authorities in `ca_file`")]
    NoAuthorities {
        /// What the system's store said.
        reason: String,
    },
}

impl ConnectError {
    /// Whether trying again cannot help: TLS is not set up right.
    pub fn is_fatal(&self) -> bool {
        match self {
            Self::Resolve { .. } | Self::Io { .. } | Self::Timeout { .. } => false,
            Self::Tls { source, .. } => is_certificate(source),
            Self::NoAuthorities { .. } => true,
        }
    }
}

fn is_certificate(error: &std::io::Error) -> bool {
    use rustls::Error;
    let cause = error.get_ref().and_then(|cause| cause.downcast_ref::<Error>());
    matches!(cause, Some(Error::InvalidCertificate(_) | Error::InvalidMessage(_)))
}

/// How a connection ended that should not have.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct TransportError(pub(crate) hyper::Error);

/// Why there is no subscription.
#[derive(Debug, thiserror::Error)]
pub enum SubscribeError {
    /// The path cannot stand in a request.
    #[error("`{path}` is no path of a URL: it must begin with `/` and be percent-encoded")]
    BadPath {
        /// What was given.
        path: String,
    },
    /// No connection.
    #[error("cannot reach `{endpoint}`")]
    Connect {
        /// Whom.
        endpoint: Endpoint,
        /// Why.
        source: ConnectError,
    },
    /// Connected, but no answer.
    #[error("`{endpoint}` did not answer SUBSCRIBE within {after:?}")]
    Timeout {
        /// Who.
        endpoint: Endpoint,
        /// The limit.
        after: Duration,
    },
    /// The connection broke before the answer.
    #[error("connection to `{endpoint}` broke before SUBSCRIBE was answered")]
    Broken {
        /// Whose.
        endpoint: Endpoint,
        /// How.
        source: TransportError,
    },
    /// Answered, but not with a stream.
    #[error("`{endpoint}` refused SUBSCRIBE: {refusal}")]
    Refused {
        /// Who; after a redirect the one it led to.
        endpoint: Endpoint,
        /// What the answer means.
        refusal: Refusal,
    },
}

impl SubscribeError {
    /// Whether to try again after a back-off, at [`leader`](Self::leader) if one is named.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::BadPath { .. } => false,
            Self::Connect { source, .. } => !source.is_fatal(),
            Self::Timeout { .. } | Self::Broken { .. } => true,
            Self::Refused { refusal, .. } => !refusal.is_fatal(),
        }
    }

    /// Whether repeating cannot help.
    pub fn is_fatal(&self) -> bool {
        !self.is_retryable()
    }

    /// The leader, if the answer named one.
    pub fn leader(&self) -> Option<&Endpoint> {
        self.refusal().and_then(Refusal::leader)
    }

    /// The answer, if there was one.
    pub fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Refused { refusal, .. } => Some(refusal),
            Self::BadPath { .. }
            | Self::Connect { .. }
            | Self::Timeout { .. }
            | Self::Broken { .. } => None,
        }
    }
}

/// Why a stream has no next event.
///
/// All but [`StreamError::Decode`] end it: subscribe again.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// No record for too long: the peer or the path to it is gone.
    #[error("nothing heard for {after:?}")]
    Silent {
        /// The limit.
        after: Duration,
    },
    /// The connection broke, or a chunk was malformed.
    #[error("event stream broke")]
    Broken(#[source] TransportError),
    /// The stream ended within a record.
    #[error("event stream ended in the middle of a record")]
    Truncated,
    /// The stream does not consist of records.
    #[error("event stream is malformed")]
    Framing(#[source] RecordIoError),
    /// One record is no event; the next ones may be.
    #[error("an event of {length} bytes cannot be read")]
    Decode {
        /// Of the record.
        length: usize,
        /// Why.
        source: DecodeError,
    },
}

impl StreamError {
    /// Whether the stream is over.
    pub fn ends_stream(&self) -> bool {
        match self {
            Self::Silent { .. } | Self::Broken(_) | Self::Truncated | Self::Framing(_) => true,
            Self::Decode { .. } => false,
        }
    }
}

/// Why a call was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// No connection; the call was not executed.
    #[error("cannot reach `{endpoint}`")]
    Connect {
        /// Whom.
        endpoint: Endpoint,
        /// Why.
        source: ConnectError,
    },
    /// No answer in time; the call may have been executed or not.
    #[error("`{endpoint}` did not answer a call within {after:?}")]
    Timeout {
        /// Who.
        endpoint: Endpoint,
        /// The limit.
        after: Duration,
    },
    /// The connection broke; the call may have been executed or not.
    #[error("connection to `{endpoint}` broke before a call was answered")]
    Broken {
        /// Whose.
        endpoint: Endpoint,
        /// How.
        source: TransportError,
    },
    /// An earlier call through the same handle got no answer, and sending this
    /// one could change their order; it was not sent.
    #[error("not sent: an earlier call to `{endpoint}` got no answer")]
    NotSent {
        /// Whom.
        endpoint: Endpoint,
    },
    /// Answered, but not accepted.
    #[error("`{endpoint}` refused a call: {refusal}")]
    Refused {
        /// Who.
        endpoint: Endpoint,
        /// What the answer means.
        refusal: Refusal,
    },
}

impl CallError {
    /// Whether to send the same call again after a back-off, through the same handle.
    pub fn is_retryable(&self) -> bool {
        self.refusal().is_some_and(Refusal::is_retryable)
    }

    /// Whether to subscribe again, at [`leader`](Self::leader) if one is named.
    pub fn needs_resubscribe(&self) -> bool {
        match self {
            Self::Connect { source, .. } => !source.is_fatal(),
            Self::Timeout { .. } | Self::Broken { .. } | Self::NotSent { .. } => true,
            Self::Refused { refusal, .. } => refusal.needs_resubscribe(),
        }
    }

    /// Whether repeating cannot help.
    pub fn is_fatal(&self) -> bool {
        !self.is_retryable() && !self.needs_resubscribe()
    }

    /// Whether it is certain that the server did not act on the call.
    pub fn was_not_executed(&self) -> bool {
        match self {
            Self::Connect { .. } | Self::NotSent { .. } | Self::Refused { .. } => true,
            Self::Timeout { .. } | Self::Broken { .. } => false,
        }
    }

    /// The leader, if the answer named one.
    pub fn leader(&self) -> Option<&Endpoint> {
        self.refusal().and_then(Refusal::leader)
    }

    /// The answer, if there was one.
    pub fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Refused { refusal, .. } => Some(refusal),
            Self::Connect { .. }
            | Self::Timeout { .. }
            | Self::Broken { .. }
            | Self::NotSent { .. } => None,
        }
    }
}

/// Why a document could not be fetched.
#[derive(Debug, thiserror::Error)]
pub enum GetError {
    /// The path cannot stand in a request.
    #[error("`{path}` is no path of a URL: it must begin with `/` and be percent-encoded")]
    BadPath {
        /// What was given.
        path: String,
    },
    /// No connection.
    #[error("cannot reach `{endpoint}`")]
    Connect {
        /// Whom.
        endpoint: Endpoint,
        /// Why.
        source: ConnectError,
    },
    /// No answer, or none of its next bytes, in time.
    #[error("`{endpoint}` did not answer within {after:?}")]
    Timeout {
        /// Who.
        endpoint: Endpoint,
        /// The limit.
        after: Duration,
    },
    /// The connection broke before the end of the answer.
    #[error("connection to `{endpoint}` broke before the end of the answer")]
    Broken {
        /// Whose.
        endpoint: Endpoint,
        /// How.
        source: TransportError,
    },
    /// There is no such document.
    #[error("`{endpoint}` has no `{path}`")]
    NotFound {
        /// Who.
        endpoint: Endpoint,
        /// Path and query that were asked for.
        path: String,
    },
    /// Any other answer than success.
    #[error("`{endpoint}` refused `{path}`: {refusal}")]
    Refused {
        /// Who.
        endpoint: Endpoint,
        /// Path and query that were asked for.
        path: String,
        /// What the answer means.
        refusal: Refusal,
    },
    /// The document is larger than the caller takes.
    #[error("`{path}` of `{endpoint}` is larger than {limit} bytes")]
    TooLarge {
        /// Who.
        endpoint: Endpoint,
        /// Path and query that were asked for.
        path: String,
        /// The limit.
        limit: usize,
    },
    /// What was received could not be written.
    #[error("cannot write what `{endpoint}` sent")]
    Write {
        /// Who.
        endpoint: Endpoint,
        /// Why.
        source: std::io::Error,
    },
}
