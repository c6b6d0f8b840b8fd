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
//! 3. A socket that stands in for one of another protocol may fall back to that
//!    ([`TypedSock::fall_back`]), which does all the work from then on.
//! 4. The data are dropped together with the last reference (there may be more than the file's:
//!    [`ARef<TypedSock<T>>`](crate::sync::aref::ARef)). That can be in a soft interrupt, where
//!    nothing may sleep, so whatever sleeps has to be done in [`Ops::release`].
//!
//! A module is not unloaded before the last of the sockets of its families is gone.
//!
//! C headers: [`include/linux/net.h`](srctree/include/linux/net.h),
//! [`include/net/sock.h`](srctree/include/net/sock.h)

mod glue;
mod head;
mod ioctl;
mod native;
mod ops;
mod policy;
mod poll;
mod proto;
#[cfg(CONFIG_RUST_SOCKET_KUNIT_TEST)]
mod tests;
mod typed_sock;

pub use self::{
    head::{
        Head,
        Inet6Sock,
        InetSock, //
    },
    ioctl::*,
    native::NewSocket,
    ops::{
        Name,
        Ops, //
    },
    poll::*,
    proto::{
        Proto,
        StaticProto, //
    },
    typed_sock::{
        Accepted,
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
        Acquire,
        Full,
        Release, //
    },
    types::Opaque, //
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
    entry: Entry,
}

/// Where a family is found.
///
/// # Invariants
///
/// What it says is registered.
enum Entry {
    /// Under a number of its own.
    Family(i32),
    /// Under `AF_INET` or `AF_INET6`, for each type of socket.
    Protocols(KVec<KBox<Opaque<bindings::inet_protosw>>>),
}

// SAFETY: It can be unregistered by any thread.
unsafe impl Send for Entry {}

// SAFETY: Nothing can be done with a shared reference.
unsafe impl Sync for Entry {}

impl Entry {
    /// Registers the family. May sleep.
    fn new<T: Ops>() -> Result<Self> {
        let Some(protocol) = T::PROTOCOL else {
            // SAFETY: The family is a constant, and unregistered before the code of its module goes
            // away, by the drop of `Registration` at the latest.
            to_result(unsafe { bindings::sock_register(Glue::<T>::FAMILY) })?;
            // INVARIANT: It was registered.
            return Ok(Self::Family(T::FAMILY));
        };

        // INVARIANT: There is none.
        let mut entry = Self::Protocols(KVec::new());
        if let Self::Protocols(protocols) = &mut entry {
            for kind in T::KINDS {
                let protocol = KBox::new(
                    Opaque::new(bindings::inet_protosw {
                        type_: *kind,
                        protocol,
                        prot: T::Proto::get().as_raw(),
                        ops: T::Proto::get().ops,
                        ..pin_init::zeroed()
                    }),
                    GFP_KERNEL,
                )?;
                let raw = protocol.get();
                protocols.reserve(1, GFP_KERNEL)?;
                // SAFETY: It is valid, and remains where it is until it is unregistered.
                to_result(unsafe { bindings::inet_any_register_protosw(raw) })?;
                // INVARIANT: It was registered; there is room for it.
                let _ = protocols.push(protocol, GFP_KERNEL);
            }
        }
        Ok(entry)
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        match self {
            // SAFETY: By the type invariants the family is registered.
            Self::Family(family) => unsafe { bindings::sock_unregister(*family) },
            Self::Protocols(protocols) => {
                for protocol in protocols {
                    // SAFETY: By the type invariants it is registered. Nobody looks at it after
                    // this.
                    unsafe { bindings::inet_any_unregister_protosw(protocol.get()) };
                }
            }
        }
    }
}

impl<T: Ops> Registration<T> {
    /// Registers the family. May sleep.
    ///
    /// # Errors
    ///
    /// `EBUSY` if this one is registered already, `EEXIST` if another one has the same number.
    pub fn new() -> Result<Self> {
        let proto = T::Proto::get();

        if proto.registered.cmpxchg(false, true, Full).is_err() {
            return Err(EBUSY);
        }

        // A cache of its own has to be empty when the registration ends, which may be before the
        // last socket ends. So there is none, like in AF_VSOCK, but for those of IPv4 and IPv6 that
        // must have one: see the drop.
        let cache = c_int::from(T::PROTOCOL.is_some());

        // SAFETY: `proto` is valid, never moves, and is not registered: we have just made sure of
        // that.
        if let Err(err) = to_result(unsafe { bindings::proto_register(proto.as_raw(), cache) }) {
            proto.registered.store(false, Release);
            return Err(err);
        }

        match Entry::new::<T>() {
            // INVARIANT: Both were registered.
            Ok(entry) => Ok(Self { proto, entry }),
            Err(err) => {
                // SAFETY: It was registered above.
                unsafe { bindings::proto_unregister(proto.as_raw()) };
                proto.registered.store(false, Release);
                Err(err)
            }
        }
    }
}

impl<T: Ops> Drop for Registration<T> {
    fn drop(&mut self) {
        // Nothing is to be found by it any more.
        // INVARIANT: There is nothing.
        drop(core::mem::replace(
            &mut self.entry,
            Entry::Protocols(KVec::new()),
        ));
        if T::PROTOCOL.is_some() && self.proto.live.load(Acquire) > 0 {
            // They are in the protocol's cache. No module does this that keeps its registration for
            // as long as it can be unloaded; if one does, neither of them ends.
            pr_err!("a protocol is left while it has sockets\n");
            // SAFETY: The module is running this code.
            unsafe { bindings::__module_get((*self.proto.as_raw()).owner) };
            return;
        }
        // SAFETY: By the type invariants the protocol is registered, by us. Sockets that refer to
        // it still do not look at what is undone here.
        unsafe { bindings::proto_unregister(self.proto.as_raw()) };
        self.proto.registered.store(false, Release);
    }
}
