// SPDX-License-Identifier: GPL-2.0

//! Sockets that substitute other sockets.
//!
//! When a program creates a socket, a [`Substitute`] can create another socket in its place.
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

/// A provider of substitute sockets.
#[vtable]
pub trait Substitute: Sized + 'static {
    /// Returns the socket that a program gets in place of the requested one, or [`None`] to leave
    /// the request alone. `net` is the network namespace of the program.
    ///
    /// Process context, may sleep.
    fn create(net: &Namespace, family: i32, kind: i32, protocol: i32) -> Result<Option<NewSocket>>;
}

/// The registration of a [`Substitute`]. While it exists, `create` is called for new sockets.
///
/// # Invariants
///
/// `T` is registered by this object.
pub struct Registration<T: Substitute>(PhantomData<fn() -> T>);

impl<T: Substitute> Registration<T> {
    const RAW: &'static bindings::socket_substitute = &bindings::socket_substitute {
        create: Some(Self::create),
        owner: this_module::<T::OwnerModule>().as_ptr(),
    };

    /// Registers `T`. May sleep.
    ///
    /// # Errors
    ///
    /// Returns `EBUSY` if another substitute is registered; there can be only one.
    pub fn new() -> Result<Self> {
        // SAFETY: The table is a constant. It is unregistered before the module's code goes away,
        // by the drop of `Self` at the latest.
        to_result(unsafe { bindings::socket_register_substitute(Self::RAW) })?;
        // INVARIANT: `T` was registered just above.
        Ok(Self(PhantomData))
    }

    /// # Safety
    ///
    /// Must only be called by `create_substitute`.
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
        // SAFETY: By the type invariants, this object has registered `T`.
        unsafe { bindings::socket_unregister_substitute(Self::RAW) };
    }
}
