// SPDX-License-Identifier: GPL-2.0

//! A listening socket in the guest itself, beside a listener of the backend.
//!
//! If the guest's own addresses are exempt (`net.xensock.hijack_loopback` is 0), programs of the
//! guest connect to each other with the guest's own TCP. A server that listens on all addresses has
//! to receive these connections as well. It gets them as plain TCP sockets.

use super::Listener;
use crate::{
    proto::{
        option::SockOpt,
        value::Value, //
    },
    saved_options::{
        unless_unknown,
        with_bytes, //
    }, //
};
use kernel::{
    net::{
        kernel_socket::{
            Callbacks,
            KernelSocket,
            Locked,
            Tcp, //
        },
        sock::Sock, //
    },
    new_spinlock,
    prelude::*,
    sync::{
        aref::ARef,
        atomic::Relaxed,
        Arc,
        SpinLock, //
    }, //
};

/// A TCP socket, or `None` once it is closed.
type Open = Option<Arc<KernelSocket<Tcp>>>;

/// A listening TCP socket of the guest.
pub(crate) struct LocalListener {
    socket: Pin<KBox<SpinLock<Open>>>,
}

impl LocalListener {
    /// Arranges that `sk` is notified of connections that arrive at `socket`. May sleep.
    pub(crate) fn new(socket: KernelSocket<Tcp>, sk: &Sock) -> Result<Self> {
        let waker = Arc::new(AcceptWaker { sk: sk.into() }, GFP_KERNEL)?;
        let socket = Arc::new(socket, GFP_KERNEL)?;
        let local = Self {
            socket: KBox::pin_init(
                new_spinlock!(Some(socket.clone()), "xensock_local"),
                GFP_KERNEL,
            )?,
        };
        socket.set_callbacks(waker)?;
        Ok(local)
    }

    /// Returns the socket, unless it was closed. Does not sleep.
    fn get(&self) -> Open {
        self.socket.lock().clone()
    }

    /// Returns the socket if it has a connection. May sleep.
    fn ready(&self) -> Open {
        self.get().filter(|socket| socket.has_connection())
    }

    /// Returns `true` if there is a connection. Does not sleep.
    pub(crate) fn has_connection(&self) -> bool {
        self.socket
            .lock()
            .as_ref()
            .is_some_and(|socket| socket.has_connection())
    }

    /// Changes the backlog. May sleep.
    pub(crate) fn listen(&self, backlog: u32) -> Result {
        match self.get() {
            Some(socket) => socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX)),
            None => Ok(()),
        }
    }

    /// Sets an option that was set on the backend's socket. May sleep.
    pub(crate) fn set_option(&self, option: &SockOpt, value: &Value) -> Result {
        let Some(socket) = self.get() else {
            return Ok(());
        };
        let (level, name) = (option.level as i32, option.name as i32);
        unless_unknown(with_bytes(value, |value| {
            socket.set_option(level, name, value)
        }))
    }

    /// Stops listening, and resets the connections that were not accepted. May sleep.
    pub(crate) fn close(&self) {
        let socket = self.socket.lock().take();
        if let Some(socket) = socket {
            // A task in `accept()` may still hold a reference.
            socket.clear_callbacks();
        }
    }
}

impl Listener {
    /// Returns the socket that listens in the guest itself if it has a connection. With `in_turn`,
    /// only after a connection of the backend. May sleep.
    pub(crate) fn take_local(&self, in_turn: bool) -> Open {
        if in_turn && !self.is_local_next.load(Relaxed) {
            return None;
        }
        let local = self.local.as_ref()?.ready()?;
        self.is_local_next.store(false, Relaxed);
        Some(local)
    }
}

/// Wakes tasks that wait for a connection.
struct AcceptWaker {
    sk: ARef<Sock>,
}

impl Callbacks for AcceptWaker {
    fn data_ready(&self, _tcp: Option<&Locked<'_>>) {
        self.sk.data_ready();
    }

    fn write_space(&self) {}

    fn state_change(&self) {}

    fn error_report(&self) {}
}
