// SPDX-License-Identifier: GPL-2.0

//! The `struct proto` of a family, with the size of its sockets.

use super::{
    glue::Glue,
    Head,
    Ops,
    TypedSock, //
};

use crate::{
    bindings,
    module::this_module,
    net::addr::{
        AF_INET,
        AF_INET6, //
    },
    prelude::*,
    sync::atomic::Atomic,
    types::Opaque, //
};

use core::marker::PhantomData;

/// A holder of the static [`Proto`] of the sockets of `T`.
///
/// # Safety
///
/// `get` must always return the same [`Proto`].
pub unsafe trait StaticProto<T: Ops> {
    /// Returns the [`Proto`].
    fn get() -> &'static Proto<T>;
}

/// Defines the static [`Proto`] of the sockets of a family, with a type as its holder
/// ([`StaticProto`]): `socket_proto!(type, family, name)`. See [`Ops`] for an example.
///
/// [`Proto`]: crate::net::family::Proto
/// [`StaticProto`]: crate::net::family::StaticProto
/// [`Ops`]: crate::net::family::Ops
#[macro_export]
macro_rules! socket_proto {
    ($holder:ty, $family:ty, $name:expr) => {
        // SAFETY: `get` returns the only `PROTO`.
        unsafe impl $crate::net::family::StaticProto<$family> for $holder {
            fn get() -> &'static $crate::net::family::Proto<$family> {
                static PROTO: $crate::net::family::Proto<$family> =
                    $crate::net::family::Proto::new($name);
                &PROTO
            }
        }
    };
}

/// Parameters for the allocation of a family's sockets.
///
/// Wraps the kernel's `struct proto`. There is one for each type that implements [`Ops`], in a
/// `static`: see [`socket_proto!`](crate::socket_proto).
///
/// # Invariants
///
/// `obj_size` is the size of a [`TypedSock`] of `T`, which needs no more alignment than the slab
/// allocator gives, and `owner` is the module that `T` is part of.
pub struct Proto<T: Ops> {
    proto: Opaque<bindings::proto>,
    /// The operations. Stored here so that they have a single address.
    pub(super) ops: &'static bindings::proto_ops,
    pub(super) registered: Atomic<bool>,
    /// Number of existing sockets.
    pub(super) live: Atomic<usize>,
    _ops: PhantomData<fn() -> T>,
}

impl<T: Ops> Proto<T> {
    /// Creates a `Proto`; `/proc/net/protocols` shows `name`.
    ///
    /// To be used in constants. Panics if the name has more than 31 characters.
    pub const fn new(name: &CStr) -> Self {
        let size = size_of::<TypedSock<T>>();
        assert!(
            size <= u32::MAX as usize,
            "the data of a socket are too large"
        );
        // The slab allocator gives objects at least this alignment, in a cache of their own or not.
        assert!(
            align_of::<TypedSock<T>>() <= bindings::ARCH_SLAB_MINALIGN
                && align_of::<TypedSock<T>>() <= bindings::ARCH_KMALLOC_MINALIGN,
            "the data of a socket need more alignment than sockets have"
        );
        // The socket layer has room for these families, and stores them in a `u16`.
        assert!(T::FAMILY > 0 && T::FAMILY < bindings::AF_MAX as i32);

        // `inet_create` and `inet6_create` initialise these parts of the structure.
        assert!(T::PROTOCOL.is_some() == T::Head::INET);
        assert!((T::FAMILY == AF_INET6 as i32) == (T::Head::IPV6_PINFO_OFFSET != 0));
        assert!((T::FAMILY == AF_INET as i32 || T::FAMILY == AF_INET6 as i32) == T::Head::INET);

        let mut proto = bindings::proto {
            owner: this_module::<T::OwnerModule>().as_ptr(),
            obj_size: size as u32,
            ipv6_pinfo_offset: T::Head::IPV6_PINFO_OFFSET as c_uint,
            init: Some(Glue::<T>::init_sock),
            unhash: Some(Glue::<T>::unhash),
            ioctl: if T::HAS_IOCTL {
                Some(Glue::<T>::sk_ioctl)
            } else {
                None
            },
            destroy: Some(Glue::<T>::destroy),
            ..pin_init::zeroed()
        };

        let name = name.to_bytes_with_nul();
        assert!(
            name.len() <= proto.name.len(),
            "the name of a protocol is too long"
        );
        let mut i = 0;
        while i < name.len() {
            proto.name[i] = name[i];
            i += 1;
        }

        // INVARIANT: The size and the owner were set above, and the alignment was checked; the
        // other fields are valid when zero.
        Self {
            proto: Opaque::new(proto),
            ops: Glue::<T>::OPS,
            registered: Atomic::new(false),
            live: Atomic::new(0),
            _ops: PhantomData,
        }
    }

    pub(super) fn as_raw(&self) -> *mut bindings::proto {
        self.proto.get()
    }
}

// SAFETY: The `struct proto` is only passed to C code, which protects its changes by its own locks.
// The other fields are atomic or constant.
unsafe impl<T: Ops> Sync for Proto<T> {}
