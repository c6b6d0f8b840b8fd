// SPDX-License-Identifier: GPL-2.0

//! The use and limits of a socket's buffer memory.

use super::{
    KernelSocket,
    Protocol,
    Tcp,
    Udp, //
};

use crate::{
    bindings,
    page::PAGE_SIZE,
    prelude::*,
    sync::atomic::{
        Atomic,
        Relaxed, //
    }, //
};

/// Bytes of memory in each direction, including the kernel's overhead.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct Buffers {
    /// Received and not read yet.
    pub received: usize,
    /// Sent and not acknowledged yet.
    pub sent: usize,
}

/// Returns the amount of memory in bytes that all TCP sockets together may use before TCP comes
/// under memory pressure (`net.ipv4.tcp_mem`, the second number). Any context.
pub fn tcp_memory() -> usize {
    // SAFETY: This may be called at any time.
    bytes(unsafe { bindings::tcp_mem_pressure() })
}

/// Returns the amount of memory in bytes that all UDP sockets together may use before UDP comes
/// under memory pressure (`net.ipv4.udp_mem`, the second number). Any context.
pub fn udp_memory() -> usize {
    // SAFETY: This may be called at any time.
    bytes(unsafe { bindings::udp_mem_pressure() })
}

fn bytes(pages: c_long) -> usize {
    usize::try_from(pages)
        .unwrap_or(0)
        .saturating_mul(PAGE_SIZE)
}

/// Buffer memory. Any context: TCP changes the sizes of its buffers as connections need it, also
/// concurrently with these methods.
impl<P: Protocol> KernelSocket<P> {
    /// Returns the current use of the buffers. `sent` is 0 for datagrams, see
    /// [`KernelSocket::in_flight`].
    pub fn buffered(&self) -> Buffers {
        let sk = self.sk().as_raw();

        // SAFETY: The socket is valid by the type invariants.
        let received = unsafe { bindings::sk_rmem_alloc_get(sk) };
        // SAFETY: The socket is valid by the type invariants; C code writes this aligned word with
        // single stores.
        let sent = unsafe { Atomic::from_ptr(&raw mut (*sk).sk_wmem_queued) };
        Buffers {
            received: size(received),
            sent: size(sent.load(Relaxed)),
        }
    }

    /// Returns the current limits of the buffers.
    pub fn buffer_sizes(&self) -> Buffers {
        Buffers {
            received: size(self.rcvbuf().load(Relaxed)),
            sent: size(self.sndbuf().load(Relaxed)),
        }
    }

    /// Changes the limits of the buffers.
    ///
    /// TCP may raise them again, unless [`Locked::fix_receive_buffer`] forbids it: then what a peer
    /// sends beyond the limit is dropped, even if it has been promised more room, and the peer is
    /// told to wait. Buffers keep their current contents.
    ///
    /// [`Locked::fix_receive_buffer`]: super::Locked::fix_receive_buffer
    pub fn set_buffer_sizes(&self, sizes: Buffers) {
        let size = |bytes| i32::try_from(bytes).unwrap_or(i32::MAX);

        self.rcvbuf().store(size(sizes.received), Relaxed);
        self.sndbuf().store(size(sizes.sent), Relaxed);
    }

    fn rcvbuf(&self) -> &Atomic<i32> {
        // SAFETY: The socket is valid by the type invariants; C code writes this aligned word with
        // single stores.
        unsafe { Atomic::from_ptr(&raw mut (*self.sk().as_raw()).sk_rcvbuf) }
    }

    fn sndbuf(&self) -> &Atomic<i32> {
        // SAFETY: The socket is valid by the type invariants; C code writes this aligned word with
        // single stores.
        unsafe { Atomic::from_ptr(&raw mut (*self.sk().as_raw()).sk_sndbuf) }
    }
}

/// Datagrams. Any context.
impl KernelSocket<Udp> {
    /// Returns the bytes of memory in datagrams that were sent and have not left this system,
    /// including the kernel's overhead.
    ///
    /// While [`Callbacks::write_space`] is called for a datagram, one byte of it still counts.
    ///
    /// [`Callbacks::write_space`]: super::Callbacks::write_space
    pub fn in_flight(&self) -> usize {
        // SAFETY: The socket is valid by the type invariants.
        size(unsafe { bindings::sk_wmem_alloc_get(self.sk().as_raw()) })
    }
}

/// The limit of the receive window. Any context, as for the sizes of the buffers.
///
/// TCP sets the limit to what the receive buffer has room for, when a connection is established and
/// when TCP itself enlarges the buffer.
impl KernelSocket<Tcp> {
    /// Returns the limit in bytes. `None` before the socket connects and while it listens, unless a
    /// program has set one.
    pub fn window_limit(&self) -> Option<u32> {
        // SAFETY: By the type invariants, this is a valid TCP socket.
        match unsafe { bindings::tcp_window_limit(self.sk().as_raw()) } {
            0 => None,
            limit => Some(limit),
        }
    }

    /// Raises the limit, if there is one, to what the receive buffer has room for, and at most to
    /// `most`.
    pub fn raise_window_limit(&self, most: Option<u32>) {
        let most = most.unwrap_or(u32::MAX);

        // SAFETY: By the type invariants, this is a valid TCP socket.
        unsafe { bindings::tcp_raise_window_limit(self.sk().as_raw(), most) };
    }
}

fn size(bytes: i32) -> usize {
    usize::try_from(bytes).unwrap_or(0)
}
