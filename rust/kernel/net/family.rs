// SPDX-License-Identifier: GPL-2.0

//! Protocol families.
//!
//! A protocol family is the first argument of socket(2). It consists of a [`Proto`], which has the
//! size of a socket; the trait [`Ops`], the operations that programs can perform on a socket; and a
//! [`Registration`], by which the rest of the kernel finds the family.
//!
//! Each socket of the family is a [`TypedSock`]: the kernel's `struct sock`, followed by the
//! family's own data. Its lifetime is as follows:
//!
//! 1. [`Ops::create`] returns an initialiser for the data. Then a program has a file, through which
//!    all other operations come, any number of them at the same time.
//! 2. [`Ops::release`] is the last operation. After it the socket is an orphan, which does not
//!    belong to a file.
//! 3. A socket that stands in for a socket of another protocol may fall back to that socket
//!    ([`TypedSock::fall_back`]), which does all the work from then on.
//! 4. The data is dropped together with the last reference. There may be references besides the
//!    file's: [`ARef<TypedSock<T>>`](crate::sync::aref::ARef). The drop may happen in a soft
//!    interrupt, where nothing may sleep, so everything that sleeps has to be done in
//!    [`Ops::release`].
//!
//! A module can't be unloaded before all sockets of its families are gone.
//!
//! C headers: [`include/linux/net.h`](srctree/include/linux/net.h),
//! [`include/net/sock.h`](srctree/include/net/sock.h)

mod glue;
mod head;
mod ioctl;
mod native;
mod new_socket;
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
    new_socket::NewSocket,
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

/// The registration of a family. While it exists, programs can create sockets of the family.
///
/// Existing sockets continue to work after it is dropped.
///
/// # Invariants
///
/// `proto`, and what `entry` has, are registered by this object.
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

/// The registration of a family's sockets.
///
/// # Invariants
///
/// The family, or each of the protocols, is registered.
enum Entry {
    /// A family with its own number.
    Family(i32),
    /// Protocols of `AF_INET` or `AF_INET6`, one for each type of socket.
    Protocols(RawProtocols),
}

/// Protocols of `AF_INET` or `AF_INET6`, as they are registered.
type RawProtocols = KVec<KBox<Opaque<bindings::inet_protosw>>>;

// SAFETY: Any thread may unregister it.
unsafe impl Send for Entry {}

// SAFETY: A shared reference gives access to nothing.
unsafe impl Sync for Entry {}

impl Entry {
    /// Registers the family, or `protocols`, for which `room` has room. May sleep.
    fn new<T: Ops>(room: RawProtocols, protocols: RawProtocols) -> Result<Self> {
        if T::PROTOCOL.is_none() {
            // SAFETY: The family is a constant. It is unregistered before the module's code goes
            // away, by the drop of `Registration` at the latest.
            to_result(unsafe { bindings::sock_register(Glue::<T>::FAMILY) })?;
            // INVARIANT: The family was registered just above.
            return Ok(Self::Family(T::FAMILY));
        }
        // INVARIANT: There are no protocols yet.
        let mut entry = Self::Protocols(room);
        if let Self::Protocols(registered) = &mut entry {
            for protocol in protocols {
                // SAFETY: The protocol is valid, and does not move until it is unregistered.
                to_result(unsafe { bindings::inet_any_register_protosw(protocol.get()) })?;
                // INVARIANT: The protocol was registered just above. `push_within_capacity` can't
                // fail, since there is room.
                let _ = registered.push_within_capacity(protocol);
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
                    // SAFETY: By the type invariants the protocol is registered. It is not used
                    // after this call.
                    unsafe { bindings::inet_any_unregister_protosw(protocol.get()) };
                }
            }
        }
    }
}

/// A family that can be registered without any further memory.
pub struct Prepared<T: Ops> {
    registration: Registration<T>,
    protocols: RawProtocols,
    room: RawProtocols,
}

impl<T: Ops> Prepared<T> {
    /// Registers the family. May sleep.
    ///
    /// Programs can have sockets when this returns. If the initialisation of a module fails later,
    /// the kernel frees the module's code at once, even if sockets refer to it. So nothing that can
    /// fail should follow, nor precede that could be prepared.
    ///
    /// # Errors
    ///
    /// Returns `EEXIST` if another family has the same number.
    pub fn register(self) -> Result<Registration<T>> {
        let mut registration = self.registration;
        // INVARIANT: The family, or each protocol, is registered, or this stays as it is.
        registration.entry = Entry::new::<T>(self.room, self.protocols)?;
        Ok(registration)
    }
}

impl<T: Ops> Registration<T> {
    /// Registers the family, as [`Registration::prepare`] and [`Prepared::register`] together do.
    pub fn new() -> Result<Self> {
        Self::prepare()?.register()
    }

    /// Does everything for a registration that may lack memory. Programs can't have sockets yet. May
    /// sleep.
    ///
    /// # Errors
    ///
    /// Returns `EBUSY` if this family is registered already.
    pub fn prepare() -> Result<Prepared<T>> {
        let proto = T::Proto::get();
        let mut protocols = KVec::with_capacity(T::SOCK_TYPES.len(), GFP_KERNEL)?;
        let room = KVec::with_capacity(T::SOCK_TYPES.len(), GFP_KERNEL)?;

        if let Some(protocol) = T::PROTOCOL {
            for type_ in T::SOCK_TYPES {
                let raw = Opaque::new(bindings::inet_protosw {
                    type_: *type_,
                    protocol,
                    prot: proto.as_raw(),
                    ops: proto.ops,
                    ..pin_init::zeroed()
                });
                protocols.push(KBox::new(raw, GFP_KERNEL)?, GFP_KERNEL)?;
            }
        }
        if proto.registered.cmpxchg(false, true, Full).is_err() {
            return Err(EBUSY);
        }

        // A slab cache must be empty when the registration ends, possibly before the last socket is
        // gone. So there is none, as in AF_VSOCK, except for IPv4 and IPv6, which require one: see
        // the drop.
        let cache = c_int::from(T::PROTOCOL.is_some());

        // SAFETY: `proto` is valid, never moves, and is not registered: `registered` was set just
        // above.
        if let Err(err) = to_result(unsafe { bindings::proto_register(proto.as_raw(), cache) }) {
            proto.registered.store(false, Release);
            return Err(err);
        }
        // INVARIANT: `proto` was registered just above, and there are no protocols yet.
        let registration = Self {
            proto,
            entry: Entry::Protocols(KVec::new()),
        };
        Ok(Prepared {
            registration,
            protocols,
            room,
        })
    }
}

impl<T: Ops> Drop for Registration<T> {
    fn drop(&mut self) {
        // The family can't be found any more after this.
        // INVARIANT: No protocol is left.
        drop(core::mem::replace(
            &mut self.entry,
            Entry::Protocols(KVec::new()),
        ));
        // A module that is unloaded has no sockets any more: they have kept it loaded until their
        // memory was freed. This is for a registration that ends earlier. A socket counts until
        // just before its memory is freed, so if the last one is gone in this moment then the slab
        // cache may still warn that it is not empty.
        if T::PROTOCOL.is_some() && self.proto.live.load(Acquire) > 0 {
            // The sockets are in the protocol's slab cache. Neither the protocol nor the module is
            // ever removed, except for a module whose initialisation fails: see `new`.
            pr_err!("a protocol is left while it has sockets\n");
            // SAFETY: The module is running this code.
            unsafe { bindings::__module_get((*self.proto.as_raw()).owner) };
            return;
        }
        // SAFETY: By the type invariants, this object has registered the protocol. Sockets that
        // still refer to it are not in a slab cache of the protocol, and use only its index in
        // tables of counters, which stays valid. If another protocol gets the index, these sockets
        // spoil its number in /proc/net/protocols, and nothing else.
        unsafe { bindings::proto_unregister(self.proto.as_raw()) };
        self.proto.registered.store(false, Release);
    }
}
