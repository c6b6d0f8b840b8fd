// SPDX-License-Identifier: GPL-2.0

//! Sockets that give way to those of the protocol that they stand in for, or are beside them.

use super::{
    Ops,
    TypedSock, //
};

use crate::{
    bindings,
    error::to_result,
    net::{
        kernel_socket::KernelSocket,
        socket::Socket, //
    },
    prelude::*, //
};

use core::{
    mem::ManuallyDrop,
    net::SocketAddr,
    ptr::NonNull, //
};

/// A socket that nobody else knows of, closed when it is dropped.
///
/// # Invariants
///
/// The `struct socket` is valid, was made by `__sock_create`, and is ours alone.
struct NewSocket(*mut bindings::socket);

impl Drop for NewSocket {
    fn drop(&mut self) {
        // SAFETY: By the type invariants it is ours to close.
        unsafe { bindings::sock_release(self.0) };
    }
}

impl NewSocket {
    /// Makes a socket of the kernel's own of it.
    fn into_kernel_socket(self) -> KernelSocket {
        let socket = ManuallyDrop::new(self).0;

        // SAFETY: By the type invariants it is valid, ours alone, and was not null when it was
        // created; it has a `struct sock` from `__sock_create`, where nothing was installed.
        unsafe { KernelSocket::from_raw(NonNull::new_unchecked(socket)) }
    }
}

impl<T: Ops> TypedSock<T> {
    /// Puts a new socket of `protocol`, of the same family and type, in the place of this one.
    /// Programs notice nothing but the difference of the protocols, and this one costs nothing any
    /// more but the memory that it has.
    ///
    /// The new socket gets the options of [`SOL_SOCKET`](crate::net::sockopt::SOL_SOCKET) that were
    /// set, and `prepare` gives it others before anybody else can see it.
    ///
    /// Process context, may sleep; for sockets of IPv4 and IPv6. The caller excludes other
    /// operations that change the socket, and sees to it that none does so afterwards. They have to
    /// fail instead, with any error: they are repeated with the new socket then. Those that wait
    /// are woken. [`Ops::release`] is not called.
    ///
    /// # Errors
    ///
    /// What socket(2) returns, or `prepare`; `EINVAL` if `socket` is not the one to which this
    /// belongs, or it has given way already. The socket remains what it is in these cases.
    pub fn give_way(
        &self,
        socket: &Socket,
        protocol: u16,
        prepare: impl FnOnce(&Socket) -> Result,
    ) -> Result {
        // Operations of other families do not look whether the socket is still theirs.
        build_assert!(T::PROTOCOL.is_some());

        let sk = self.as_raw();
        let new = self.another(socket, protocol, prepare)?;

        // SAFETY: `socket` and this are valid; if they do not belong together it does nothing. Of the
        // new one nobody else knows; it has both halves.
        to_result(unsafe { bindings::sock_give_way(socket.as_raw(), sk, new.0) })?;
        // SAFETY: It is one of IPv4 or IPv6, as it has a protocol.
        unsafe { bindings::inet_sock_released(sk) };
        self.state_changed();
        Ok(())
    }

    /// Creates a socket of `protocol` beside this one that listens at `addr`, of the same family and
    /// type, in the same namespace and with the same options of
    /// [`SOL_SOCKET`](crate::net::sockopt::SOL_SOCKET); `prepare` may set others.
    ///
    /// The connections that it accepts can become a program's, see [`Accepted::From`].
    ///
    /// Process context, may sleep; for sockets of IPv4 and IPv6. The caller has seen to it that the
    /// program may have the port: capabilities are not looked at, but security modules are asked.
    ///
    /// # Errors
    ///
    /// What socket(2), bind(2) and listen(2) return, or `prepare`.
    ///
    /// [`Accepted::From`]: super::Accepted::From
    pub fn beside(
        &self,
        socket: &Socket,
        protocol: u16,
        addr: SocketAddr,
        backlog: i32,
        prepare: impl FnOnce(&Socket) -> Result,
    ) -> Result<KernelSocket> {
        build_assert!(T::PROTOCOL.is_some());

        let new = self.another(socket, protocol, prepare)?;
        let listener = new.into_kernel_socket();
        listener.bind_permitted(addr)?;
        listener.listen_permitted(backlog)?;
        Ok(listener)
    }

    /// Creates a socket like this one, but of `protocol`.
    fn another(
        &self,
        socket: &Socket,
        protocol: u16,
        prepare: impl FnOnce(&Socket) -> Result,
    ) -> Result<NewSocket> {
        let mut new = core::ptr::null_mut();
        let sk = self.as_raw();

        // SAFETY: The socket is valid and keeps its namespace, and `new` is valid for a pointer.
        to_result(unsafe {
            bindings::__sock_create(
                bindings::sock_net(sk),
                T::FAMILY,
                socket.kind(),
                c_int::from(protocol),
                &raw mut new,
                c_int::from(
                    bindings::sock_common::skc_net_refcnt_raw(&raw const (*sk).__sk_common) == 0,
                ),
            )
        })?;
        // INVARIANT: It was created just now.
        let new = NewSocket(new);

        {
            let _guard = self.lock();
            // SAFETY: Nobody else knows of the new one, and this one is locked.
            unsafe { bindings::sk_take_over((*new.0).sk, sk) };
        }
        // SAFETY: By its type invariants it is valid, and was allocated by `sock_alloc`.
        prepare(unsafe { Socket::from_raw(new.0) })?;
        Ok(new)
    }
}
