// SPDX-License-Identifier: GPL-2.0

//! Protocols that stand in for others.
//!
//! When a program creates a socket, a [`Substitute`] can choose another protocol than that which the
//! program has asked for.
//!
//! C header: [`include/linux/net.h`](srctree/include/linux/net.h)

use crate::{
    bindings,
    error::to_result,
    net::namespace::Namespace,
    prelude::*, //
};

use core::marker::PhantomData;

/// Has a say in the protocol of programs' sockets.
pub trait Substitute: 'static {
    /// Returns the protocol that a socket is created with: `protocol`, as the program says, unless
    /// there is a better one.
    ///
    /// Process context, in an RCU read-side critical section: must not sleep.
    fn protocol(net: &Namespace, family: i32, kind: i32, protocol: i32) -> i32;
}

/// The registration of a [`Substitute`]: as long as it exists it is asked.
///
/// # Invariants
///
/// `T` is registered, by this object.
pub struct Registration<T: Substitute>(PhantomData<fn() -> T>);

impl<T: Substitute> Registration<T> {
    const RAW: &'static bindings::sock_substitute = &bindings::sock_substitute {
        protocol: Some(Self::protocol),
    };

    /// Registers it. May sleep.
    ///
    /// # Errors
    ///
    /// `EBUSY` if there is one already; there can be only one.
    pub fn new() -> Result<Self> {
        // SAFETY: The table is a constant. It is unregistered before the code of its module goes
        // away, by the drop of `Self` at the latest.
        to_result(unsafe { bindings::sock_register_substitute(Self::RAW) })?;
        // INVARIANT: It was registered just now.
        Ok(Self(PhantomData))
    }

    /// # Safety
    ///
    /// Only called by `__sys_socket_create`.
    unsafe extern "C" fn protocol(
        net: *mut bindings::net,
        family: c_int,
        kind: c_int,
        protocol: c_int,
    ) -> c_int {
        // SAFETY: The caller passes the namespace of the current task.
        T::protocol(unsafe { Namespace::from_raw(net) }, family, kind, protocol)
    }
}

impl<T: Substitute> Drop for Registration<T> {
    fn drop(&mut self) {
        // SAFETY: By the type invariants it is registered, by us.
        unsafe { bindings::sock_unregister_substitute(Self::RAW) };
    }
}
