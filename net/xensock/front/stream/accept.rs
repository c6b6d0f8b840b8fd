// SPDX-License-Identifier: GPL-2.0

//! `accept()`.

use super::Stream;
use crate::{
    endpoint::EndpointState,
    listener::{
        Listener,
        Patience,
        MAX_AHEAD, //
    }, //
};
use kernel::{
    net::{
        kernel_socket::{
            KernelSocket,
            Tcp, //
        },
        sock::{
            Sock,
            WaitError, //
        },
    },
    prelude::*,
    sync::Arc,
    xen::trace::xensock_front as trace, //
};

/// The socket that `accept()` creates for a connection of the backend.
pub(crate) trait AcceptedSocket {
    /// Returns the socket and its stream. Fails with `EINVAL` if it is not a stream.
    fn stream(&self) -> Result<(&Sock, &Stream)>;
}

/// The result of `accept()`.
pub(crate) enum Acceptance<S> {
    /// A connection of the backend.
    Socket(S),
    /// The next connection of this socket, which listens in the guest itself.
    Local(Arc<KernelSocket<Tcp>>),
}

impl Stream {
    /// `accept()`, as `inet_csk_accept()` does it. `make` creates a socket of the same family.
    pub(crate) fn accept<S: AcceptedSocket>(
        &self,
        sk: &Sock,
        nonblock: bool,
        make: impl Fn() -> Result<S>,
    ) -> Result<Acceptance<S>> {
        let mut listener = self.endpoint.listener().ok_or(EINVAL)?;
        let mut timeout = sk.rcv_timeout(nonblock);
        // A call that does not wait, or no longer, asks the backend, which may fail each connection
        // that is posted.
        let (mut tries, mut patience) = (MAX_AHEAD, None);

        loop {
            // The clients of the guest itself get their turn.
            if let Some(local) = listener.take_local(true) {
                return Ok(Acceptance::Local(local));
            }
            if listener.has_connection() {
                // Before the connection is taken, so that it is not lost if there is no memory. The
                // event of the connection has woken only this task: then another one can take it.
                let new = make().inspect_err(|_| sk.data_ready())?;
                let (child, stream) = new.stream()?;
                let is_taken = self.take_into(&listener, child, stream);
                if is_taken.inspect_err(|_| sk.data_ready())? {
                    // If this fails, the next call reports it, or the link tries again.
                    let _ = listener.post();
                    return Ok(Acceptance::Socket(new));
                }
                // Another thread was faster.
                continue;
            }
            if let Some(local) = listener.take_local(false) {
                return Ok(Acceptance::Local(local));
            }
            if listener.is_closed() {
                // Another listener may have replaced this one, with another link.
                listener = match self.endpoint.listener().filter(|now| !now.is_closed()) {
                    Some(now) => now,
                    None => return Err(sk.take_error().unwrap_or(EINVAL)),
                };
                continue;
            }
            listener.post_if_possible()?;
            if timeout.is_zero() {
                let patience = patience.get_or_insert_with(Patience::new);
                if listener.confirm_none_pending(patience)? && !listener.is_ready() {
                    return Err(EAGAIN);
                }
                tries = tries.checked_sub(1).ok_or(EAGAIN)?;
                continue;
            }
            // A backend that fails each connection at once leaves no time to sleep.
            if current!().signal_pending() {
                return Err(timeout.interrupted());
            }
            match sk.wait_exclusive(&mut timeout, || listener.is_ready()) {
                // When the time is over, the backend may have a connection: this looks once more,
                // as a call that does not wait.
                Ok(()) | Err(WaitError::TimedOut) => (),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Returns `true` if another `accept()` would not wait, as far as is known. Unlike `poll()` this
    /// does not wait for what the backend is about to tell: tasks are woken for that. Does not sleep.
    pub(crate) fn can_accept(&self) -> bool {
        let listener = self.endpoint.listener();
        listener.is_some_and(|listener| listener.is_ready())
    }

    /// Gives the connection that arrived first to a new socket. If this fails, the connection stays.
    fn take_into(&self, listener: &Arc<Listener>, child: &Sock, stream: &Self) -> Result<bool> {
        let Some(conn) = listener.first() else {
            return Ok(false);
        };
        let (settings, is_late) = {
            let inner = self.endpoint.inner.lock();
            (inner.settings.clone(), inner.has_late_settings)
        };
        // The options that the program can read from the new socket have to take effect.
        let mut late = KVec::new();
        if let Some(settings) = settings.as_ref().filter(|_| is_late) {
            for call in settings.calls_for_accepted(conn.remote.id) {
                match conn.remote.exchange(call) {
                    // PV Calls has no options.
                    Err(EOPNOTSUPP) => break,
                    exchange => late.push(exchange?, GFP_KERNEL)?,
                }
            }
        }
        let Some(conn) = listener.take(&conn) else {
            return Ok(false);
        };
        for exchange in &late {
            conn.remote.link.submit(exchange, None);
        }
        {
            let mut inner = stream.endpoint.inner.lock();
            inner.settings = settings;
            inner.state = EndpointState::Connection(conn.clone());
        }
        conn.set_not_sent_lowat(stream.endpoint.not_sent_lowat());
        if conn.accepted_by(child) {
            let (local, peer) = (listener.remote.local, conn.peer.copy());
            trace::accept(
                conn.remote.link.device_name(),
                conn.remote.id,
                local,
                peer,
                Ok(()),
            );
            return Ok(true);
        }
        // The link has gone down. The new socket is dropped without being closed.
        stream.endpoint.inner.lock().state = EndpointState::Idle(None);
        Ok(false)
    }
}
