// SPDX-License-Identifier: GPL-2.0

//! Sockets that stand in for others.
//!
//! When a program creates a socket, a [`Substitute`] can create another one for it.
//!
//! C header: [`include/net/socket_substitute.h`](srctree/include/net/socket_substitute.h)

use crate::{
    bindings,
    error::to_result,
    module::this_module,
    net::{
        family::NewSocket,
        namespace::Namespace, //
    },
    prelude::*, //
};

use core::marker::PhantomData;

/// Has a say in what sockets programs get.
#[vtable]
pub trait Substitute: Sized + 'static {
    /// Returns the socket that a program gets instead of the one that it has asked for, if there is
    /// a better one. `net` is the namespace of the program.
    ///
    /// Process context, may sleep.
    fn create(net: &Namespace, family: i32, kind: i32, protocol: i32) -> Result<Option<NewSocket>>;
}

/// The registration of a [`Substitute`]: as long as it exists it is asked.
///
/// # Invariants
///
/// `T` is registered, by this object.
pub struct Registration<T: Substitute>(PhantomData<fn() -> T>);

impl<T: Substitute> Registration<T> {
    const RAW: &'static bindings::socket_substitute = &bindings::socket_substitute {
        create: Some(Self::create),
        owner: this_module::<T::OwnerModule>().as_ptr(),
    };

    /// Registers it. May sleep.
    ///
    /// # Errors
    ///
    /// `EBUSY` if there is one already; there can be only one.
    pub fn new() -> Result<Self> {
        // SAFETY: The table is a constant. It is unregistered before the code of its module goes
        // away, by the drop of `Self` at the latest.
        to_result(unsafe { bindings::socket_register_substitute(Self::RAW) })?;
        // INVARIANT: It was registered just now.
        Ok(Self(PhantomData))
    }

    /// # Safety
    ///
    /// Only called by `create_substitute`.
    unsafe extern "C" fn create(
        net: *mut bindings::net,
        family: c_int,
        kind: c_int,
        protocol: c_int,
    ) -> *mut bindings::socket {
        // SAFETY: The caller passes the namespace of the current task.
        match T::create(unsafe { Namespace::from_raw(net) }, family, kind, protocol) {
            Ok(Some(socket)) => socket.into_raw().as_ptr(),
            Ok(None) => core::ptr::null_mut(),
            Err(error) => error.to_ptr(),
        }
    }
}

impl<T: Substitute> Drop for Registration<T> {
    fn drop(&mut self) {
        // SAFETY: By the type invariants it is registered, by us.
        unsafe { bindings::socket_unregister_substitute(Self::RAW) };
    }
}
