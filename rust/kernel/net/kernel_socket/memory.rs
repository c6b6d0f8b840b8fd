// SPDX-License-Identifier: GPL-2.0

//! The memory that the buffers of a socket take, and may take.

use super::{
    KernelSocket,
    Protocol, //
};

use crate::{
    bindings,
    page::PAGE_SIZE,
    sync::atomic::{
        Atomic,
        Relaxed, //
    }, //
};

/// A number of bytes for each direction, with what the kernel needs to keep them.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct Buffers {
    /// What was received and not read yet.
    pub received: usize,
    /// What was sent and not acknowledged yet.
    pub sent: usize,
}

/// Returns how much memory all sockets of TCP may take before TCP begins to save it
/// (`net.ipv4.tcp_mem`, the second number), in bytes. Any context.
pub fn tcp_memory() -> usize {
    // SAFETY: May be called any time.
    let pages = unsafe { bindings::tcp_mem_pressure() };

    usize::try_from(pages)
        .unwrap_or(0)
        .saturating_mul(PAGE_SIZE)
}

/// Memory. Any context: TCP itself changes the sizes of its buffers as connections need it, and does
/// so while this looks on.
impl<P: Protocol> KernelSocket<P> {
    /// Returns what the buffers hold. The second is 0 for datagrams.
    pub fn buffered(&self) -> Buffers {
        let sk = self.sk().as_raw();

        // SAFETY: The socket is valid by the type invariants.
        let received = unsafe { bindings::sk_rmem_alloc_get(sk) };
        // SAFETY: The socket is valid by the type invariants; C code writes to this aligned word in
        // one piece.
        let sent = unsafe { Atomic::from_ptr(&raw mut (*sk).sk_wmem_queued) };
        Buffers {
            received: size(received),
            sent: size(sent.load(Relaxed)),
        }
    }

    /// Returns how much the buffers may hold.
    pub fn buffer_sizes(&self) -> Buffers {
        Buffers {
            received: size(self.rcvbuf().load(Relaxed)),
            sent: size(self.sndbuf().load(Relaxed)),
        }
    }

    /// Changes how much the buffers may hold. TCP can enlarge them again; what they hold they keep,
    /// and a peer that was promised more sends that in vain, and is told to wait.
    pub fn set_buffer_sizes(&self, sizes: Buffers) {
        let size = |bytes| i32::try_from(bytes).unwrap_or(i32::MAX);

        self.rcvbuf().store(size(sizes.received), Relaxed);
        self.sndbuf().store(size(sizes.sent), Relaxed);
    }

    fn rcvbuf(&self) -> &Atomic<i32> {
        // SAFETY: The socket is valid by the type invariants; C code writes to this aligned word in
        // one piece.
        unsafe { Atomic::from_ptr(&raw mut (*self.sk().as_raw()).sk_rcvbuf) }
    }

    fn sndbuf(&self) -> &Atomic<i32> {
        // SAFETY: The socket is valid by the type invariants; C code writes to this aligned word in
        // one piece.
        unsafe { Atomic::from_ptr(&raw mut (*self.sk().as_raw()).sk_sndbuf) }
    }
}

fn size(bytes: i32) -> usize {
    usize::try_from(bytes).unwrap_or(0)
}
