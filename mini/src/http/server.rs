//! Listening and connections.
//!
//! ```text
//!  bind ──▶ serve: accept ──▶ one task per connection ──▶ Service::call per request
//!                    stop() ends the listener and every connection at once
//! ```
//!
//! Requests of one connection are handled one after the other, as libprocess
//! does; connections are independent. After an event stream has ended its
//! connection is closed, because nothing useful can follow.

use std::{
    future::Future,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    sync::Notify,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{Body, Request, Response, events::StreamCut};

/// Answers requests.
pub(crate) trait Service: Send + Sync + 'static {
    /// Answers one request.
    fn call(&self, request: Request) -> impl Future<Output = Response> + Send;
}

/// A running listener.
#[derive(Debug)]
pub(crate) struct Server {
    addr: SocketAddr,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Server {
    /// Listens on an address; port 0 takes a free one.
    ///
    /// # Errors
    /// The address cannot be bound.
    pub(crate) async fn bind(addr: SocketAddr) -> io::Result<(TcpListener, SocketAddr)> {
        let listener = TcpListener::bind(addr).await?;
        let addr = listener.local_addr()?;
        Ok((listener, addr))
    }

    /// Keeps a port without listening: connections are refused, and the system gives it to nobody
    /// who asks for any. A listener can be bound beside it.
    ///
    /// # Errors
    /// Somebody else has it.
    pub(crate) fn reserve(addr: SocketAddr) -> io::Result<TcpSocket> {
        let socket = if addr.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        // What listeners have as well, or they could not be beside it.
        socket.set_reuseaddr(true)?;
        socket.bind(addr)?;
        Ok(socket)
    }

    /// Starts to answer on a listener.
    pub(crate) fn serve(
        listener: TcpListener,
        addr: SocketAddr,
        max_body: usize,
        service: Arc<impl Service>,
    ) -> Self {
        let stop = CancellationToken::new();
        let tasks = TaskTracker::new();
        tasks.spawn(accept(listener, max_body, service, stop.clone(), tasks.clone()));
        Self { addr, stop, tasks }
    }

    /// Closes the listener and breaks every connection; the port is free when this returns.
    pub(crate) async fn stop(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        tracing::debug!(addr = %self.addr, "stopped to listen");
    }
}

async fn accept(
    listener: TcpListener,
    max_body: usize,
    service: Arc<impl Service>,
    stop: CancellationToken,
    tasks: TaskTracker,
) {
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                let connection = connection(stream, max_body, Arc::clone(&service));
                let stop = stop.clone();
                tasks.spawn(async move { stop.run_until_cancelled(connection).await });
            }
            Err(error) => {
                // Out of file descriptors, most likely: pause, or the loop would spin.
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

async fn connection(stream: TcpStream, max_body: usize, service: Arc<impl Service>) {
    // Events are small and wait for nobody.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "cannot set `TCP_NODELAY`");
    }
    let ended = Arc::new(Notify::new());
    let end = Arc::clone(&ended);
    let handler = service_fn(move |request: http::Request<Incoming>| {
        let (service, end) = (Arc::clone(&service), Arc::clone(&end));
        async move {
            let response = service.call(Request::new(request, max_body)).await;
            let endless = response.body().size_hint().exact().is_none();
            Ok::<_, std::convert::Infallible>(if endless {
                response.map(|body| Box::pin(LastOnConnection { body, end }) as Body)
            } else {
                response
            })
        }
    });
    let mut serving = std::pin::pin!(
        hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(None)
            .title_case_headers(true)
            .max_buf_size(1 << 20)
            .serve_connection(TokioIo::new(stream), handler)
    );
    let served = loop {
        tokio::select! {
            served = serving.as_mut() => break served,
            () = ended.notified() => serving.as_mut().graceful_shutdown(),
        }
    };
    if let Err(error) = served {
        tracing::trace!(%error, "connection ended");
    }
}

/// An event stream that tells its connection when it has ended.
struct LastOnConnection {
    body: Body,
    end: Arc<Notify>,
}

impl HttpBody for LastOnConnection {
    type Data = Bytes;
    type Error = StreamCut;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, StreamCut>>> {
        let frame = self.body.as_mut().poll_frame(context);
        if matches!(frame, Poll::Ready(None)) {
            self.end.notify_one();
        }
        frame
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_port_that_is_kept_refuses_and_can_be_bound() {
        let (listener, addr) = Server::bind(([127, 0, 0, 1], 0).into()).await.unwrap();
        drop(listener);
        let kept = Server::reserve(addr).unwrap();
        let refused = TcpStream::connect(addr).await.unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
        let (_listener, again) = Server::bind(addr).await.unwrap();
        assert_eq!(again, addr);
        drop(kept);
        TcpStream::connect(addr).await.unwrap();
    }
}
