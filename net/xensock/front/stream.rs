// SPDX-License-Identifier: GPL-2.0

//! A stream socket: what a program does with it, whichever family it was opened under.
//!
//! The measure of each call is what TCP does (`net/ipv4/tcp.c`, `net/ipv4/af_inet.c`).

mod connect;
mod ending;
mod names;
mod options;
mod passive;
mod queues;
mod transfer;
mod turn;

use crate::{
    conn::Conn,
    exchange::Exchange,
    link::Link,
    listener::Listener,
    proto::ring::Order,
    remote::Remote,
    setting::Settings, //
};
use core::net::SocketAddr;
use kernel::{
    net::sock::{
        Sock,
        TcpState, //
    },
    net::socket::{
        Socket,
        SocketState, //
    },
    new_mutex,
    new_spinlock,
    prelude::*,
    sync::{
        Arc,
        Mutex,
        SpinLock, //
    }, //
};

/// What a socket owns besides its `struct sock`.
///
/// It is dropped with the `struct sock`, possibly in softirq: by then `release` has taken out what
/// must not be dropped there.
#[pin_data]
pub(crate) struct Stream {
    /// Taken by the calls that change the socket by an answer of the backend's, for which they
    /// wait. To wait for it is killable, too.
    #[pin]
    turn: Mutex<()>,
    /// Held while the socket goes from one state into another; not while waiting.
    #[pin]
    transition: Mutex<()>,
    #[pin]
    inner: SpinLock<Inner>,
}

/// What a socket is, with what belongs to it then.
pub(crate) enum State {
    /// Neither connected nor listening. The backend has a socket for it once one was needed.
    Idle(Option<Remote>),
    /// Connected, from the start of `connect()` on, until it is reset or closed.
    Connection(Arc<Conn>),
    /// Listening, until the link goes down at the latest.
    Listening(Arc<Listener>),
}

impl State {
    /// The backend's socket, if there is one.
    fn remote(&self) -> Option<&Remote> {
        match self {
            Self::Idle(remote) => remote.as_ref(),
            Self::Connection(conn) => Some(&conn.remote),
            Self::Listening(listener) => Some(&listener.remote),
        }
    }
}

struct Inner {
    state: State,
    /// The address that the program has asked for: a further socket of the backend has to get it.
    local: Option<SocketAddr>,
    /// The options likewise, if there are any.
    settings: Option<Arc<Settings>>,
    /// The end of the last socket of the backend that had an address: then the address is free.
    former: Option<Arc<Exchange>>,
}

impl Inner {
    /// Takes everything out, to be dropped outside the lock.
    fn take_state(&mut self) -> State {
        let state = core::mem::replace(&mut self.state, State::Idle(None));
        if let Some(remote) = state.remote().filter(|remote| remote.local.is_some()) {
            self.former = Some(remote.ending());
        }
        state
    }
}

impl Stream {
    /// A new socket.
    pub(crate) fn new() -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            turn <- new_mutex!((), "xensock_turn"),
            transition <- new_mutex!((), "xensock_transition"),
            inner <- new_spinlock!(
                Inner {
                    state: State::Idle(None),
                    local: None,
                    settings: None,
                    former: None,
                },
                "xensock_stream"
            ),
        })
    }

    /// The connection, if there is one. Any context.
    pub(crate) fn conn(&self) -> Option<Arc<Conn>> {
        match &self.inner.lock().state {
            State::Connection(conn) => Some(conn.clone()),
            _ => None,
        }
    }

    /// What listens, or did so until the link went down. Any context.
    pub(crate) fn listener(&self) -> Option<Arc<Listener>> {
        match &self.inner.lock().state {
            State::Listening(listener) => Some(listener.clone()),
            _ => None,
        }
    }

    /// Lets go of a connection, which is reset, or of what listens, and forgets all about it.
    /// Called in a transition.
    fn reset(&self, socket: &Socket, sk: &Sock) {
        let old = {
            let mut inner = self.inner.lock();
            match &inner.state {
                State::Idle(_) => State::Idle(None),
                _ => inner.take_state(),
            }
        };
        Self::close(old, true);
        sk.clear_shutdown();
        sk.set_state(TcpState::Close);
        socket.set_state(SocketState::Unconnected);
    }

    /// Ends what a socket was.
    fn close(state: State, abort: bool) {
        match state {
            State::Idle(remote) => drop(remote),
            // Unread data is lost to the program that closes; TCP tells the peer by a reset.
            State::Connection(conn) => Conn::close(&conn, abort || conn.has_unread()),
            State::Listening(listener) => listener.close(),
        }
    }
}

/// The order of new rings of a socket: for the buffers that the program has asked for, or what the
/// administrator has chosen; as far as the backend allows it.
fn ring_order(link: &Link, sk: &Sock) -> Order {
    let asked = sk.snd_buf_asked().max(sk.rcv_buf_asked());
    asked
        .map_or(crate::wanted_order(), Order::for_size)
        .min(link.max_order())
}
