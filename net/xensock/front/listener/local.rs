// SPDX-License-Identifier: GPL-2.0

//! What listens in the guest itself, beside a listener of the backend's.
//!
//! Where the guest's own addresses are exempt (`net.xensock.hijack_loopback` 0), its programs
//! connect to each other by its own TCP. A server that listens on all addresses is to have these
//! connections as well: it gets them as the sockets of TCP that they are.

use crate::{
    proto::{
        option::SockOpt,
        value::Value, //
    },
    saved_options::with_bytes, //
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
        Arc,
        SpinLock, //
    }, //
};

/// A socket of TCP, until it is closed.
type Open = Option<Arc<KernelSocket<Tcp>>>;

/// A socket of TCP in the guest that listens.
pub(crate) struct LocalListener {
    socket: Pin<KBox<SpinLock<Open>>>,
}

impl LocalListener {
    /// Has the program that uses `sk` told of the connections that come to `socket`. May sleep.
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

    /// Returns the socket, if there is a connection to it. May sleep.
    pub(crate) fn ready(&self) -> Open {
        self.get().filter(|socket| socket.has_connection())
    }

    /// Returns whether there is a connection. Does not sleep.
    pub(crate) fn has_connection(&self) -> bool {
        self.socket
            .lock()
            .as_ref()
            .is_some_and(|socket| socket.has_connection())
    }

    /// Changes how many connections may wait. May sleep.
    pub(crate) fn listen(&self, backlog: u32) -> Result {
        match self.get() {
            Some(socket) => socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX)),
            None => Ok(()),
        }
    }

    /// Sets an option that was set for the backend's socket. May sleep.
    pub(crate) fn set_option(&self, option: &SockOpt, value: &Value) {
        if let Some(socket) = self.get() {
            let (level, name) = (option.level as i32, option.name as i32);
            // What this kernel does not have the backend may have.
            let _ = with_bytes(value, |value| socket.set_option(level, name, value));
        }
    }

    /// Resets the connections that nobody has accepted, and listens no more. May sleep.
    pub(crate) fn close(&self) {
        let socket = self.socket.lock().take();
        if let Some(socket) = socket {
            // Who is about to accept still has it.
            socket.clear_callbacks();
        }
    }
}

/// Wakes those who wait for a connection.
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
