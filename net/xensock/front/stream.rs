// SPDX-License-Identifier: GPL-2.0

//! Stream sockets, of all address families.
//!
//! Each call behaves like TCP's (`net/ipv4/tcp.c`, `net/ipv4/af_inet.c`).

mod accept;
mod closing;
mod connect;
mod control;
mod ending;
mod listen;
mod names;
mod poll;
mod queues;
mod recv;
mod send;
mod urgent;

use crate::{
    conn::Conn,
    endpoint::{
        Endpoint,
        EndpointState, //
    },
    link::Link,
    orders::{
        fixed_order,
        FIRST_ORDER, //
    },
    proto::{
        call::SOCK_STREAM,
        ring::Order,
        Feature, //
    }, //
};
pub(crate) use accept::{
    Acceptance,
    AcceptedSocket, //
};
use closing::Closing;
use kernel::{
    net::addr::Domain,
    net::sock::{
        Sock,
        TcpState, //
    },
    net::socket::{
        Socket,
        SocketState, //
    },
    new_mutex,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        lock::mutex::MutexGuard,
        Arc,
        Mutex, //
    }, //
};

/// The state of a stream socket besides its `struct sock`.
///
/// Dropped with the `struct sock`, possibly in softirq. By then `release` has taken out everything
/// that must not be dropped there.
#[pin_data]
pub(crate) struct Stream {
    /// Held during changes of the socket's state; not while waiting.
    #[pin]
    transition: Mutex<()>,
    /// Counts the disconnections by `connect()`, as `sk_disconnects` does. Calls that waited
    /// meanwhile end: the error of the socket may be that of the next attempt.
    disconnects: Atomic<u32>,
    #[pin]
    pub(crate) endpoint: Endpoint,
}

impl Stream {
    /// Creates a socket, for addresses of `domain` if the family restricts them.
    pub(crate) fn new(domain: Option<Domain>, owner: u64) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            transition <- new_mutex!((), "xensock_transition"),
            disconnects: Atomic::new(0),
            endpoint <- Endpoint::new(SOCK_STREAM, domain, owner),
        })
    }

    /// Begins a change of state. Fails if the native socket has taken over.
    pub(crate) fn transit(&self) -> Result<MutexGuard<'_, ()>> {
        let guard = self.transition.lock();
        if self.endpoint.is_native() {
            return Err(EAGAIN);
        }
        Ok(guard)
    }

    /// Returns the connection, if there is one. Does not sleep.
    fn conn(&self) -> Option<Arc<Conn>> {
        self.endpoint.conn()
    }

    /// Resets the connection or ends the listener, and clears the socket's state. Called in a
    /// transition. The caller may wait for the returned [`Closing`] after the transition.
    ///
    /// `disconnects` is for `connect()`: calls that wait in other tasks end.
    fn reset(&self, socket: &Socket, sk: &Sock, disconnects: bool) -> Closing {
        let old = {
            let mut inner = self.endpoint.inner.lock();
            if disconnects {
                // Here, so that a call that has the new count does not find the old connection.
                self.disconnects.fetch_add(1, Relaxed);
            }
            if matches!(inner.state, EndpointState::Listening(_)) {
                // A task that finds no listener must not find that the socket listens.
                sk.set_state(TcpState::Close);
            }
            match &inner.state {
                EndpointState::Idle(_) | EndpointState::Native => EndpointState::Idle(None),
                _ => inner.take_state(),
            }
        };
        let closing = Closing::from(old, true);
        sk.clear_shutdown();
        sk.set_state(TcpState::Close);
        socket.set_state(SocketState::Unconnected);
        closing
    }
}

/// Returns the order of new rings of a socket: for the buffer sizes that the program has set, or
/// the administrator's choice, limited by the backend. Small if rings can grow.
fn ring_order(link: &Link, sk: &Sock) -> Order {
    let wanted = sk.snd_buf_asked().max(sk.rcv_buf_asked());
    let order = wanted
        .map_or(fixed_order(), Order::for_size)
        .min(link.max_order());
    if link.has(Feature::RingResize) {
        order.min(FIRST_ORDER)
    } else {
        order
    }
}
