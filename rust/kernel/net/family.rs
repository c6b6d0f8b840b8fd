// SPDX-License-Identifier: GPL-2.0

//! Protocol families.
//!
//! A family is what `socket(2)` takes as its first argument. It consists of a [`Proto`], which knows
//! how large a socket is; of the operations that programs can perform on a socket, the trait
//! [`Ops`]; and of a [`Registration`] that makes the rest of the kernel find it.
//!
//! Each of its sockets is a [`TypedSock`]: the kernel's `struct sock`, with data of the family's own
//! behind it. Its life is this:
//!
//! 1. [`Ops::create`] returns an initialiser for the data. A program has a file now, through which
//!    all other operations come, any number of them at the same time.
//! 2. [`Ops::release`] is the last of them. After it the socket is an orphan: it belongs to no file.
//! 3. The data are dropped together with the last reference (there may be more than the file's:
//!    [`ARef<TypedSock<T>>`](crate::sync::aref::ARef)). That can be in a soft interrupt, where
//!    nothing may sleep, so whatever sleeps has to be done in [`Ops::release`].
//!
//! A module is not unloaded before the last of the sockets of its families is gone.
//!
//! C headers: [`include/linux/net.h`](srctree/include/linux/net.h),
//! [`include/net/sock.h`](srctree/include/net/sock.h)

mod glue;
mod ioctl;
mod ops;
mod poll;
mod proto;
#[cfg(CONFIG_RUST_SOCKET_KUNIT_TEST)]
mod tests;
mod typed_sock;

pub use self::{
    ioctl::*,
    ops::{
        Name,
        Ops, //
    },
    poll::*,
    proto::Proto,
    typed_sock::{
        Child,
        TypedSock, //
    }, //
};

use self::glue::Glue;

use crate::{
    bindings,
    error::to_result,
    prelude::*,
    sync::atomic::{
        Full,
        Release, //
    }, //
};

/// The registration of a family: as long as it exists programs can create sockets of it.
///
/// Sockets that exist when it is dropped go on to work.
///
/// # Invariants
///
/// `proto` and the family are registered, by this object.
///
/// # Examples
///
/// ```ignore
/// struct MyModule {
///     _family: Registration<MyFamily>,
/// }
///
/// impl kernel::Module for MyModule {
///     fn init(_module: &'static ThisModule) -> Result<Self> {
///         Ok(Self {
///             _family: Registration::new()?,
///         })
///     }
/// }
/// ```
pub struct Registration<T: Ops> {
    proto: &'static Proto<T>,
}

impl<T: Ops> Registration<T> {
    /// Registers the family. May sleep.
    ///
    /// # Errors
    ///
    /// `EBUSY` if this one is registered already, `EEXIST` if another one has the same number.
    pub fn new() -> Result<Self> {
        let proto = T::proto();

        if proto.registered.cmpxchg(false, true, Full).is_err() {
            return Err(EBUSY);
        }

        // A cache of its own would have to be empty when the registration ends, which may be before
        // the last socket ends. So there is none, like in AF_VSOCK.

        // SAFETY: `proto` is valid, never moves, and is not registered: we have just made sure of
        // that.
        if let Err(err) = to_result(unsafe { bindings::proto_register(proto.as_raw(), 0) }) {
            proto.registered.store(false, Release);
            return Err(err);
        }

        // SAFETY: The family is a constant, and unregistered before the code of its module goes
        // away, by the drop of `Self` at the latest.
        if let Err(err) = to_result(unsafe { bindings::sock_register(Glue::<T>::FAMILY) }) {
            // SAFETY: It was registered above.
            unsafe { bindings::proto_unregister(proto.as_raw()) };
            proto.registered.store(false, Release);
            return Err(err);
        }

        // INVARIANT: Both were registered.
        Ok(Self { proto })
    }
}

impl<T: Ops> Drop for Registration<T> {
    fn drop(&mut self) {
        // SAFETY: By the type invariants the family is registered, by us.
        unsafe { bindings::sock_unregister(T::FAMILY) };
        // SAFETY: So is the protocol. Sockets that refer to it still do not look at what is undone
        // here.
        unsafe { bindings::proto_unregister(self.proto.as_raw()) };
        self.proto.registered.store(false, Release);
    }
}
