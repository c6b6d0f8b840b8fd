// SPDX-License-Identifier: GPL-2.0

//! A new socket, before a program has it.

use super::{
    glue::Glue,
    typed_sock::alloc,
    Ops,
    StaticProto, //
};

use crate::{
    bindings,
    error::to_result,
    net::{
        namespace::Namespace,
        socket::{
            Socket,
            SOCK_DGRAM,
            SOCK_STREAM, //
        }, //
    },
    prelude::*, //
};

use core::{
    mem::ManuallyDrop,
    ptr::NonNull, //
};

// CAST: Small constants.
pub(super) const IPPROTO_TCP: i32 = bindings::IPPROTO_TCP as i32;
pub(super) const IPPROTO_UDP: i32 = bindings::IPPROTO_UDP as i32;

/// A new socket that nothing else refers to. Dropping it closes the socket: process context, may
/// sleep.
///
/// # Invariants
///
/// The `struct socket` is valid, was created by `__sock_create` or [`NewSocket::stand_in`], and is
/// owned by this object alone.
pub struct NewSocket(NonNull<bindings::socket>);

impl Drop for NewSocket {
    fn drop(&mut self) {
        // SAFETY: By the type invariants the socket is ours to close.
        unsafe { bindings::sock_release(self.as_raw()) };
    }
}

impl NewSocket {
    /// Creates a socket for the current program, as socket(2) does.
    pub fn new(net: &Namespace, family: i32, kind: i32, protocol: i32) -> Result<Self> {
        // SAFETY: The namespace is alive by its type invariants.
        unsafe { Self::create(net.as_raw(), family, kind, protocol, false) }
    }

    /// # Safety
    ///
    /// `net` must be valid, and must be alive unless `is_kernel` is set: a socket of the kernel
    /// keeps only the memory of its namespace.
    pub(super) unsafe fn create(
        net: *mut bindings::net,
        family: i32,
        kind: i32,
        protocol: i32,
        is_kernel: bool,
    ) -> Result<Self> {
        let mut new = core::ptr::null_mut();

        // SAFETY: The namespace is as the safety requirements say, and `new` is valid for writing.
        to_result(unsafe {
            bindings::__sock_create(
                net,
                family,
                kind,
                protocol,
                &raw mut new,
                c_int::from(is_kernel),
            )
        })?;
        // INVARIANT: The socket was created just above.
        NonNull::new(new).map(Self).ok_or(ENFILE)
    }

    /// Creates a socket of `T` that stands in for this socket, for the same program.
    ///
    /// # Errors
    ///
    /// The errors of [`Ops::create`]; `EINVAL` if this socket is of another family, or is neither
    /// of TCP nor of UDP.
    pub fn stand_in<T: Ops>(self) -> Result<Self> {
        let protocol = c_int::from(T::PROTOCOL.ok_or(EINVAL)?);
        let native = self.as_raw();
        // SAFETY: The socket is valid by the type invariants, and has a `struct sock`.
        let (sk, kind) = unsafe { ((*native).sk, (*native).type_) };
        // SAFETY: As above.
        let (net, family) = unsafe { (bindings::sock_net(sk), (*sk).__sk_common.skc_family) };
        // SAFETY: The native socket keeps at least the memory of its namespace.
        let net = unsafe { Namespace::try_get(net) }.ok_or(EAFNOSUPPORT)?;
        // SAFETY: As above.
        let number = i32::from(unsafe { (*sk).sk_protocol });
        // A socket that stands in for another has a protocol of its own.
        let is_native = matches!(
            (i32::from(kind), number),
            (SOCK_STREAM, IPPROTO_TCP) | (SOCK_DGRAM, IPPROTO_UDP)
        );
        if i32::from(family) != T::FAMILY || !is_native {
            return Err(EINVAL);
        }

        // SAFETY: This may always be called in process context.
        let socket = NonNull::new(unsafe { bindings::sock_alloc() }).ok_or(ENFILE)?;
        // INVARIANT: Nothing else refers to the new socket, and a socket without operations can be
        // closed too.
        let socket = Self(socket);
        let raw = socket.as_raw();
        // SAFETY: Only we use the socket.
        unsafe { (*raw).type_ = kind };

        let init = T::create(&net, i32::from(kind), protocol)?;
        // SAFETY: The namespace is alive, and the socket is new and has no `struct sock` yet.
        unsafe { alloc::<T>(net.as_raw(), raw, protocol, false, Some(self), init) }?;
        // SAFETY: The socket is complete except for its operations. They come with a reference to
        // their module, which is running this code.
        unsafe {
            (*raw).ops = T::Proto::get().ops;
            bindings::__module_get(T::Proto::get().ops.owner);
        }
        // SAFETY: The socket was allocated by `sock_alloc`.
        Glue::<T>::prepare(unsafe { Socket::from_raw(raw) });
        // SAFETY: Both sockets are complete, and nothing else refers to them.
        to_result(unsafe { bindings::sock_stand_in(raw, native) })?;
        Ok(socket)
    }

    /// Returns `true` if BPF programs of the socket's control group filter its packets.
    pub fn has_packet_filter(&self) -> bool {
        // SAFETY: By the type invariants the socket is valid, so it has a `struct sock`.
        unsafe { bindings::sk_has_packet_filter((*self.as_raw()).sk) }
    }

    pub(super) fn as_raw(&self) -> *mut bindings::socket {
        self.0.as_ptr()
    }

    /// Gives up ownership of the socket.
    pub(in crate::net) fn into_raw(self) -> NonNull<bindings::socket> {
        ManuallyDrop::new(self).0
    }
}
